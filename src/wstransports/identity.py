"""Which connection a log line is about: its number, its peer, and the logger that gets the line."""

import itertools

from .log import LoggerLike, log

_ids = itertools.count(1)


class Identity:
    """One connection, as log lines name it: `#12 127.0.0.1:52110`.

    Everything that logs about a connection holds this, and nothing that leads back to it.
    """

    __slots__ = ("id", "logger", "peer")

    def __init__(self, logger: LoggerLike | None = None) -> None:
        self.id = next(_ids)
        """The connection's number in this process."""
        self.logger = logger
        """What logs its lines; None for the package's own."""
        self.peer: tuple[str, int] | None = None
        """The peer's host and port, once they are known; None if it has none."""

    def __str__(self) -> str:
        return f"#{self.id} {self.peer[0]}:{self.peer[1]}" if self.peer else f"#{self.id}"

    def log(self, level: int, what: str, *, error: BaseException | None = None) -> None:
        """Log one line about this connection, with the traceback of `error`."""
        log(self.logger, level, "%s: %s", str(self), what, error=error, stacklevel=3)
