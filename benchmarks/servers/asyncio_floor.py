"""A floor: a bare `asyncio.Protocol` that echoes bytes, and knows nothing of WebSocket."""

import asyncio
from typing import cast

from .program import port_of, run, serve


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.WriteTransport, transport).write

    def data_received(self, data: bytes) -> None:
        self.write(data)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    await serve(port_of(server))


run(main)
