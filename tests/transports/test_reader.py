"""WebSocketReader: a message as it arrives."""

import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from harness import Log, MemoryWorld, Peer, World, masked

from wscore import DataType
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer

Use = Callable[[WebSocketReader], Awaitable[object]]


@asynccontextmanager
async def reading(
    world: World, *uses: Use, **options: Any
) -> AsyncIterator[tuple[Peer, list[Any], WebSocketServer]]:
    """A peer whose messages are given to `uses` in turn, and what these returned."""
    results: list[Any] = []
    left = list(uses)

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            use = left.pop(0)
            results.append(await use(reader))
            await client.writer.send("next")

    async with world.serving(on_connection, **options) as server:
        yield await world.connect(server), results, server


async def get(reader: WebSocketReader) -> Any:
    return await reader.get()


# --- get


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("message", ["text", "", "é😀", b"binary", b"", b"\xff\x00"])
async def test_get_is_str_for_text_and_bytes_for_binary(
    world: World, message: str | bytes, in_parts: bool
) -> None:
    async with reading(world, get) as (peer, results, _):
        if in_parts:
            peer.part(message)
            peer.part(message)
            peer.part(message[:0], last=True)
        else:
            peer.send(message)
        assert await peer.message() == "next"
        assert results == [message * 2 if in_parts else message]
        assert type(results[0]) is type(message)


@pytest.mark.parametrize(
    ("message", "kind", "result"),
    [
        ("é", bytes, "é".encode()),
        ("é", DataType.BINARY, "é".encode()),
        ("é", str, "é"),
        ("é", DataType.TEXT, "é"),
        (b"\xc3\xa9", str, "é"),
        (b"\xc3\xa9", DataType.TEXT, "é"),
        (b"\xff", bytes, b"\xff"),
        (b"\xff", DataType.BINARY, b"\xff"),
        (b"", str, ""),
        ("", bytes, b""),
    ],
)
async def test_get_as_kind_says(
    world: World, message: str | bytes, kind: Any, result: str | bytes
) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(kind)

    async with reading(world, use) as (peer, results, _):
        peer.send(message)
        assert await peer.message() == "next"
        assert results == [result]
        assert type(results[0]) is type(result)


@pytest.mark.parametrize("kind", [int, "str", DataType.CLOSE, 1, 2])
async def test_a_mistaken_kind_is_a_type_error(world: World, kind: Any) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(TypeError, match="kind"):
            await reader.get(kind)
        return await reader.get()

    async with reading(world, use) as (peer, results, _):
        peer.send("still there")
        assert await peer.message() == "next"
        assert results == ["still there"]


