"""`writer.feed`: a message from a source, as it arrives."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, Frame, masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from wscore import DataType
from wstransports import Buffer, Client, ConnectionClosed, WebSocketReader
from wstransports.runtime import running


async def echo_by_feed(client: Client) -> None:
    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.feed(reader)


def generate(*pieces: Any) -> Iterator[Any]:
    """A sync source that raises what is an exception."""
    for piece in pieces:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


async def agenerate(*pieces: Any) -> AsyncIterator[Any]:
    """An async source that raises what is an exception."""
    for piece in generate(*pieces):
        yield piece


async def frames(peer: Peer) -> list[Frame]:
    """The frames of the next message."""
    found = [await peer.frame()]
    while not found[-1].last:
        found.append(await peer.frame())
    return found


# --- From a reader


@pytest.mark.parametrize("message", ["text", b"bytes", "", b"", "é" * 100_000, b"x" * 1_000_000])
@on_each_loop
async def test_an_echo(loop: Loop, message: str | bytes) -> None:
    async with loop.serving(echo_by_feed) as server:
        peer = await loop.connect(server)
        peer.send(message)
        assert await peer.message() == message
        await peer.nothing()


@on_each_loop
async def test_a_message_that_is_whole_is_one_frame(loop: Loop) -> None:
    async with loop.serving(echo_by_feed) as server:
        peer = await loop.connect(server)
        for message in ("text", b"bytes", "", b""):
            peer.send(message)
            assert (await peer.frame()).last


@on_each_loop
async def test_fragments_go_on_as_they_arrive(loop: Loop) -> None:
    async with loop.serving(echo_by_feed) as server:
        peer = await loop.connect(server)
        peer.part("one, ")
        assert await peer.frame() == Frame(TEXT, b"one, ")
        peer.part("two, ")
        assert await peer.frame() == Frame(CONTINUATION, b"two, ")
        peer.part("three", last=True)
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"three")


@on_each_loop
async def test_the_rest_of_a_message(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await reader.read(3)
            await client.writer.feed(reader)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("abcdef")
        assert await peer.message() == "def"
        peer.send(b"abc")
        assert await frames(peer) == [Frame(FIN | BINARY, b"")]


@on_memory
async def test_the_echo_never_holds_the_message(loop: MemoryLoop) -> None:
    """40 MB pass, and what is held stays small though the peer reads late."""
    size, piece = 40_000_000, bytes(100_000)
    held = 0

    async with loop.serving(echo_by_feed, max_message_size=None) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        session = client._session
        received = 0
        for sent in range(0, size, len(piece)):
            first = 0x02 if sent == 0 else 0x80 if sent + len(piece) == size else 0x00
            peer.stop_reading()
            peer.raw(masked(first, piece))
            await loop.settle()
            held = max(held, session.pipe.waiting() + session.inbox.unread)
            peer.start_reading()
            await loop.settle()
            received += sum(len(frame.payload) for frame in peer.frames)
            peer.frames.clear()
        assert received == size
        assert held < 500_000


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
@on_each_loop
async def test_no_fragment_is_longer_than_chunksize(loop: Loop, chunksize: int) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.feed(reader, chunksize=chunksize)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for message in ("é" * 500, b"x" * 500):
            peer.send(message)
            found = await frames(peer)
            assert max(len(frame.payload) for frame in found) <= chunksize
            assert all(frame.payload for frame in found)
            payload = b"".join(frame.payload for frame in found)
            assert payload == (message.encode() if isinstance(message, str) else message)


@on_each_loop
async def test_a_fault_of_the_source_fails_who_is_fed(loop: Loop, log: Log) -> None:
    """Half a message is on the wire of the second client when the first one is lost."""
    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                [other] = [one for one in server.clients.values() if one is not client]
                await other.writer.feed(reader)

        first, second = await loop.connect(server), await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 2)
        first.part("begun")
        assert await second.frame() == Frame(TEXT, b"begun")
        first.reset()
        assert await second.closed() == (1011, "a message was broken off")
        assert log.lines() == []


@on_each_loop
async def test_a_violation_during_an_echo(loop: Loop, log: Log) -> None:
    async with loop.serving(echo_by_feed) as server:
        peer = await loop.connect(server)
        peer.part("begun")
        assert await peer.frame() == Frame(TEXT, b"begun")
        peer.raw(masked(0x80, b"\xff"))
        code, _ = await peer.closed()
        assert code == 1007
        assert log.lines() == ["failed with 1007, a text message is not valid UTF-8"]


# --- From a Buffer


@on_each_loop
async def test_a_buffer_is_binary(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        feeding = loop.spawn(client.writer.feed(buffer))
        await buffer.write(b"one, ")
        assert await peer.frame() == Frame(BINARY, b"one, ")
        await buffer.write(b"two")
        buffer.feed_eof()
        frame = await peer.frame()
        assert (frame.opcode, frame.payload) == (CONTINUATION, b"two")
        if not frame.last:  # where write() lets others run, the end comes too late for it
            assert await peer.frame() == Frame(FIN | CONTINUATION, b"")
        await feeding.wait()


@on_each_loop
async def test_a_buffer_whose_end_comes_later_ends_with_an_empty_frame(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        feeding = loop.spawn(client.writer.feed(buffer))
        await buffer.write(b"all")
        assert await peer.frame() == Frame(BINARY, b"all")
        buffer.feed_eof()
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"")
        await feeding.wait()


@on_each_loop
async def test_a_buffer_as_text(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        await buffer.write("aé€😀".encode())
        buffer.feed_eof()
        await client.writer.feed(buffer, DataType.TEXT, chunksize=2)
        assert await peer.message() == "aé€😀"


@pytest.mark.parametrize("data", [b"fine, \xff", b"fine, \xc3"])
@on_each_loop
async def test_a_buffer_as_text_that_is_none(loop: Loop, data: bytes) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        await buffer.write(data)
        buffer.feed_eof()
        with pytest.raises(UnicodeDecodeError):
            await client.writer.feed(buffer, DataType.TEXT, chunksize=6)
        assert await peer.frame() == Frame(TEXT, b"fine, ")
        assert await peer.closed() == (1011, "a message was broken off")


# --- From iterables


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda pieces: generate(*pieces)])
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a"], [Frame(FIN | TEXT, b"a")]),
        (["a", "é"], [Frame(TEXT, b"a"), Frame(FIN | CONTINUATION, b"\xc3\xa9")]),
        (
            [b"a", bytearray(b"b"), memoryview(b"c")],
            [
                Frame(BINARY, b"a"),
                Frame(CONTINUATION, b"b"),
                Frame(FIN | CONTINUATION, b"c"),
            ],
        ),
        (["", ""], [Frame(TEXT, b""), Frame(FIN | CONTINUATION, b"")]),
        ([], [Frame(FIN | BINARY, b"")]),
    ],
)
@on_each_loop
async def test_a_sync_iterable_has_no_empty_trailing_frame(
    loop: Loop, kind: Any, pieces: list[Any], expected: list[Frame]
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.feed(kind(pieces))
        assert await frames(peer) == expected
        await peer.nothing()


@pytest.mark.parametrize("message", [["a", "é", "b"], [b"a", b"\xff"]])
@on_each_loop
async def test_an_async_iterable(loop: Loop, message: list[Any]) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.feed(agenerate(*message))
        assert await peer.message() == message[0][:0].join(message)
        await peer.nothing()


@on_each_loop
async def test_an_async_iterable_sends_each_piece_at_once(loop: Loop) -> None:
    may_go_on = loop.signal()

    async def source() -> AsyncIterator[str]:
        yield "one, "
        await may_go_on.wait()
        yield "two"

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        feeding = loop.spawn(client.writer.feed(source()))
        assert await peer.frame() == Frame(TEXT, b"one, ")
        may_go_on.set()
        assert await peer.frame() == Frame(CONTINUATION, b"two")
        assert await peer.frame() == Frame(FIN | CONTINUATION, b"")
        await feeding.wait()


@on_each_loop
async def test_from_another_clients_messages(loop: Loop) -> None:
    """`async for` over a reader is an async iterable too."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            async def shout() -> AsyncIterator[str]:
                async for chunk in reader:
                    yield str(chunk).upper()

            await client.writer.feed(shout())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("shout")
        assert await peer.message() == "SHOUT"


