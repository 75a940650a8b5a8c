"""Streams inside the process whose other end is served."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from kit.in_process import MemoryStream, stream_pair
from wstransports import Client, WebSocketReader
from wstransports.anyio import serve_stream

OnConnection = Callable[[Client], Awaitable[object]]

URI = "ws://localhost/"


async def echo(client: Client) -> None:
    """An on_connection."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


@asynccontextmanager
async def served(on_connection: OnConnection, **options: Any) -> AsyncIterator[MemoryStream]:
    """A stream whose other end is served; in the end that is over."""
    near, far = stream_pair()

    async def serve() -> None:
        await serve_stream(far, on_connection, **options)

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield near
    assert far._closed


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until it holds."""
    while not condition():
        await checkpoint()
