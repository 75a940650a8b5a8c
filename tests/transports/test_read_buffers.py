"""What asyncio reads into: one buffer for all, and one for large messages."""

import asyncio
import ssl
from collections.abc import Iterator

import pytest
from test_writer import only_client

from kit.loops import AsyncioLoop, echo, on_asyncio
from kit.peer import Peer
from wstransports import Client, DataType, WebSocketReader
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.asyncio_loop import LARGE_READ, READ_SIZE
from wstransports.adapters.asyncio_socket import AsyncioSocketPipe
from wstransports.adapters.transport_pipe import TransportPipe
from wstransports.identity import Identity
from wstransports.runtime import Pipe
from wstransports.tls_pipe import TlsPipe


class Taker:
    """A sink that takes what it is shown."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.identity = Identity()

    def connected(self, pipe: Pipe) -> None:
        raise AssertionError("there is no stream")

    def data_received(self, data: bytes | memoryview) -> None:
        self.taken.append(bytes(data))

    def eof_received(self) -> None:
        raise AssertionError("there is no stream")

    def connection_lost(self, exc: Exception | None) -> None:
        raise AssertionError("there is no stream")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def read(pipe: TransportPipe, data: bytes) -> int:
    """Read as a transport does; returns the size of the buffer."""
    buffer = pipe.get_buffer(-1)
    buffer[: len(data)] = data
    pipe.buffer_updated(len(data))
    return len(buffer)


def test_a_peer_that_sends_much_at_once_gets_the_large_buffer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    runtime, sink, other_sink = AsyncioRuntime(loop), Taker(), Taker()
    pipe, other = TransportPipe(runtime, sink), TransportPipe(runtime, other_sink)
    reads = [b"few", b"x" * (LARGE_READ - 1), b"y" * LARGE_READ]
    assert [read(pipe, data) for data in reads] == [READ_SIZE] * 3
    large = read(pipe, b"z" * (READ_SIZE + 1))
    assert large > 2**20  # a message of the most that is let in by default, its header, and more
    assert read(pipe, b"few again") == large
    assert read(other, b"its own") == READ_SIZE
    assert sink.taken == [*reads, b"z" * (READ_SIZE + 1), b"few again"]
    assert other_sink.taken == [b"its own"]


@on_asyncio
async def test_one_whose_input_must_wait_gets_small_reads_again(loop: AsyncioLoop) -> None:
    """What a read brought is held meanwhile."""
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await reader.get()
            if reader.data_type is DataType.TEXT:
                await may_go_on.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        pipe = client._session.pipe
        assert isinstance(pipe, AsyncioSocketPipe)
        for _ in range(8):  # the loop may have read them in small parts
            peer.send(bytes(2**20))
        await loop.until(lambda: len(pipe._buffer or b"") > 2**20)
        peer.send("hang")
        for _ in range(100):
            peer.send(bytes(10_000))
        await loop.until(lambda: client._session.intake.pause_reasons)
        assert len(pipe._buffer or b"") == READ_SIZE
        may_go_on.set()


def test_buffers_are_shared(loop: asyncio.AbstractEventLoop) -> None:
    """Ten thousand connections have no more of them than one."""
    runtime = AsyncioRuntime(loop)
    pipes = [TransportPipe(runtime, Taker()) for _ in range(3)]
    assert len({id(pipe.get_buffer(-1)) for pipe in pipes}) == 1
    for pipe in pipes:
        read(pipe, bytes(READ_SIZE))
    assert len({id(pipe.get_buffer(-1)) for pipe in pipes}) == 1


@pytest.mark.parametrize("tls", [False, True])
@on_asyncio
async def test_whatever_the_loop_large_reads_go_there(
    loop: AsyncioLoop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], tls: bool
) -> None:
    for_server, for_client = contexts if tls else (None, None)
    async with loop.serving(echo, certs=for_server) as server:
        peer = await loop.connect(server, tls=for_client)
        pipe = (await only_client(loop, server))._session.pipe
        if isinstance(pipe, TlsPipe):
            pipe = pipe._pipe
        assert isinstance(pipe, AsyncioSocketPipe)
        # The kernel lets a connection have more on its way as it sees that read.
        for number in range(100):
            await echoes(peer, bytes([number]) * 1_000_000)
            if len(pipe._buffer or b"") > READ_SIZE:
                break
        buffer = pipe._buffer
        assert buffer is not None
        assert len(buffer) > READ_SIZE
        for size in (1_000_000, 1, 0, 200_000, READ_SIZE):
            buffer[:6] = bytes(6)
            await echoes(peer, bytes(size))
            assert any(buffer[:6])


async def echoes(peer: Peer, data: bytes) -> None:
    """What is sent comes back."""
    peer.send(data)
    assert await peer.message() == data
