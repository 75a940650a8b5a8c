"""A message takes the memory of its bytes, however small the pieces are in which it arrives."""

import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kit.frames import masked
from kit.loops import MemoryLoop, on_memory
from wscore import Deflate
from wstransports import Client, WebSocketReader

# What a connection may take besides the message's bytes.
SLACK = 50_000


@contextmanager
def measured() -> Iterator[list[int]]:
    """Appends how much memory the block took at its end, and at most."""
    found: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield found
        now, peak = tracemalloc.get_traced_memory()
        found += [now - before, peak - before]
    finally:
        tracemalloc.stop()


async def by_get(reader: WebSocketReader) -> int:
    return len(await reader.get(bytes))


async def by_chunks(reader: WebSocketReader) -> int:
    return sum([len(chunk) async for chunk in reader])


async def by_read(reader: WebSocketReader) -> int:
    size = 0
    while data := await reader.read(1000):
        size += len(data)
    return size


@pytest.mark.parametrize("read", [by_get, by_chunks, by_read])
@pytest.mark.parametrize("chunk", [pytest.param(1, marks=pytest.mark.slow), 50])
@pytest.mark.parametrize("text", [False, True])
@on_memory
async def test_a_frame_that_arrives_in_small_reads(
    loop: MemoryLoop, read: Callable[[WebSocketReader], Awaitable[int]], chunk: int, text: bool
) -> None:
    size = 20_000
    results: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            results.append(await read(reader))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = chunk
        peer.raw(masked(0x81 if text else 0x82, b"x" * size))
        with measured() as found:
            await loop.settle()
        assert results == [size]
        # Its bytes, with space to grow, and the message that get() makes of them.
        assert found[1] < 2.5 * size + SLACK


@pytest.mark.parametrize("chunk", [1, 50])
@on_memory
async def test_unread_pieces_are_counted_as_what_they_take(loop: MemoryLoop, chunk: int) -> None:
    """A frame that nobody reads waits in `read_limit` bytes, and then reading stops."""
    may_go_on = loop.signal()
    results: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            results.append(await by_get(reader))

    async with loop.serving(on_connection, read_limit=10_000) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = chunk
        peer.raw(masked(0x82, bytes(20_000)))
        with measured() as found:
            await loop.settle()
        assert 9_000 < peer.waiting() < 11_000
        assert found[1] < 1.5 * 10_000 + SLACK
        may_go_on.set()
        await loop.settle()
        assert results == [20_000]


@pytest.mark.slow
@pytest.mark.parametrize("waiting", [False, True])
@on_memory
async def test_tiny_fragments_of_a_message_without_a_limit(loop: MemoryLoop, waiting: bool) -> None:
    """Unread they wait in `read_limit` bytes; `get()` joins them."""
    fragments = 40_000
    may_go_on = loop.signal()
    results: list[Any] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if not waiting:
                await may_go_on.wait()
            results.append(await by_get(reader))

    async with loop.serving(on_connection, max_message_size=None) as server:
        peer = await loop.connect(server)
        peer.raw(masked(0x02, b"x") + masked(0x00, b"x") * fragments + masked(0x80))
        with measured() as found:
            await loop.settle()
        # What one read brings is held as well, and the events of one slice of it.
        assert found[1] < 600_000
        assert bool(results) is waiting
        may_go_on.set()
        await loop.settle()
        assert results == [fragments + 1]


@on_memory
async def test_messages_in_parts_that_wait_count_what_they_take(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.raw((masked(0x01, b"x") + masked(0x80, "\N{GRINNING FACE}".encode())) * 10_000)
        with measured() as found:
            await loop.settle()
        assert found[0] < 3 * 65536 + SLACK
        may_go_on.set()


# What each peer that floods and reads nothing may make the server hold.
MIB = 2**20

COMPRESSED = masked(0xC2, zlib.compress(bytes(MIB), wbits=-15) + b"\0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "flood"),
    [
        ("/echo", masked(0x89) * 60_000),
        ("/echo", masked(0x82, bytes(1000)) * 3_000),
        ("/hang", masked(0x82, b"x") * 60_000),
        ("/hang", masked(0x82, b"x") + COMPRESSED * 1_000),
        ("/hang", masked(0x01, b"x") + masked(0x00, b"x") * 60_000),
    ],
    ids=["pings", "echoes", "messages", "compressed", "fragments"],
)
@pytest.mark.parametrize("lost", [False, True])
@on_memory
async def test_a_flood_of_a_peer_that_reads_nothing(
    loop: MemoryLoop, path: str, flood: bytes, lost: bool
) -> None:
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            if path == "/hang":
                await may_go_on.wait()
            else:
                await client.writer.send(await reader.get())

    async with loop.serving(on_connection, max_message_size=None) as server:
        loop.runtime.chunk = 2**18  # as on asyncio
        peer = await loop.connect(server, target=path, extensions=[Deflate()])
        peer.stop_reading()
        peer.raw(flood)
        with measured() as found:
            await loop.settle()
            if lost:
                peer.reset()
                await loop.settle()
        assert found[1] < MIB
        may_go_on.set()
