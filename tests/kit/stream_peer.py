"""A raw client on any stream of trio's."""

from typing import Self

import trio

from kit.frames import Frame, masked, parse
from kit.handshake import REQUEST


class StreamPeer:
    """A client that does only what the test says; it sees what the server sends, frame by frame."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._unread = bytearray()

    @classmethod
    async def connected(cls, port: int) -> Self:
        """One that has done its opening handshake with a server at 127.0.0.1."""
        peer = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await peer.handshake()
        return peer

    async def handshake(self) -> None:
        """Do the opening handshake, which must succeed."""
        await self.stream.send_all(REQUEST)
        assert (await self.head()).startswith(b"HTTP/1.1 101 ")

    async def head(self) -> bytes:
        """An HTTP head, with its blank line."""
        while b"\r\n\r\n" not in self._unread:
            await self._more()
        return self._take(self._unread.index(b"\r\n\r\n") + 4)

    async def frame(self) -> Frame:
        """The next frame, which a server does not mask."""
        while (parsed := parse(self._unread)) is None:
            await self._more()
        assert not parsed.key, "a server must not mask"
        self._take(parsed.size)
        return parsed.frame

    async def send(self, first: int, payload: bytes = b"") -> None:
        """Send a frame."""
        await self.stream.send_all(masked(first, payload))

    async def gone(self) -> None:
        """See the server end the stream, and close it."""
        assert not self._unread
        assert not await self.stream.receive_some()
        await self.stream.aclose()

    def _take(self, size: int) -> bytes:
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    async def _more(self) -> None:
        more = await self.stream.receive_some(2**20)
        assert more, f"the server left after {bytes(self._unread[:100])!r}"
        self._unread += more