async def test_bytes_that_are_no_text_asked_for_as_str(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(UnicodeDecodeError):
            await reader.get(str)
        return await reader.get()

    async with reading(world, use) as (peer, results, _):
        peer.send(b"\xff")
        assert await peer.message() == "next"
        assert results == [b"\xff"]


async def test_get_is_the_rest(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(2), await reader.get(), await reader.get(), await reader.read()]

    async with reading(world, use, use) as (peer, results, _):
        peer.send("abcd")
        peer.send(b"abcd")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        assert results == [[b"ab", "cd", "", b""], [b"ab", b"cd", b"", b""]]


async def test_get_twice(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.get(), await reader.get(), reader.empty(), reader.at_eof()]

    async with reading(world, use, use) as (peer, results, _):
        peer.send("once")
        peer.send(b"once")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        assert results == [["once", "", True, True], [b"once", b"", True, True]]


async def test_a_cancelled_get_puts_back_what_it_took(world: World) -> None:
    readers: list[WebSocketReader] = []
    may_end = world.signal()

    async def use(reader: WebSocketReader) -> None:
        readers.append(reader)
        await may_end.wait()

    async with reading(world, use) as (peer, _, _):
        peer.part("one, ")
        await peer.nothing()
        getting = world.spawn(readers[0].get())
        await world.checkpoint()
        peer.part("two, ")
        await peer.nothing()
        getting.cancel()
        with pytest.raises(world.cancelled):
            await getting.wait()
        peer.part("three", last=True)
        assert await readers[0].get() == "one, two, three"
        may_end.set()
        assert await peer.message() == "next"


async def test_what_follows_a_get_that_was_given_up_is_discarded(world: World) -> None:
    """Also where nothing was left unread when the callback returned."""

    async def give_up(reader: WebSocketReader) -> Any:
        getting = world.spawn(reader.get())
        await world.checkpoint()
        getting.cancel()
        with pytest.raises(world.cancelled):
            await getting.wait()
        return await reader.read(5)

    async with reading(world, give_up, get, read_limit=1000) as (peer, results, server):
        peer.part(b"first")
        assert await peer.message() == "next"
        for _ in range(10):
            peer.part(bytes(2000))
        peer.part(b"", last=True)
        peer.send(b"whole")
        assert await peer.message() == "next"
        assert results == [b"first", b"whole"]
        [client] = server.clients.values()
        assert client._session.inbox.unread == 0


@pytest.mark.parametrize("checkpoints", range(5))
async def test_a_get_given_up_behind_its_callback_counts_nothing(
    world: World, checkpoints: int
) -> None:
    """Whether the rest came before, or with the end of the callback, or later."""

    async def leave(reader: WebSocketReader) -> Any:
        getting = world.spawn(reader.get())
        await world.checkpoint()
        peer.part(b"rest", last=True)
        for _ in range(checkpoints):
            await world.checkpoint()
        getting.cancel()
        return getting

    async with reading(world, leave, get, read_limit=1) as (peer, results, server):
        peer.part(b"first")
        assert await peer.message() == "next"
        peer.send(b"whole")
        assert await peer.message() == "next"
        with suppress(world.cancelled):
            await results[0].wait()
        assert results[1] == b"whole"
        [client] = server.clients.values()
        assert client._session.inbox.unread == 0


async def test_what_is_read_counts_no_more_than_its_bytes(world: World) -> None:
    """Or who waits for the rest would wait for ever where the limit is low."""

    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(5), await reader.read(5)]

    async with reading(world, use, read_limit=1) as (peer, results, _):
        peer.part(b"first")
        await peer.nothing()
        peer.part(b"then", last=True)
        assert await peer.message() == "next"
        assert results == [[b"first", b"then"]]


async def test_get_of_more_than_max_size_closes_with_1009(world: World, log: Log) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await reader.get(max_size=10)
        raised.append(caught.value.code)

    async def short(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=10)

    async with reading(world, short, use) as (peer, results, _):
        peer.send("x" * 10)
        assert await peer.message() == "next"
        assert results == ["x" * 10]
        peer.send("x" * 11)
        assert await peer.closed() == (1009, "a message is longer than 10 bytes")
        assert raised == [1009]
        log.lines()


async def test_max_size_counts_bytes(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=4)

    async with reading(world, use, use) as (peer, results, _):
        peer.send("éé")
        assert await peer.message() == "next"
        assert results == ["éé"]
        peer.send("ééé")
        assert (await peer.closed())[0] == 1009


async def test_max_size_is_judged_as_it_arrives(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=10)

    async with reading(world, use) as (peer, _, _):
        peer.part(b"x" * 8)
        peer.part(b"x" * 8)
        assert (await peer.closed())[0] == 1009


async def test_without_max_message_size_get_takes_a_megabyte(world: World) -> None:
    async def more(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=2**21)

    async with reading(world, get, more, get, max_message_size=None) as (peer, results, _):
        for size in (2**20, 2**21):
            peer.send(bytes(size))
            assert await peer.message() == "next"
        assert [len(result) for result in results] == [2**20, 2**21]
        peer.send(bytes(2**20 + 1))
        assert await peer.closed() == (1009, "a message is longer than 1048576 bytes")


async def test_max_message_size_bounds_every_message_before_a_callback_runs(
    world: World, log: Log
) -> None:
    async with reading(world, get, max_message_size=100) as (peer, results, _):
        peer.send(b"x" * 100)
        assert await peer.message() == "next"
        peer.raw(masked(0x82, bytes(101))[:8])  # the header alone
        assert await peer.closed() == (1009, "a message is longer than 100 bytes")
        assert len(results) == 1
        assert len(log.lines()) == 1


