"""The timers of connections on asyncio."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial

from ..runtime import Timer
from .far_timers import FAR, FarTimers


class AsyncioTimers(FarTimers):
    """The timers of a loop.

    The far ones are called in an empty context: what calls a user's callback sets that of its
    client.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        super().__init__(now)
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._context = Context()
        self._soon = partial(loop.call_soon, context=self._context)

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Call `call` when the clock shows `when`."""
        if when - self._now() < FAR:
            return self._loop.call_at(when, call)
        return self.add(when, call, self._soon)

    def _wake_at(self, when: float | None) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        if when is not None:
            self._handle = self._loop.call_at(when, self._call_due, context=self._context)
