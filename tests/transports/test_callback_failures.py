"""What leaves a callback is never swallowed, and ends its own client's callbacks only."""

import asyncio
import gc
import logging
import types
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any

import pytest

from kit.blocking_peer import BlockingPeer
from kit.connecting import connecting
from kit.frames import CLOSE, FIN, PONG, Frame
from kit.log import Log
from kit.loops import (
    AsyncioLoop,
    Loop,
    MemoryLoop,
    echo,
    on_asyncio,
    on_each_loop,
    on_memory,
)
from wstransports import (
    Client,
    ConnectionClosed,
    Reasons,
    Request,
    State,
    WebSocketReader,
    WebSocketServer,
)
from wstransports.runtime import in_context

Failing = Callable[[Loop], Awaitable[None]]


class Odd(BaseException):
    """Not an Exception."""


async def odd(loop: Loop) -> None:
    raise Odd


async def pytests_failure(loop: Loop) -> None:
    pytest.fail("an assertion of the user's test")


async def generators_end(loop: Loop) -> None:
    raise GeneratorExit


async def group_of_a_generators_end(loop: Loop) -> None:
    raise BaseExceptionGroup("of a task group", [GeneratorExit()])


async def odd_group(loop: Loop) -> None:
    raise BaseExceptionGroup("of a task group", [Odd(), KeyError()])


async def another_tasks_cancellation(loop: Loop) -> None:
    """What awaiting a task raises that somebody cancelled."""
    signal = loop.signal()

    async def wait() -> None:
        await signal.wait()

    job = loop.spawn(wait())
    await loop.checkpoint()
    job.cancel()
    await job.wait()


FAILINGS = [
    odd,
    pytests_failure,
    generators_end,
    group_of_a_generators_end,
    odd_group,
    another_tasks_cancellation,
]


@pytest.mark.parametrize("failing", FAILINGS)
@pytest.mark.parametrize("callback", ["connection", "message", "ping", "pong", "closed"])
@on_each_loop
async def test_what_is_not_an_exception_closes_with_1011(
    loop: Loop, log: Log, callback: str, failing: Failing
) -> None:
    async def fail(*arguments: object) -> None:
        await failing(loop)

    async def on_connection(client: Client) -> None:
        if client.request.path == "/good":
            await echo(client)
        elif callback == "connection":
            await fail()
        else:
            getattr(client, callback)(fail)

    async with loop.serving(on_connection) as server:
        good = await loop.connect(server, target="/good")
        bad = await loop.connect(server, target="/bad")
        if callback == "message":
            bad.send("")
        elif callback == "ping":
            bad.ping()
        elif callback == "pong":
            bad.pong()
        elif callback == "closed":
            bad.close()
        assert await bad.closed() == (1000 if callback == "closed" else 1011, "")
        await loop.until(lambda: log.records)
        [(line, _)] = log.tracebacks()
        assert line == f"on_{callback} raised"
        good.send("undisturbed")
        assert await good.message() == "undisturbed"


async def check_that_it_is_a_500(loop: Loop, log: Log, process_request: Any) -> None:
    async with loop.serving(echo, process_request=process_request) as server:
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        [(line, _)] = log.tracebacks()
        assert line == "process_request raised"


@pytest.mark.parametrize("failing", FAILINGS)
@on_each_loop
async def test_in_process_request_it_is_a_500(loop: Loop, log: Log, failing: Failing) -> None:
    async def process_request(request: Request) -> None:
        await failing(loop)

    await check_that_it_is_a_500(loop, log, process_request)


@on_each_loop
async def test_also_where_process_request_is_not_async(loop: Loop, log: Log) -> None:
    def process_request(request: Request) -> None:
        raise Odd

    await check_that_it_is_a_500(loop, log, process_request)


@on_each_loop
async def test_in_process_request_no_departure_is_harmless(loop: Loop, log: Log) -> None:
    """Nobody would answer the request."""
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async def process_request(request: Request) -> None:
        if clients:
            await clients[0].writer.send("somebody comes")

    async with loop.serving(on_connection, process_request=process_request) as server:
        gone = await loop.connect(server)
        await loop.until(lambda: clients)
        gone.close()
        await gone.closed()
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        [(line, error)] = log.tracebacks()
        assert line == "process_request raised"
        assert isinstance(error, ConnectionClosed)


# --- Cancellation by somebody else


