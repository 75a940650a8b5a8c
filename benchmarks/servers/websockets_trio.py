"""The `websockets` package on trio."""

import trio
from websockets.trio.server import ServerConnection
from websockets.trio.server import serve as listen

from .program import MAX_SIZE, TLS, run, serve


async def handler(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: listen(
                handler,
                0,
                host="127.0.0.1",
                ssl=TLS,
                compression=None,
                max_size=MAX_SIZE,
                task_status=task_status,
            )
        )
        await serve(server.listeners[0].socket.getsockname()[1])


run(main)
