"""WebSocketWriter: send, ping and pong, and waiting for room."""

from typing import Any

import pytest
from harness import Frame, Log, MemoryWorld, World, echo

from wscore import DataType
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer, WebSocketWriter


async def only_client(world: World, server: WebSocketServer) -> Client:
    """The one client there is."""
    await world.until(lambda: len(server.clients) == 1)
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
async def test_send_is_one_frame(world: World, data: Any, type: DataType, payload: bytes) -> None:
    async with world.serving() as server:
        peer = await world.connect(server, max_message_size=None)
        client = await only_client(world, server)
        assert isinstance(client.writer, WebSocketWriter)
        sending = world.spawn(client.writer.send(data))
        assert await peer.frame() == Frame(type, payload)
        await sending.wait()


async def test_subclasses_of_str_and_bytes(world: World) -> None:
    class Name(str):
        __slots__ = ()

    class Blob(bytes):
        __slots__ = ()

    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        await client.writer.send(Name("ann"))
        await client.writer.send(Blob(b"blob"))
        assert [await peer.message(), await peer.message()] == ["ann", b"blob"]


@pytest.mark.parametrize("data", [None, 5, ["list"], {"a": 1}, object(), 1.5])
async def test_anything_else_is_a_type_error_that_names_the_mend(world: World, data: Any) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(TypeError, match=r"str.*bytes"):
            await client.writer.send(data)
        await client.writer.send("undisturbed")
        assert await peer.message() == "undisturbed"


