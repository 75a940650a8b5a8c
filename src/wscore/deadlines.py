"""The deadlines of a connection, computed without a clock.

All times are in seconds of the caller's clock. All durations are in seconds, 0 for no deadline.
"""

from enum import Enum, auto


class Expiry(Enum):
    """The kind of a deadline."""

    HANDSHAKE = auto()
    """The opening handshake took too long."""
    PING_DUE = auto()
    """Nothing was received for the ping interval."""
    SILENCE = auto()
    """Nothing was received for the whole keepalive time, although a ping was sent."""
    STALL = auto()
    """The peer read none of the bytes waiting for it."""
    CLOSE = auto()
    """The closing handshake took too long."""


_REASONS = {
    Expiry.SILENCE: "keepalive: nothing was received for {:g} s",
    Expiry.STALL: "keepalive: no output was read for {:g} s",
    Expiry.CLOSE: "the Close was not answered within {:g} s",
}


class _Watch(Enum):
    """Which silence of the peer ends the connection."""

    OFF = auto()
    ALL = auto()
    """It sends nothing, or reads nothing."""
    OUTPUT = auto()
    """It reads nothing of a response, whose body is sent in pieces."""


class Deadlines:
    """When a connection has to act next.

    Receiving only stores the time in `heard`. `expired` compares when the caller's timer fires, so
    that no message re-arms a timer.
    """

    __slots__ = (
        "_close_by",
        "_close_timeout",
        "_handshake_by",
        "_open_timeout",
        "_ping_interval",
        "_stalled",
        "_taken",
        "_timeout",
        "_watch",
        "heard",
        "pinged_at",
        "reading",
    )

    def __init__(
        self,
        open_timeout: float,
        close_timeout: float,
        timeout: float,
        ping_interval: float | None = None,
    ) -> None:
        for seconds in (open_timeout, close_timeout, timeout):
            if not seconds >= 0:
                raise ValueError(f"a timeout must be in seconds, 0 for never, not {seconds!r}")
        if ping_interval is not None and (not ping_interval > 0 or 0 < timeout <= ping_interval):
            raise ValueError(
                "ping_interval must be in seconds, less than the timeout, None for half of it,"
                f" not {ping_interval!r}"
            )
        # When the peer last sent bytes, or took some, but not all; None after a ping.
        self.heard: float | None = 0.0
        self._open_timeout = open_timeout
        self._close_timeout = close_timeout
        self._timeout = timeout
        # None is half of the timeout. To keep such numbers takes 64 bytes for each connection.
        self._ping_interval = ping_interval
        self._handshake_by: float | None = None
        self._close_by: float | None = None
        self._watch = _Watch.OFF
        self.pinged_at: float = 0.0  # when the last keepalive ping was sent
        self.reading: bool = True
        self._taken = 0  # bytes that the peer has read in all
        self._stalled: float | None = None  # since when it has read none of those waiting

    def start(self, now: float) -> None:
        """The byte stream is open: start the deadline of the handshake."""
        if self._open_timeout:
            self._handshake_by = now + self._open_timeout

    def answered(self) -> None:
        """A response that refuses is begun: its body may take long, but the peer must read it."""
        self._handshake_by = None
        self._watch = _Watch.OUTPUT

    def opened(self, now: float) -> None:
        """The handshake is complete: start the keepalive."""
        self._handshake_by = None
        self._watch = _Watch.ALL if self._ping_after() > 0 else _Watch.OFF
        self.heard = now

    def closing(self, now: float) -> None:
        """A step of the closing handshake is done: start the deadline of the next."""
        self._handshake_by = None
        self._watch = _Watch.OFF
        if self._close_timeout:
            self._close_by = now + self._close_timeout

    def shorten_close(self, seconds: float) -> None:
        """Allow at most `seconds` for each further step of the closing handshake."""
        self._close_timeout = min(self._close_timeout or seconds, seconds)

    def over(self) -> None:
        """Cancel all deadlines."""
        self._handshake_by = self._close_by = self._stalled = None
        self._watch = _Watch.OFF

    def pause(self) -> None:
        """The caller stops reading: ignore that nothing is received.

        Pings are still due: sending to a peer that is gone ends the byte stream, and nothing else
        would show that.
        """
        self.reading = False

    def resume(self, now: float) -> None:
        """The caller reads again: start the keepalive again."""
        self.reading = True
        self.heard = now

    def output(self, now: float, taken: int, waiting: int, held: int) -> None:
        """The peer has read `taken` bytes in all; `waiting` more are waiting for it, and the system
        holds `held` more."""
        if taken > self._taken and (waiting or held):
            self.heard = now  # a ping, and its pong, may have to wait until all is read
        if not waiting or not self._timeout:
            self._stalled = None
        elif self._stalled is None or taken > self._taken:
            self._stalled = now
        self._taken = taken

    def pinged(self, now: float) -> None:
        """A keepalive ping was sent."""
        self.pinged_at = now
        self.heard = None

    def next(self) -> float | None:
        """The next deadline; None for none."""
        stalled_by = None if self._stalled is None else self._stalled + self._timeout
        if self._watch is _Watch.OUTPUT:
            return stalled_by
        if self._watch is _Watch.OFF:
            return self._close_by if self._handshake_by is None else self._handshake_by
        silent_by = self._silent_by()
        return silent_by if stalled_by is None else min(silent_by, stalled_by)

    def expired(self, now: float) -> Expiry | None:
        """The deadline that has passed, or None. Handle it before the next call."""
        if self._handshake_by is not None and now >= self._handshake_by:
            return Expiry.HANDSHAKE
        if self._close_by is not None and now >= self._close_by:
            return Expiry.CLOSE
        if self._stalled is not None and self._watch is not _Watch.OFF:
            if now >= self._stalled + self._timeout:
                return Expiry.STALL
        if self._watch is _Watch.ALL and now >= self._silent_by():
            silent = self.heard is None and self.reading and self._timeout
            return Expiry.SILENCE if silent else Expiry.PING_DUE
        return None

    def _silent_by(self) -> float:
        """When the next ping is due, or, once that was sent, when the peer must have answered.

        The peer has all of that time, even if this process sent the ping late.
        """
        ping_after = self._ping_after()
        if self.heard is not None:
            return self.heard + ping_after
        return self.pinged_at + (self._timeout - ping_after if self._timeout else ping_after)

    def _ping_after(self) -> float:
        """Seconds without a byte after which a ping is due; 0 for never."""
        return self._timeout / 2 if self._ping_interval is None else self._ping_interval

    def reason(self, expiry: Expiry) -> str:
        """The close reason for a peer that missed this deadline."""
        seconds = self._close_timeout if expiry is Expiry.CLOSE else self._timeout
        return _REASONS[expiry].format(seconds)
