"""What a TLS connection holds on asyncio's own transports, which have 256 KiB to read into."""

import asyncio
from asyncio.sslproto import SSLProtocol

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.loops import Loop, echo, on
from wstransports import WebSocketServer
from wstransports.adapters.asyncio_tls import LARGE, USUAL


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def read_buffer(server: WebSocketServer) -> int:
    """The bytes of the only connection's read buffer; the names are asyncio's own."""
    [session] = server._acceptor._sessions
    protocol = session.pipe._transport._ssl_protocol  # type: ignore[attr-defined]
    assert isinstance(protocol, SSLProtocol)
    return len(protocol._ssl_buffer)  # type: ignore[attr-defined]


@on("asyncio")
async def test_a_read_buffer_grows_with_what_the_peer_sends(
    loop: Loop, authority: trustme.CA
) -> None:
    async with loop.serving(echo, certs=server_context(authority, "127.0.0.1")) as server:
        peer = await loop.connect(server, tls=client_context(authority))
        peer.send("small")
        assert await peer.message() == "small"
        assert read_buffer(server) == USUAL
        peer.send(b"x" * 2**19)
        assert await peer.message() == b"x" * 2**19
        assert read_buffer(server) == LARGE
        peer.close()
        await peer.closed()


def test_asyncio_has_the_attribute_that_bounds_it() -> None:
    """A future Python may not: then this test says so."""
    assert SSLProtocol.max_size == 256 * 1024
    assert asyncio.BufferedProtocol in SSLProtocol.__mro__
