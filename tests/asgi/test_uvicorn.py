"""Applications under uvicorn, in this process and on a real loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from serving_app import ACCEPT, App

from kit.loops import Loop, on_asyncio
from wstransports import connect
from wstransports.asgi.application import Receive, Send
from wstransports.asgi.scope import Scope
from wstransports.uvicorn import WebSocketProtocol


@asynccontextmanager
async def serving(app: App, **options: Any) -> AsyncIterator[str]:
    """Serve with uvicorn on this loop; yields the URI without a path."""
    ws: Any = WebSocketProtocol
    config = uvicorn.Config(app, port=0, ws=ws, lifespan="off", log_config=None, **options)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}"
    finally:
        await server.shutdown()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message back."""
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


@pytest.mark.parametrize("http", ["h11", "httptools"])
@on_asyncio
async def test_an_echo(loop: Loop, http: str) -> None:
    async with serving(echo, http=http) as uri, connect(uri) as client:
        for message in "text", b"binary", "x" * 2**20, b"x" * 2**20:
            await client.writer.send(message)
            assert await client.receive() == message
    await asyncio.sleep(0)
