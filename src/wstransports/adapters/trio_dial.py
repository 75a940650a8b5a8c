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
        # trio.open_unix_socket() knows no abstract addresses.
        with trio.socket.socket(socket.AF_UNIX) as sock:
            await sock.connect(os.fspath(where.unix_path))
            return _taken_from(sock)
    assert where.host is not None
    if where.proxy is not None:
        return await _through_proxy(where.proxy, where.host, where.port)
    try:
        return _taken_from((await trio.open_tcp_stream(where.host, where.port)).socket)
    except OSError as error:
        failures = cast(ExceptionGroup[OSError] | None, error.__cause__)
        if failures is None:  # the name leads nowhere
            raise
        # trio's own words name neither the number nor the cause.
        one, *others = (cast(OSError, failure).errno or 0 for failure in failures.exceptions)
        causes = dict.fromkeys(os.strerror(number) for number in (one, *others))
        raise OSError(one, ", ".join(causes)) from error


def _taken_from(sock: trio.socket.SocketType) -> socket.socket:
    return socket.socket(fileno=sock.detach())


async def _through_proxy(url: str, host: str, port: int) -> socket.socket:
    """A socket connected by way of a proxy: python-socks knows their protocols."""
    try:
        from python_socks import ProxyError
        from python_socks.async_.trio import Proxy
    except ImportError:
        raise proxies_missing() from None
    try:
        # Whoever calls bounds the time.
        sock = await Proxy.from_url(url, rdns=True).connect(host, port, timeout=math.inf)
    except (ProxyError, ValueError) as error:  # a refusal; an answer that makes no sense
        raise refused_by_proxy(error) from error
    return _taken_from(sock)
