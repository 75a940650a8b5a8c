"""A relay between the two ends of a connection: what it carries is seen, and can be cut."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from wscore import DataType


class Frame(NamedTuple):
    """A frame on the wire, unmasked."""

    type: DataType
    last: bool
    compressed: bool  # RSV1 is set: the first frame of a compressed message (RFC 7692 section 6)
    payload: bytes


class Stream:
    """What one end has sent: an HTTP head, then frames."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def head(self) -> str:
        """The request, or the answer to it."""
        return self.data.partition(b"\r\n\r\n")[0].decode("ascii")

    def frames(self) -> list[Frame]:
        """All frames up to now, which must be whole."""
        data = bytes(self.data.partition(b"\r\n\r\n")[2])
        frames = []
        at = 0
        while at < len(data):
            first, size = data[at], data[at + 1] & 0x7F
            is_masked = data[at + 1] & 0x80
            at += 2
            if size > 125:
                long = 2 if size == 126 else 8
                size = int.from_bytes(data[at : at + long])
                at += long
            key = data[at : at + 4] if is_masked else bytes(4)
            at += 4 if is_masked else 0
            payload = data[at : at + size]
            assert len(payload) == size, "half a frame"
            at += size
            mask = (key * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)
            frames.append(
                Frame(DataType(first & 0x0F), first & 0x80 != 0, first & 0x40 != 0, payload)
            )
        return frames

    def messages(self) -> list[Frame]:
        """The frames that begin a message."""
        return [one for one in self.frames() if one.type in (DataType.TEXT, DataType.BINARY)]


class Wire:
    """One connection by way of the relay."""

    port: int
    """Where to connect to."""

    def __init__(self) -> None:
        self.client = Stream()
        self.server = Stream()
        self._ends: list[asyncio.StreamWriter] = []
        self._ended = asyncio.Event()

    async def ended(self) -> None:
        """Wait until both ends have ended, and all is recorded."""
        await self._ended.wait()

    def cut(self, reset: bool) -> None:
        """Lose the connection: both ends see a TCP reset, or an end that no Close announced."""
        for end in self._ends:
            if not reset:
                end.close()
                continue
            # Closing without lingering makes the kernel send a reset.
            found = end.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    async def relay(
        self, port: int, client: asyncio.StreamReader, to: asyncio.StreamWriter
    ) -> None:
        """Carry one connection to the server at `port`."""
        assert not self._ends, "a second connection"
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        self._ends = [to, to_server]
        await asyncio.gather(
            _carry(client, to_server, self.client), _carry(server, to, self.server)
        )
        for end in self._ends:
            end.close()
        self._ended.set()


async def _carry(source: asyncio.StreamReader, to: asyncio.StreamWriter, seen: Stream) -> None:
    try:
        while data := await source.read(65536):
            seen.data += data
            to.write(data)
            await to.drain()
        to.write_eof()
    except OSError:
        to.transport.abort()


@asynccontextmanager
async def recorded(port: int) -> AsyncIterator[Wire]:
    """A relay to the server at `port`, for one connection."""
    wire = Wire()
    relays: list[asyncio.Task[None]] = []

    def accept(client: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        relays.append(asyncio.create_task(wire.relay(port, client, to)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await asyncio.gather(*relays)
