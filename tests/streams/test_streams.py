"""`serve_stream` and `connect_stream` over every kind of byte stream, on each back end of anyio's."""

# ruff: noqa: E402  # the whole module is left out first

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

import anyio
import trustme
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener
from in_process import on_each_backend, stream_pair

from wscore import State
from wstransports import (
    Client,
    WebSocketReader,
)
from wstransports.anyio import connect_stream, serve_stream


async def echo(client: Client) -> None:
    """An on_connection."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


@asynccontextmanager
async def served(on_connection: Callable[[Client], Awaitable[object]]) -> AsyncIterator[ByteStream]:
    """A stream whose other end is served."""
    mine, theirs = stream_pair()
    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, theirs, on_connection)
        yield mine


@asynccontextmanager
async def tcp() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """The two ends of a TCP connection."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with accepting(listener) as accepted:
        yield await anyio.connect_tcp("127.0.0.1", port), await accepted()


@asynccontextmanager
async def accepting(
    listener: Listener[Any],
) -> AsyncIterator[Callable[[], Awaitable[ByteStream]]]:
    """Accept one stream; it is left open until the block ends."""
    send, receive = anyio.create_memory_object_stream[ByteStream](1)

    async def keep(stream: ByteStream) -> None:
        await send.send(stream)
        await anyio.sleep_forever()

    async with listener, send, receive, anyio.create_task_group() as group:
        group.start_soon(listener.serve, keep)
        yield receive.receive
        group.cancel_scope.cancel()


@asynccontextmanager
async def unix(path: Path) -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """The two ends of a Unix socket."""
    async with accepting(await anyio.create_unix_listener(path / "socket")) as accepted:
        yield await anyio.connect_unix(path / "socket"), await accepted()


@asynccontextmanager
async def tls() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """The two ends of a TLS connection."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    async with accepting(TLSListener(listener, server)) as accepted:
        stream = await anyio.connect_tcp(
            "127.0.0.1", port, tls_hostname="localhost", ssl_context=client
        )
        yield stream, await accepted()


@asynccontextmanager
async def memory() -> AsyncIterator[tuple[ByteStream, ByteStream]]:
    """The two ends of a stream inside the process."""
    yield stream_pair()


async def talk(near: ByteStream, far: ByteStream, uri: str) -> None:
    """Messages of every size both ways, then a close."""
    told: list[tuple[int, str]] = []

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            told.append((code, reason))

    async with anyio.create_task_group() as group:
        group.start_soon(serve_stream, far, on_connection)
        async with connect_stream(near, uri) as client:
            assert client.request.path == "/chat"
            for message in ("Hello", b"", "é" * 100_000, b"x" * 1_000_000):
                await client.writer.send(message)
                assert await client.receive() == message
            await client.close(4000, "enough")
        assert client.state is State.CLOSED
    assert told == [(4000, "enough")]  # serve_stream has returned, callbacks and all


@on_each_backend
async def test_over_memory(backend: str) -> None:
    async with memory() as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_tcp(backend: str) -> None:
    async with tcp() as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_a_unix_socket(backend: str, tmp_path: Path) -> None:
    async with unix(tmp_path) as (near, far):
        await talk(near, far, "ws://localhost/chat")


@on_each_backend
async def test_over_tls(backend: str) -> None:
    async with tls() as (near, far):
        await talk(near, far, "wss://localhost/chat")
