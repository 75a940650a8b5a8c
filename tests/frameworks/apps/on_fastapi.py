"""Chat rooms on FastAPI: dependencies, cookies, subprotocols, denials, sends in the background."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Query, Response, WebSocket, WebSocketException
from fastapi.responses import HTMLResponse, PlainTextResponse

app = FastAPI()

PAGE = Path(os.environ["PAGE"]).read_text()

# How the connections ended: the codes that WebSocketDisconnect had.
ended: asyncio.Queue[dict[str, object]] = asyncio.Queue()


def user(
    session: Annotated[str | None, Cookie()] = None, token: Annotated[str | None, Query()] = None
) -> str:
    """Who has connected, by a cookie or by the query."""
    name = session or token
    if name is None:
        raise WebSocketException(code=1008, reason="neither cookie nor token")
    return name


@app.get("/page")
async def page() -> Response:
    """A page for browsers, which sets the cookie."""
    response = HTMLResponse(PAGE)
    response.set_cookie("session", "Ada")
    return response


@app.get("/ended")
async def next_end() -> dict[str, object]:
    """How the next connection has ended."""
    return await ended.get()


@app.websocket("/rooms/{room}")
async def enter(websocket: WebSocket, room: str, name: Annotated[str, Depends(user)]) -> None:
    """Greet, echo, and count in the background."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(
        "chat.v2" if "chat.v2" in offered else None, [(b"x-room", room.encode())]
    )
    await websocket.send_json({"name": name, "room": room})
    counting: list[asyncio.Task[None]] = []

    async def count(last: int) -> None:
        for number in range(last):
            await websocket.send_text(f"count {number}")
            await asyncio.sleep(0)

    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            await websocket.send_bytes(message["bytes"])
        elif text.startswith("count "):
            counting.append(asyncio.create_task(count(int(text.removeprefix("count ")))))
        elif text.startswith("close "):
            await asyncio.gather(*counting)
            await websocket.close(*json.loads(text.removeprefix("close ")))
        elif text == "fail":
            raise RuntimeError("as the client has asked for")
        else:
            await websocket.send_text(text)
    ended.put_nowait(dict(message))


@app.websocket("/denied")
async def deny(websocket: WebSocket) -> None:
    """Deny with a response of its own."""
    await websocket.send_denial_response(
        PlainTextResponse("Pay first", 402, {"X-Price": "5 €".encode().decode("latin-1")})
    )
