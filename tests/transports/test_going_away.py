"""The block's end: no new messages, then the answers to those that were taken, then 1001."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kit.frames import CLOSE, FIN
from kit.loops import Loop, MemoryLoop, OnConnection, on_each_loop, on_memory
from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.runtime import Signal


class Work:
    """Callbacks that take messages, wait, and answer."""

    def __init__(self, loop: Loop) -> None:
        self.taken: list[str | bytes] = []
        self.go_on: Signal = loop.signal()
        self._loop = loop

    async def answer(self, client: Client, message: str | bytes) -> None:
        """Answer a message when the test says so, after some awaiting."""
        self.taken.append(message)
        await self.go_on.wait()
        await self._loop.checkpoint()
        await client.writer.send(f"answer to {message!s}")

    async def callback(self, client: Client) -> None:
        """An on_connection with a callback."""

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await self.answer(client, await reader.get())

    async def receiving(self, client: Client) -> None:
        """An on_connection with a loop."""
        async for message in client:
            await self.answer(client, message)


@asynccontextmanager
async def ended(loop: Loop, on_connection: OnConnection, **options: Any) -> AsyncIterator[Any]:
    """A server, and a function that ends its block in a job."""
    server = loop.server(**options)
    server.connection(on_connection)
    may_end = loop.signal()
    begun = loop.signal()

    async def serve() -> None:
        async with server:
            begun.set()
            await may_end.wait()

    serving = loop.spawn(serve())
    await begun.wait()

    def end() -> Any:
        may_end.set()
        return serving

    yield server, end
    end()
    if isinstance(loop, MemoryLoop):
        await loop.advance(100)
    await serving.wait()


@pytest.mark.parametrize("way", ["callback", "receiving"])
@on_each_loop
async def test_what_callbacks_have_taken_is_answered_before_the_close(loop: Loop, way: str) -> None:
    """Of 250 clients whose callbacks took 50 ms, none once had its answer."""
    work = Work(loop)
    server: WebSocketServer
    async with ended(loop, getattr(work, way)) as (server, end):
        peers = [await loop.connect(server) for _ in range(10)]
        for number, peer in enumerate(peers):
            with peer.in_one_write():
                peer.send(f"{number}")
                peer.send("is not taken")
        await loop.until(lambda: len(work.taken) == 10)
        end()
        await loop.until(lambda: not server._acceptor._open)
        for peer in peers:
            await peer.nothing()  # open, and pings are answered
            peer.send("comes too late")
            await peer.nothing()
        work.go_on.set()
        for number, peer in enumerate(peers):
            assert await peer.message() == f"answer to {number}"
            assert await peer.closed() == (1001, "")
        assert sorted(work.taken) == [f"{number}" for number in range(10)]


@pytest.mark.parametrize("way", ["callback", "receiving"])
@on_each_loop
async def test_a_message_that_has_begun_is_read_to_its_end(loop: Loop, way: str) -> None:
    work = Work(loop)
    work.go_on.set()
    async with ended(loop, getattr(work, way)) as (server, end):
        peer = await loop.connect(server)
        peer.part("be")
        await peer.nothing()
        await loop.until(lambda: server.clients)
        end()
        await peer.nothing()
        peer.part("gun", last=True)
        assert await peer.message() == "answer to begun"
        assert await peer.closed() == (1001, "")


@on_memory
async def test_an_idle_client_gets_the_close_at_once(loop: MemoryLoop) -> None:
    work = Work(loop)
    async with ended(loop, work.receiving) as (server, end):
        receiving = await loop.connect(server)
        busy = await loop.connect(server)
        busy.send("x")
        await loop.settle()
        leaving = end()
        assert await receiving.closed() == (1001, "")
        await loop.settle()
        assert not leaving.done
        assert [*server.clients.values()] == [busy_client(server)]
        busy.close(1000)
        await loop.settle()
        assert not busy.frames  # the answer to its Close waits for that to its message
        work.go_on.set()
        assert await busy.message() == "answer to x"
        assert await busy.closed() == (1000, "")
        await loop.settle()
        assert leaving.done


def busy_client(server: WebSocketServer) -> Client:
    """The only client."""
    [client] = server.clients.values()
    return client


@on_memory
async def test_callbacks_that_take_too_long_are_cancelled(loop: MemoryLoop) -> None:
    work = Work(loop)
    cancelled: list[Client] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            try:
                await work.answer(client, await reader.get())
            except loop.cancelled:
                cancelled.append(client)
                raise

    async with ended(loop, on_connection, shutdown_timeout=3) as (server, end):
        peer, silent = await loop.connect(server), await loop.connect(server)
        silent.answers_close = False
        for each in (peer, silent):
            each.send("x")
        await loop.settle()
        leaving = end()
        await loop.advance(2.9)
        assert not peer.frames
        await loop.advance(0.2)
        assert await peer.closed() == (1001, "")
        assert (await silent.frame()).first == FIN | CLOSE
        assert len(cancelled) == 2
        assert not leaving.done
        await loop.advance(1)
        assert leaving.done


@on_memory
async def test_a_task_that_receives_next_to_on_connection_is_not_waited_for(
    loop: MemoryLoop,
) -> None:
    """Nothing says that it handles a message."""
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    async with ended(loop, on_connection) as (server, end):
        peer = await loop.connect(server)
        receiving = loop.spawn(clients[0].receive())
        await loop.settle()
        peer.send("x")
        assert await receiving.wait() == "x"
        end()
        assert await peer.closed() == (1001, "")
