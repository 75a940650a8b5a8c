"""The signals that a supervisor waits for."""

import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any, Self

# Windows lacks two of them, and imports this too.
TAKEN = [
    number for number in signal.Signals if number.name in ("SIGHUP", "SIGINT", "SIGTERM", "SIGCHLD")
]


class Signals:
    """A block that takes these signals, whatever their handlers are, and puts those back after it.

    `woken` is readable when a signal has come.
    """

    woken: socket.socket

    def __init__(self) -> None:
        self._came: list[int] = []
        self._before: dict[int, Any] = {}
        self._wakes: socket.socket
        self._woken_before = -1

    def __enter__(self) -> Self:
        """Take the signals. Raises RuntimeError unless in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "run(workers=...) works in the main thread only, for Python handles signals there"
            )
        self.woken, self._wakes = socket.socketpair()
        for end in (self.woken, self._wakes):
            end.setblocking(False)
        self._woken_before = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
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
        signal.set_wakeup_fd(self._woken_before)
        self.woken.close()
        self._wakes.close()

    def take(self) -> list[int]:
        """The signals that came since the last call, in order."""
        while True:
            try:
                self.woken.recv(4096)
            except BlockingIOError:
                break
        came, self._came = self._came, []
        return came

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._came.append(number)
