"""The timer of a connection."""

from typing import Protocol

from ..runtime import TURNS, Pipe, Timer


class AlarmHandler(Protocol):
    """The owner of an alarm."""

    pipe: Pipe
    """Whose timers it sets."""

    def is_overdue(self) -> bool:
        """Whether the peer seems to have missed a deadline."""

    def on_alarm(self) -> None:
        """A deadline may have passed."""


class Alarm:
    """Calls its handler when a deadline may have passed; the handler checks, and sets it again.

    A deadline that moves later leaves the timer as it is, so that messages do not restart it. If
    the peer seems to have missed one, what has already arrived is read first: the loop may have
    been held up.
    """

    __slots__ = ("_at", "_timer", "_turns", "handler")

    def __init__(self, handler: AlarmHandler) -> None:
        self.handler: AlarmHandler = handler
        self._timer: Timer | None = None
        self._at = 0.0
        self._turns = 0  # that an overdue deadline has waited

    def set(self, when: float | None) -> None:
        """Call the handler at `when` or earlier; None changes nothing."""
        if when is None:
            return
        if self._timer is not None:
            if self._at <= when:
                return
            self._timer.cancel()
        self._at = when
        # A bound method would take 64 more bytes.
        self._timer = self.handler.pipe.call_at(when, self)

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __call__(self) -> None:
        """As the timer's callback."""
        self._timer = None
        if self._turns < TURNS and self.handler.is_overdue():
            self._turns += 1
            self._timer = self.handler.pipe.call_at(self._at, self)
        else:
            self._turns = 0
            self.handler.on_alarm()
