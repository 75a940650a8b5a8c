"""TLS on asyncio's own transports, with a read buffer that fits what the peer sends."""

import asyncio
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any

from .write_half import Room

# Bytes: the longest TLS record; and for a peer that fills that.
USUAL = 16 * 1024
LARGE = 64 * 1024

# The most encrypted bytes that wait while reading is paused, before the socket is read no more. It
# is more than a record, as a peer must be able to complete one.
READ_AHEAD = 64 * 1024


class TlsProtocol(SSLProtocol):
    """asyncio's protocol, which otherwise has a read buffer of 256 KiB for each connection."""

    max_size = USUAL

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        super().buffer_updated(nbytes)
        if nbytes == USUAL:
            self.max_size = LARGE  # type: ignore[misc]  # the next get_buffer() makes it


class AboveTls(Room, asyncio.BaseProtocol):
    """A protocol that may run over TLS."""

    __slots__ = ("below",)

    def __init__(self) -> None:
        super().__init__(asyncio.Event)
        self.below: asyncio.Transport | None = None
        """The transport below TLS, where it is known."""


async def open_tls(
    loop: asyncio.AbstractEventLoop,
    make_pipe: Callable[[], AboveTls],
    sock: socket.socket,
    *,
    ssl: ssl.SSLContext,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: Any,
) -> None:
    """As `connect_accepted_socket` and `create_connection` of asyncio's own loops, over a connected
    socket, with a TlsProtocol."""
    done = loop.create_future()
    pipe = make_pipe()
    protocol = TlsProtocol(
        loop,
        pipe,
        ssl,
        done,
        server_side=server_side,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
    )
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
    pipe.below = transport
    try:
        await done
    except BaseException:
        transport.abort()
        raise
