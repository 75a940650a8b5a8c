"""The server under test: an echo on a free port of 127.0.0.1, which it prints; SIGTERM ends it.

Argument: the event loop to run on, asyncio or trio.
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
    socket = WebSocketServer("127.0.0.1", 0, loop=loop, max_message_size=16 * 2**20)

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


match sys.argv[1]:
    case "asyncio":
        on_asyncio()
    case "trio":
        trio.run(on_trio)
    case name:
        sys.exit(f"no event loop is called {name}")
