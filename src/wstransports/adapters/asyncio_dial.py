"""Connecting on asyncio: from an address to a socket that is connected."""

import asyncio
import math
import os
import socket
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import zip_longest
from typing import Any

from ..address import Address
from .proxy import through_proxy

# How long one address is given before the next one is tried as well, in seconds (RFC 8305, 5).
HEAD_START = 0.25

# What getaddrinfo returns: family, type, protocol, canonical name, socket address.
_Info = tuple[int, int, int, str, Any]


async def dial(where: Address) -> socket.socket:
    """A connected socket. Raises OSError, and leaves nothing open then."""
    if where.sock is not None:
        return where.sock
    if where.unix_path is not None:
        return await _connected(socket.AF_UNIX, 0, os.fspath(where.unix_path), where)
    assert where.host is not None
    if where.proxy is not None:
        return await _through_proxy(where.proxy, where.host, where)
    return await _first_of_all(where.host, where)


async def _first_of_all(host: str, where: Address) -> socket.socket:
    """Try the host's addresses, a head start apart, until one answers (RFC 8305).

    asyncio's own loops can do this, but uvloop cannot.
    """
    loop = asyncio.get_running_loop()
    if "%" in host:  # the zone of a link-local address, which uvloop loses
        look_up = partial(socket.getaddrinfo, type=socket.SOCK_STREAM)
        infos: Iterable[_Info] = await loop.run_in_executor(None, look_up, host, where.port)
    else:
        infos = await loop.getaddrinfo(host, where.port, type=socket.SOCK_STREAM)
    untried = deque(_interleaved(infos))
    tries: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while untried or tries:
            if untried:
                family, _, proto, _, address = untried.popleft()
                tries.add(loop.create_task(_connected(family, proto, address, where)))
            done, _ = await asyncio.wait(
                tries,
                timeout=HEAD_START if untried else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in done:
                tries.discard(one)
                try:
                    return one.result()
                except OSError as error:
                    failures.append(error)
    finally:
        for one in tries:
            one.cancel()
            one.add_done_callback(_discard)
    causes = dict.fromkeys(error.strerror or str(error) for error in failures)
    raise OSError(failures[0].errno, ", ".join(causes))


def _interleaved(infos: Iterable[_Info]) -> list[_Info]:
    """The families take turns, so that one that leads nowhere does not hold up the other."""
    families: dict[int, list[_Info]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return [info for turn in zip_longest(*families.values()) for info in turn if info]


def _discard(one: asyncio.Task[socket.socket]) -> None:
    """Close the connection of a try that came second."""
    if not one.cancelled() and one.exception() is None:
        one.result().close()


async def _connected(family: int, proto: int, address: Any, where: Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setblocking(False)
        if where.local_addr is not None:
            sock.bind(where.local_addr)
        if family == socket.AF_INET6 and address[3]:
            await _connect_in_zone(sock, address)
        else:
            await asyncio.get_running_loop().sock_connect(sock, address)
        return sock
    except BaseException as error:
        sock.close()
        if not isinstance(error, OSError):
            raise
        # asyncio's own message names neither the cause nor the host.
        cause = str(error) if error.errno is None else os.strerror(error.errno)
        raise OSError(error.errno, cause) from None


async def _connect_in_zone(sock: socket.socket, address: Any) -> None:
    """As the loop's sock_connect(); uvloop's loses the zone of a link-local address."""
    loop = asyncio.get_running_loop()
    try:
        sock.connect(address)
    except BlockingIOError:
        writable = asyncio.Event()
        loop.add_writer(sock, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(sock)
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number)) from None


async def _through_proxy(url: str, host: str, where: Address) -> socket.socket:
    with through_proxy():
        from python_socks.async_.asyncio import Proxy

        proxy = Proxy.from_url(url, rdns=True)
        # The caller bounds the time.
        return await proxy.connect(host, where.port, math.inf, local_addr=where.local_addr)