async def test_also_in_fragments(world: World, log: Log) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        raised.append(await reader.read(60))
        with pytest.raises(ConnectionClosed) as caught:
            await reader.read(60)
        raised.append(caught.value.code)

    async with reading(world, use, max_message_size=100) as (peer, _, _):
        peer.part(b"x" * 60)
        await peer.nothing()
        peer.raw(masked(0x80, bytes(41))[:6])
        assert await peer.message() == "next"
        assert (await peer.closed())[0] == 1009
        assert raised == [b"x" * 60, 1009]
        assert len(log.lines()) == 1


# --- async for


async def chunks(reader: WebSocketReader) -> Any:
    return [chunk async for chunk in reader]


@pytest.mark.parametrize("message", ["é😀" * 3, b"\xff\x00" * 3])
async def test_async_for_yields_pieces_as_they_arrive(world: World, message: str | bytes) -> None:
    got: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        async for chunk in reader:
            got.append(chunk)

    async with reading(world, use) as (peer, _, _):
        for _ in range(4):
            before = len(got)
            peer.part(message)
            await world.until(lambda: len(got) > before)  # noqa: B023
        peer.part(message[:0], last=True)
        assert await peer.message() == "next"
        assert got == [message] * 4


async def test_async_for_of_an_empty_message_yields_nothing(world: World) -> None:
    async with reading(world, chunks, chunks, chunks) as (peer, results, _):
        peer.send("")
        peer.send(b"")
        peer.part("")
        peer.part("", last=True)
        assert [await peer.message() for _ in range(3)] == ["next"] * 3
        assert results == [[], [], []]


async def test_text_is_never_cut_inside_a_code_point(world: World) -> None:
    """However the frames are cut, and however long the message."""
    message = "aé€😀" * 30_000  # 300,000 bytes
    async with reading(world, chunks, chunks) as (peer, results, _):
        data = message.encode()
        first = 0x01
        for start in range(0, len(data), 997):
            peer.raw(masked(first, data[start : start + 997]))
            first = 0x00
        peer.raw(masked(0x80))
        peer.send(message)
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        for result in results:
            assert all(isinstance(chunk, str) and chunk for chunk in result)
            assert "".join(result) == message


async def test_async_for_is_the_rest(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(3), *[chunk async for chunk in reader], await reader.get()]

    async with reading(world, use) as (peer, results, _):
        peer.send("abcdef")
        assert await peer.message() == "next"
        assert results == [[b"abc", "def", ""]]


# --- The Buffer's methods


async def test_low_level_reads(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        target = bytearray(4)
        before = reader.empty(), reader.at_eof()
        some = [await reader.read(2), await reader.read_into(target, 2, 1)]
        await reader.read_into_exactly(target, 1)
        return [
            before,
            *some,
            target,
            reader.empty(),
            await reader.read(),
            (reader.empty(), reader.at_eof()),
        ]

    async with reading(world, use, use) as (peer, results, _):
        peer.send("abcdefg")
        peer.send(b"abcdefg")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        expected = [(False, False), b"ab", 2, bytearray(b"ecd\0"), False, b"fg", (True, True)]
        assert results == [expected, expected]


async def test_an_attribute_that_is_none_is_named(world: World) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(AttributeError, match="nonsense"):
            _ = reader.nonsense  # type: ignore[attr-defined]
        return await reader.get()

    async with reading(world, use) as (peer, results, _):
        peer.send("x")
        assert await peer.message() == "next"
        assert results == ["x"]


# --- Faults that come later


def violate(peer: Peer) -> None:
    peer.raw(masked(0x83))


def mix_messages(peer: Peer) -> None:
    peer.raw(masked(0x81, b"another"))


def no_text(peer: Peer) -> None:
    peer.raw(masked(0x80, b"\xff"))


def leave(peer: Peer) -> None:
    peer.end()


def lose(peer: Peer) -> None:
    peer.reset()


def close(peer: Peer) -> None:
    peer.raw(masked(0x88, b"\x0f\xa0bye"))


READS: list[Use] = [
    get,
    lambda reader: reader.get(bytes),
    lambda reader: reader.read(),
    lambda reader: reader.read(100),
    lambda reader: reader.read_into(bytearray(100), 100),
    lambda reader: reader.read_into_exactly(bytearray(100), 100),
    chunks,
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (violate, 1002),
        (mix_messages, 1002),
        (no_text, 1007),
        (leave, 1006),
        (lose, 1006),
        (close, 4000),
    ],
)
async def test_a_later_fault_is_raised_from_the_next_read(
    world: World, log: Log, read: Use, fault: Callable[[Peer], None], code: int
) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                await read(reader)
            raised.append(caught.value.code)

    async with reading(world, use) as (peer, _, _):
        peer.part("begun")
        await peer.nothing()
        fault(peer)
        await world.until(lambda: len(raised) == 2)
        assert raised == [code, code]
        log.lines()
        peer.frames.clear()


