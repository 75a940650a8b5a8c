"""The `websockets` package on asyncio."""

from websockets.asyncio.server import Server, ServerConnection, broadcast
from websockets.asyncio.server import serve as listen
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from . import program
from .program import BROADCASTS, DEFLATES, MAX_SIZE, TLS, port_of, run, serve

server: Server
deflate = ServerPerMessageDeflateFactory(
    server_max_window_bits=program.WINDOW_BITS,
    client_max_window_bits=program.WINDOW_BITS,
    compress_settings={"level": program.LEVEL, "memLevel": program.MEMORY_LEVEL},
)


async def handler(connection: ServerConnection) -> None:
    async for message in connection:
        if BROADCASTS:
            broadcast(server.connections, message)
        else:
            await connection.send(message)


async def main() -> None:
    global server
    server = await listen(
        handler,
        "127.0.0.1",
        0,
        ssl=TLS,
        compression=None,
        extensions=[deflate] if DEFLATES else None,
        max_size=MAX_SIZE,
    )
    await serve(port_of(server))


run(main)
