"""This library, through its documented API."""

import os
import sys
import zlib

from wstransports import Client, Deflate, WebSocketReader, WebSocketServer, broadcast

from . import program
from .program import BROADCASTS, DEFLATES, MAX_SIZE, RECEIVES, STREAMS, TLS, ZLIB_NG, run, serve

if ZLIB_NG:
    from zlib_ng import zlib_ng

# A broadcast pauses by the clock. Under valgrind, which runs it fifty times slower, it must not: a
# busy machine would change the count.
if "valgrind" in os.environ.get("LD_PRELOAD", ""):
    sys.modules["wstransports.broadcast"].SLICE = 60  # type: ignore[attr-defined]

deflate = Deflate(
    *(program.LEVEL, program.MEMORY_LEVEL, program.WINDOW_BITS, program.WINDOW_BITS),
    engine=zlib_ng if ZLIB_NG else zlib,
)

socket = WebSocketServer(
    "127.0.0.1",
    0,
    certs=TLS,
    compression=deflate if DEFLATES else None,
    max_message_size=None if STREAMS else MAX_SIZE,
)


@socket.connection
async def on_connection(client: Client) -> None:
    if STREAMS:

        @client.message
        async def on_stream(reader: WebSocketReader) -> None:
            await client.writer.feed(reader)

    elif BROADCASTS:

        @client.message
        async def on_announcement(reader: WebSocketReader) -> None:
            await broadcast(socket.clients, await reader.get())

    elif RECEIVES:
        async for message in client:
            await client.writer.send(message)

    else:

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())


async def main() -> None:
    async with socket:
        await serve(socket.port)


run(main)
