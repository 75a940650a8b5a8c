"""The sketch in docs/adapters.md: hypercorn with the core, on asyncio and on trio."""

import socket
from importlib import import_module
from typing import Any

import pytest
from snippets import SNIPPETS

from kit.loops import Loop, on
from wstransports import ConnectionClosed, connect

hypercorn = pytest.importorskip("hypercorn", reason="hypercorn is not installed")

[SKETCH] = [snippet.code for snippet in SNIPPETS if snippet.name == "adapters-hypercorn"]

pytestmark = pytest.mark.slow


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An echo, which closes after "bye"."""
    while scope["type"] == "lifespan":
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-of", b"the application")]})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
        if event.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4000, "reason": "bye"})


@on("asyncio", "trio")
async def test_an_echo(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("h11", "h2"):
        module = import_module(f"hypercorn.protocol.{version}")
        monkeypatch.setattr(module, "WSStream", module.WSStream)  # as it was, at the end
    names: dict[str, Any] = {}
    exec(SKETCH, names)
    config = import_module("hypercorn.config").Config()
    config.errorlog = config.accesslog = None
    stop = loop.signal()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config.bind = [f"fd://{listening.detach()}"]
    serve = import_module(f"hypercorn.{loop.name}").serve
    serving = loop.spawn(serve(app, config, shutdown_trigger=stop.wait))
    async with connect(f"ws://127.0.0.1:{port}/chat?a=b") as client:
        assert client.response is not None
        assert client.response.headers["X-Of"] == "the application"
        assert "Sec-WebSocket-Extensions" in client.response.headers
        for message in "text", b"bytes", "x" * 100_000:
            await client.writer.send(message)
            assert await client.receive() == message
        await client.writer.send("bye")
        assert await client.receive() == "bye"
        with pytest.raises(ConnectionClosed) as error:
            await client.receive()
        assert (error.value.code, error.value.reason) == (4000, "bye")
    stop.set()
    await serving.wait()
