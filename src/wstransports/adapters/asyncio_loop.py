"""A loop of asyncio's kind, and what its streams share: `Loop`."""

import asyncio
import select
import time
from collections.abc import Callable
from contextvars import Context
from functools import cached_property
from typing import Any

from ..runtime import Timer
from .far_timers import FarTimers

# The most that one read takes after a short one was full; and after a peer sent LARGE_READ at once,
# in bytes. The large buffer holds the longest message accepted by default, in one piece: 0.8 of the
# CPU time.
READ_SIZE = 256 * 1024
LARGE_READ = 128 * 1024
LARGE_READ_SIZE = 1088 * 1024

_CAN_POLL = hasattr(select, "poll")  # not on Windows
_SHOWN = ("_ready", "_scheduled", "_selector")  # to `is_idle`
_USUAL_TIME = asyncio.BaseEventLoop.time


class Loop:
    """Its clock, its timers, and the buffers of its streams. They share these, because each takes
    its bytes out at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now = _clock(loop)
        self.timers: FarTimers = FarTimers(self.now, self._call_at)
        self.forgets_broken: bool = not isinstance(loop, asyncio.BaseEventLoop) and _CAN_POLL
        """Whether the loop, as uvloop does, reports a socket with an error only once, even if
        something is left to read."""
        self.read_buffer: memoryview = memoryview(bytearray(READ_SIZE))
        self._context = Context()  # empty: what calls a user's callback sets that of its client

    @cached_property
    def large_read_buffer(self) -> memoryview:
        """For peers that send large messages."""
        return memoryview(bytearray(LARGE_READ_SIZE))

    def _call_at(self, when: float, call: Callable[[], None]) -> Timer:
        if when <= self.now():  # with a timer for these, a handshake takes 12 k instructions more
            return self.loop.call_soon(call, context=self._context)
        return self.loop.call_at(when, call, context=self._context)


def _clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock; where that is `time.monotonic`, called without the loop: uvloop's stands
    still while a callback computes, and asyncio's takes twice the instructions."""
    own = isinstance(loop, asyncio.BaseEventLoop) and type(loop).time is not _USUAL_TIME
    return loop.time if own or abs(loop.time() - time.monotonic()) > 1 else time.monotonic


def shows_all(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is asyncio's own, with the attributes that `is_idle` needs."""
    return isinstance(loop, asyncio.SelectorEventLoop) and all(hasattr(loop, n) for n in _SHOWN)


def is_idle(loop: Any) -> bool:
    """Whether nothing waits to run: to see that takes a tenth of the instructions of a turn."""
    timers = loop._scheduled
    waiting = loop._ready or (timers and timers[0].when() <= loop.time())
    return not (waiting or loop._selector.select(0))
