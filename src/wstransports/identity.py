"""Which connection a log line is about: its number, its peer, and the logger that gets the line."""

import itertools
import logging

from .log import LoggerLike, is_enabled_for, log
from .log_limit import LogLimit

_ids = itertools.count(1)


class Identity:
    """One connection, as log lines name it: `#12 127.0.0.1:52110`.

    Everything that logs about a connection holds this, and nothing that leads back to it.
    """

    __slots__ = ("_limit", "id", "logger", "peer")

    def __init__(self, logger: LoggerLike | None = None, limit: LogLimit | None = None) -> None:
        self.id: int = next(_ids)
        """The connection's number in this process."""
        self.logger: LoggerLike | None = logger
        """What logs its lines; None for the package's own."""
        self.peer: tuple[str, int] | None = None
        """The peer's host and port, once they are known; None if it has none."""
        self._limit = limit  # of the server's lines

    def __str__(self) -> str:
        return f"#{self.id} {self.peer[0]}:{self.peer[1]}" if self.peer else f"#{self.id}"

    def log(self, level: int, what: str, *, error: BaseException | None = None) -> None:
        """Log one line about this connection, with the traceback of `error`.

        Peers can cause any number of lines: above INFO, `log_limit.MOST` of a level are logged in a
        second, and the others at INFO.
        """
        if level > logging.INFO and self._limit is not None:
            before = self._limit.count(level)
            if before:
                log(self.logger, level, "%d more lines were logged at INFO", before, stacklevel=3)
            level = logging.INFO if before is None else level
        log(self.logger, level, "%s: %s", str(self), what, error=error, stacklevel=3)

    def shows(self, level: int) -> bool:
        """Whether lines of this level go anywhere."""
        return is_enabled_for(self.logger, level)
