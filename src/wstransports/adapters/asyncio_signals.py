"""The signals that stop a server on asyncio."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ..signal_socket import SignalSocket, is_woken
from .stop_signals import StopSignals


def stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> StopSignals:
    """Have SIGINT and SIGTERM call `stop` in the loop."""
    return StopSignals(partial(loop.call_soon_threadsafe, stop), _waking(loop))


@contextmanager
def _waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have a signal wake a loop that is about to wait: asyncio's own on Unix wait for sockets only.

    Other loops are woken anyhow, and so is one whose add_signal_handler() was called.
    """
    if not isinstance(loop, asyncio.SelectorEventLoop) or is_woken():
        yield
        return
    signals = SignalSocket()
    loop.add_reader(signals.woken, signals.empty)
    yield
    if not loop.is_closed():
        loop.remove_reader(signals.woken)
    signals.close()
