"""A time limit, on loops that cancel by scopes."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any


@asynccontextmanager
async def time_limit(scope: AbstractContextManager[Any]) -> AsyncIterator[None]:
    """A block in a cancel scope. Raises TimeoutError if the scope's deadline ends it."""
    with scope as entered:
        yield
    if entered.cancelled_caught:
        raise TimeoutError
