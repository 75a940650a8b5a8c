"""An echo on Quart."""

from quart import Quart, websocket

app = Quart(__name__)


@app.websocket("/echo")
async def echo() -> None:
    while True:
        await websocket.send(await websocket.receive())
