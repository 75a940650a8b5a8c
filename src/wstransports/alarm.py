"""The one timer of a connection."""

from collections.abc import Callable

from .runtime import Pipe, Timer


class Alarm:
    """Calls when a deadline may have passed; whoever is called looks, and sets it anew.

    Lazy: a deadline that moved back leaves the timer as it is, so that none is re-armed for a
    message.
    """

    __slots__ = ("_at", "_call", "_timer", "pipe")

    pipe: Pipe

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._timer: Timer | None = None
        self._at = 0.0

    def set(self, when: float | None) -> None:
        """Ring at `when` or before; None changes nothing."""
        if when is None:
            return
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
        self._at = when
        self._timer = self.pipe.call_at(when, self._ring)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._call()
