"""The settings of servers and connections, checked where they are given."""

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from wscore import Request, Response
from wscore.extensions import Deflate

ProcessRequest = Callable[[Request], Response | None | Awaitable[Response | None]]

Compression = Literal["deflate"] | Deflate | None

_DEFLATE = Deflate()

Certs = tuple[str | os.PathLike[str], str | os.PathLike[str]] | ssl.SSLContext


class ConnectionKeywords(TypedDict, total=False):
    """The keywords of every connection; meanings and defaults are in `ConnectionOptions`."""

    timeout: float
    subprotocols: Sequence[str]
    compression: Compression
    max_message_size: int | None
    read_limit: int
    open_timeout: float
    close_timeout: float
    concurrent_messages: int


class ServerKeywords(TypedDict, total=False):
    """The keywords of a server, `timeout` excepted; see `ServerOptions`."""

    subprotocols: Sequence[str]
    compression: Compression
    max_message_size: int | None
    read_limit: int
    open_timeout: float
    close_timeout: float
    concurrent_messages: int
    origins: Sequence[str | None] | None
    max_connections: int | None
    process_request: ProcessRequest | None


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What holds for a connection, in either role. Durations in seconds, sizes in bytes."""

    timeout: float = 120
    """Silence after which a peer that answers no ping is dropped; 0 for never."""
    subprotocols: Sequence[str] = ()
    """What we speak, best first."""
    compression: Compression = "deflate"
    """Whether and how messages are compressed: "deflate", a `Deflate`, or None."""
    max_message_size: int | None = 2**20
    """The longest message let in; None for no bound."""
    read_limit: int = 65536
    """How much may wait unread before reading stops."""
    open_timeout: float = 10
    """What the opening handshake may take, `process_request` included; 0 for any time."""
    close_timeout: float = 10
    """What each step of the closing handshake may take; 0 for any time."""
    concurrent_messages: int = 1
    """How many message callbacks of one client may overlap."""

    def __post_init__(self) -> None:
        for name in ("timeout", "open_timeout", "close_timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} is a number of seconds, 0 for never, not {seconds!r}")
        _check_count("max_message_size", self.max_message_size, optional=True)
        _check_count("read_limit", self.read_limit)
        _check_count("concurrent_messages", self.concurrent_messages)
        _check_list("subprotocols", self.subprotocols)
        if not (self.compression in ("deflate", None) or isinstance(self.compression, Deflate)):
            raise ValueError(
                f'compression is "deflate", a Deflate(...) or None, not {self.compression!r}'
            )

    def extensions(self) -> tuple[Deflate, ...]:
        """What the core is to negotiate."""
        if self.compression is None:
            return ()
        return (_DEFLATE if isinstance(self.compression, str) else self.compression,)


@dataclass(frozen=True, slots=True)
class ServerOptions(ConnectionOptions):
    """What holds for a server beside that."""

    origins: Sequence[str | None] | None = None
    """Whom we serve, None for everybody; a None in it lets in who names no origin."""
    max_connections: int | None = None
    """Whoever comes beyond is answered 503; None for no bound."""
    process_request: ProcessRequest | None = None
    """Looks at each request first; a Response it returns is the answer."""

    def __post_init__(self) -> None:
        ConnectionOptions.__post_init__(self)
        _check_list("origins", self.origins)
        _check_count("max_connections", self.max_connections, optional=True)
        if self.process_request is not None and not callable(self.process_request):
            raise TypeError("process_request is a function that takes a Request")


def _check_count(name: str, number: object, optional: bool = False) -> None:
    if number is None and optional:
        return
    if not isinstance(number, int) or number < 1:
        raise ValueError(
            f"{name} is a whole number of at least 1{' or None' * optional}, not {number!r}"
        )


def _check_list(name: str, value: object) -> None:
    if isinstance(value, str):
        raise TypeError(f"{name} is a list of strings, not one string: put it in a list")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, or a client connects to: a host and port, a socket of the user's,
    or a Unix path."""

    host: str | None
    port: int
    tls: ssl.SSLContext | None = None
    sock: socket.socket | None = None
    unix_path: str | os.PathLike[str] | None = None
    reuse_port: bool = False
    handshake_timeout: float = 10
    """What the TLS handshake may take, in seconds; 0 for any time."""
    server_hostname: str | None = None
    """Whom the server's certificate has to be for, where a client uses TLS."""
    proxy: str | None = None
    """The URL of a proxy that a client goes through: http, socks4 or socks5 as its scheme, a
    port in any case; it is the proxy that looks up the host."""

    def __post_init__(self) -> None:
        if self.host is not None and not isinstance(self.host, str):
            raise TypeError(f"addr is a host name or address as str, not {self.host!r}")
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ValueError(f"port is 0 (pick a free one) to 65535, not {self.port!r}")
        if self.sock is not None:
            if not isinstance(self.sock, socket.socket):
                raise TypeError(f"sock is a socket.socket, not {self.sock!r}")
            if self.sock.type != socket.SOCK_STREAM or self.sock.fileno() < 0:
                raise ValueError(f"sock is an open stream socket, not {self.sock!r}")
        if self.unix_path is not None and not isinstance(self.unix_path, str | os.PathLike):
            raise TypeError(f"unix_path is a path, not {self.unix_path!r}")
        if self.sock is not None and self.unix_path is not None:
            raise ValueError("sock and unix_path exclude each other: give one")

    def cannot_listen(self, error: OSError) -> OSError:
        """The same, naming the address and, where it is taken, the mend."""
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = ": somebody listens there already; stop it, or take port 0 for a free one"
        cause = error.strerror or error
        return OSError(error.errno, f"cannot listen at {self} ({cause}){hint}")

    def __str__(self) -> str:
        if self.sock is not None:
            return repr(self.sock)
        return f"{self.host or '*'}:{self.port}" if self.unix_path is None else f"{self.unix_path}"


