"""uvicorn, with the WebSocket protocol of the command line."""

import socket

from uvicorn import Config, Server

from .asgi_echo import app
from .program import DEFLATES, MAX_SIZE, WEBSOCKETS, port_of, run


class Announced(Server):
    """A server that prints its port."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(port_of(self.servers[0]), flush=True)


async def main() -> None:
    config = Config(
        app,
        port=0,
        http="httptools",
        ws=WEBSOCKETS,
        ws_max_size=MAX_SIZE,
        ws_per_message_deflate=DEFLATES,
        lifespan="off",
        log_level="warning",
    )
    await Announced(config).serve()


run(main)
