"""WebSocketReader: a message as it arrives."""

import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from kit.frames import masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from kit.peer import Peer
from wscore import DataType
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer
from wstransports.receiving.reader import GET_LIMIT, LONG, latest

Use = Callable[[WebSocketReader], Awaitable[object]]


@asynccontextmanager
async def reading(
    loop: Loop, *uses: Use, **options: Any
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

    async with loop.serving(on_connection, **options) as server:
        yield await loop.connect(server), results, server


async def get(reader: WebSocketReader) -> Any:
    return await reader.get()


# --- get


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("message", ["text", "", "é😀", b"binary", b"", b"\xff\x00"])
@on_each_loop
async def test_get_is_str_for_text_and_bytes_for_binary(
    loop: Loop, message: str | bytes, in_parts: bool
) -> None:
    async with reading(loop, get) as (peer, results, _):
        if in_parts:
            peer.part(message)
            peer.part(message)
            peer.part(message[:0], last=True)
        else:
            peer.send(message)
        assert await peer.message() == "next"
        assert results == [message * 2 if in_parts else message]
        assert type(results[0]) is type(message)


async def get_all(reader: WebSocketReader) -> Any:
    return await reader.get(max_size=4 * GET_LIMIT)


async def get_text(reader: WebSocketReader) -> Any:
    return (await reader.get(str, max_size=4 * GET_LIMIT)).encode()


async def read_all(reader: WebSocketReader) -> Any:
    return await reader.read(5) + await reader.read(-1)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("use", [get_all, get_text, read_all])
@pytest.mark.parametrize("size", [600_000, GET_LIMIT - 3, GET_LIMIT - 2, 3 * GET_LIMIT])
@on_memory
async def test_long_binary_messages_in_parts(
    loop: MemoryLoop, use: Use, size: int, waits: bool
) -> None:
    """Read as they arrive, or once they are there."""
    arrived = loop.runtime.signal()

    async def later(reader: WebSocketReader) -> Any:
        if waits:
            await arrived.wait()
        return await use(reader)

    message = "né".encode() * (size // 3) + bytes(size % 3)  # some parts end within a character
    options = {"max_message_size": None, "read_limit": 8 * GET_LIMIT}
    async with reading(loop, later, **options) as (peer, results, _):
        for start in range(0, size, GET_LIMIT // 2):
            peer.part(message[start : start + GET_LIMIT // 2])
            await loop.settle()
        peer.part(b"end", last=True)
        await loop.settle()
        arrived.set()
        assert await peer.message() == "next"
    assert results == [message + b"end"]


@pytest.mark.parametrize("in_parts", [False, True])
@on_memory
async def test_the_latest_two_long_messages_stay(loop: MemoryLoop, in_parts: bool) -> None:
    """Longer ones than usual do not: they may be of any size."""
    loop.runtime.chunk = 2 * GET_LIMIT
    sizes = [LONG, LONG + 1, GET_LIMIT, LONG - 1, GET_LIMIT + 1]
    reads = [get] * 2 * len(sizes)
    async with reading(loop, *reads, max_message_size=2 * GET_LIMIT) as (peer, results, _):
        for size in sizes:
            for message in ("x" * size, bytes(size)):
                if in_parts:
                    peer.part(message[:5000])
                    peer.part(message[5000:], last=True)
                else:
                    peer.send(message)
                assert await peer.message() == "next"
    assert [len(one) for one in results] == [size for size in sizes for _ in range(2)]
    assert latest[0] is results[4]
    assert latest[1] is results[5]
    assert len(latest) == 2


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
@on_each_loop
async def test_get_as_kind_says(
    loop: Loop, message: str | bytes, kind: Any, result: str | bytes
) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(kind)

    async with reading(loop, use) as (peer, results, _):
        peer.send(message)
        assert await peer.message() == "next"
        assert results == [result]
        assert type(results[0]) is type(result)


@pytest.mark.parametrize("kind", [int, "str", DataType.CLOSE, 1, 2])
@on_each_loop
async def test_a_mistaken_kind_is_a_type_error(loop: Loop, kind: Any) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(TypeError, match="kind"):
            await reader.get(kind)
        return await reader.get()

    async with reading(loop, use) as (peer, results, _):
        peer.send("still there")
        assert await peer.message() == "next"
        assert results == ["still there"]


@on_each_loop
async def test_bytes_that_are_not_text_requested_as_str(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(UnicodeDecodeError):
            await reader.get(str)
        return await reader.get()

    async with reading(loop, use) as (peer, results, _):
        peer.send(b"\xff")
        assert await peer.message() == "next"
        assert results == [b"\xff"]


@on_each_loop
async def test_get_is_the_rest(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(2), await reader.get(), await reader.get(), await reader.read()]

    async with reading(loop, use, use) as (peer, results, _):
        peer.send("abcd")
        peer.send(b"abcd")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        assert results == [[b"ab", "cd", "", b""], [b"ab", b"cd", b"", b""]]


@on_each_loop
async def test_get_twice(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.get(), await reader.get(), reader.empty(), reader.at_eof()]

    async with reading(loop, use, use) as (peer, results, _):
        peer.send("once")
        peer.send(b"once")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        assert results == [["once", "", True, True], [b"once", b"", True, True]]


@on_each_loop
async def test_a_cancelled_get_puts_back_what_it_took(loop: Loop) -> None:
    readers: list[WebSocketReader] = []
    may_end = loop.signal()

    async def use(reader: WebSocketReader) -> None:
        readers.append(reader)
        await may_end.wait()

    async with reading(loop, use) as (peer, _, _):
        peer.part("one, ")
        await peer.nothing()
        getting = loop.spawn(readers[0].get())
        await loop.checkpoint()
        peer.part("two, ")
        await peer.nothing()
        getting.cancel()
        with pytest.raises(loop.cancelled):
            await getting.wait()
        peer.part("three", last=True)
        assert await readers[0].get() == "one, two, three"
        may_end.set()
        assert await peer.message() == "next"


@on_each_loop
async def test_what_follows_a_get_that_was_given_up_is_discarded(loop: Loop) -> None:
    """Also where nothing was left unread when the callback returned."""

    async def give_up(reader: WebSocketReader) -> Any:
        getting = loop.spawn(reader.get())
        await loop.checkpoint()
        getting.cancel()
        with pytest.raises(loop.cancelled):
            await getting.wait()
        return await reader.read(5)

    async with reading(loop, give_up, get, read_limit=1000) as (peer, results, server):
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
@on_each_loop
async def test_a_get_given_up_after_its_callback_counts_nothing(
    loop: Loop, checkpoints: int
) -> None:
    """Whether the rest came before, or with the end of the callback, or later."""

    async def leave(reader: WebSocketReader) -> Any:
        getting = loop.spawn(reader.get())
        await loop.checkpoint()
        peer.part(b"rest", last=True)
        for _ in range(checkpoints):
            await loop.checkpoint()
        getting.cancel()
        return getting

    async with reading(loop, leave, get, read_limit=1) as (peer, results, server):
        peer.part(b"first")
        assert await peer.message() == "next"
        peer.send(b"whole")
        assert await peer.message() == "next"
        # RuntimeError: woken by the rest, it went on only after the callback had returned.
        with suppress(loop.cancelled, RuntimeError):
            await results[0].wait()
        assert results[1] == b"whole"
        [client] = server.clients.values()
        assert client._session.inbox.unread == 0


@on_each_loop
async def test_what_is_read_counts_no_more_than_its_bytes(loop: Loop) -> None:
    """Or who waits for the rest would wait for ever where the limit is low."""

    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(5), await reader.read(5)]

    async with reading(loop, use, read_limit=1) as (peer, results, _):
        peer.part(b"first")
        await peer.nothing()
        peer.part(b"then", last=True)
        assert await peer.message() == "next"
        assert results == [[b"first", b"then"]]


@on_each_loop
async def test_get_of_more_than_max_size_closes_with_1009(loop: Loop, log: Log) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await reader.get(max_size=10)
        raised.append(caught.value.code)

    async def short(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=10)

    async with reading(loop, short, use) as (peer, results, _):
        peer.send("x" * 10)
        assert await peer.message() == "next"
        assert results == ["x" * 10]
        peer.send("x" * 11)
        assert await peer.closed() == (1009, "a message is longer than 10 bytes")
        assert raised == [1009]
        log.lines()


@on_each_loop
async def test_max_size_counts_bytes(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=4)

    async with reading(loop, use, use) as (peer, results, _):
        peer.send("éé")
        assert await peer.message() == "next"
        assert results == ["éé"]
        peer.send("ééé")
        assert (await peer.closed())[0] == 1009


@on_each_loop
async def test_max_size_is_judged_as_it_arrives(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=10)

    async with reading(loop, use) as (peer, _, _):
        peer.part(b"x" * 8)
        peer.part(b"x" * 8)
        assert (await peer.closed())[0] == 1009


@on_each_loop
async def test_without_max_message_size_get_takes_a_megabyte(loop: Loop) -> None:
    async def more(reader: WebSocketReader) -> Any:
        return await reader.get(max_size=2**21)

    async with reading(loop, get, more, get, max_message_size=None) as (peer, results, _):
        for size in (2**20, 2**21):
            peer.send(bytes(size))
            assert await peer.message() == "next"
        assert [len(result) for result in results] == [2**20, 2**21]
        peer.send(bytes(2**20 + 1))
        assert await peer.closed() == (1009, "a message is longer than 1048576 bytes")


@on_each_loop
async def test_max_message_size_bounds_every_message_before_a_callback_runs(
    loop: Loop, log: Log
) -> None:
    async with reading(loop, get, max_message_size=100) as (peer, results, _):
        peer.send(b"x" * 100)
        assert await peer.message() == "next"
        peer.raw(masked(0x82, bytes(101))[:8])  # the header alone
        assert await peer.closed() == (1009, "a message is longer than 100 bytes")
        assert len(results) == 1
        assert len(log.lines()) == 1


@on_each_loop
async def test_also_in_fragments(loop: Loop, log: Log) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        raised.append(await reader.read(60))
        with pytest.raises(ConnectionClosed) as caught:
            await reader.read(60)
        raised.append(caught.value.code)

    async with reading(loop, use, max_message_size=100) as (peer, _, _):
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
@on_each_loop
async def test_async_for_yields_pieces_as_they_arrive(loop: Loop, message: str | bytes) -> None:
    got: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        async for chunk in reader:
            got.append(chunk)

    async with reading(loop, use) as (peer, _, _):
        for _ in range(4):
            before = len(got)
            peer.part(message)
            await loop.until(lambda: len(got) > before)  # noqa: B023
        peer.part(message[:0], last=True)
        assert await peer.message() == "next"
        assert got == [message] * 4


@on_each_loop
async def test_async_for_of_an_empty_message_yields_nothing(loop: Loop) -> None:
    async with reading(loop, chunks, chunks, chunks) as (peer, results, _):
        peer.send("")
        peer.send(b"")
        peer.part("")
        peer.part("", last=True)
        assert [await peer.message() for _ in range(3)] == ["next"] * 3
        assert results == [[], [], []]


@on_each_loop
async def test_text_is_never_cut_inside_a_code_point(loop: Loop) -> None:
    """However the frames are cut, and however long the message."""
    message = "aé€😀" * 30_000  # 300,000 bytes
    async with reading(loop, chunks, chunks) as (peer, results, _):
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


@on_each_loop
async def test_async_for_is_the_rest(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        return [await reader.read(3), *[chunk async for chunk in reader], await reader.get()]

    async with reading(loop, use) as (peer, results, _):
        peer.send("abcdef")
        assert await peer.message() == "next"
        assert results == [[b"abc", "def", ""]]


# --- The Buffer's methods


@on_each_loop
async def test_low_level_reads(loop: Loop) -> None:
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

    async with reading(loop, use, use) as (peer, results, _):
        peer.send("abcdefg")
        peer.send(b"abcdefg")
        assert [await peer.message() for _ in range(2)] == ["next"] * 2
        expected = [(False, False), b"ab", 2, bytearray(b"ecd\0"), False, b"fg", (True, True)]
        assert results == [expected, expected]


@on_each_loop
async def test_an_attribute_that_is_none_is_named(loop: Loop) -> None:
    async def use(reader: WebSocketReader) -> Any:
        with pytest.raises(AttributeError, match="nonsense"):
            _ = reader.nonsense  # type: ignore[attr-defined]
        return await reader.get()

    async with reading(loop, use) as (peer, results, _):
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
@on_each_loop
async def test_a_later_fault_is_raised_from_the_next_read(
    loop: Loop, log: Log, read: Use, fault: Callable[[Peer], None], code: int
) -> None:
    raised: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                await read(reader)
            raised.append(caught.value.code)

    async with reading(loop, use) as (peer, _, _):
        peer.part("begun")
        await peer.nothing()
        fault(peer)
        await loop.until(lambda: len(raised) == 2)
        assert raised == [code, code]
        log.lines()
        peer.frames.clear()


@on_each_loop
async def test_a_message_that_is_whole_can_be_read_after_the_end(loop: Loop) -> None:
    may_go_on = loop.signal()
    got: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        await may_go_on.wait()
        got.append(await reader.read(2))
        got.append(await reader.get())

    async with reading(loop, use) as (peer, _, server):
        peer.send("whole")
        await peer.nothing()
        peer.reset()
        await loop.until(lambda: not server.clients)
        may_go_on.set()
        await loop.until(lambda: len(got) == 2)
        assert got == [b"wh", "ole"]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("cut", ["whole", "both parts before", "a part after"])
@on_each_loop
async def test_reading_after_the_callback_has_returned_raises(
    loop: Loop, read: Use, cut: str
) -> None:
    """However the message was cut: what a callback leaves unread is discarded."""
    readers: list[WebSocketReader] = []

    async def use(reader: WebSocketReader) -> None:
        readers.append(reader)

    async with reading(loop, use) as (peer, _, _):
        if cut == "whole":
            peer.send("begun and ended")
        else:
            with peer.in_one_write():
                peer.part("begun")
                if cut == "both parts before":
                    peer.part("ended", last=True)
        assert await peer.message() == "next"
        if cut == "a part after":
            peer.part("ended", last=True)
        await peer.nothing()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="hand the result to other tasks"):
                await read(readers[0])


@pytest.mark.parametrize("in_parts", [False, True])
@on_each_loop
async def test_a_reader_that_another_task_reads_to_the_end_in_time(
    loop: Loop, in_parts: bool
) -> None:
    """After the callback there is nothing left to raise for."""
    readers: list[WebSocketReader] = []

    async def use(reader: WebSocketReader) -> Any:
        readers.append(reader)
        return await loop.spawn(get(reader)).wait()

    async with reading(loop, use) as (peer, results, _):
        if in_parts:
            peer.part("me")
            await peer.nothing()
            peer.part("ssage", last=True)
        else:
            peer.send("message")
        assert await peer.message() == "next"
        assert results == ["message"]
        assert await readers[0].get() == ""
        assert await readers[0].read() == b""


@on_each_loop
async def test_of_an_empty_message_nothing_is_discarded(loop: Loop) -> None:
    """Nothing of it is lost if the callback returns without reading: neither whole nor in parts."""
    readers: list[WebSocketReader] = []

    async def use(reader: WebSocketReader) -> None:
        readers.append(reader)

    async with reading(loop, use, use) as (peer, _, _):
        peer.send("")
        assert await peer.message() == "next"
        with peer.in_one_write():
            peer.part("")
            peer.part("", last=True)
        assert await peer.message() == "next"
        for reader in readers:
            assert await reader.get() == ""
            assert await reader.read() == b""


@on_each_loop
async def test_a_task_that_still_waits_for_the_rest_when_the_callback_returns(loop: Loop) -> None:
    jobs: list[Any] = []

    async def use(reader: WebSocketReader) -> None:
        jobs.append(loop.spawn(get(reader)))
        await loop.checkpoint()

    async with reading(loop, use) as (peer, _, _):
        peer.part("begun")
        assert await peer.message() == "next"
        with pytest.raises(RuntimeError, match="discarded"):
            await jobs[0].wait()


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
@on_memory
async def test_a_message_of_any_size_is_read_in_constant_memory(
    loop: MemoryLoop, use: Use, in_parts: bool
) -> None:
    size = 20_000_000
    piece = bytes(100_000)
    async with reading(loop, use, max_message_size=None) as (peer, results, _):
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
                await loop.settle()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await peer.message() == "next"
        assert results == [size]
        assert peak < 2_000_000


@on_memory
async def test_what_waits_unread_of_a_message_of_any_size_is_bounded(loop: MemoryLoop) -> None:
    may_go_on = loop.signal()

    async def use(reader: WebSocketReader) -> Any:
        await may_go_on.wait()
        return await total(reader)

    async with reading(loop, use, max_message_size=None, read_limit=10_000) as (peer, results, _):
        for number in range(100):
            peer.raw(masked(0x02 if number == 0 else 0x00, bytes(10_000)))
        peer.raw(masked(0x80))
        await loop.settle()
        assert peer.waiting() > 900_000
        may_go_on.set()
        assert await peer.message() == "next"
        assert results == [1_000_000]


@on_memory
async def test_tiny_fragments_of_a_message_of_any_size_are_bounded_too(
    loop: MemoryLoop,
) -> None:
    may_go_on = loop.signal()

    async def use(reader: WebSocketReader) -> Any:
        await may_go_on.wait()
        return await total(reader)

    loop.runtime.chunk = 1000
    async with reading(loop, use, max_message_size=None, read_limit=10_000) as (peer, results, _):
        peer.raw(masked(0x02, b"x") + masked(0x00, b"x") * 30_000 + masked(0x80))
        await loop.settle()
        assert peer.waiting() > 7 * 18_000
        may_go_on.set()
        assert await peer.message() == "next"
        assert results == [30_001]


@on_each_loop
async def test_a_message_of_exactly_the_limit_may_end_with_an_empty_fragment(
    loop: Loop, log: Log
) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        for parts in ([b"x" * 2**20], [b"x" * 2**16] * 16):
            for part in parts:
                peer.part(part)
            peer.part(b"", last=True)
            assert await peer.message() == b"x" * 2**20
        peer.send(b"x" * 2**20 + b"x")
        assert await peer.closed() == (1009, "a message is longer than 1048576 bytes")
    assert len(log.lines()) == 1
