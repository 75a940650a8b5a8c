"""`write_limit`: how much may wait for a peer before senders wait."""

import ssl
from typing import Any

import pytest
from test_writer import only_client

from kit.connecting import connecting
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory, on_sockets
from wstransports import Client, WebSocketReader
from wstransports.runtime import Pipe

# A message with its header.
SIZE = 10_000
FRAME = SIZE + 4


@pytest.mark.parametrize(("limit", "messages"), [(1, 1), (FRAME, 2), (200_000, 20)])
@on_memory
async def test_a_send_waits_when_more_waits_for_the_peer(
    loop: MemoryLoop, limit: int, messages: int
) -> None:
    async with loop.serving(write_limit=limit) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sent = 0
        while (sending := loop.spawn(client.writer.send(bytes(SIZE)))) and sent < 50:
            await loop.settle()
            sent += 1
            if not sending.done:
                break
        assert sent == messages
        peer.start_reading()
        await sending.wait()
        peer.frames.clear()


@pytest.mark.parametrize("limit", [1000, None, 300_000])
@on_each_loop
async def test_it_bounds_what_waits(loop: Loop, limit: int | None) -> None:
    await held(loop, limit, None)


@pytest.mark.parametrize("limit", [1000, None, 700_000])
@on_sockets
async def test_with_tls_too(
    loop: Loop, limit: int | None, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Otherwise, asyncio's TLS takes 512 KiB."""
    await held(loop, limit, contexts)


async def held(
    loop: Loop, limit: int | None, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None
) -> None:
    """See how much waits for a peer that does not read, when a sender waits."""
    options: dict[str, Any] = {} if limit is None else {"write_limit": limit}
    tls = {} if contexts is None else {"tls": contexts[1]}
    certs = None if contexts is None else contexts[0]

    async with loop.serving(certs=certs, compression=None, **options) as server:
        peer = await loop.dial(server, **tls)
        peer.handshake()
        await peer.answer()
        client = await only_client(loop, server)
        peer.stop_reading()

        async def flood() -> None:
            while True:
                await client.writer.send(bytes(SIZE))

        flooding = loop.spawn(flood())
        pipe = client._session.pipe
        await loop.until(lambda: pipe.full)
        most = limit or 65536
        assert most < pipe.waiting() <= most + 1.1 * FRAME  # TLS adds to it
        flooding.cancel()
        with pytest.raises(loop.cancelled):
            await flooding.wait()
        peer.reset()


@on_memory
async def test_for_an_outgoing_connection(loop: MemoryLoop) -> None:
    pipes: list[Pipe] = []

    async def on_connection(client: Client) -> None:
        pipes.append(client._session.pipe)
        pipes[0].pause_reading()

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            """Discard it."""

    async with loop.serving(on_connection) as server:
        async with connecting(server, write_limit=45_000, compression=None) as client:
            for number in range(5):
                sending = loop.spawn(client.writer.send(bytes(SIZE)))
                await loop.settle()
                assert sending.done is (number < 4)
            pipes[0].resume_reading()
            await sending.wait()
