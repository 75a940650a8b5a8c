"""A floor of handshakes: a bare `asyncio.Protocol` that has h11 parse the head."""

import asyncio
from typing import cast

import h11

from wscore.handshake.key import accept_value

from .program import port_of, run, serve

# A Close with code 1000, the answer to any input after the head.
CLOSE = b"\x88\x02\x03\xe8"


class Handshake(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.head: h11.Connection | None = h11.Connection(h11.SERVER)

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            self.transport.write(CLOSE)
            self.transport.close()
            return
        self.head.receive_data(data)
        request = self.head.next_event()
        if isinstance(request, h11.Request):
            self.head = None
            key = dict(request.headers)[b"sec-websocket-key"]
            proof = accept_value(key.decode()).encode()
            self.transport.write(
                b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
            )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Handshake, "127.0.0.1", 0)
    await serve(port_of(server))


run(main)
