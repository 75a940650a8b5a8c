"""The one timer of a connection."""

from typing import Protocol

from ..runtime import Pipe, Timer


class AlarmHandler(Protocol):
    """Who has an alarm."""

    def on_alarm(self) -> None:
        """A deadline may have passed."""


class Alarm:
    """Rings when a deadline may have passed; whose it is looks, and sets it anew.

    Lazy: a deadline that moved back leaves the timer as it is, so that none is re-armed for a
    message.
    """

    __slots__ = ("_at", "_handler", "_timer", "pipe")

    pipe: Pipe

    def __init__(self, handler: AlarmHandler) -> None:
        self._handler = handler
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
        self._timer = self.pipe.call_at(when, self)  # a bound method would take 64 bytes more

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __call__(self) -> None:
        """It is time."""
        self._timer = None
        self._handler.on_alarm()
