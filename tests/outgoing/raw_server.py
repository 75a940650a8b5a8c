"""A server that does only what the test says, right or wrong."""

import re
from base64 import b64encode
from collections.abc import Callable, Coroutine
from hashlib import sha1
from typing import Any, cast

from wstransports.runtime import Pipe, running

CLOSE = b"\x88\x02\x03\xe8"  # 1000

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def acceptance(head: bytes, headers: bytes = b"") -> bytes:
    """The answer to an opening handshake that accepts it."""
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
    assert found is not None
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (b64encode(sha1(found[1] + GUID).digest()), headers)
    )


class ClientLeft(Exception):
    """The test wants more from a client that has ended its half."""


class End:
    """A server's end of a byte stream, which does only what the test says."""

    pipe: Pipe = cast(Pipe, None)

    def __init__(self, talk: Callable[["End"], None]) -> None:
        self.ended = False
        """The client ended its half, or the connection is lost."""
        self.lost = False
        self.ends_too = True
        """Our half ends when the client's does."""
        self._talk = talk
        self._unread = b""
        self._news = running().signal()

    # What the test does.

    def write(self, data: bytes) -> None:
        """Send."""
        self.pipe.write(data)

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._unread) < size:
            await self._more()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def head(self) -> bytes:
        """An HTTP head, with its blank line."""
        while b"\r\n\r\n" not in self._unread:
            await self._more()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    async def accept(self, more: bytes = b"", headers: bytes = b"") -> bytes:
        """Answer an opening handshake; `more` follows in the same write. Returns the request."""
        head = await self.head()
        self.write(acceptance(head, headers) + more)
        return head

    async def frame(self) -> tuple[int, bytes, bytes]:
        """A frame of the client's: its first byte, its mask, its payload."""
        first, second = await self.read(2)
        assert second & 0x80, "a client must mask"
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.read(2 if size == 126 else 8))
        key = await self.read(4)
        masked = int.from_bytes(await self.read(size))
        mask = int.from_bytes((key * (size // 4 + 1))[:size])
        return first, key, (masked ^ mask).to_bytes(size)

    async def part(self) -> None:
        """Take part in a closing handshake, begun already or not, and end the stream."""
        self.write(CLOSE)
        while (await self.frame())[0] != 0x88:
            pass
        self.pipe.close()

    async def gone(self) -> None:
        """Wait until the connection is lost."""
        while not self.lost:
            await self._news.wait()

    async def _more(self) -> None:
        if self.ended:
            raise ClientLeft(f"after {self._unread!r}")
        await self._news.wait()

    # As a sink.

    def connected(self, pipe: Pipe) -> None:
        """The stream stands."""
        self.pipe = pipe
        self._talk(self)

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes came."""
        self._unread += data
        self._announce()

    def eof_received(self) -> None:
        """The client ended its half."""
        self.ended = True
        if self.ends_too:
            self.pipe.close()
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.ended = self.lost = True
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, running().signal()
        news.set()


class Raw:
    """A listener of the test's own."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.uri = f"ws://{host}:{port}/"
        self.ends: list[End] = []
        """Who has connected."""


Talk = Callable[[End], Coroutine[Any, Any, None]]
"""What it does with a connection."""
