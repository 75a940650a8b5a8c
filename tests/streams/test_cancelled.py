"""What a cancellation ends over anyio's streams, and how; nothing outlives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
from anyio.lowlevel import checkpoint
from served import URI, OnConnection, echo, served, until

from kit.in_process import on_each_backend, stream_pair
from wscore import ClientConnection, Reasons, State
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer
from wstransports.adapters.anyio_tasks import AnyioTasks
from wstransports.anyio import AnyioListener, AnyioRuntime, connect_stream, serve_stream


async def code_of(client: Client) -> int:
    """The code it is closed with."""
    with pytest.raises(ConnectionClosed) as caught:
        await client.receive()
    return caught.value.code


@asynccontextmanager
async def cancelled(
    on_connection: OnConnection, **options: Any
) -> AsyncIterator[tuple[Client, anyio.CancelScope]]:
    """A client whose `serve_stream` is cancelled, and is over in the end."""
    near, far = stream_pair()
    scope = anyio.CancelScope()

    async def serve() -> None:
        with scope:
            await serve_stream(far, on_connection, **options)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        async with connect_stream(near, URI) as client:
            scope.cancel()
            yield client, scope
    assert near._closed
    assert far._closed


@on_each_backend
async def test_a_cancelled_serve_stream_closes_with_1001_and_waits_for_its_callbacks(
    backend: str,
) -> None:
    reported: list[str] = []
    may_go_on = anyio.Event()

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append(f"closed with {code}")
            may_go_on.set()

        await may_go_on.wait()
        await checkpoint()
        reported.append("went on")

    async with cancelled(on_connection) as (client, scope):
        assert await code_of(client) == Reasons.GOING_AWAY
    assert scope.cancelled_caught
    assert reported == ["closed with 1001", "went on"]


@on_each_backend
async def test_callbacks_that_take_too_long_are_cancelled_and_nothing_is_left(backend: str) -> None:
    reported: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append(f"closed with {code}")

        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            reported.append("cancelled")
            raise

    async with cancelled(on_connection, shutdown_timeout=0.2) as (client, scope):
        assert await code_of(client) == Reasons.GOING_AWAY
    assert scope.cancelled_caught
    assert reported == ["closed with 1001", "cancelled"]


@on_each_backend
async def test_a_peer_that_does_not_answer_is_dropped(backend: str) -> None:
    near, far = stream_pair()
    await near.send(ClientConnection("localhost", "/").data_to_send())
    with anyio.CancelScope() as scope:

        async def on_connection(client: Client) -> None:
            scope.cancel()

        await serve_stream(far, on_connection, shutdown_timeout=0.02)
    assert scope.cancelled_caught
    assert far._closed


@on_each_backend
async def test_a_stream_is_closed_where_nothing_may_begin_any_more(backend: str) -> None:
    near, far = stream_pair()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await serve_stream(far, echo)
    assert scope.cancelled_caught
    assert far._closed
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with connect_stream(near, URI):
            raise AssertionError("it was cancelled before")
    assert scope.cancelled_caught
    assert near._closed


@on_each_backend
async def test_a_cancelled_serve_leaves_its_client_to_the_end_of_the_servers_block(
    backend: str,
) -> None:
    near, far = stream_pair()
    async with AnyioRuntime() as runtime, anyio.create_task_group() as group:
        socket = WebSocketServer("", 0, runtime=runtime)
        socket.connection(echo)
        scope = anyio.CancelScope()
        async with AsyncExitStack() as stack:
            async with socket as streams:
                assert isinstance(streams, AnyioListener)

                async def serve() -> None:
                    with scope:
                        await streams.serve(far)

                group.start_soon(serve)
                client = await stack.enter_async_context(connect_stream(near, URI))
                scope.cancel()
                await until(lambda: scope.cancelled_caught)
                await client.writer.send("still here")
                assert await client.receive() == "still here"
                codes: list[int] = []

                async def wait_for_the_end() -> None:
                    codes.append(await code_of(client))

                group.start_soon(wait_for_the_end)
            await until(lambda: codes == [Reasons.GOING_AWAY])
    assert far._closed


@on_each_backend
async def test_what_begins_as_the_runtimes_block_ends_is_cancelled_too(backend: str) -> None:
    async def begin_another() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            tasks.spawn(anyio.sleep_forever())

    tasks = AnyioTasks()
    async with tasks:
        tasks.spawn(begin_another())
        await checkpoint()
    assert not tasks._scopes


def test_a_task_of_asyncios_that_serves_is_cancelled() -> None:
    async def main() -> None:
        near, far = stream_pair()
        task = asyncio.create_task(serve_stream(far, echo))
        async with asyncio.timeout(10), connect_stream(near, URI) as client:
            task.cancel()
            assert await code_of(client) == Reasons.GOING_AWAY
        with pytest.raises(asyncio.CancelledError):
            await task
        assert far._closed

    anyio.run(main)


@on_each_backend
async def test_a_cancelled_block_of_a_client_leaves_nothing(backend: str) -> None:
    async with served(echo) as near:
        with anyio.CancelScope() as scope:
            async with connect_stream(near, URI) as client:
                scope.cancel()
                await client.receive()
        assert scope.cancelled_caught
        assert near._closed
        assert client.state is State.CLOSED


@on_each_backend
async def test_a_cancelled_opening_leaves_nothing(backend: str) -> None:
    near, far = stream_pair()
    with anyio.move_on_after(0.02) as scope:
        async with connect_stream(near, URI):
            raise AssertionError("nobody answers")
    assert scope.cancelled_caught
    assert near._closed


@on_each_backend
async def test_an_opening_that_takes_too_long_is_a_timeout(backend: str) -> None:
    near, far = stream_pair()
    with pytest.raises(TimeoutError, match="took longer than 0.02 s"):
        async with connect_stream(near, URI, open_timeout=0.02):
            raise AssertionError("nobody answers")
    assert near._closed


@on_each_backend
async def test_a_cancelled_receive_loses_nothing(backend: str) -> None:
    async with served(echo) as near, connect_stream(near, URI) as client:
        for _ in range(3):
            with anyio.move_on_after(0.005) as scope:
                await client.receive()
            assert scope.cancelled_caught
        await client.writer.send("here")
        assert await client.receive() == "here"


@on_each_backend
async def test_a_sender_that_waits_is_cancelled_without_harm(backend: str) -> None:
    """The message is queued whole; that only its wait for room was cancelled breaks nothing."""
    go_on = anyio.Event()
    sizes: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await go_on.wait()
            sizes.append(len(await reader.get()))

    async with served(on_connection) as near, connect_stream(near, URI, compression=None) as client:
        with anyio.move_on_after(0.02) as scope:
            while True:
                await client.writer.send(bytes(100_000))
        assert scope.cancelled_caught
        go_on.set()
        await client.writer.send(b"last")
        await until(lambda: sizes and sizes[-1] == 4)
        assert set(sizes[:-1]) == {100_000}
