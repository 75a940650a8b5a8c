"""The ASGI applications that the ASGI servers run: they echo text."""

from typing import Any

from . import program


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Without a framework."""
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def on_fastapi() -> Any:
    """With FastAPI, as its documentation shows."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect

    app = FastAPI()

    @app.websocket("/")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect:
            return

    return app


app = on_fastapi() if program.APP == "fastapi" else bare
