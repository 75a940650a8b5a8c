"""A socket that says that a signal has come: the interpreter writes a byte to it for each."""

import signal
import socket
from contextlib import suppress


class SignalSocket:
    """`woken` is readable once a signal has come, until `empty`; in the main thread only."""

    def __init__(self) -> None:
        self.woken: socket.socket
        self.woken, self._written = socket.socketpair()
        for end in (self.woken, self._written):
            end.setblocking(False)
        self._before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def empty(self) -> None:
        """Read what was written."""
        with suppress(BlockingIOError):
            while self.woken.recv(4096):
                pass

    def close(self) -> None:
        """Put back what was woken before, unless the user has set something else since."""
        woken = signal.set_wakeup_fd(self._before)
        if woken != self._written.fileno():
            signal.set_wakeup_fd(woken)
        self.woken.close()
        self._written.close()


def is_woken() -> bool:
    """Whether signals wake something already."""
    woken = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(woken)
    return woken != -1
