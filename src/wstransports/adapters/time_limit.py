"""A time limit, on loops that cancel by scopes."""

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any


class TimeLimit(AbstractAsyncContextManager[None]):
    """A block in a cancel scope. Raises TimeoutError if the scope's deadline ends it.

    A generator would keep the cancellation in a cycle, with all that the block's frames refer to.
    """

    def __init__(self, scope: AbstractContextManager[Any]) -> None:
        self._scope = scope

    async def __aenter__(self) -> None:
        self._entered = self._scope.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        ended = self._scope.__exit__(kind, error, traceback)
        if self._entered.cancelled_caught:
            raise TimeoutError
        return ended
