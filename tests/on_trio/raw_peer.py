"""A client that sees the wire: what our server sends it, frame by frame."""

from typing import NamedTuple, Self

import trio

KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % KEY
)

FIN = 0x80
TEXT, BINARY, CLOSE = 1, 2, 8


class Frame(NamedTuple):
    """A frame: its first byte, and what it holds."""

    first: int
    payload: bytes


class RawPeer:
    """The client's end of any stream of trio's."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._unread = bytearray()

    @classmethod
    async def connected(cls, port: int) -> Self:
        """One that has shaken hands with a server at 127.0.0.1."""
        peer = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await peer.shake_hands()
        return peer

    async def shake_hands(self) -> None:
        """Ask for a WebSocket, and be let in."""
        await self.stream.send_all(REQUEST)
        assert (await self.head()).startswith(b"HTTP/1.1 101 ")

    async def head(self) -> bytes:
        """An HTTP head, with its blank line."""
        while b"\r\n\r\n" not in self._unread:
            await self._more()
        return await self._read(self._unread.index(b"\r\n\r\n") + 4)

    async def frame(self) -> Frame:
        """A frame, which no server masks."""
        first, size = await self._read(2)
        if size > 125:
            size = int.from_bytes(await self._read(2 if size == 126 else 8))
        return Frame(first, await self._read(size))

    async def send(self, first: int, payload: bytes = b"") -> None:
        """A short frame, masked with nothing."""
        await self.stream.send_all(bytes([first, 0x80 | len(payload)]) + bytes(4) + payload)

    async def gone(self) -> None:
        """See the server end, and end too."""
        assert not self._unread
        assert not await self.stream.receive_some()
        await self.stream.aclose()

    async def _read(self, size: int) -> bytes:
        while len(self._unread) < size:
            await self._more()
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    async def _more(self) -> None:
        more = await self.stream.receive_some(2**20)
        assert more, f"the server left behind {self._unread[:100]!r}"
        self._unread += more
