"""A bound on the log lines that peers cause."""

import time
from collections.abc import Callable

from .log import LoggerLike, log

# Lines of one level in a second.
MOST = 10


class LogLimit:
    """Counts the lines of each level, and says which are beyond MOST in a second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seconds: dict[int, tuple[float, int]] = {}  # by level: its begin, and its lines

    def count(self, level: int) -> int | None:
        """Count a line; None if it is too many, else how many were too many before it."""
        now = self._now()
        began, lines = self._seconds.get(level, (now, 0))
        if lines and now - began < 1:
            self._seconds[level] = began, lines + 1
            return None if lines >= MOST else 0
        self._seconds[level] = now, 1
        return max(0, lines - MOST)

    def log(
        self,
        logger: LoggerLike | None,
        level: int,
        message: str,
        *args: object,
        error: BaseException | None = None,
    ) -> None:
        """Log a line as `log` does, or leave it out; the next one says how many were left out."""
        left_out = self.count(level)
        if left_out is not None:
            more = f" ({left_out} such lines were left out)" if left_out else ""
            log(logger, level, message + more, *args, error=error, stacklevel=3)
