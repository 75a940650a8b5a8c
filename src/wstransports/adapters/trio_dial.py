"""Connecting on trio: from an address to a socket that is connected."""

import math
import os
import socket
from typing import cast

import trio

from ..options import Address, proxies_missing, refused_by_proxy


async def dial(where: Address) -> socket.socket:
    """A connected socket. Raises OSError, and leaves nothing open then."""
    if where.sock is not None:
        return where.sock
    if where.unix_path is not None:
        # trio.open_unix_socket() does not take abstract addresses.
        with trio.socket.socket(socket.AF_UNIX) as sock:
            await sock.connect(os.fspath(where.unix_path))
            return _taken_from(sock)
    assert where.host is not None
    if where.proxy is not None:
        return await _through_proxy(where.proxy, where.host, where.port)
    try:
        return _taken_from((await trio.open_tcp_stream(where.host, where.port)).socket)
    except OSError as error:
        if not isinstance(error.__cause__, ExceptionGroup):  # the name is unknown
            raise
        # trio's own message names neither number nor cause.
        failures = cast(tuple[OSError, ...], error.__cause__.exceptions)
        numbers = list(dict.fromkeys(failure.errno or 0 for failure in failures))
        raise OSError(numbers[0], ", ".join(map(os.strerror, numbers))) from error


def _taken_from(sock: trio.socket.SocketType) -> socket.socket:
    return socket.socket(fileno=sock.detach())


async def _through_proxy(url: str, host: str, port: int) -> socket.socket:
    """A socket connected by way of a proxy; python-socks implements the protocols."""
    try:
        from python_socks import ProxyError
        from python_socks.async_.trio import Proxy
    except ImportError:
        raise proxies_missing() from None
    try:
        # The caller bounds the time.
        sock = await Proxy.from_url(url, rdns=True).connect(host, port, timeout=math.inf)
    except (ProxyError, ValueError) as error:  # a refusal; an invalid answer
        raise refused_by_proxy(error) from error
    return _taken_from(sock)