async def cancelled_callback(loop: Loop, tasks: list[Any]) -> Callable[[Client], Any]:
    """An on_connection whose on_message hangs, and tells its task."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            task = (
                loop.runtime.current_task()
                if isinstance(loop, MemoryLoop)
                else asyncio.current_task()
            )
            tasks.append(task)
            await loop.signal().wait()

    return on_connection


@on_asyncio
async def test_a_callback_cancelled_from_outside_closes_its_client(
    loop: AsyncioLoop, log: Log
) -> None:
    tasks: list[Any] = []
    async with loop.serving(await cancelled_callback(loop, tasks)) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("hang")
            peer.send("is not delivered")
        await loop.until(lambda: tasks)
        tasks[0].cancel()
        assert await peer.closed() == (1011, "")
        assert len(tasks) == 1
        assert log.lines() == ["on_message was cancelled"]


@on_asyncio
async def test_that_is_logged_in_the_context_of_the_client(loop: AsyncioLoop, log: Log) -> None:
    """Where a filter or formatter of the user finds what on_connection has set."""
    name: ContextVar[str] = ContextVar("name")
    tasks: list[Any] = []
    names: list[str | None] = []
    set_up = await cancelled_callback(loop, tasks)

    async def on_connection(client: Client) -> None:
        name.set("Ada")
        await set_up(client)

    def note(record: logging.LogRecord) -> bool:
        names.append(name.get(None))
        return True

    log.addFilter(note)
    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.send("hang")
        await loop.until(lambda: tasks)
        tasks[0].cancel()
        assert await peer.closed() == (1011, "")
        assert log.lines() == ["on_message was cancelled"]
        assert names == ["Ada"]


@on_memory
async def test_it_is_not_cancelled_by_others_if_the_server_ends_soon_after(
    loop: MemoryLoop, log: Log
) -> None:
    """As where a loop that shuts down cancels all of its tasks."""
    tasks: list[Any] = []
    async with loop.serving(await cancelled_callback(loop, tasks)) as server:
        peer = await loop.connect(server)
        peer.send("hang")
        await loop.settle()
        tasks[0].cancel()
        await loop.settle()
    assert await peer.closed() == (1001, "")
    await loop.advance(0.2)  # past the time when it would count
    assert log.lines() == []


@on_memory
async def test_cancelled_in_process_request(loop: MemoryLoop, log: Log) -> None:
    tasks: list[Any] = []

    async def process_request(request: Request) -> None:
        tasks.append(loop.runtime.current_task())
        await loop.signal().wait()

    async with loop.serving(echo, process_request=process_request) as server:
        peer = await loop.dial(server)
        peer.handshake()
        await loop.settle()
        tasks[0].cancel()
        await loop.advance(0.2)
        assert (await peer.answer()).status == 500
        assert log.lines() == ["process_request was cancelled"]


def test_a_loop_that_shuts_down_is_not_a_failure(log: Log) -> None:
    """asyncio.run() cancels the callbacks in the same moment as the task of the server."""
    peers: list[BlockingPeer] = []

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, close_timeout=0.2)
        hanging = asyncio.Event()

        @server.connection
        async def on_connection(client: Client) -> None:
            hanging.set()
            await asyncio.Event().wait()

        def visit(port: int) -> None:
            peer = BlockingPeer(port)
            peers.append(peer)
            peer.connect()

        serving = asyncio.create_task(server.serve_forever())
        while not server.port:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0)
        await asyncio.to_thread(visit, server.port)
        await hanging.wait()
        assert not serving.done()

    asyncio.run(main())
    assert peers[0].frame() == Frame(FIN | CLOSE, Reasons.GOING_AWAY.to_bytes(2))
    peers[0].leave()
    assert log.lines() == []


@pytest.mark.parametrize("grouped", [False, True])
def test_what_ends_the_program_goes_on_and_closes_the_client(log: Log, grouped: bool) -> None:
    peers: list[BlockingPeer] = []
    error = SystemExit(3)

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, close_timeout=0.2)

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                raise BaseExceptionGroup("of a task group", [error]) if grouped else error

        def visit(port: int) -> None:
            peer = BlockingPeer(port)
            peers.append(peer)
            peer.connect()
            peer.send("end")
            assert peer.frame() == Frame(FIN | CLOSE, Reasons.UNEXPECTED_CONDITION.to_bytes(2))

        async with server:
            await asyncio.to_thread(visit, server.port)
            if not grouped:
                await asyncio.Event().wait()

    if grouped:
        asyncio.run(main())
    else:
        with pytest.raises(SystemExit):
            asyncio.run(main())
    peers[0].leave()
    error.__traceback__ = None  # whose frames keep the task
    gc.collect()
    assert {record.name for record in log.records} == {"asyncio"}  # as with any task
    log.records.clear()


@on_asyncio
async def test_so_it_does_in_a_group_with_harmless_departures(loop: AsyncioLoop, log: Log) -> None:
    """As from a task group that was sending to clients when its task was cancelled."""
    taken: list[str | bytes] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            taken.append(await reader.get())
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            try:
                await loop.signal().wait()
            except asyncio.CancelledError as cancelled:
                left = ConnectionClosed(Reasons.NORMAL, "", client)
                raise BaseExceptionGroup("of a task group", [left, cancelled]) from None

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("fail")
            peer.send("is not delivered")
        assert await peer.closed() == (1011, "")
        assert taken == ["fail"]
    gc.collect()
    ours = [record.getMessage() for record in log.records if record.name == "wstransports"]
    assert [line.partition(": ")[2] for line in ours] == ["on_message was cancelled"]
    log.records.clear()  # and asyncio's line about the task


@pytest.mark.parametrize("steps_in_context", [False, True])
@on_memory
async def test_the_closing_of_its_coroutine_is_not_a_failure(
    loop: MemoryLoop, log: Log, steps_in_context: bool
) -> None:
    """As where the collector finds the task after the end of its loop."""
    ended: list[BaseException] = []

    @types.coroutine
    def park() -> Generator[None, None, None]:
        yield

    async def hang() -> None:
        try:
            await park()
        except GeneratorExit as error:
            ended.append(error)
            raise

    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async with loop.serving(on_connection) as server:
        await loop.connect(server)
        await loop.until(lambda: clients)
        callbacks = clients[0]._session.callbacks
        coroutine = callbacks.call("on_message", hang)
        steps = in_context(coroutine, callbacks.context) if steps_in_context else coroutine
        steps.send(None)
        steps.close()
        assert len(ended) == 1
        assert log.lines() == []
        assert clients[0].state is State.OPEN


# --- After a failure


@pytest.mark.parametrize("failing", ["on_ping", "on_pong", "on_message"])
@on_each_loop
async def test_after_a_failure_no_callback_runs_but_on_closed(
    loop: Loop, log: Log, failing: str
) -> None:
    """The peer's further pings once wrote a traceback each, until the connection was gone."""
    calls: list[str] = []

    def note(name: str) -> None:
        calls.append(name)
        if name == failing:
            raise ZeroDivisionError

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            note("on_message")

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            note("on_ping")

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            note("on_pong")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            note("on_closed")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        first = {"on_ping": peer.ping, "on_pong": peer.pong, "on_message": lambda: peer.send("")}
        with peer.in_one_write():
            first[failing]()
            peer.ping()
            peer.pong()
            peer.send("")
        assert await peer.frame() == Frame(FIN | CLOSE, b"\x03\xf3")
        for _ in range(20):
            peer.ping()
            peer.pong()
        for _ in range(20):  # pings are answered until the peer's Close
            assert (await peer.frame()).opcode == PONG
        peer.acknowledge()
        await loop.until(lambda: "on_closed" in calls)
        assert calls[-1] == "on_closed"
        assert calls.count(failing) == 1
        assert len(log.tracebacks()) == 1


