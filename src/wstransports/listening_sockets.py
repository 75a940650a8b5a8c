"""The sockets that a server listens on: opening and closing them, on any loop."""

import errno
import os
import socket
import stat
from contextlib import ExitStack
from typing import Any

from .address import Address, LookUp, look_up

# How often a free port may turn out to be in use by the next address family.
ATTEMPTS = 10

# This machine does not have the address family, or no address in it.
_NOT_HERE = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

# Elsewhere than on POSIX it would let two servers listen at one address.
_REUSE_ADDRESS = os.name == "posix"


class _Stream(socket.socket):
    """A socket that knows its family and type. The system's looks up members of enumerations each
    time it is asked, which `accept` and loops do up to five times for each connection: 22k of the
    670k instructions of a handshake and a Close."""

    __slots__ = ()

    type = socket.SOCK_STREAM

    def accept(self) -> tuple[socket.socket, Any]:
        """As the system's."""
        descriptor, peer = self._accept()  # type: ignore[attr-defined]  # typeshed leaves it out
        return type(self)(self.family, self.type, self.proto, descriptor), peer


class _Inet(_Stream):
    __slots__ = ()

    family = socket.AF_INET


class _Inet6(_Stream):
    __slots__ = ()

    family = socket.AF_INET6


_STREAMS: dict[int, type[socket.socket]] = {socket.AF_INET: _Inet, socket.AF_INET6: _Inet6}


def _stream(family: int) -> socket.socket:
    """A new socket of a family."""
    return _STREAMS.get(family, socket.socket)(family, socket.SOCK_STREAM)


class ListeningSockets:
    """Sockets that listen, and do not block.

    `resolve` in `open` is the loop's own getaddrinfo().
    """

    def __init__(self, sockets: list[socket.socket], unix_path: str | None = None) -> None:
        self.sockets: tuple[socket.socket, ...] = tuple(sockets)
        # A Unix socket's file is removed at the end if it is still the one that was made.
        self._file = None if unix_path is None else (unix_path, _file_id(unix_path))

    @classmethod
    async def open(cls, where: Address, resolve: LookUp) -> "ListeningSockets":
        """Listen at `where`. Raises OSError, naming the address, and leaves nothing open then."""
        if where.listening:
            for sock in where.listening:
                sock.setblocking(False)
            return cls(list(where.listening))
        try:
            if where.sock is not None:
                # A socket that listens already keeps its queue.
                if not where.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    where.sock.listen(where.backlog)
                where.sock.setblocking(False)
                return cls([where.sock])
            if where.unix_path is not None:
                return _at_path(os.fspath(where.unix_path), where.backlog)
            found = await look_up(where.host or None, where.port, resolve, socket.AI_PASSIVE)
            return cls(_at_port(where, list(dict.fromkeys(found))))
        except OSError as error:
            raise where.cannot_listen(error) from error

    def close(self) -> None:
        """Close them, and remove a Unix socket's file."""
        for sock in self.sockets:
            sock.close()
        if self._file is not None:
            path, made = self._file
            if made is not None and _file_id(path) == made:
                os.unlink(path)


def _at_path(path: str, backlog: int) -> ListeningSockets:
    with ExitStack() as opened:
        sock = opened.enter_context(socket.socket(socket.AF_UNIX))
        abstract = path.startswith("\0")
        # A server that was killed leaves its file; asyncio replaces it, too.
        if not abstract and _is_socket(path):
            os.unlink(path)
        sock.bind(path)
        _listen(sock, backlog)
        opened.pop_all()
    return ListeningSockets([sock], None if abstract else os.path.abspath(path))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _at_port(where: Address, found: list[Any]) -> list[socket.socket]:
    """A socket for each address; with port 0 all get the same free one."""
    attempts = ATTEMPTS
    while True:
        try:
            return _at_one_port(where, found)
        except OSError as error:
            attempts -= 1
            if where.port or error.errno != errno.EADDRINUSE or not attempts:
                raise


def _at_one_port(where: Address, found: list[Any]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    port = where.port
    with ExitStack() as opened:
        for family, _, _, _, (host, _, *more) in found:
            try:
                sock = opened.enter_context(_bound(family, (host, port, *more), where.reuse_port))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = missing or error
                continue
            # Accepted sockets inherit options; those of a given socket are the user's.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if where.notsent_lowat is not None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, where.notsent_lowat)
            _listen(sock, where.backlog)
            port = sock.getsockname()[1]
            sockets.append(sock)
        if missing is not None and not sockets:
            raise missing
        opened.pop_all()
    return sockets


def _bound(family: int, address: tuple[Any, ...], reuse_port: bool) -> socket.socket:
    """As socket.create_server() does, whose error messages say the address twice."""
    with ExitStack() as opened:
        sock = opened.enter_context(_stream(family))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, _REUSE_ADDRESS)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        opened.pop_all()
    return sock


def _listen(sock: socket.socket, backlog: int) -> None:
    sock.listen(backlog)
    sock.setblocking(False)
