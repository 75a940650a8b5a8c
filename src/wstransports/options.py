"""The settings of servers and connections, and their checks."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from wscore import Response
from wscore.extensions import Deflate
from wscore.handshake.head import MAX_HEAD_FIELDS, MAX_HEAD_SIZE

from .accept import Accept
from .basic_auth import DEFAULT_REALM, BasicAuth, BasicAuthArgument
from .instruments import InstrumentMethods, Instruments
from .log import LoggerLike
from .log_limit import LogLimit
from .request import Request
from .runtime import WRITE_LIMIT

Answer = Response | Accept | None
ProcessRequest = Callable[[Request], Answer | Awaitable[Answer]]
SelectSubprotocol = Callable[[Sequence[str], Request], str | None | Awaitable[str | None]]

RatePolicy = Literal["pause", "close"]

Compression = Literal["deflate"] | Deflate | None

_DEFLATE = Deflate()

_NO_INSTRUMENTS = Instruments(())

_RATES = ("max_messages_per_second", "max_pings_per_second", "max_bytes_per_second")


class ConnectionKeywords(TypedDict, total=False):
    """The keywords of `connect` that every connection has; `connect` describes them.

    For functions of yours that pass them on: `**options: Unpack[ConnectionKeywords]`.
    """

    timeout: float
    subprotocols: Sequence[str]
    compression: Compression
    max_message_size: int | None
    read_limit: int
    write_limit: int
    open_timeout: float
    close_timeout: float
    concurrent_messages: int
    max_head_size: int
    max_head_fields: int
    instruments: Sequence[InstrumentMethods]
    logger: LoggerLike | None


class ServerKeywords(TypedDict, total=False):
    """The keywords of a `WebSocketServer`, which describes them.

    For functions of yours that pass them on: `**options: Unpack[ServerKeywords]`.
    """

    subprotocols: Sequence[str] | SelectSubprotocol
    compression: Compression
    max_message_size: int | None
    read_limit: int
    write_limit: int
    open_timeout: float
    close_timeout: float
    concurrent_messages: int
    max_head_size: int
    max_head_fields: int
    instruments: Sequence[InstrumentMethods]
    logger: LoggerLike | None
    origins: Sequence[str | None] | None
    max_connections: int | None
    max_connections_per_address: int | None
    max_messages_per_second: float | None
    max_pings_per_second: float | None
    max_bytes_per_second: float | None
    rate_policy: RatePolicy
    process_request: ProcessRequest | None
    basic_auth: BasicAuthArgument | None
    realm: str
    shutdown_timeout: float


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The settings of a connection, server or client. Durations in seconds, sizes in bytes."""

    timeout: float = 120
    """Silence after which a peer that answers no ping is dropped; 0 for never."""
    subprotocols: Sequence[str] = ()
    """The subprotocols supported or offered, in order of preference."""
    compression: Compression = "deflate"
    """How messages are compressed: "deflate", a `Deflate` with other settings, or None."""
    max_message_size: int | None = 2**20
    """The longest message accepted; None for no limit."""
    read_limit: int = 65536
    """The unread bytes above which reading pauses."""
    write_limit: int = WRITE_LIMIT
    """The unsent bytes above which senders wait."""
    open_timeout: float = 10
    """The time for the opening handshake, `process_request` included; 0 for no limit."""
    close_timeout: float = 10
    """The time for each step of the closing handshake; 0 for no limit."""
    concurrent_messages: int = 1
    """How many on_message callbacks of one client may overlap."""
    max_head_size: int = MAX_HEAD_SIZE
    """The longest head of the opening handshake accepted, blank line included."""
    max_head_fields: int = MAX_HEAD_FIELDS
    """The most header lines in it."""
    instruments: Sequence[InstrumentMethods] = ()
    """What counts or traces the connections."""
    logger: LoggerLike | None = None
    """What gets the log lines; None for the package's own logger."""
    instrumentation: Instruments = field(init=False, default=_NO_INSTRUMENTS)
    """What `instruments` makes."""
    log_limit: LogLimit = field(init=False, default_factory=LogLimit, compare=False, repr=False)
    """How many lines peers may cause."""

    def __post_init__(self) -> None:
        for name in ("timeout", "open_timeout", "close_timeout"):
            _check_seconds(name, getattr(self, name))
        _check_count("max_message_size", self.max_message_size, optional=True)
        for name in ("read_limit", "write_limit", "concurrent_messages"):
            _check_count(name, getattr(self, name))
        for name in ("max_head_size", "max_head_fields"):
            _check_count(name, getattr(self, name))
        self._check_subprotocols()
        if not isinstance(self.logger, logging.Logger | logging.LoggerAdapter | None):
            raise TypeError(
                f"logger must be a logging.Logger, a LoggerAdapter or None, not {self.logger!r}"
            )
        if self.instruments != ():
            object.__setattr__(self, "instrumentation", Instruments(self.instruments))
        if not (self.compression in ("deflate", None) or isinstance(self.compression, Deflate)):
            raise ValueError(
                f'compression must be "deflate", a Deflate(...) or None, not {self.compression!r}'
            )

    def _check_subprotocols(self) -> None:
        _check_list("subprotocols", self.subprotocols)

    def extensions(self) -> tuple[Deflate, ...]:
        """The extensions for the core to negotiate."""
        if self.compression is None:
            return ()
        return (_DEFLATE if isinstance(self.compression, str) else self.compression,)


