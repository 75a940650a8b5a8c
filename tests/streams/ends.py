"""Byte streams of every kind, each with its two ends here."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import trustme
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener

from kit.certificates import client_context, server_context
from kit.in_process import stream_pair


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
    server, client = server_context(authority, "localhost"), client_context(authority)
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
