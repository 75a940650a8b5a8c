"""Connecting on asyncio: from an address to a socket that is connected."""

import asyncio
import math
import os
import socket
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, cast

from ..options import Address, proxies_missing, refused_by_proxy

# How long one address is given before the next is tried beside it, in seconds (RFC 8305 section 5).
HEAD_START = 0.25

_HTTP = b"HTTP/"

# What getaddrinfo returns: family, type, protocol, canonical name, socket address.
_Info = tuple[int, int, int, str, Any]


async def dial(where: Address) -> socket.socket:
    """A connected socket. Raises OSError, and leaves nothing open then."""
    if where.sock is not None:
        return where.sock
    if where.unix_path is not None:
        return await _connected(socket.AF_UNIX, 0, os.fspath(where.unix_path))
    assert where.host is not None
    if where.proxy is not None:
        return await _through_proxy(where.proxy, where.host, where.port)
    return await _first_of_all(where.host, where.port)


async def _first_of_all(host: str, port: int) -> socket.socket:
    """Try the host's addresses, one head start after the other, until one answers (RFC 8305).

    asyncio's own connections can do this, but those of other loops cannot.
    """
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    untried = deque(_interleaved(infos))
    tries: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    try:
        while untried or tries:
            if untried:
                family, _, proto, _, address = untried.popleft()
                tries.add(loop.create_task(_connected(family, proto, address)))
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


def _interleaved(infos: Sequence[_Info]) -> list[_Info]:
    """The families in turns, so that one that leads nowhere does not hold up the other."""
    by_family: dict[int, list[_Info]] = {}
    for info in infos:
        by_family.setdefault(info[0], []).append(info)
    rounds = zip_longest(*by_family.values())
    return [info for one in rounds for info in one if info is not None]


def _discard(one: asyncio.Task[socket.socket]) -> None:
    """A try that is not needed has ended; it may have had its connection before."""
    if not one.cancelled() and one.exception() is None:
        one.result().close()


async def _connected(family: int, proto: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, proto)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except OSError as error:
        sock.close()
        # asyncio's own words name neither the cause nor the host.
        cause = str(error) if error.errno is None else os.strerror(error.errno)
        raise OSError(error.errno, cause) from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _through_proxy(url: str, host: str, port: int) -> socket.socket:
    """A socket connected by way of a proxy: python-socks knows their protocols."""
    try:
        from python_socks import ProxyError
        from python_socks.async_.asyncio import Proxy
    except ImportError:
        raise proxies_missing() from None
    loop = cast(asyncio.AbstractEventLoop, _WholeAnswers(asyncio.get_running_loop()))
    proxy = Proxy.from_url(url, rdns=True, loop=loop)
    try:
        # Whoever calls bounds the time.
        return await proxy.connect(host, port, timeout=math.inf)
    except (ProxyError, ValueError) as error:  # a refusal; an answer that makes no sense
        raise refused_by_proxy(error) from error


class _WholeAnswers:
    """The loop as python-socks gets it, which takes the first piece of an HTTP answer for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.getaddrinfo = loop.getaddrinfo
        self.sock_connect = loop.sock_connect
        self.sock_sendall = loop.sock_sendall
        self._loop = loop

    async def sock_recv(self, sock: socket.socket, most: int) -> bytes:
        """Some bytes; an HTTP head, where they begin one, to its end."""
        data = await self._loop.sock_recv(sock, most)
        while _HTTP.startswith(data[: len(_HTTP)]) and b"\r\n\r\n" not in data:
            more = await self._loop.sock_recv(sock, most - len(data))
            if not more:
                break
            data += more
        return data