@pytest.mark.parametrize("make", [generate, agenerate])
@pytest.mark.parametrize(
    ("pieces", "op_code", "message"),
    [
        (["text"], DataType.BINARY, b"text"),
        ([b"text"], DataType.TEXT, "text"),
        ([b"\xc3", b"\xa9"], DataType.TEXT, "é"),
        (["te", b"xt"], None, "text"),
        ([b"by", "tes"], None, b"bytes"),
        (["te", b"xt"], DataType.BINARY, b"text"),
    ],
)
@on_each_loop
async def test_op_code_or_the_first_piece_is_the_type(
    loop: Loop, make: Any, pieces: list[Any], op_code: DataType | None, message: Any
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.feed(make(*pieces), op_code)
        assert await peer.message() == message


# --- Mistakes


@pytest.mark.parametrize("source", ["text", b"bytes", bytearray(b"x"), memoryview(b"x")])
@on_each_loop
async def test_one_piece_is_refused_with_the_mend(loop: Loop, source: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match=r"send\(\)"):
            await client.writer.feed(source)
        await peer.nothing()


@pytest.mark.parametrize("source", [None, 5, object()])
@on_each_loop
async def test_what_is_not_a_source_is_refused(loop: Loop, source: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match="iterable"):
            await client.writer.feed(source)
        await peer.nothing()


@pytest.mark.parametrize("op_code", [DataType.PING, DataType.CONTINUATION, DataType.NONE, "text"])
@on_each_loop
async def test_a_mistaken_op_code_is_refused(loop: Loop, op_code: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match="op_code"):
            await client.writer.feed(["x"], op_code)
        await peer.nothing()


@pytest.mark.parametrize("numbers", [{"chunksize": 0}, {"drain_every": 0}, {"chunksize": -1}])
@on_each_loop
async def test_mistaken_numbers_are_refused(loop: Loop, numbers: dict[str, int]) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(ValueError, match="at least 1 byte"):
            await client.writer.feed(["x"], **numbers)  # type: ignore[arg-type]
        await peer.nothing()


@pytest.mark.parametrize("make", [generate, agenerate])
@pytest.mark.parametrize("piece", [None, 5, ["x"]])
@on_each_loop
async def test_a_piece_that_is_neither_str_nor_bytes_raises(
    loop: Loop, make: Any, piece: Any
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match=r"str.*bytes"):
            await client.writer.feed(make(piece))
        await client.writer.send("nothing was sent of it")
        assert await peer.message() == "nothing was sent of it"
        with pytest.raises(TypeError, match=r"str.*bytes"):
            await client.writer.feed(make("begun", "more", piece, "never"))
        assert await peer.frame() == Frame(TEXT, b"begun")
        while (frame := await peer.frame()).opcode != CLOSE:
            assert frame == Frame(CONTINUATION, b"more")
        assert frame.payload == b"\x03\xf3a message was broken off"


# --- Sources that raise or fall silent


@pytest.mark.parametrize("make", [generate, agenerate])
@on_each_loop
async def test_a_raising_source_is_1011(loop: Loop, make: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(KeyError):
            await client.writer.feed(make("one", "two", "three", KeyError()))
        assert await peer.frame() == Frame(TEXT, b"one")
        await loop.until(lambda: peer.at_eof)
        assert peer.frames[-1] == Frame(FIN | CLOSE, b"\x03\xf3a message was broken off")
        assert not any(frame.last for frame in list(peer.frames)[:-1])
        peer.frames.clear()


@pytest.mark.parametrize("make", [generate, agenerate])
@on_each_loop
async def test_a_source_that_raises_at_once_harms_nobody(loop: Loop, make: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(KeyError):
            await client.writer.feed(make(KeyError()))
        await client.writer.send("nothing was sent of it")
        assert await peer.message() == "nothing was sent of it"


@pytest.mark.parametrize("begun", [False, True])
@on_memory
async def test_a_silent_source_is_1008(loop: MemoryLoop, begun: bool) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        if begun:
            await buffer.write(b"begun")
        feeding = loop.spawn(client.writer.feed(buffer))
        waiting = loop.spawn(client.writer.send("waits"))
        await loop.settle()
        if begun:
            assert await peer.frame() == Frame(BINARY, b"begun")
        for _ in range(9):
            await loop.advance(1)
            peer.pong()  # the peer itself lives
        assert not feeding.done
        await loop.advance(1.1)
        with pytest.raises(ConnectionClosed) as caught:
            await feeding.wait()
        assert caught.value.code == 1008
        assert caught.value.client is client
        with pytest.raises(ConnectionClosed):
            await waiting.wait()
        assert await peer.closed() == (1008, "the source of a message brought nothing for 10 s")


@on_memory
async def test_a_source_that_brings_something_now_and_then_may_take_its_time(
    loop: MemoryLoop,
) -> None:
    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        feeding = loop.spawn(client.writer.feed(buffer))
        for _ in range(20):
            await loop.advance(4)
            await buffer.write(b"x")
            await loop.settle()
            peer.pong()
        buffer.feed_eof()
        await feeding.wait()
        assert await peer.message() == b"x" * 20


@on_memory
async def test_a_silent_generator_is_1008(loop: MemoryLoop) -> None:
    never = running().signal()

    async def silent() -> AsyncIterator[str]:
        yield "begun"
        await never.wait()

    async with loop.serving(timeout=10) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        feeding = loop.spawn(client.writer.feed(silent()))
        await loop.settle()
        for _ in range(9):
            await loop.advance(1)
            peer.pong()  # the peer itself lives
        await loop.advance(1.1)
        with pytest.raises(ConnectionClosed) as caught:
            await feeding.wait()
        assert caught.value.code == 1008
        assert await peer.frame() == Frame(TEXT, b"begun")
        assert await peer.closed() == (1008, "the source of a message brought nothing for 10 s")


@on_memory
async def test_without_timeout_a_source_may_be_silent(loop: MemoryLoop) -> None:
    async with loop.serving(timeout=0) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        feeding = loop.spawn(client.writer.feed(buffer))
        await loop.advance(100_000)
        await buffer.write(b"at last")
        buffer.feed_eof()
        await feeding.wait()
        assert await peer.message() == b"at last"


@pytest.mark.parametrize("make", [generate, agenerate])
@on_each_loop
async def test_a_source_that_raises_a_timeout_error_of_its_own_is_1011(
    loop: Loop, make: Any
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        error = TimeoutError("mine")
        with pytest.raises(TimeoutError) as caught:
            await client.writer.feed(make("one", "two", error))
        assert caught.value is error
        await loop.until(lambda: peer.at_eof)
        assert peer.frames[-1] == Frame(FIN | CLOSE, b"\x03\xf3a message was broken off")
        peer.frames.clear()


# --- Cancellation, room, turns


@on_each_loop
async def test_a_cancelled_feed_fails_the_connection(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        await buffer.write(b"begun")
        feeding = loop.spawn(client.writer.feed(buffer))
        assert await peer.frame() == Frame(BINARY, b"begun")
        feeding.cancel()
        with pytest.raises(loop.cancelled):
            await feeding.wait()
        assert await peer.closed() == (1011, "a message was broken off")


@on_each_loop
async def test_but_not_where_nothing_was_sent(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        feeding = loop.spawn(client.writer.feed(Buffer()))
        await loop.checkpoint()
        feeding.cancel()
        with pytest.raises(loop.cancelled):
            await feeding.wait()
        await client.writer.send("and on")
        assert await peer.message() == "and on"


@on_memory
async def test_feed_waits_for_room(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        peer.stop_reading()
        feeding = loop.spawn(client.writer.feed(b"x" * 10_000 for _ in range(1000)))
        await loop.settle()
        assert client._session.pipe.waiting() < 200_000
        peer.start_reading()
        await feeding.wait()
        assert await peer.message() == b"x" * 10_000_000


@on_memory
async def test_drain_every(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        peer.stop_reading()
        loop.spawn(client.writer.feed((b"x" * 1000 for _ in range(1000)), drain_every=300_000))
        await loop.settle()
        assert 300_000 <= client._session.pipe.waiting() < 310_000
        peer.start_reading()
        assert await peer.message() == b"x" * 1_000_000


@on_each_loop
async def test_others_wait_in_order_and_control_frames_pass(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        buffer = Buffer()
        await buffer.write(b"begun, ")
        feeding = loop.spawn(client.writer.feed(buffer))
        assert await peer.frame() == Frame(BINARY, b"begun, ")
        sends = [loop.spawn(client.writer.send(name)) for name in "12"]
        await loop.checkpoint()
        await client.writer.ping(b"passes")
        assert await peer.frame() == Frame(FIN | PING, b"passes")
        await peer.nothing()
        await buffer.write(b"ended")
        buffer.feed_eof()
        for job in (feeding, *sends):
            await job.wait()
        frame = await peer.frame()
        assert (frame.opcode, frame.payload) == (CONTINUATION, b"ended")
        if not frame.last:  # where write() lets others run, the end comes too late for it
            assert await peer.frame() == Frame(FIN | CONTINUATION, b"")
        assert [await peer.message(), await peer.message()] == ["1", "2"]


@on_each_loop
async def test_feed_after_the_close_raises(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.close()
        with pytest.raises(ConnectionClosed):
            await client.writer.feed(["x"])
        await peer.closed()
