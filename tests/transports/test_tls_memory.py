"""What a TLS connection holds on asyncio's own transports, which have 256 KiB to read into."""

import asyncio
from asyncio.sslproto import SSLProtocol

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.loops import Loop, echo, on
from wstransports import connect
from wstransports.adapters.asyncio_tls import LARGE, READ_AHEAD, USUAL
from wstransports.connection.session import Session


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def read_buffer(session: Session) -> int:
    """The bytes of a connection's read buffer; the names are asyncio's own."""
    protocol = session.pipe._transport._ssl_protocol  # type: ignore[attr-defined]
    assert isinstance(protocol, SSLProtocol)
    return len(protocol._ssl_buffer)  # type: ignore[attr-defined]


@on("asyncio")
async def test_a_read_buffer_grows_with_what_the_peer_sends(
    loop: Loop, authority: trustme.CA
) -> None:
    async with loop.serving(echo, certs=server_context(authority, "127.0.0.1")) as server:
        peer = await loop.connect(server, tls=client_context(authority))
        [session] = server._acceptor._sessions
        peer.send("small")
        assert await peer.message() == "small"
        assert read_buffer(session) == USUAL
        peer.send(b"x" * 2**19)
        assert await peer.message() == b"x" * 2**19
        assert read_buffer(session) == LARGE
        peer.close()
        await peer.closed()


@on("asyncio")
async def test_so_does_a_clients(loop: Loop, authority: trustme.CA) -> None:
    async with loop.serving(echo, certs=server_context(authority, "127.0.0.1")) as server:
        url = f"wss://127.0.0.1:{server.port}"
        tls = client_context(authority)
        async with connect(url, ssl=tls, proxy=None, compression=None) as client:
            for data, size in ((b"small", USUAL), (b"x" * 2**19, LARGE)):
                await client.writer.send(data)
                assert await client.receive() == data
                assert read_buffer(client._session) == size


@on("asyncio", "uvloop")
async def test_little_is_read_ahead_while_reading_is_paused(
    loop: Loop, authority: trustme.CA
) -> None:
    async with loop.serving(echo, certs=server_context(authority, "127.0.0.1")) as server:
        peer = await loop.connect(server, tls=client_context(authority))
        [session] = server._acceptor._sessions
        transport = session.pipe._transport  # type: ignore[attr-defined]
        assert transport.get_read_buffer_limits()[-1] == READ_AHEAD
        peer.close()
        await peer.closed()


def test_asyncio_has_the_attribute_that_bounds_it() -> None:
    """A future Python may not: then this test says so."""
    assert SSLProtocol.max_size == 256 * 1024
    assert asyncio.BufferedProtocol in SSLProtocol.__mro__