@on_memory
async def test_what_waited_for_on_ping_and_on_pong_is_dropped(loop: MemoryLoop, log: Log) -> None:
    may_fail = loop.signal()
    calls: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            calls.append("ping")
            await may_fail.wait()
            raise ZeroDivisionError

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            calls.append("pong")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        for _ in range(5):
            peer.ping()
            peer.pong()
        await loop.settle()
        [client] = server.clients.values()
        assert client._session.inbox.unread > 0
        may_fail.set()
        assert await peer.closed() == (1011, "")
        assert calls == ["ping"]
        assert client._session.inbox.unread == 0
        assert len(log.tracebacks()) == 1


# --- ConnectionClosed about others


@on_each_loop
async def test_the_end_of_an_upstream_is_a_failure(loop: Loop, log: Log) -> None:
    """A bridge: its own client must hear that it is broken."""

    async def upstream(client: Client) -> None:
        await client.close(1000, "enough")

    async with loop.serving(upstream) as beyond:

        async def bridge(client: Client) -> None:
            async with connecting(beyond) as other:
                while True:
                    await client.writer.send(await other.receive())

        async with loop.serving(bridge) as server:
            peer = await loop.connect(server)
            assert await peer.closed() == (1011, "")
            [(line, error)] = log.tracebacks()
            assert line == "on_connection raised"
            assert isinstance(error, ConnectionClosed)
            assert error.code == 1000


@on_each_loop
async def test_so_is_that_of_another_servers_client(loop: Loop, log: Log) -> None:
    others: list[Client] = []

    async def remember(client: Client) -> None:
        others.append(client)

    async with loop.serving(remember) as other_server:
        gone = await loop.connect(other_server)
        await loop.until(lambda: others)
        gone.close()
        await gone.closed()

        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await others[0].writer.send("hello?")

        async with loop.serving(on_connection) as server:
            peer = await loop.connect(server)
            peer.send("x")
            assert await peer.closed() == (1011, "")
            [(line, _)] = log.tracebacks()
            assert line == "on_message raised"


@on_each_loop
async def test_and_one_about_nobody(loop: Loop, log: Log) -> None:
    async def on_connection(client: Client) -> None:
        raise ConnectionClosed(Reasons.NORMAL, "made by the user")

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        assert await peer.closed() == (1011, "")
        assert len(log.tracebacks()) == 1


@on_each_loop
async def test_for_an_outgoing_client_everybody_else_is_a_stranger(loop: Loop, log: Log) -> None:
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)
        await echo(client)

    async with loop.serving(on_connection) as server:
        gone = await loop.connect(server)
        await loop.until(lambda: clients)
        gone.close()
        await gone.closed()
        async with connecting(server) as outgoing:
            closed = loop.signal()
            codes: list[int] = []

            @outgoing.message
            async def on_message(reader: WebSocketReader) -> None:
                await clients[0].writer.send("hello?")

            @outgoing.closed
            async def on_closed(code: int, reason: str) -> None:
                codes.append(code)
                closed.set()

            await outgoing.writer.send("x")
            await closed.wait()
            assert codes == [1011]
            [(line, _)] = log.tracebacks()
            assert line == "on_message raised"
