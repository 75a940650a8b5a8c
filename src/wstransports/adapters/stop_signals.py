"""The signals that stop a loop which is driven from outside."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopSignals:
    """Has SIGINT and SIGTERM call `stop`.

    Only in the main thread, and only where the process still has Python's default handlers. The
    first signal puts the handlers back: a second one interrupts at once.
    """

    def __init__(self, stop: Callable[[], object]) -> None:
        self.came = False
        """Whether a signal called `stop`."""
        self._stop = stop
        self._handlers: dict[int, Any] = {}  # what was there before ours

    def take(self) -> None:
        """Set our handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            if signal.getsignal(number) is default:
                self._handlers[number] = signal.signal(number, self._handle)

    def give_back(self) -> None:
        """Put the handlers back, unless the user has set others since."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        self._handlers.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.give_back()
        self._stop()
