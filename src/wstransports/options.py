"""The settings of servers and connections, and their checks."""

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
    """The keywords of every connection; `ConnectionOptions` describes them."""

    timeout: float
    subprotocols: Sequence[str]
    compression: Compression
    max_message_size: int | None
    read_limit: int
    open_timeout: float
    close_timeout: float
    concurrent_messages: int


class ServerKeywords(TypedDict, total=False):
    """The keywords of a server, except `timeout`; `ServerOptions` describes them."""

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
    open_timeout: float = 10
    """The time for the opening handshake, `process_request` included; 0 for no limit."""
    close_timeout: float = 10
    """The time for each step of the closing handshake; 0 for no limit."""
    concurrent_messages: int = 1
    """How many on_message callbacks of one client may overlap."""

    def __post_init__(self) -> None:
        for name in ("timeout", "open_timeout", "close_timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} must be in seconds, 0 for never, not {seconds!r}")
        _check_count("max_message_size", self.max_message_size, optional=True)
        _check_count("read_limit", self.read_limit)
        _check_count("concurrent_messages", self.concurrent_messages)
        _check_list("subprotocols", self.subprotocols)
        if not (self.compression in ("deflate", None) or isinstance(self.compression, Deflate)):
            raise ValueError(
                f'compression must be "deflate", a Deflate(...) or None, not {self.compression!r}'
            )

    def extensions(self) -> tuple[Deflate, ...]:
        """The extensions for the core to negotiate."""
        if self.compression is None:
            return ()
        return (_DEFLATE if isinstance(self.compression, str) else self.compression,)


@dataclass(frozen=True, slots=True)
class ServerOptions(ConnectionOptions):
    """The settings of a server."""

    origins: Sequence[str | None] | None = None
    """The origins accepted, None for all; a None in it accepts clients without an Origin."""
    max_connections: int | None = None
    """The most connections at a time; any other is answered with 503. None for no limit."""
    process_request: ProcessRequest | None = None
    """Called with each request; a Response that it returns rejects the request."""

    def __post_init__(self) -> None:
        ConnectionOptions.__post_init__(self)
        _check_list("origins", self.origins)
        _check_count("max_connections", self.max_connections, optional=True)
        if self.process_request is not None and not callable(self.process_request):
            raise TypeError("process_request must be a function that takes a Request")


def _check_count(name: str, number: object, optional: bool = False) -> None:
    if number is None and optional:
        return
    if not isinstance(number, int) or number < 1:
        raise ValueError(
            f"{name} must be an int of at least 1{' or None' * optional}, not {number!r}"
        )


def _check_list(name: str, value: object) -> None:
    if isinstance(value, str):
        raise TypeError(f"{name} must be a list of strings, not one string: put it in a list")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens or a client connects: a host and port, a user's socket, or a Unix
    path."""

    host: str | None
    port: int
    tls: ssl.SSLContext | None = None
    sock: socket.socket | None = None
    unix_path: str | os.PathLike[str] | None = None
    reuse_port: bool = False
    handshake_timeout: float = 10
    """The time for the TLS handshake, in seconds; 0 for no limit."""
    server_hostname: str | None = None
    """The host name that the server's certificate must match, for a client with TLS."""
    proxy: str | None = None
    """The URL of a client's proxy: its scheme is http, socks4 or socks5, and it has a port. The
    proxy resolves the host."""

    def __post_init__(self) -> None:
        if self.host is not None and not isinstance(self.host, str):
            raise TypeError(f"addr must be a host name or address as str, not {self.host!r}")
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 1 to 65535, or 0 for a free one, not {self.port!r}")
        if self.sock is not None:
            if not isinstance(self.sock, socket.socket):
                raise TypeError(f"sock must be a socket.socket, not {self.sock!r}")
            if self.sock.type != socket.SOCK_STREAM or self.sock.fileno() < 0:
                raise ValueError(f"sock must be an open stream socket, not {self.sock!r}")
        if self.unix_path is not None and not isinstance(self.unix_path, str | os.PathLike):
            raise TypeError(f"unix_path must be a path, not {self.unix_path!r}")
        if self.sock is not None and self.unix_path is not None:
            raise ValueError("sock and unix_path exclude each other: pass one of them")

    def cannot_listen(self, error: OSError) -> OSError:
        """The same error with the address in its message, and what to do if that is in use."""
        hint = ""
        if error.errno == errno.EADDRINUSE:
            hint = ": another program listens there; stop it, or use port 0 for a free port"
        cause = error.strerror or error
        return OSError(error.errno, f"cannot listen on {self} ({cause}){hint}")

    def __str__(self) -> str:
        if self.sock is not None:
            return repr(self.sock)
        return f"{self.host or '*'}:{self.port}" if self.unix_path is None else f"{self.unix_path}"


def proxies_missing() -> ImportError:
    """The error for a proxy without python-socks installed."""
    return ImportError(
        "a proxy, given or the environment's, needs python-socks: "
        "pip install 'wstransports[proxy]', or give connect() proxy=None"
    )


# python-socks has no error code for rejected SOCKS 5 credentials, only these messages.
_CREDENTIALS_REFUSED = (
    "No acceptable authentication methods were offered",
    "Username and password authentication failure",
)


class CredentialsRefused(ConnectionError):
    """A proxy rejected the credentials, or requires some."""


def refused_by_proxy(error: Exception) -> ConnectionError:
    """The error for a proxy's refusal, which quotes at most 200 characters of the proxy's."""
    words = "".join([one if one.isprintable() else "?" for one in str(error)[:200]])
    refused = getattr(error, "error_code", None) == 407 or words in _CREDENTIALS_REFUSED
    return (CredentialsRefused if refused else ConnectionError)(f"the proxy refused: {words}")


def server_context(certs: Certs | None) -> ssl.SSLContext | None:
    """The SSLContext for `certs`: one made from (certfile, keyfile), or the given one.

    Raises FileNotFoundError for a missing file, ValueError for files that are not a certificate
    and its key or for a client's context, TypeError for anything else.
    """
    if certs is None:
        return None
    if isinstance(certs, ssl.SSLContext):
        if certs.protocol is ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "certs is an SSLContext for clients: create one with"
                " ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), and call its load_cert_chain(...)"
            )
        return certs
    cert, key = certs if isinstance(certs, tuple) and len(certs) == 2 else (None, None)
    if not isinstance(cert, str | os.PathLike) or not isinstance(key, str | os.PathLike):
        raise TypeError(f"certs must be (certfile, keyfile) or an ssl.SSLContext, not {certs!r}")
    certfile, keyfile = os.fspath(cert), os.fspath(key)
    for kind, path in (("certificate", certfile), ("key", keyfile)):
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"there is no {kind} file {path!r}: certs must be (certfile, keyfile)"
            )

    def no_pass_phrase() -> str:  # without it OpenSSL prompts on the terminal
        raise ValueError(
            f"the key {keyfile!r} has a passphrase: load it into an ssl.SSLContext of your own, and"
            " pass that as certs"
        )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certfile, keyfile, no_pass_phrase)
    except ssl.SSLError as error:
        raise ValueError(
            f"certs: {certfile!r} and {keyfile!r} are not a certificate and its key"
            f" ({error.reason or error})"
        ) from error
    return context
