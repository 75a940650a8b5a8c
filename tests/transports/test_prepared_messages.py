"""`PreparedMessage`: a message that is kept, and sent to one client after the other."""

import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
from test_writer import only_client

from kit.blocking_echo import PATIENCE, Echo, uri_of
from kit.connecting import connecting
from kit.frames import BINARY, CONTINUATION, FIN, TEXT, Frame
from kit.in_thread import serving
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wscore.extensions.deflate import NegotiatedDeflate
from wstransports import Client, Deflate, PreparedMessage, Statistics, broadcast, sync

TEXT_MESSAGE = "compress me " * 1000


@pytest.fixture
def compressors(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One for each new compressor, that is for each message that is compressed for many."""
    made: list[object] = []
    really = NegotiatedDeflate.compressor

    def compressor(negotiated: NegotiatedDeflate) -> Any:
        made.append(negotiated)
        return really(negotiated)

    monkeypatch.setattr(NegotiatedDeflate, "compressor", compressor)
    return made


@on_each_loop
async def test_it_is_compressed_once_for_the_clients_of_all_servers(
    loop: Loop, compressors: list[object]
) -> None:
    message = PreparedMessage(TEXT_MESSAGE)

    async def on_connection(client: Client) -> None:
        await client.writer.send(message)

    small = Deflate(window_bits=9, peer_window_bits=9)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(loop.serving(on_connection)) for _ in range(2)]
        clients = [
            await stack.enter_async_context(connecting(server, compression=compression))
            for server in servers
            for compression in ("deflate", small, None) * 2
        ]
        for client in clients:
            assert await client.receive() == TEXT_MESSAGE
        await loop.until(lambda: sum(len(server.clients) for server in servers) == 12)
        everyone = [client for server in servers for client in server.clients.values()]
        assert (await broadcast(everyone, message)).sent == everyone
        for client in clients:
            assert await client.receive() == TEXT_MESSAGE
        assert len(compressors) == 2


@on_memory
async def test_it_waits_for_the_end_of_a_fragmented_message(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            await stream.send(b"a")
            sending = loop.spawn(client.writer.send(PreparedMessage("after")))
            await loop.settle()
            await stream.send(b"b")
        await sending.wait()
        expected = [(BINARY, b"a"), (FIN | CONTINUATION, b"b"), (FIN | TEXT, b"after")]
        assert [await peer.frame() for _ in range(3)] == [Frame(*one) for one in expected]


@on_memory
async def test_it_alone_says_whether_to_compress(loop: MemoryLoop) -> None:
    message = PreparedMessage(b"x" * 2000, compress=False)
    async with loop.serving() as server:
        peer = await loop.connect(server, extensions=[Deflate()])
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match="pass it to PreparedMessage"):
            await client.writer.send(message, compress=True)
        with pytest.raises(TypeError, match="pass it to PreparedMessage"):
            await broadcast(server.clients, message, compress=False)
        await client.writer.send(message)
        assert await peer.frame() == Frame(FIN | BINARY, b"x" * 2000)


@on_memory
async def test_instruments_see_its_sizes(loop: MemoryLoop) -> None:
    ours, theirs = Statistics(), Statistics()
    message = PreparedMessage(TEXT_MESSAGE)

    async def on_connection(client: Client) -> None:
        await client.receive()
        await client.writer.send(message)

    async with loop.serving(on_connection, instruments=[theirs]) as server:
        async with connecting(server, instruments=[ours]) as client:
            await client.writer.send(message)
            await client.receive()
    for one in ours, theirs:
        assert one.bytes_sent == one.bytes_received == len(TEXT_MESSAGE)
        assert one.wire_bytes_sent < 200


def test_threads_share_it_without_async() -> None:
    message = PreparedMessage(TEXT_MESSAGE)
    server = Echo()
    echoed: list[object] = []

    def talk() -> None:
        with sync.connect(uri_of(server)) as client:
            client.send(message)
            echoed.append(client.receive(timeout=PATIENCE))

    with serving(server):
        threads = [threading.Thread(target=talk) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert echoed == [TEXT_MESSAGE] * 3
