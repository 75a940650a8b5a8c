"""An echo on python-socketio, over WebSocket alone."""

import socketio

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])
app = socketio.ASGIApp(server)


@server.event
async def echo(sid: str, data: object) -> object:
    await server.emit("echoed", data, to=sid)
    return data
