"""Cases that few programs meet: each takes a way of its own through a connection."""

from collections.abc import AsyncIterator
from typing import Self

import pytest

import wstransports.batch
from kit.frames import Frame, masked
from kit.jobs import Job
from kit.log import Log
from kit.loops import AsyncioLoop, MemoryLoop, on_asyncio, on_memory
from wstransports import Client, ConnectionClosed, Request, Response, WebSocketReader, connect


@on_memory
async def test_an_answer_that_comes_after_the_handshake_failed(loop: MemoryLoop, log: Log) -> None:
    """process_request goes on although it is cancelled."""
    asked = loop.signal()

    async def process_request(request: Request) -> Response:
        asked.set()
        try:
            await loop.signal().wait()
        except loop.cancelled:
            pass
        return Response(200, {}, "too late")

    async with loop.serving(process_request=process_request, open_timeout=5) as server:
        peer = await loop.dial(server)
        peer.handshake()
        await asked.wait()
        await loop.advance(5)
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 503 ")
    [line] = log.lines()
    assert line.startswith("handshake failed: ")


@on_memory
async def test_of_the_pings_that_wait_among_pongs_the_latest_counts(loop: MemoryLoop) -> None:
    seen: list[str] = []
    may_go_on = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            seen.append(f"ping {payload.decode()}")

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            seen.append(f"pong {payload.decode()}")
            await may_go_on.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            for number in "12":
                peer.pong(number.encode())
            for number in "34":
                peer.ping(number.encode())
        await loop.settle()
        assert seen == ["pong 1"]
        may_go_on.set()
        await loop.settle()
        assert seen == ["pong 1", "pong 2", "ping 4"]


@on_memory
async def test_receive_after_a_callback_failed(loop: MemoryLoop, log: Log) -> None:
    """It raises that the connection closes, and does so again."""
    caught: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            raise ZeroDivisionError

        for _ in range(2):
            with pytest.raises(ConnectionClosed) as closed:
                await client.receive()
            caught.append(closed.value.code)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.ping()
        assert await peer.closed() == (1011, "")
    assert caught == [1011, 1011]
    [(what, error)] = log.tracebacks()
    assert what == "on_ping raised"
    assert isinstance(error, ZeroDivisionError)


@on_asyncio
async def test_a_slice_that_comes_due_while_too_much_is_unread(
    loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wstransports.batch, "WORK_AT_ONCE", 0)
    begun, may_go_on = loop.signal(), loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            begun.set()
            await may_go_on.wait()
            await client.writer.send("")

    async with loop.serving(on_connection, read_limit=1) as server:
        peer = await loop.connect(server)
        peer.raw(masked(0x81) * 600)
        await begun.wait()
        for _ in range(10):
            await loop.checkpoint()
        assert not peer.frames
        may_go_on.set()
        assert [await peer.message() for _ in range(600)] == [""] * 600


@on_memory
async def test_a_deadline_that_passes_between_two_slices(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the flood is dropped, in silence, when its turn comes before the stream's end."""
    monkeypatch.setattr(wstransports.batch, "WORK_AT_ONCE", -1)  # by a clock that stands still
    reported: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with loop.serving(on_connection, close_timeout=5) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        [session] = server._acceptor._sessions
        closing = loop.spawn(client.close())
        await loop.settle()
        peer.raw(masked(0x8A) * 50_000)
        await loop.until(lambda: session.core.more)
        loop.hold(5)
        session.on_alarm()  # as other loops do; this one calls timers when nothing else is to do
        await closing.wait()
        await loop.settle()
    assert reported == [(1006, "the Close was not answered within 5 s")]
    assert log.lines() == []


@on_memory
async def test_two_tasks_that_get_one_message(loop: MemoryLoop) -> None:
    messages: list[str | bytes] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            first = loop.spawn(reader.get())
            await loop.checkpoint()
            with pytest.raises(RuntimeError, match="use one task only"):
                await reader.get()
            messages.append(await first.wait())

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part("one ")
        await loop.settle()
        peer.part("message", last=True)
        await loop.settle()
        assert messages == ["one message"]


@on_memory
async def test_a_get_goes_on_when_another_task_looks_at_the_message(loop: MemoryLoop) -> None:
    """Looking moves the message to the buffer of the low-level reads: nothing of it is lost, it is
    counted once, and the limit of the get() holds."""
    seen: list[object] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            getting = loop.spawn(reader.get(max_size=11))
            await loop.checkpoint()
            seen.append(reader.empty())
            seen.append(await getting.wait())

    async with loop.serving(on_connection, read_limit=1) as server:
        peer = await loop.connect(server)
        for _ in range(2):
            for part in ("one ", "mess", "age"):
                peer.part(part, last=part == "age")
                await loop.settle()
        assert seen == [False, "one message"] * 2
        [session] = server._acceptor._sessions
        assert session.inbox.unread == 0
        peer.part("one ")
        await loop.settle()
        peer.part("messages", last=True)
        assert await peer.closed() == (1009, "a message is longer than 11 bytes")


@on_memory
async def test_a_task_that_reads_on_when_the_callback_has_returned(loop: MemoryLoop) -> None:
    """It raises, and what it had read counts no more."""
    jobs: list[Job[bytes]] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            jobs.append(loop.spawn(reader.read(100)))
            await loop.settle()

    async with loop.serving(on_connection, read_limit=1) as server:
        peer = await loop.connect(server)
        peer.part(b"first")
        await loop.settle()
        with pytest.raises(RuntimeError, match="the callback has returned"):
            await jobs[0].wait()
        peer.part(b"last", last=True)
        await peer.nothing()


@on_memory
async def test_binary_fragments_as_text(loop: MemoryLoop) -> None:
    messages: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            messages.append(await reader.get(str))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part(b"caf\xc3")
        await loop.settle()
        peer.part(b"\xa9", last=True)
        await loop.settle()
        assert messages == ["caf\xe9"]


@on_memory
async def test_without_timeouts_the_server_waits_for_its_clients(loop: MemoryLoop) -> None:
    server = loop.server(close_timeout=0, shutdown_timeout=0)
    await server.__aenter__()
    peer = await loop.connect(server)
    peer.answers_close = False
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.advance(10_000)
    assert not leaving.done
    peer.acknowledge()
    await leaving.wait()
    assert await peer.closed() == (1001, "")


@on_memory
async def test_feeding_from_an_iterator_that_raises(loop: MemoryLoop) -> None:
    """Unlike a generator, it has nothing to close."""

    class Numbers:
        left = 2

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> str:
            self.left -= 1
            return str(1 // self.left)

    numbers: AsyncIterator[str] = Numbers()
    async with loop.serving() as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        with pytest.raises(ZeroDivisionError):
            await client.writer.feed(numbers)
        assert await peer.frame() == Frame(0x01, b"1")
        assert await peer.closed() == (1011, "a message was broken off")


@on_memory
async def test_the_iterator_of_connections_is_its_own_iterator(loop: MemoryLoop) -> None:
    connections = aiter(connect("ws://127.0.0.1:1/"))
    assert aiter(connections) is connections
