"""Whether asyncio's own loop has anything to do, seen without a turn of it."""

import asyncio
from typing import Any


def shows_all(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is asyncio's own, with the attributes that `is_idle` needs."""
    needed = ("_ready", "_scheduled", "_selector")
    return isinstance(loop, asyncio.SelectorEventLoop) and all(hasattr(loop, one) for one in needed)


def is_idle(loop: Any) -> bool:
    """Whether nothing waits to run: to see that takes a tenth of the instructions of a turn."""
    timers = loop._scheduled
    waiting = loop._ready or (timers and timers[0].when() <= loop.time())
    return not (waiting or loop._selector.select(0))