async def test_a_message_that_is_whole_can_be_read_after_the_end(world: World) -> None:
    may_go_on = world.signal()
    got: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        await may_go_on.wait()
        got.append(await reader.read(2))
        got.append(await reader.get())

    async with reading(world, use) as (peer, _, server):
        peer.send("whole")
        await peer.nothing()
        peer.reset()
        await world.until(lambda: not server.clients)
        may_go_on.set()
        await world.until(lambda: len(got) == 2)
        assert got == [b"wh", "ole"]


async def test_reading_after_the_callback_has_returned_raises(world: World) -> None:
    readers: list[WebSocketReader] = []

    async def use(reader: WebSocketReader) -> None:
        readers.append(reader)
        await reader.read(1)

    async with reading(world, use) as (peer, _, _):
        peer.part("begun")
        assert await peer.message() == "next"
        peer.part("ended", last=True)
        await peer.nothing()
        with pytest.raises(RuntimeError, match="discarded"):
            await readers[0].get()


# --- Memory


async def total(reader: WebSocketReader) -> Any:
    size = 0
    async for chunk in reader:
        size += len(chunk)
    return size


async def total_by_read(reader: WebSocketReader) -> Any:
    size = 0
    while data := await reader.read(10_000):
        size += len(data)
    return size


async def total_by_read_into(reader: WebSocketReader) -> Any:
    size = 0
    target = bytearray(10_000)
    while got := await reader.read_into(target, 10_000):
        size += got
    return size


@pytest.mark.parametrize("use", [total, total_by_read, total_by_read_into])
@pytest.mark.parametrize("in_parts", [False, True])
async def test_a_message_of_any_size_is_read_in_constant_memory(
    memory: MemoryWorld, use: Use, in_parts: bool
) -> None:
    size = 20_000_000
    piece = bytes(100_000)
    async with reading(memory, use, max_message_size=None) as (peer, results, _):
        if not in_parts:
            head = masked(0x82)[:1] + b"\xff" + size.to_bytes(8) + bytes(4)
            peer.raw(head)
        tracemalloc.start()
        try:
            for sent in range(0, size, len(piece)):
                if in_parts:
                    first = 0x02 if sent == 0 else 0x80 if sent + len(piece) == size else 0x00
                    peer.raw(masked(first, piece))
                else:
                    peer.raw(piece)
                await memory.settle()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await peer.message() == "next"
        assert results == [size]
        assert peak < 2_000_000


async def test_what_waits_unread_of_a_message_of_any_size_is_bounded(memory: MemoryWorld) -> None:
    may_go_on = memory.signal()

    async def use(reader: WebSocketReader) -> Any:
        await may_go_on.wait()
        return await total(reader)

    async with reading(memory, use, max_message_size=None, read_limit=10_000) as (peer, results, _):
        for number in range(100):
            peer.raw(masked(0x02 if number == 0 else 0x00, bytes(10_000)))
        peer.raw(masked(0x80))
        await memory.settle()
        assert peer.waiting() > 900_000
        may_go_on.set()
        assert await peer.message() == "next"
        assert results == [1_000_000]


async def test_tiny_fragments_of_a_message_of_any_size_are_bounded_too(
    memory: MemoryWorld,
) -> None:
    may_go_on = memory.signal()

    async def use(reader: WebSocketReader) -> Any:
        await may_go_on.wait()
        return await total(reader)

    memory.runtime.chunk = 1000
    async with reading(memory, use, max_message_size=None, read_limit=10_000) as (peer, results, _):
        peer.raw(masked(0x02, b"x") + masked(0x00, b"x") * 30_000 + masked(0x80))
        await memory.settle()
        assert peer.waiting() > 7 * 18_000
        may_go_on.set()
        assert await peer.message() == "next"
        assert results == [30_001]
