"""The signals that stop a loop which is driven from outside."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class StopSignals:
    """Has SIGINT and SIGTERM call `stop`.

    Only in the main thread, and only where the process still has Python's default handlers. The
    first signal puts the handlers back: a second one interrupts at once.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self.came = False
        """Whether a signal called `stop`."""
        self._stop = stop

    def take(self) -> None:
        """Set our handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) is default:
                signal.signal(number, self._handle)

    def give_back(self) -> None:
        """Put the handlers back, unless the user has set others since."""
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, default)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.give_back()
        self._stop()
