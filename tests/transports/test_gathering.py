"""What the callbacks of one read send leaves in one write for each connection."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import FIN, PING, PONG, TEXT, Frame, masked
from kit.log import Log
from kit.loops import AsyncioLoop, Loop, MemoryLoop, echo, on_asyncio, on_each_loop, on_memory
from kit.writes import counting
from wstransports import Client, ConnectionClosed, WebSocketReader, broadcast

unhurried = pytest.mark.usefixtures("unhurried")


@unhurried
@on_asyncio
async def test_the_answers_to_one_read_are_one_write(loop: AsyncioLoop) -> None:
    async with counting(loop, echo) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for number in range(64):
                peer.send(str(number))
        assert [await peer.message() for _ in range(64)] == [str(n) for n in range(64)]
        assert len(writes) == 1


@unhurried
@on_asyncio
async def test_pongs_and_answers_together(loop: AsyncioLoop) -> None:
    async with counting(loop, echo) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            peer.send("1")
            peer.ping(b"2")
            peer.send("3")
        await loop.until(lambda: len(peer.frames) == 3)
        assert len(writes) == 1
        peer.frames.clear()


@unhurried
@on_asyncio
async def test_answers_and_the_close_together(loop: AsyncioLoop) -> None:
    async with counting(loop, echo) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            peer.send("1")
            peer.close()
        assert await peer.message() == "1"
        assert await peer.closed() == (1000, "")
        assert len(writes) == 1


@unhurried
@on_asyncio
async def test_a_broadcast_is_one_write_for_each_connection(loop: AsyncioLoop) -> None:
    async with counting(loop) as counted:

        @counted.server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                message = await reader.get()
                for other in counted.server.clients.values():
                    await other.writer.send(message)

        ends = [await counted.connect() for _ in range(4)]
        await loop.until(lambda: len(counted.server.clients) == 4)
        sender, _ = ends[0]
        with sender.in_one_write():
            for number in range(20):
                sender.send(str(number))
        for peer, writes in ends:
            assert [await peer.message() for _ in range(20)] == [str(n) for n in range(20)]
            assert len(writes) == 1


@unhurried
@on_asyncio
async def test_broadcasts_of_several_messages_leave_together_and_that_of_one_at_once(
    loop: AsyncioLoop,
) -> None:
    async with counting(loop) as counted:
        written: list[list[int]] = []

        @counted.server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await broadcast(counted.server.clients, await reader.get())
                written.append([len(writes) for _, writes in ends])
                await client.writer.send("after")

        ends = [await counted.connect() for _ in range(3)]
        await loop.until(lambda: len(counted.server.clients) == 3)
        sender, its_writes = ends[0]
        with sender.in_one_write():
            for number in range(20):
                sender.send(str(number))
        for number in range(20):
            assert [await sender.message(), await sender.message()] == [str(number), "after"]
        for peer, _ in ends[1:]:
            assert [await peer.message() for _ in range(20)] == [str(n) for n in range(20)]
        assert written == [[0, 0, 0]] * 20
        assert [len(writes) for _, writes in ends] == [1, 1, 1]
        sender.send("alone")
        assert [await sender.message(), await sender.message()] == ["alone", "after"]
        for peer, _ in ends[1:]:
            assert await peer.message() == "alone"
        assert written[20:] == [[2, 2, 2]]
        assert len(its_writes) == 3


@unhurried
@on_asyncio
async def test_a_send_before_a_sleep_is_not_held_back(loop: AsyncioLoop) -> None:
    forever = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("1")
            await client.writer.send("2")
            await forever.wait()

    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert [await peer.message(), await peer.message()] == ["1", "2"]
        assert len(writes) == 1
        forever.set()


@unhurried
@on_asyncio
async def test_also_to_another_client(loop: AsyncioLoop) -> None:
    forever = loop.signal()
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await clients[0].writer.send("1")
            await clients[0].writer.send("2")
            await forever.wait()

    async with counting(loop, on_connection) as counted:
        other, writes = await counted.connect()
        peer, _ = await counted.connect()
        peer.send("")
        assert [await other.message(), await other.message()] == ["1", "2"]
        assert len(writes) == 1
        forever.set()


@unhurried
@on_asyncio
async def test_also_where_the_callback_raises(loop: AsyncioLoop, log: Log) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await clients[0].writer.send("to the other")
            await client.writer.send("to itself")
            raise KeyError

    async with counting(loop, on_connection) as counted:
        other, writes = await counted.connect()
        peer, own_writes = await counted.connect()
        peer.send("")
        assert await other.message() == "to the other"
        assert await peer.message() == "to itself"
        assert await peer.closed() == (1011, "")
        assert (len(writes), len(own_writes)) == (1, 1)
        log.tracebacks()


@unhurried
@on_asyncio
async def test_what_follows_a_suspension_is_written_at_once(loop: AsyncioLoop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("1")
            await asyncio.sleep(0)
            await client.writer.send("2")
            assert writes[-1].endswith(b"2")
            await client.writer.send("3")
            assert writes[-1].endswith(b"3")

    writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert [await peer.message() for _ in range(3)] == ["1", "2", "3"]
        assert len(writes) == 3


@unhurried
@on_asyncio
async def test_a_send_from_a_task_is_written_at_once(loop: AsyncioLoop) -> None:
    async with counting(loop) as counted:
        peer, writes = await counted.connect()
        client = await only_client(loop, counted.server)
        await client.writer.send("1")
        assert len(writes) == 1
        await client.writer.ping()
        assert len(writes) == 2
        await client.writer.pong(0, b"")
        assert len(writes) == 3
        assert await peer.message() == "1"
        assert (await peer.frame()).opcode == PING
        assert (await peer.frame()).opcode == PONG


@unhurried
@on_asyncio
async def test_a_task_that_a_callback_starts_is_outside_too(loop: AsyncioLoop) -> None:
    async def send(client: Client) -> None:
        for number in "345":
            await client.writer.send(number)

    tasks: list[asyncio.Task[None]] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("1")
            tasks.append(asyncio.create_task(send(client)))
            await client.writer.send("2")

    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert [await peer.message() for _ in range(5)] == list("12345")
        assert len(writes) == 4


@on_asyncio
async def test_more_than_64_kib_leaves_at_once(loop: AsyncioLoop) -> None:
    async with counting(loop, echo, read_limit=10**6) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for _ in range(64):
                peer.send(b"x" * 10_000)
        assert [await peer.message() for _ in range(64)] == [b"x" * 10_000] * 64
        assert all(len(data) < 65536 + 10_100 for data in writes)


@unhurried
@on_asyncio
async def test_a_large_payload_is_written_as_it_is_after_what_was_gathered(
    loop: AsyncioLoop,
) -> None:
    """Joining it to its header would copy it."""
    payload = b"x" * 1_000_000

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send("before")
            await client.writer.send(payload)

    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert await peer.message() == "before"
        assert await peer.message() == payload
        assert [len(data) for data in writes] == [8 + 10, len(payload)]
        assert writes[1] is payload


@on_memory
async def test_what_was_gathered_goes_out_before_a_wait_for_room(loop: MemoryLoop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            for _ in range(100):
                await client.writer.send(b"x" * 1000)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        peer.stop_reading()
        peer.send("")
        await loop.settle()
        assert client._session.core.unsent == 0
        assert client._session.pipe.waiting() > 65_000
        peer.start_reading()
        for _ in range(100):
            assert await peer.message() == b"x" * 1000


@on_each_loop
async def test_nothing_stays_gathered_when_a_callback_waits_for_anything(loop: Loop) -> None:
    """Whatever a callback waits for, what it sent before is on its way."""
    waits: dict[str, Callable[[Client, WebSocketReader], Any]] = {
        "the rest of its message": lambda client, reader: reader.get(),
        "a checkpoint": lambda client, reader: loop.checkpoint(),
        "a signal": lambda client, reader: loop.signal().wait(),
        "its close": lambda client, reader: client.close(),
    }

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            name = (await reader.read(1)).decode()
            await client.writer.send("sent before")
            await list(waits.values())[int(name)](client, reader)

    async with loop.serving(on_connection, close_timeout=0.1, shutdown_timeout=0.1) as server:
        for index in range(len(waits)):
            peer = await loop.connect(server)
            peer.part(str(index))
            assert await peer.message() == "sent before"
            peer.reset()


@on_each_loop
async def test_callbacks_enter_the_core_again(loop: Loop) -> None:
    """All events of a read come first, callbacks after; these send at once."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            name = await reader.get(str)
            await client.writer.send(f"{name} first")
            async with client.writer.fragment() as stream:
                await stream.send(f"{name} ")
                await client.writer.ping(name.encode())
                await stream.send("second")
            await client.writer.feed([f"{name} ", "third"])

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            await client.writer.send(f"ping {payload.decode()}")
            await client.writer.pong(length, payload)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("1")
            peer.ping(b"2")
            peer.send("3")
            peer.close()
        frames = [await peer.frame() for _ in range(14)]
        assert await peer.closed() == (1000, "")
        # on_ping and on_message are two sequences: each keeps its order.
        pong = Frame(FIN | PONG, b"2")
        assert frames.index(Frame(FIN | TEXT, b"ping 2")) < frames.index(pong)
        assert [frame.payload.decode() for frame in frames if b"2" not in frame.payload] == [
            *("1 first", "1", "1 ", "second", "1 ", "third"),
            *("3 first", "3", "3 ", "second", "3 ", "third"),
        ]


