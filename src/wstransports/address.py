"""Where a server listens, or a client connects."""

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .log import LoggerLike

LookUp = Callable[..., Awaitable[list[Any]]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens or a client connects: a host and port, a user's socket, or a Unix
    path."""

    host: str | None
    port: int
    local_addr: tuple[str, int] | None = None
    """The IP address and port that a client connects from; port 0 for any."""
    tls: ssl.SSLContext | None = None
    sock: socket.socket | None = None
    listening: tuple[socket.socket, ...] = ()
    """Sockets that another process opened, and that listen already: they replace all other ways."""
    unix_path: str | os.PathLike[str] | None = None
    reuse_port: bool = False
    backlog: int = 4096
    """The most connections that wait to be accepted; the system may allow fewer."""
    notsent_lowat: int | None = None
    """The unsent bytes of a connection that the kernel holds (TCP_NOTSENT_LOWAT); None for as many
    as it likes."""
    logger: LoggerLike | None = None
    """What a listener logs to; None for the package's own."""
    handshake_timeout: float = 10
    """The time for the TLS handshake, in seconds; 0 for no limit."""
    server_hostname: str | None = None
    """The host name that the server's certificate must match, for a client with TLS."""
    proxy: str | None = field(default=None, repr=False)
    """The URL of a client's proxy, which may hold a password and has a port. Adapters get only
    socks4 and socks5. The proxy resolves the host."""

    def __post_init__(self) -> None:
        if self.host is not None and not isinstance(self.host, str):
            raise TypeError(f"addr must be a host name or address as str, not {self.host!r}")
        if not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ValueError(f"port must be 1 to 65535, or 0 for a free one, not {self.port!r}")
        if self.sock is not None:
            if not isinstance(self.sock, socket.socket):
                raise TypeError(f"sock must be a socket.socket, not {self.sock!r}")
            if isinstance(self.sock, ssl.SSLSocket):  # what is written would bypass its TLS
                raise TypeError("sock must be a socket without TLS of its own: pass an SSLContext")
            if self.sock.type != socket.SOCK_STREAM or self.sock.fileno() < 0:
                raise ValueError(f"sock must be an open stream socket, not {self.sock!r}")
        if self.unix_path is not None and not isinstance(self.unix_path, str | os.PathLike):
            raise TypeError(f"unix_path must be a path, not {self.unix_path!r}")
        if not isinstance(self.backlog, int) or self.backlog < 1:
            raise ValueError(f"backlog must be an int of at least 1, not {self.backlog!r}")
        self._check_notsent_lowat()
        if self.sock is not None and self.unix_path is not None:
            raise ValueError("sock and unix_path exclude each other: pass one of them")

    def _check_notsent_lowat(self) -> None:
        most = self.notsent_lowat
        if most is None:
            return
        if not isinstance(most, int) or most < 1:
            raise ValueError(f"notsent_lowat must be an int of at least 1 or None, not {most!r}")
        if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raise ValueError("notsent_lowat must be None: this system has no TCP_NOTSENT_LOWAT")
        if self.sock is not None:
            raise ValueError("sock and notsent_lowat exclude each other: set it on the socket")

    def cannot_listen(self, error: OSError) -> OSError:
        """The same error with the address in its message, and what to do if that is in use."""
        hint = ""
        if error.errno == errno.EADDRINUSE and self.unix_path is None:
            hint = ": another program listens there; stop it, or use port 0 for a free port"
        elif error.errno == errno.EADDRINUSE:
            hint = (
                ": another server listens there, or a file that is not a socket is in the way; stop"
                " the server, remove the file, or use another path"
            )
        cause = error.strerror or error
        return OSError(error.errno, f"cannot listen on {self} ({cause}){hint}")

    def __str__(self) -> str:
        if self.sock is not None:
            return f"the given socket, bound to {self.sock.getsockname()}"
        return f"{self.host or '*'}:{self.port}" if self.unix_path is None else f"{self.unix_path}"


def bound_to(sock: socket.socket) -> tuple[str, int]:
    """Where a socket listens: host and port, or the path and 0."""
    name = sock.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else (str(name), 0)


async def look_up(host: str | None, port: int, resolve: LookUp, flags: int = 0) -> list[Any]:
    """What getaddrinfo() finds; `resolve` is the loop's own.

    `resolve` runs a thread, so it gets names only: an IP address needs none, and uvloop loses the
    zone of a link-local one.
    """
    kind = socket.SOCK_STREAM
    try:
        return socket.getaddrinfo(host, port, type=kind, flags=flags | socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return await resolve(host, port, type=kind, flags=flags)
