"""The signals that a supervisor waits for."""

import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from ..signal_socket import SignalSocket

# Windows lacks two of them, and imports this too.
TAKEN = [
    number for number in signal.Signals if number.name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGCHLD")
]


class Signals:
    """A block that takes these signals, whatever their handlers are, and puts those back after it.

    `woken` is readable when a signal has come.
    """

    woken: socket.socket
    _socket: SignalSocket

    def __init__(self) -> None:
        self._came: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals. Raises RuntimeError unless in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "run(workers=...) works in the main thread only, for Python handles signals there"
            )
        self._socket = SignalSocket()
        self.woken = self._socket.woken
        for number in TAKEN:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._socket.close()

    def take(self) -> list[int]:
        """The signals that came since the last call, in order."""
        self._socket.empty()
        came, self._came = self._came, []
        return came

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
