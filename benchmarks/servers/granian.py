"""granian, written in Rust, in this process and on its event loop."""

import asyncio
import socket

from granian.constants import Interfaces
from granian.server.embed import Server

from .asgi_echo import app
from .program import run


async def main() -> None:
    # It says neither which port it has nor when it listens, so it gets one that is free now.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = Server(app, port=port, interface=Interfaces.ASGINL, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    await connect(port)
    print(port, flush=True)
    await serving


async def connect(port: int) -> None:
    """Try until a connection is accepted, and close it."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


run(main)
