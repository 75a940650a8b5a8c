"""WebSocketWriter: send, ping and pong, and waiting for room."""

from typing import Any

import pytest

from kit.frames import FIN, PING, PONG, Frame
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, on_sockets
from wscore import DataType
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer, WebSocketWriter


async def only_client(loop: Loop, server: WebSocketServer) -> Client:
    """The one client there is."""
    await loop.until(lambda: len(server.clients) == 1)
    [client] = server.clients.values()
    return client


# --- send


@pytest.mark.parametrize(
    ("data", "type", "payload"),
    [
        ("text", DataType.TEXT, b"text"),
        ("é😀", DataType.TEXT, "é😀".encode()),
        ("", DataType.TEXT, b""),
        (b"binary", DataType.BINARY, b"binary"),
        (b"", DataType.BINARY, b""),
        (bytearray(b"binary"), DataType.BINARY, b"binary"),
        (memoryview(b"binary"), DataType.BINARY, b"binary"),
        (memoryview(b"binary")[::2], DataType.BINARY, b"bnr"),
        ("x" * 125, DataType.TEXT, b"x" * 125),
        ("x" * 126, DataType.TEXT, b"x" * 126),
        (b"x" * 65535, DataType.BINARY, b"x" * 65535),
        (b"x" * 65536, DataType.BINARY, b"x" * 65536),
        (b"x" * 2_000_000, DataType.BINARY, b"x" * 2_000_000),
    ],
)
@on_each_loop
async def test_send_is_one_frame(loop: Loop, data: Any, type: DataType, payload: bytes) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        assert isinstance(client.writer, WebSocketWriter)
        sending = loop.spawn(client.writer.send(data))
        assert await peer.frame() == Frame(FIN | type, payload)
        await sending.wait()


@on_each_loop
async def test_subclasses_of_str_and_bytes(loop: Loop) -> None:
    class Name(str):
        __slots__ = ()

    class Blob(bytes):
        __slots__ = ()

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.send(Name("ann"))
        await client.writer.send(Blob(b"blob"))
        assert [await peer.message(), await peer.message()] == ["ann", b"blob"]


@pytest.mark.parametrize("data", [None, 5, ["list"], {"a": 1}, object(), 1.5])
@on_each_loop
async def test_anything_else_is_a_type_error_that_names_the_mend(loop: Loop, data: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match=r"str.*bytes"):
            await client.writer.send(data)
        await client.writer.send("undisturbed")
        assert await peer.message() == "undisturbed"


