"""The chat as an ASGI application under uvicorn: python examples/asgi_chat.py [port]

Or in examples/: uvicorn asgi_chat:app --ws wstransports.uvicorn:WebSocketProtocol
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from wstransports.uvicorn import WebSocketProtocol

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

PAGE = Path(__file__).with_name("chat.html").read_bytes()

# The most lines that wait for a client. One that is slower than the chat misses those beyond.
MOST_LINES = 100

# The clients, each with the lines that wait for it.
names: dict[asyncio.Queue[str], str] = {}


async def app(scope: Event, receive: Receive, send: Send) -> None:
    """Answer HTTP with the page, and let WebSockets chat."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})
    elif scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.accept"})
        await chat(parse_qs(scope["query_string"].decode()), receive, send)


async def chat(query: dict[str, list[str]], receive: Receive, send: Send) -> None:
    """Take part in the chat until the client leaves."""
    name = query.get("name", ["Somebody"])[0][:30]
    lines = asyncio.Queue[str](MOST_LINES)
    names[lines] = name
    sending = asyncio.create_task(send_lines(lines, send))
    try:
        tell_all(f"{name} joined")
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            if text is None:
                text = event["bytes"].decode(errors="replace")
            tell_all(text, name)
    finally:
        del names[lines]
        sending.cancel()
        tell_all(f"{name} left")


async def send_lines(lines: asyncio.Queue[str], send: Send) -> None:
    """Send a client its lines, so that nobody else waits for it."""
    with suppress(OSError):  # it has left
        while True:
            await send({"type": "websocket.send", "text": await lines.get()})


def tell_all(text: str, name: str = "") -> None:
    """Pass a line on to all clients."""
    line = json.dumps({"name": name, "text": text, "here": sorted(names.values())})
    for lines in names:
        if not lines.full():
            lines.put_nowait(line)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(app, port=port, lifespan="off", ws=WebSocketProtocol)
