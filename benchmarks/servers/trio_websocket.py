"""The `trio-websocket` package."""

from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from .program import MAX_SIZE, TLS, run, serve


async def handler(request: WebSocketRequest) -> None:
    connection = await request.accept()
    while True:
        try:
            await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            return


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listen = partial(serve_websocket, handler, "127.0.0.1", 0, TLS, max_message_size=MAX_SIZE)
        server = await nursery.start(listen)
        await serve(server.port)


run(main)