@on_each_loop
async def test_a_str_that_is_not_unicode_raises_and_sends_nothing(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(UnicodeEncodeError):
            await client.writer.send("\ud800")
        await peer.nothing()


@on_each_loop
async def test_a_bytearray_may_be_changed_after_the_send(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        data = bytearray(b"before")
        await client.writer.send(data)
        data[:] = b"after "
        assert await peer.message() == b"before"


@on_each_loop
async def test_force_is_accepted_and_changes_nothing(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.send("one", True)
        await client.writer.send("two", force=True)
        await client.writer.feed(["three"], force=True)
        assert [await peer.message() for _ in range(3)] == ["one", "two", "three"]


@on_each_loop
async def test_sends_of_many_tasks_keep_their_order(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        sends = [loop.spawn(client.writer.send(str(number))) for number in range(100)]
        assert [await peer.message() for _ in range(100)] == [str(n) for n in range(100)]
        for send in sends:
            await send.wait()


# --- Room


@on_memory
async def test_send_waits_while_there_is_no_room(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sent = 0
        waiting = None
        while waiting is None:
            sending = loop.spawn(client.writer.send(b"x" * 10_000))
            await loop.settle()
            sent += 1
            if not sending.done:
                waiting = sending
        assert 6 <= sent <= 8  # at the high-water mark
        # Other senders queue in order meanwhile, and wait too.
        other = loop.spawn(client.writer.send(b"other"))
        await loop.settle()
        assert not other.done
        peer.start_reading()
        await waiting.wait()
        await other.wait()
        for _ in range(sent):
            assert await peer.message() == b"x" * 10_000
        assert await peer.message() == b"other"


@on_sockets
async def test_also_over_sockets(loop: Loop) -> None:
    sent = 0
    enough = False

    async def on_connection(client: Client) -> None:
        nonlocal sent
        while not enough:
            await client.writer.send(b"x" * 100_000)
            sent += 1

    async with loop.serving(on_connection) as server:
        peer = await loop.dial(server)
        peer.handshake()
        peer.stop_reading()
        # The kernel takes some megabytes, and then no more.
        before = -1
        while sent > before:
            before = sent
            for _ in range(1000):
                await loop.checkpoint()
        assert 0 < sent < 1000
        peer.start_reading()
        await loop.until(lambda: sent > before + 100)
        enough = True
        await loop.until(lambda: server.clients)
        peer.frames.clear()


@on_memory
async def test_a_cancelled_wait_takes_nothing_back(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.settle()
        assert not sending.done
        sending.cancel()
        with pytest.raises(loop.cancelled):
            await sending.wait()
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        await client.writer.send("and on")
        assert await peer.message() == "and on"


@on_sockets
async def test_sends_that_wait_raise_when_the_connection_is_lost(loop: Loop) -> None:
    raised: list[Any] = []

    async def flood(client: Client) -> None:
        try:
            for _ in range(10_000):
                await client.writer.send(b"x" * 100_000)
        except ConnectionClosed as closed:
            raised.append((closed.code, closed.client is client))

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        jobs = [loop.spawn(flood(client)) for _ in range(3)]
        for _ in range(100):
            await loop.checkpoint()
        peer.reset()
        for job in jobs:
            await job.wait()
        assert raised == [(1006, True)] * 3


@on_memory
async def test_a_send_that_waits_raises_when_the_connection_is_lost(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.settle()
        peer.reset()
        with pytest.raises(ConnectionClosed):
            await sending.wait()


@on_memory
async def test_a_callback_that_cannot_send_stops_reading_its_own_peer(loop: MemoryLoop) -> None:
    """An echo server whose peer sends and never reads holds a bounded amount of it."""
    async with loop.serving(echo, read_limit=10_000) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        for _ in range(100):
            peer.send(b"x" * 10_000)
        await loop.settle()
        assert peer.waiting() > 700_000
        peer.start_reading()
        for _ in range(100):
            assert await peer.message() == b"x" * 10_000


# --- ping, pong


@on_each_loop
async def test_ping(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for payload in (b"", b"payload", b"x" * 125):
            await client.writer.ping(payload)
            assert await peer.frame() == Frame(FIN | PING, payload)
        await client.writer.ping()
        await client.writer.ping()
        pings = [await peer.frame() for _ in range(2)]
        assert [(ping.first, len(ping.payload)) for ping in pings] == [(FIN | PING, 4)] * 2
        assert pings[0] != pings[1]  # so a pong shows which one it answers


@on_each_loop
async def test_pong_takes_the_length_first(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for payload in (b"", b"payload", b"x" * 125):
            await client.writer.pong(len(payload), payload)
            assert await peer.frame() == Frame(FIN | PONG, payload)


@pytest.mark.parametrize("payload", [b"x" * 126, b"x" * 70_000])
@on_each_loop
async def test_an_over_long_payload_raises(loop: Loop, payload: bytes) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(ValueError, match="125 bytes"):
            await client.writer.ping(payload)
        with pytest.raises(ValueError, match="125 bytes"):
            await client.writer.pong(len(payload), payload)
        await peer.nothing()


@pytest.mark.parametrize("length", [0, 6, 8, -1])
@on_each_loop
async def test_a_length_that_is_not_the_payloads_raises(loop: Loop, length: int) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(ValueError, match="7 bytes, not"):
            await client.writer.pong(length, b"payload")
        await peer.nothing()


@pytest.mark.parametrize("payload", ["text", 5, ["list"]])
@on_each_loop
async def test_a_payload_that_is_not_bytes_raises(loop: Loop, payload: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match="bytes"):
            await client.writer.ping(payload)
        with pytest.raises(TypeError, match="bytes"):
            await client.writer.pong(4, payload)
        await peer.nothing()


@on_each_loop
async def test_pong_with_its_arguments_swapped_names_the_order(loop: Loop) -> None:
    async with loop.serving() as server:
        await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(TypeError, match=r"pong\(len\(payload\), payload\)"):
            await client.writer.pong(b"payload", 7)  # type: ignore[arg-type]


@on_memory
async def test_pings_do_not_wait_for_room(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.settle()
        await client.writer.ping(b"payload")
        await client.writer.pong(0, b"")
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        assert await peer.frame() == Frame(FIN | PING, b"payload")
        assert await peer.frame() == Frame(FIN | PONG, b"")


# --- Pings of a peer that does not read


@on_memory
async def test_when_output_is_blocked_only_the_latest_ping_is_answered(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.settle()
        with peer.in_one_write():
            for number in range(100):
                peer.ping(str(number).encode())
        await loop.settle()
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        assert await peer.frame() == Frame(FIN | PONG, b"99")
        await sending.wait()
        await peer.nothing()


@on_memory
async def test_and_reading_stops(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        loop.spawn(client.writer.send(b"x" * 100_000))
        await loop.settle()
        peer.ping()
        await loop.settle()
        for _ in range(10_000):
            peer.ping(b"flood")
        await loop.settle()
        assert peer.waiting() == 10_000 * 11
        assert client._session.pipe.waiting() < 101_000
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        await loop.settle()
        assert {frame.opcode for frame in peer.frames} == {PONG}
        assert peer.frames[-1].payload == b"flood"
        peer.frames.clear()
        await peer.nothing()


@on_memory
async def test_a_flood_of_pings_that_nobody_reads_answers_to(loop: MemoryLoop) -> None:
    """The pongs themselves are what blocks the output."""
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        for _ in range(100):
            with peer.in_one_write():
                for _ in range(100):
                    peer.ping(b"x" * 125)
            await loop.settle()
        assert client._session.pipe.waiting() < 150_000
        assert peer.waiting() > 1_000_000
        peer.start_reading()
        await loop.settle()
        assert {frame.opcode for frame in peer.frames} == {PONG}
        peer.frames.clear()
        await peer.nothing()


# --- closed


@on_each_loop
async def test_closed(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        assert client.writer.closed is False
        await client.close()
        assert client.writer.closed is True
        await peer.closed()


# --- From inside callbacks to others


@on_memory
async def test_a_broadcast_to_a_client_that_does_not_read_waits_for_it_alone(
    loop: MemoryLoop, log: Log
) -> None:
    async with loop.serving(timeout=0) as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                message = await reader.get()
                for other in server.clients.values():
                    await other.writer.send(message)

        stuck, sender, third = [await loop.connect(server) for _ in range(3)]
        stuck.stop_reading()
        sender.send(b"x" * 100_000)
        await loop.settle()
        assert not sender.frames
        third.ping(b"alive")
        assert await third.frame() == Frame(FIN | PONG, b"alive")
        stuck.reset()
        await loop.settle()
        # Its end ends this broadcast, and nothing else.
        sender.send("next")
        assert await sender.message() == "next"
        assert await third.message() == "next"
        assert log.lines() == [
            "on_message ended because another client is closed:"
            " 1006 (connection lost without a Close): the connection was lost"
        ]