async def test_a_str_that_is_no_unicode_raises_and_sends_nothing(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(UnicodeEncodeError):
            await client.writer.send("\ud800")
        await peer.nothing()


async def test_a_bytearray_may_be_changed_after_the_send(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        data = bytearray(b"before")
        await client.writer.send(data)
        data[:] = b"after "
        assert await peer.message() == b"before"


async def test_force_is_accepted_and_changes_nothing(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        await client.writer.send("one", True)
        await client.writer.send("two", force=True)
        await client.writer.feed(["three"], force=True)
        assert [await peer.message() for _ in range(3)] == ["one", "two", "three"]


async def test_sends_of_many_tasks_keep_their_order(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        sends = [world.spawn(client.writer.send(str(number))) for number in range(100)]
        assert [await peer.message() for _ in range(100)] == [str(n) for n in range(100)]
        for send in sends:
            await send.wait()


# --- Room


async def test_send_waits_while_there_is_no_room(memory: MemoryWorld) -> None:
    async with memory.serving() as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        sent = 0
        waiting = None
        while waiting is None:
            sending = memory.spawn(client.writer.send(b"x" * 10_000))
            await memory.settle()
            sent += 1
            if not sending.done:
                waiting = sending
        assert 6 <= sent <= 8  # at the high-water mark
        # Whoever sends meanwhile is queued in order, and waits too.
        other = memory.spawn(client.writer.send(b"other"))
        await memory.settle()
        assert not other.done
        peer.start_reading()
        await waiting.wait()
        await other.wait()
        for _ in range(sent):
            assert await peer.message() == b"x" * 10_000
        assert await peer.message() == b"other"


async def test_also_over_sockets(real: World) -> None:
    sent = 0
    enough = False

    async def on_connection(client: Client) -> None:
        nonlocal sent
        while not enough:
            await client.writer.send(b"x" * 100_000)
            sent += 1

    async with real.serving(on_connection) as server:
        peer = await real.dial(server)
        peer.handshake()
        peer.stop_reading()
        # The kernel takes some megabytes, and then no more.
        before = -1
        while sent > before:
            before = sent
            for _ in range(1000):
                await real.checkpoint()
        assert 0 < sent < 1000
        peer.start_reading()
        await real.until(lambda: sent > before + 100)
        enough = True
        await real.until(lambda: server.clients)
        peer.frames.clear()


async def test_a_cancelled_wait_takes_nothing_back(memory: MemoryWorld) -> None:
    async with memory.serving() as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        sending = memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.settle()
        assert not sending.done
        sending.cancel()
        with pytest.raises(memory.cancelled):
            await sending.wait()
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        await client.writer.send("and on")
        assert await peer.message() == "and on"


async def test_sends_that_wait_raise_when_the_connection_is_lost(real: World) -> None:
    raised: list[Any] = []

    async def flood(client: Client) -> None:
        try:
            for _ in range(10_000):
                await client.writer.send(b"x" * 100_000)
        except ConnectionClosed as closed:
            raised.append((closed.code, closed.client is client))

    async with real.serving() as server:
        peer = await real.connect(server)
        client = await only_client(real, server)
        peer.stop_reading()
        jobs = [real.spawn(flood(client)) for _ in range(3)]
        for _ in range(100):
            await real.checkpoint()
        peer.reset()
        for job in jobs:
            await job.wait()
        assert raised == [(1006, True)] * 3


async def test_a_send_that_waits_raises_when_the_connection_is_lost(memory: MemoryWorld) -> None:
    async with memory.serving() as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        sending = memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.settle()
        peer.reset()
        with pytest.raises(ConnectionClosed):
            await sending.wait()


async def test_a_callback_that_cannot_send_stops_reading_its_own_peer(memory: MemoryWorld) -> None:
    """An echo server whose peer sends and never reads holds a bounded amount of it."""
    async with memory.serving(echo, read_limit=10_000) as server:
        peer = await memory.connect(server)
        peer.stop_reading()
        for _ in range(100):
            peer.send(b"x" * 10_000)
        await memory.settle()
        assert peer.waiting() > 700_000
        peer.start_reading()
        for _ in range(100):
            assert await peer.message() == b"x" * 10_000


# --- ping, pong


async def test_ping(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        for payload in (b"", b"payload", b"x" * 125):
            await client.writer.ping(payload)
            assert await peer.frame() == Frame(DataType.PING, payload)
        await client.writer.ping()
        assert await peer.frame() == Frame(DataType.PING, b"")


async def test_pong_takes_the_length_first(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        for payload in (b"", b"payload", b"x" * 125):
            await client.writer.pong(len(payload), payload)
            assert await peer.frame() == Frame(DataType.PONG, payload)


@pytest.mark.parametrize("payload", [b"x" * 126, b"x" * 70_000])
async def test_an_over_long_payload_raises(world: World, payload: bytes) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(ValueError, match="125 bytes"):
            await client.writer.ping(payload)
        with pytest.raises(ValueError, match="125 bytes"):
            await client.writer.pong(len(payload), payload)
        await peer.nothing()


@pytest.mark.parametrize("length", [0, 6, 8, -1])
async def test_a_length_that_is_not_the_payloads_raises(world: World, length: int) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(ValueError, match="7 bytes, not"):
            await client.writer.pong(length, b"payload")
        await peer.nothing()


@pytest.mark.parametrize("payload", ["text", 5, None])
async def test_a_payload_that_is_not_bytes_raises(world: World, payload: Any) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(TypeError, match="bytes"):
            await client.writer.ping(payload)
        with pytest.raises(TypeError, match="bytes"):
            await client.writer.pong(4, payload)
        await peer.nothing()


async def test_pong_with_its_arguments_swapped_names_the_order(world: World) -> None:
    async with world.serving() as server:
        await world.connect(server)
        client = await only_client(world, server)
        with pytest.raises(TypeError, match=r"pong\(len\(payload\), payload\)"):
            await client.writer.pong(b"payload", 7)  # type: ignore[arg-type]


async def test_pings_do_not_wait_for_room(memory: MemoryWorld) -> None:
    async with memory.serving() as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.settle()
        await client.writer.ping(b"payload")
        await client.writer.pong(0, b"")
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        assert await peer.frame() == Frame(DataType.PING, b"payload")
        assert await peer.frame() == Frame(DataType.PONG, b"")


# --- Pings of a peer that does not read


async def test_when_output_is_blocked_only_the_latest_ping_is_answered(memory: MemoryWorld) -> None:
    async with memory.serving(echo) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        sending = memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.settle()
        with peer.in_one_write():
            for number in range(100):
                peer.ping(str(number).encode())
        await memory.settle()
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        assert await peer.frame() == Frame(DataType.PONG, b"99")
        await sending.wait()
        await peer.nothing()


async def test_and_reading_stops(memory: MemoryWorld) -> None:
    async with memory.serving(echo) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        memory.spawn(client.writer.send(b"x" * 100_000))
        await memory.settle()
        peer.ping()
        await memory.settle()
        for _ in range(10_000):
            peer.ping(b"flood")
        await memory.settle()
        assert peer.waiting() == 10_000 * 11
        assert client._session.pipe.waiting() < 101_000
        peer.start_reading()
        assert await peer.message() == b"x" * 100_000
        await memory.settle()
        assert {frame.type for frame in peer.frames} == {DataType.PONG}
        assert peer.frames[-1].payload == b"flood"
        peer.frames.clear()
        await peer.nothing()


async def test_a_flood_of_pings_that_nobody_reads_answers_to(memory: MemoryWorld) -> None:
    """The pongs themselves are what blocks the output."""
    async with memory.serving(echo) as server:
        peer = await memory.connect(server)
        client = await only_client(memory, server)
        peer.stop_reading()
        for _ in range(100):
            with peer.in_one_write():
                for _ in range(100):
                    peer.ping(b"x" * 125)
            await memory.settle()
        assert client._session.pipe.waiting() < 150_000
        assert peer.waiting() > 1_000_000
        peer.start_reading()
        await memory.settle()
        assert {frame.type for frame in peer.frames} == {DataType.PONG}
        peer.frames.clear()
        await peer.nothing()


# --- closed


async def test_closed(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        client = await only_client(world, server)
        assert client.writer.closed is False
        await client.close()
        assert client.writer.closed is True
        await peer.closed()


# --- From inside callbacks to others


async def test_a_broadcast_to_a_client_that_does_not_read_waits_for_it_alone(
    memory: MemoryWorld, log: Log
) -> None:
    async with memory.serving(timeout=0) as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                message = await reader.get()
                for other in server.clients.values():
                    await other.writer.send(message)

        stuck, sender, third = [await memory.connect(server) for _ in range(3)]
        stuck.stop_reading()
        sender.send(b"x" * 100_000)
        await memory.settle()
        assert not sender.frames
        third.ping(b"alive")
        assert await third.frame() == Frame(DataType.PONG, b"alive")
        stuck.reset()
        await memory.settle()
        # Its end ends this broadcast, and nothing else.
        sender.send("next")
        assert await sender.message() == "next"
        assert await third.message() == "next"
        assert log.lines() == [
            "on_message ended because another client is gone:"
            " 1006 (connection lost without a Close): the connection was lost"
        ]
