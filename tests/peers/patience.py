"""How a test with another implementation is run: on asyncio, for a limited time."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import ParamSpec

P = ParamSpec("P")
Test = Callable[P, Coroutine[object, object, None]]

# How long a test may take once its peer is there, in seconds.
PATIENCE = 20


def on_a_loop(test: Test[P]) -> Callable[P, None]:
    """Run an `async def` test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE))

    return run
