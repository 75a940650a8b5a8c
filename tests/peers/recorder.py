"""A relay between the two ends of a connection, which records what it carries and can cut it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.frames import BINARY, TEXT, Frame, parse


class Stream:
    """What one end has sent: an HTTP head, then frames."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def head(self) -> str:
        """The request, or the answer to it."""
        return self.data.partition(b"\r\n\r\n")[0].decode("ascii")

    def frames(self) -> list[Frame]:
        """All frames up to now, which must be complete."""
        data = bytes(self.data.partition(b"\r\n\r\n")[2])
        frames = []
        while data:
            parsed = parse(data)
            assert parsed is not None, "a part of a frame"
            frames.append(parsed.frame)
            data = data[parsed.size :]
        return frames

    def messages(self) -> list[Frame]:
        """The frames that begin a message."""
        return [frame for frame in self.frames() if frame.opcode in (TEXT, BINARY)]


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
