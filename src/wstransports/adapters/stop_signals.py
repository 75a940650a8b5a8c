"""The signals that stop a server: SIGINT and SIGTERM."""

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import FrameType
from typing import Any, Self

_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class StopSignals:
    """Has SIGINT and SIGTERM call `stop`, which must be safe to call within a signal handler.

    The first signal puts the handlers back: a second one interrupts at once. As a block it takes
    both signals, whatever their handlers are, and puts those back at its end. From when it takes
    them until `give_back` it is in the block `waking`, if one is given.
    """

    def __init__(
        self, stop: Callable[[], object], waking: AbstractContextManager[object] | None = None
    ) -> None:
        self.came: bool = False
        """Whether a signal called `stop`."""
        self._stop = stop
        self._waking = waking or nullcontext()
        self._undo = ExitStack()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Set our handlers. Raises RuntimeError unless in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "signals=True works in the main thread only, for Python handles signals there:"
                " leave it out, and cancel the task that serves"
            )
        self._take({number: signal.getsignal(number) for number in _DEFAULTS})
        return self

    def __exit__(self, *error: object) -> None:
        self.give_back()

    def take_defaults(self) -> None:
        """Set our handlers where Python's default handlers are; none unless in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._take({n: own for n, own in _DEFAULTS.items() if signal.getsignal(n) is own})

    def give_back(self) -> None:
        """Put the handlers back, unless the user has set others since."""
        self._restore()
        self._undo.close()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        self._before = {}

    def _take(self, before: dict[int, Any]) -> None:
        self._undo.enter_context(self._waking)
        self._before = before
        for number in before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._restore()
        self._stop()