@on_each_loop
async def test_a_callback_closes_at_once_during_a_read(loop: Loop, log: Log) -> None:
    got: list[Any] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append(await reader.get())
            client._session.fail(4000, "enough")
            with pytest.raises(ConnectionClosed):
                await client.writer.send("x")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in range(600):
                peer.send(str(number))
            peer.raw(masked(0x83))
        assert (await peer.closed())[0] == 4000
        log.lines()


# --- Slices and fairness


@on_memory
async def test_a_flood_of_tiny_frames_lets_others_run(loop: MemoryLoop) -> None:
    """A read of 10,000 frames whose callbacks take 0.1 ms each: nobody waits for a second."""
    gaps: list[float] = []
    answered = 0

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            nonlocal answered
            loop.hold(0.0001)
            answered += 1

    async def watch() -> None:
        last = loop.now()
        while answered < 10_000:
            await loop.checkpoint()
            gaps.append(loop.now() - last)
            last = loop.now()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = 10**6
        watching = loop.spawn(watch())
        peer.raw(masked(0x81) * 10_000)
        await watching.wait()
        # A slice of 256 frames is not interrupted, and 5 ms may have passed before it.
        assert max(gaps) <= 0.005 + 256 * 0.0001 + 0.0001
        assert sum(gaps) == pytest.approx(1)
        await peer.nothing()


