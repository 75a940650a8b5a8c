"""The server under test: an echo on a free port of 127.0.0.1, which it prints; SIGTERM ends it.

Arguments: the event loop to run on, asyncio or trio, and for TLS the files of a certificate and
its key.
"""

import asyncio
import signal
import sys
from typing import Any

import trio

from wstransports import Client, WebSocketReader, WebSocketServer


def echo(loop: Any = None) -> WebSocketServer:
    """Make the server."""
    # Group 9 sends messages of up to 16 MiB, some of them in 65,536 fragments.
    size = 16 * 2**20
    socket = WebSocketServer("127.0.0.1", 0, certs, loop=loop, max_message_size=size)

    @socket.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

    return socket


def on_asyncio() -> None:
    """Serve."""
    loop = asyncio.new_event_loop()
    with echo(loop) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        loop.run_forever()


async def on_trio() -> None:
    """Serve."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with echo() as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await anext(signals)


_, name, *files = sys.argv
certs = (files[0], files[1]) if files else None
match name:
    case "asyncio":
        on_asyncio()
    case "trio":
        trio.run(on_trio)
    case _:
        sys.exit(f"no event loop is called {name}")
