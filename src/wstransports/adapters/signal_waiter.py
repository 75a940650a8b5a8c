"""What one task waits for, again and again, on loops whose tasks go on later: `SignalWaiter`."""

from collections.abc import Awaitable, Callable

from ..runtime import Signal


class SignalWaiter:
    """A Waiter, with a new Signal for each wait."""

    __slots__ = ("_new_signal", "_signal")

    def __init__(self, new_signal: Callable[[], Signal]) -> None:
        self._new_signal = new_signal
        self._signal: Signal | None = None

    def wait(self) -> Awaitable[object]:
        """Return after the next call of `set` or `wake`."""
        self._signal = signal = self._new_signal()
        return signal.wait()

    def set(self) -> None:
        """Let the task go on later."""
        if self._signal is not None:
            self._signal.set()

    wake = set
