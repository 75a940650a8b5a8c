"""A raw server on any event loop: it does only what the test says."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

from kit.frames import CLOSE, FIN, Frame, Parsed, parse
from kit.handshake import acceptance
from wstransports.identity import Identity
from wstransports.runtime import Pipe, running

CLOSE_1000 = Frame(FIN | CLOSE, (1000).to_bytes(2)).encode(masked=False)


class ClientLeft(Exception):
    """The test waits for data of a client that has ended its half."""


class End:
    """The server's end of a connection."""

    pipe: Pipe = cast(Pipe, None)

    def __init__(self, talk: Callable[["End"], None]) -> None:
        self.ended = False
        """The client ended its half, or the connection is lost."""
        self.lost = False
        self.ends_too = True
        """Our half ends when the client's does."""
        self._talk = talk
        self._unread = b""
        self.identity = Identity()
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
        """Accept an opening handshake, with `more` in the same write; returns the request."""
        head = await self.head()
        self.write(acceptance(head, headers) + more)
        return head

    async def parsed(self) -> Parsed:
        """The client's next frame, with its masking key."""
        while (parsed := parse(self._unread)) is None:
            await self._more()
        self._unread = self._unread[parsed.size :]
        assert parsed.key, "a client must mask"
        return parsed

    async def frame(self) -> Frame:
        """The client's next frame."""
        return (await self.parsed()).frame

    async def close(self) -> None:
        """Send a Close, wait for the client's, and end the stream."""
        self.write(CLOSE_1000)
        while (await self.frame()).first != FIN | CLOSE:
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
        """The stream is connected."""
        self.pipe = pipe
        self._talk(self)

    def data_received(self, data: bytes | memoryview) -> None:
        """Data came."""
        self._unread += data
        self._announce()

    def eof_received(self) -> None:
        """The client ended its half."""
        self.ended = True
        if self.ends_too:
            self.pipe.close()
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is closed."""
        self.ended = self.lost = True
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, running().signal()
        news.set()


class RawServer:
    """A listener."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.uri = f"ws://{host}:{port}/"
        self.ends: list[End] = []
        """Its end of each connection."""


Talk = Callable[[End], Coroutine[Any, Any, None]]
"""What a RawServer does with a connection."""