@on_memory
async def test_two_floods_take_turns(loop: MemoryLoop) -> None:
    order: list[str] = []

    async def on_connection(client: Client) -> None:
        name = client.request.path

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(0.0001)
            if not order or order[-1] != name:
                order.append(name)

    async with loop.serving(on_connection) as server:
        peers = [await loop.connect(server, target=path) for path in ("/a", "/b")]
        loop.runtime.chunk = 10**6
        for peer in peers:
            peer.raw(masked(0x81) * 2000)
        for peer in peers:
            await peer.nothing()
        assert len(order) > 8


@on_memory
async def test_the_rest_of_a_read_is_handled_before_what_comes_later(loop: MemoryLoop) -> None:
    got: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(0.001)
            got.append(await reader.get(str))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = 10**6
        for start in range(0, 3000, 1000):
            with peer.in_one_write():
                for number in range(start, start + 1000):
                    peer.send(str(number))
            await loop.checkpoint()
        await peer.nothing()
        assert got == [str(number) for number in range(3000)]


@on_memory
async def test_a_close_after_a_flood_is_answered_after_it(loop: MemoryLoop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(0.001)
            await client.writer.send(await reader.get())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = 10**6
        with peer.in_one_write():
            for number in range(2000):
                peer.send(str(number))
            peer.close()
        peer.end()
        assert [await peer.message() for _ in range(2000)] == [str(n) for n in range(2000)]
        assert await peer.closed() == (1000, "")


@on_memory
async def test_what_came_before_a_loss_is_delivered(loop: MemoryLoop) -> None:
    got = 0
    reported: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            nonlocal got
            loop.hold(0.001)
            got += 1

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append(got)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        loop.runtime.chunk = 10**6
        peer.raw(masked(0x81) * 2000)
        await loop.checkpoint()
        peer.reset()
        await loop.settle()
        assert got == 2000
        assert reported == [2000]