def proxies_missing() -> ImportError:
    """What an adapter raises where it has nothing to go through a proxy with."""
    return ImportError(
        "a proxy, given or the environment's, needs python-socks: "
        "pip install 'wstransports[proxy]', or give connect() proxy=None"
    )


# python-socks has no code for what SOCKS 5 says of credentials, but these words.
_CREDENTIALS_REFUSED = (
    "No acceptable authentication methods were offered",
    "Username and password authentication failure",
)


class CredentialsRefused(ConnectionError):
    """A proxy wants credentials, or others than it was given."""


def refused_by_proxy(error: Exception) -> ConnectionError:
    """What an adapter raises for a proxy's refusal, whose words it may quote."""
    words = "".join([one if one.isprintable() else "?" for one in str(error)[:200]])
    refused = getattr(error, "error_code", None) == 407 or words in _CREDENTIALS_REFUSED
    return (CredentialsRefused if refused else ConnectionError)(f"the proxy refused: {words}")


def server_context(certs: Certs | None) -> ssl.SSLContext | None:
    """The SSLContext that `certs` asks for: (certfile, keyfile), or a context as it is.

    Raises FileNotFoundError for a file that is not there, ValueError for one that holds no
    certificate or no key that fits, or for a context that clients use, TypeError for anything
    else.
    """
    if certs is None:
        return None
    if isinstance(certs, ssl.SSLContext):
        if certs.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "certs is an SSLContext for clients: make one with"
                " ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) and its load_cert_chain(...)"
            )
        return certs
    cert, key = certs if isinstance(certs, tuple) and len(certs) == 2 else (None, None)
    if not isinstance(cert, str | os.PathLike) or not isinstance(key, str | os.PathLike):
        raise TypeError(f"certs is (certfile, keyfile) or an ssl.SSLContext, not {certs!r}")
    certfile, keyfile = os.fspath(cert), os.fspath(key)
    for kind, path in (("certificate", certfile), ("key", keyfile)):
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no {kind} file {path!r}: certs is (certfile, keyfile)"
            )

    def no_pass_phrase() -> str:  # else OpenSSL asks at the terminal
        raise ValueError(
            f"the key {keyfile!r} has a pass phrase: load it into an ssl.SSLContext of your own,"
            " and give that as certs"
        )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile, no_pass_phrase)
    except ssl.SSLError as error:
        raise ValueError(
            f"certs: {certfile!r} and {keyfile!r} are no certificate and the key that fits it"
            f" ({error.reason or error})"
        ) from error
    return context
