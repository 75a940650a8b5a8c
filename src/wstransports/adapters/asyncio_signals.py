"""The signals that stop a server on asyncio."""

import asyncio
from collections.abc import Callable
from typing import Any

from ..signal_socket import SignalSocket, is_woken
from .stop_signals import StopSignals


class AsyncioSignals(StopSignals):
    """Has SIGINT and SIGTERM call `stop` in the loop.

    asyncio's own loops on Unix wait for sockets only: one that they watch wakes them for a signal
    that comes just before they wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
        super().__init__(lambda: loop.call_soon_threadsafe(stop))
        self._loop = loop
        self._socket: SignalSocket | None = None

    def give_back(self) -> None:
        """Put the handlers back, and what wakes the loop."""
        super().give_back()
        if self._socket is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket.woken)
            self._socket.close()
            self._socket = None

    def _take(self, before: dict[int, Any]) -> None:
        # Other loops do it themselves; loop.add_signal_handler() has had this one woken, too.
        if before and isinstance(self._loop, asyncio.SelectorEventLoop) and not is_woken():
            self._socket = SignalSocket()
            self._loop.add_reader(self._socket.woken, self._socket.empty)
        super()._take(before)
