"""A floor: a bare `asyncio.Protocol` that sends bytes back, without WebSocket."""

import asyncio
from collections.abc import Callable
from typing import cast

from .program import BROADCASTS, port_of, run, serve

writes: set[Callable[[bytes], None]] = set()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.WriteTransport, transport).write

    def data_received(self, data: bytes) -> None:
        self.write(data)


class Announcer(Echo):
    """Sends the first bytes, which are the head, back, and all others to every client."""

    def data_received(self, data: bytes) -> None:
        if self.write not in writes:
            writes.add(self.write)
            self.write(data)
            return
        for write in writes:
            write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        writes.discard(self.write)


async def main() -> None:
    protocol = Announcer if BROADCASTS else Echo
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    await serve(port_of(server))


run(main)