@dataclass(frozen=True, slots=True)
class ServerOptions(ConnectionOptions):
    """The settings of a server."""

    subprotocols: Sequence[str] | SelectSubprotocol = ()  # type: ignore[assignment]  # wider
    """As above, or a function that selects one of those offered."""
    origins: Sequence[str | None] | None = None
    """The origins accepted, None for all; a None in it accepts clients without an Origin."""
    max_connections: int | None = None
    """The most connections at a time; any other is answered with 503. None for no limit."""
    max_connections_per_address: int | None = None
    """The most of one IPv4 address or IPv6 network (/64); any other is answered with 503."""
    max_messages_per_second: float | None = None
    """How many messages a client may send in a second; None for no limit."""
    max_pings_per_second: float | None = None
    """How many pings."""
    max_bytes_per_second: float | None = None
    """How many bytes, as they arrive on the connection, after TLS decryption."""
    rate_policy: RatePolicy = "pause"
    """What happens above those: "pause" stops reading for a while, "close" closes with 1008."""
    process_request: ProcessRequest | None = None
    """Called with each request; a Response that it returns rejects the request."""
    basic_auth: BasicAuthArgument | None = None
    """The usernames and passwords that may connect, or a function that checks them."""
    realm: str = DEFAULT_REALM
    """What `basic_auth` protects, as clients show it to their users."""
    shutdown_timeout: float = 5
    """The time that the end of the block gives clients and callbacks; 0 for no limit."""
    authentication: BasicAuth | None = field(init=False, default=None)
    """What `basic_auth` and `realm` make."""

    def __post_init__(self) -> None:
        ConnectionOptions.__post_init__(self)
        _check_seconds("shutdown_timeout", self.shutdown_timeout)
        _check_list("origins", self.origins)
        for name in ("max_connections", "max_connections_per_address"):
            _check_count(name, getattr(self, name), optional=True)
        for name in _RATES:
            _check_rate(name, getattr(self, name))
        if self.rate_policy not in ("pause", "close"):
            raise ValueError(f'rate_policy must be "pause" or "close", not {self.rate_policy!r}')
        if self.process_request is not None and not callable(self.process_request):
            raise TypeError("process_request must be a function that takes a Request")
        if self.basic_auth is not None:
            object.__setattr__(self, "authentication", BasicAuth(self.basic_auth, self.realm))

    def limits_rates(self) -> bool:
        """Whether a client may send only so much in a second."""
        return any(getattr(self, name) is not None for name in _RATES)

    def _check_subprotocols(self) -> None:
        if not callable(self.subprotocols):
            ConnectionOptions._check_subprotocols(self)


def _check_seconds(name: str, seconds: object) -> None:
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be in seconds, 0 for never, not {seconds!r}")


def _check_count(name: str, number: object, optional: bool = False) -> None:
    if number is None and optional:
        return
    if not isinstance(number, int) or number < 1:
        raise ValueError(
            f"{name} must be an int of at least 1{' or None' * optional}, not {number!r}"
        )


def _check_rate(name: str, rate: object) -> None:
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise ValueError(f"{name} must be a number above 0 or None, not {rate!r}")


def _check_list(name: str, value: object) -> None:
    if callable(value):
        raise TypeError(f"{name} must be a list of strings, not a function: only a server selects")
    if isinstance(value, str):
        raise TypeError(f"{name} must be a list of strings, not one string: put it in a list")
