"""A bound on what a loop's own TLS sends by itself, which the loop neither reports nor limits."""

from collections.abc import Callable
from typing import Any

from ..tls_end import MAX_OWED, too_much_owed

# Seconds between two looks.
CHECK_OWED = 0.5


class TlsWatch:
    """Drops a stream whose peer renews its keys and takes no answer; see `TlsEnd.owed`.

    It begins when the stream is full, and ends with `stop`. `waiting` is how many bytes wait to be
    sent, `drop` drops the stream because of an error.
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        drop: Callable[[Exception], None],
        call_later: Callable[..., Any],
    ) -> None:
        self._waiting = waiting
        self._drop = drop
        self._call_later = call_later
        self._written = 0  # at most, once encrypted, since it began
        self._timer: Any = None
        self._look(waiting())

    def count(self, *parts: bytes) -> None:
        """These are being written."""
        for part in parts:
            self._written += len(part) + len(part) // 256 + 64

    def stop(self) -> None:
        """The stream has buffer space, or is lost."""
        self._timer.cancel()

    def _look(self, least: int) -> None:
        others = self._waiting() - self._written
        least = min(least, others)
        self._timer = self._call_later(CHECK_OWED, self._look, least)
        if others - least > MAX_OWED:
            self._timer.cancel()
            self._drop(too_much_owed())
