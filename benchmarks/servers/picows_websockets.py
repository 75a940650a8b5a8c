"""The async API of picows, `picows.websockets`. Its compression has no settings."""

from picows.websockets import Server, ServerConnection, broadcast
from picows.websockets import serve as listen

from .program import BROADCASTS, DEFLATES, MAX_SIZE, TLS, port_of, run, serve

server: Server


async def handler(connection: ServerConnection) -> None:
    async for message in connection:
        if BROADCASTS:
            broadcast(server.connections, message)
        else:
            await connection.send(message)


async def main() -> None:
    global server
    compression = "deflate" if DEFLATES else None
    server = await listen(
        handler, "127.0.0.1", 0, ssl=TLS, compression=compression, max_size=MAX_SIZE
    )
    await serve(port_of(server))


run(main)
