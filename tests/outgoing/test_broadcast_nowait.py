"""`broadcast_nowait`: one message to many, from code that cannot wait."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kit.connecting import connecting
from kit.loops import Loop, MemoryLoop, on_asyncio, on_each_loop, on_memory
from wstransports import Client, ConnectionClosed, WebSocketReader, broadcast_nowait

# More than a stream in memory takes before it is full.
BIG = "x" * 100_000


@on_each_loop
async def test_all_get_it_in_order(loop: Loop) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving())
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(3)]
        await loop.until(lambda: len(server.clients) == 3)
        for number in range(5):
            report = broadcast_nowait(server.clients, f"{number}")
            assert report.sent == list(server.clients.values())
            assert not (report.dropped or report.closed or report.failed)
        for client in clients:
            assert [await client.receive() for _ in range(5)] == ["0", "1", "2", "3", "4"]


@on_each_loop
async def test_in_a_callback(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get(str)
            for number in range(3):
                broadcast_nowait(server.clients, f"{message} {number}")

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving(on_connection))
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(2)]
        await loop.until(lambda: len(server.clients) == 2)
        await clients[0].writer.send("hello")
        for client in clients:
            assert [await client.receive() for _ in range(3)] == ["hello 0", "hello 1", "hello 2"]


@on_asyncio
async def test_outside_of_any_task(loop: Loop) -> None:
    async with loop.serving() as server, connecting(server) as client:
        await loop.until(lambda: server.clients)
        asyncio.get_running_loop().call_soon(broadcast_nowait, server.clients, "tick")
        assert await client.receive() == "tick"


@pytest.mark.parametrize("slow", ["drop", "close"])
@on_memory
async def test_what_happens_to_a_slow_client(loop: MemoryLoop, slow: Any) -> None:
    async with loop.serving(timeout=0) as server:
        reading, stuck = await loop.connect(server), await loop.connect(server)
        ours = list(server.clients.values())
        stuck.stop_reading()
        assert broadcast_nowait(ours, BIG, compress=False).sent == ours
        await loop.settle()
        report = broadcast_nowait(ours, "more", slow=slow, max_waiting=1000)
        assert report.sent == ours[:1]
        assert (report.dropped if slow == "drop" else report.closed) == ours[1:]
        assert await reading.message() == BIG
        assert await reading.message() == "more"
        stuck.start_reading()
        assert await stuck.message() == BIG
        if slow == "close":
            assert (await stuck.closed())[0] == 1013
        else:
            await stuck.nothing()


@on_memory
async def test_a_fragmented_message_ends_before_it(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        began, go_on = loop.signal(), loop.signal()

        async def send_fragments() -> None:
            async with client.writer.fragment() as stream:
                await stream.send("in ")
                began.set()
                await go_on.wait()
                await stream.send("parts")

        sending = loop.spawn(send_fragments())
        await began.wait()
        assert broadcast_nowait([client], "whole").sent == [client]
        go_on.set()
        await sending.wait()
        assert [await peer.message(), await peer.message()] == ["in parts", "whole"]


@on_memory
async def test_a_client_that_has_gone_is_reported(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        ours = list(server.clients.values())
        peer.reset()
        await loop.settle()
        report = broadcast_nowait(ours, "x")
        assert isinstance(report.failed[ours[0]], ConnectionClosed)
        assert not report.sent


@on_memory
async def test_mistakes_raise_and_nothing_is_sent(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        mistaken: Any = "wait"
        with pytest.raises(ValueError, match=r"not 'wait': only `await broadcast"):
            broadcast_nowait([client], "x", slow=mistaken)
        with pytest.raises(ValueError, match="max_waiting"):
            broadcast_nowait([client], "x", max_waiting=-1)
        mistaken = [7]
        with pytest.raises(TypeError, match="is not a Client"):
            broadcast_nowait(mistaken, "x")
        async with client.writer.fragment() as stream:
            with pytest.raises(RuntimeError, match="has a fragmented message open"):
                broadcast_nowait([client], "x")
            await stream.send("only this")
        assert await peer.message() == "only this"
        await peer.nothing()


def test_without_a_loop_it_raises() -> None:
    with pytest.raises(RuntimeError, match="no event loop is running"):
        broadcast_nowait([], "x")
