"""Connecting to an address, on any loop: the host's addresses in turn, until one answers."""

import errno
import math
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from ..address import Address, LookUp, look_up
from .proxy import proxies, through_proxy

# How long one address is given before the next one is tried as well, in seconds (RFC 8305, 5).
HEAD_START = 0.25

# What getaddrinfo returns: family, type, protocol, canonical name, socket address.
_Info = tuple[int, int, int, str, Any]

# What connect_ex() returns of a connection that is complete, or that goes on. EAGAIN, which on
# POSIX is EWOULDBLOCK too, is a failure: a Unix socket's queue is full.
_BEGUN = {0, errno.EINPROGRESS, errno.EWOULDBLOCK} - {errno.EAGAIN}


Writable = Callable[[Sequence[socket.socket], float], Awaitable[object]]
"""Waits until one of these sockets may be writable, at most so many seconds (0: no limit)."""


async def dial(where: Address, resolve: LookUp, writable: Writable, library: str) -> socket.socket:
    """A connected socket, which does not block. Raises OSError, and leaves nothing open then.

    `resolve` is the loop's own getaddrinfo(), `library` its name.
    """
    sock = where.sock
    if sock is None:
        if where.unix_path is not None:
            path = os.fspath(where.unix_path)
            sock = await _first([(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path)], None, writable)
        elif where.proxy is not None:
            sock = await _through_proxy(where.proxy, where, library)
        else:
            infos = await look_up(where.host, where.port, resolve)
            sock = await _first(_interleaved(infos), where.local_addr, writable)
    if sock is where.sock:  # its first owner could close it, and others get the number that we use
        sock = socket.socket(fileno=sock.detach())
    sock.setblocking(False)
    send_at_once(sock)
    return sock


def send_at_once(sock: socket.socket) -> None:
    """Have a connected socket not wait for more to send, as Nagle's algorithm would."""
    with suppress(OSError):  # a Unix socket; some systems, if the peer has left
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _first(
    infos: Iterable[_Info], local: tuple[str, int] | None, writable: Writable
) -> socket.socket:
    """Try these, a head start apart, until one answers (RFC 8305)."""
    untried = deque(infos)
    trying: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        while untried or trying:
            if untried:
                try:
                    trying.append(_begun(*untried.popleft(), local))
                except OSError as error:
                    failures.append(error)
                    continue
            await writable(trying, HEAD_START if untried else 0)
            for sock in list(trying):
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if number:
                    trying.remove(sock)
                    sock.close()
                    failures.append(OSError(number, os.strerror(number)))
                elif _is_connected(sock):
                    trying.remove(sock)
                    return sock
    finally:
        for sock in trying:
            sock.close()
    causes = dict.fromkeys(error.strerror or str(error) for error in failures)
    raise OSError(failures[0].errno, ", ".join(causes))


def _interleaved(infos: Iterable[_Info]) -> list[_Info]:
    """The families take turns, so that one that leads nowhere does not hold up the other."""
    families: dict[int, list[_Info]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return [info for turn in zip_longest(*families.values()) for info in turn if info]


def _begun(
    family: int, kind: int, proto: int, _: str, address: Any, local: tuple[str, int] | None
) -> socket.socket:
    """A socket that connects. Raises OSError if it cannot begin."""
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        if local is not None:
            sock.bind(local)
        number = sock.connect_ex(address)
        if number not in _BEGUN:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def _through_proxy(url: str, where: Address, library: str) -> socket.socket:
    with through_proxy():
        proxy = proxies(library).from_url(url, rdns=True)
        # The caller bounds the time.
        sock = await proxy.connect(where.host, where.port, math.inf, local_addr=where.local_addr)
        return socket.socket(fileno=sock.detach())  # trio's own is not a socket.socket
