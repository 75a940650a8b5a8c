"""`client.wait_closed()`: until the connection is over, however it ends."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from kit.connecting import connecting
from kit.jobs import Job
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, state_of
from kit.peer import Peer
from wscore import State
from wstransports import Client


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda peer: peer.close(4000, "enough"), 4000),
        (lambda peer: peer.close(), 1000),
        (lambda peer: peer.raw(b"\x83\x00"), 1002),
        (Peer.reset, 1006),
    ],
)
@on_each_loop
async def test_it_returns_when_the_connection_is_over_on_a_server(
    loop: Loop, log: Log, end: Callable[[Peer], None], code: int
) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        waiting = [loop.spawn(client.wait_closed()) for _ in range(2)]
        await peer.nothing()
        assert not any(one.done for one in waiting)
        end(peer)
        for one in waiting:
            await one.wait()
        assert (client.state, client.close_code) == (State.CLOSED, code)
        await client.wait_closed()  # at once
        peer.frames.clear()
        log.lines()


@on_each_loop
async def test_it_returns_when_the_connection_is_over_on_a_client(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await client.close(1012, "restart")

    async with loop.serving(on_connection) as server, connecting(server) as client:
        await client.wait_closed()
        assert (client.state, client.close_code) == (State.CLOSED, 1012)


@on_each_loop
async def test_it_returns_when_we_close(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        waiting = loop.spawn(client.wait_closed())
        await client.close(4001, "first")
        await waiting.wait()
        assert await peer.closed() == (4001, "first")


@on_each_loop
async def test_it_can_be_cancelled_and_closes_nothing(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        staying = loop.spawn(client.wait_closed())
        for _ in range(3):
            leaving = loop.spawn(client.wait_closed())
            await peer.nothing()
            leaving.cancel()
            with pytest.raises(loop.cancelled):
                await leaving.wait()
        peer.send("still open")
        assert await peer.message() == "still open"
        peer.close()
        await staying.wait()
        await peer.closed()


@on_memory
async def test_it_waits_for_the_peers_close(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        [client] = server.clients.values()
        closing = loop.spawn(client.close(4001, "first"))
        waiting = loop.spawn(client.wait_closed())
        await loop.settle()
        assert state_of(client) is State.CLOSING
        assert not waiting.done
        await peer.frame()
        peer.acknowledge()
        await closing.wait()
        await waiting.wait()


async def iterate(client: Client) -> str | bytes:
    async for message in client:
        return message
    raise AssertionError


@pytest.mark.parametrize("close_comes", ["with the message", "later"])
@pytest.mark.parametrize(
    "receive", [Client.receive, iterate, lambda client: client.receive(timeout=60)]
)
@on_each_loop
async def test_the_task_that_received_has_handled_its_message(
    loop: Loop, receive: Callable[[Client], Awaitable[str | bytes]], close_comes: str
) -> None:
    """The answer to the peer's Close waited for a call of receive(), up to `close_timeout`."""
    ended: list[object] = []
    received = loop.signal()

    async def on_connection(client: Client) -> None:
        ended.append(await receive(client))
        received.set()
        await client.wait_closed()
        ended.append(client.close_code)

    async with loop.serving(on_connection, close_timeout=0) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("last")
            if close_comes == "with the message":
                peer.close()
        await received.wait()
        if close_comes == "later":
            await peer.nothing()
            peer.close()
        assert await peer.closed() == (1000, "")
        await loop.until(lambda: len(ended) == 2)
        assert ended == ["last", 1000]


@on_each_loop
async def test_also_where_our_side_connected(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await client.writer.send("last")
        client.close_nowait(1012, "restart")

    async with (
        loop.serving(on_connection) as server,
        connecting(server, close_timeout=0) as client,
    ):
        assert await client.receive() == "last"
        await client.wait_closed()
        assert (client.state, client.close_code) == (State.CLOSED, 1012)


@on_each_loop
async def test_in_another_task_it_ends_no_handling(loop: Loop) -> None:
    waiting: list[Job[None]] = []

    async def on_connection(client: Client) -> None:
        message = await client.receive()
        await loop.until(lambda: client.state is State.CLOSING)
        begun = loop.signal()

        async def wait() -> None:
            begun.set()
            await client.wait_closed()

        waiting.append(loop.spawn(wait()))
        await begun.wait()
        await client.writer.send(message)
        await client.wait_closed()

    async with loop.serving(on_connection, close_timeout=0) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("answered")
            peer.close()
        assert await peer.message() == "answered"
        assert await peer.closed() == (1000, "")
        await waiting[0].wait()


@on_memory
async def test_the_receiving_task_may_receive_again(loop: MemoryLoop) -> None:
    """After waits that it gave up."""

    async def on_connection(client: Client) -> None:
        await client.receive()
        for _ in range(2):
            with suppress(TimeoutError):
                async with loop.runtime.timeout_at(loop.runtime.now()):
                    await client.wait_closed()
        await client.writer.send(await client.receive())

    async with loop.serving(on_connection, close_timeout=0) as server:
        peer = await loop.connect(server)
        peer.send("first")
        peer.send("second")
        assert await peer.message() == "second"
        peer.close()
        assert await peer.closed() == (1000, "")
