"""The signals that stop a server on asyncio."""

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any

from .stop_signals import StopSignals


class AsyncioSignals(StopSignals):
    """Has SIGINT and SIGTERM call `stop` in the loop.

    asyncio's own loops on Unix wait for sockets only: a signal that comes just before they wait
    would be handled when something else wakes them. So the interpreter writes a byte for each
    signal to a socket that the loop watches.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
        super().__init__(lambda: loop.call_soon_threadsafe(stop))
        self._loop = loop
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def give_back(self) -> None:
        """Put the handlers back, and what wakes the loop."""
        super().give_back()
        ends, self._ends = self._ends, None
        if ends is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(ends[0])
        woken = signal.set_wakeup_fd(-1)
        if woken != ends[1].fileno():  # the user's, by loop.add_signal_handler() for example
            signal.set_wakeup_fd(woken)
        for end in ends:
            end.close()

    def _take(self, before: dict[int, Any]) -> None:
        if before and isinstance(self._loop, asyncio.SelectorEventLoop):  # others do it themselves
            self._watch()
        super()._take(before)

    def _watch(self) -> None:
        woken = signal.set_wakeup_fd(-1)
        if woken != -1:  # something is woken already: by loop.add_signal_handler(), this loop
            signal.set_wakeup_fd(woken)
            return
        self._ends = reads, written = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        self._loop.add_reader(reads, reads.recv, 4096)
        signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
