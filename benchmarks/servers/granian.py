"""granian, written in Rust, in this process and on its event loop."""

import socket
from functools import partial

from granian.constants import Interfaces
from granian.server.embed import Server

from .asgi_echo import app
from .program import run


async def main() -> None:
    # It does not say which port it has, so it gets one that is free now.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = Server(app, port=port, interface=Interfaces.ASGINL, log_enabled=False)
    server.on_startup(partial(print, port, flush=True))  # it listens by then
    await server.serve()


run(main)
