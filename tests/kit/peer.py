"""A raw client on any event loop."""

from typing import Protocol

from kit.frames import FIN, PONG, Frame
from kit.raw_client import RawClient
from wscore import ClientConnection, Response
from wstransports.identity import Identity
from wstransports.runtime import Pipe, running


class Wire(Protocol):
    """The byte stream of a Peer."""

    def write(self, data: bytes) -> None:
        """Send."""

    def pause_reading(self) -> None:
        """Read no more."""

    def resume_reading(self) -> None:
        """Read again."""

    def close(self) -> None:
        """End our half."""

    def abort(self) -> None:
        """Reset the connection."""

    def vanish(self) -> None:
        """Close both halves at once."""


class PipeWire:
    """A Wire over an adapter's Pipe, whose `abort` resets the connection."""

    def __init__(self, pipe: Pipe) -> None:
        self.write = pipe.write
        self.pause_reading = pipe.pause_reading
        self.resume_reading = pipe.resume_reading
        self.close = pipe.close
        self.abort = pipe.abort
        self.vanish = pipe.abort
        self.waiting = pipe.waiting


class Peer(RawClient):
    """A client that does only what the test says.

    By itself it answers a Close, and ends its half after the server's; both can be switched off.
    """

    wire: Wire

    def __init__(self, core: ClientConnection) -> None:
        super().__init__(core)
        self.answers_eof = True
        self.reads = 0
        """How often data came."""
        self.lost = False
        self.was_reset = False
        """The connection was lost by an error."""
        self.identity = Identity()
        self._news = running().signal()

    def _write(self, data: bytes) -> None:
        self.wire.write(data)

    # What the test does.

    def end(self) -> None:
        """End our half of the stream."""
        self._gathering = False
        self._flush()
        self.wire.close()

    def reset(self) -> None:
        """Lose the connection, as a process that is killed does."""
        self.wire.abort()

    def vanish(self) -> None:
        """Close the socket, which answers all that still comes with a reset."""
        self.wire.vanish()

    def stop_reading(self) -> None:
        """Read no more."""
        self.wire.pause_reading()

    def start_reading(self) -> None:
        """Read again."""
        self.wire.resume_reading()

    def waiting(self) -> int:
        """How many bytes the server has not taken yet; in memory only."""
        assert isinstance(self.wire, PipeWire)
        return self.wire.waiting()

    async def frame(self) -> Frame:
        """The next frame; AssertionError if the server has left."""
        while not self.frames:
            assert not self.at_eof, f"the server left, and no frame came: {self._fault}"
            await self._news.wait()
        return self.frames.popleft()

    async def message(self) -> str | bytes:
        """The next message, which must be what comes next."""
        frames = [await self.frame()]
        while not frames[-1].last:
            frames.append(await self.frame())
        return self._message(frames)

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the server's Close, which must be the next frame, and the last."""
        close = self._close(await self.frame())
        await self.eof()
        return close

    async def eof(self) -> None:
        """Return when the server has ended its half, or the connection is lost.

        Frames that the test has not taken fail it.
        """
        while not self.at_eof:
            await self._news.wait()
        assert not self.frames, f"unexpected: {self.frames}"

    async def nothing(self) -> None:
        """See that the server has sent nothing more: its pong is what comes next."""
        self.ping(b"nothing?")
        assert await self.frame() == Frame(FIN | PONG, b"nothing?")

    async def answer(self) -> Response:
        """The response to the handshake."""
        while self.response is None:
            assert not self.at_eof, "the server left without a response"
            await self._news.wait()
        return self.response

    def relent(self) -> None:
        """Do all that a server may wait for; the test is over."""
        if not self.lost:
            self.answers_close = self.answers_eof = True
            self.start_reading()
            if self.core.owes_close:
                self.acknowledge()
            if self.at_eof:
                self.end()

    # As a Sink.

    def connected(self, pipe: Pipe) -> None:
        """The stream is connected; asyncio's wire says so in another way."""
        self.wire = PipeWire(pipe)

    def data_received(self, data: bytes | memoryview) -> None:
        """Data came."""
        self.reads += 1
        self.take(data)
        self._announce()

    def eof_received(self) -> None:
        """The server ended its half."""
        self.take_eof()
        if self.answers_eof:
            self.wire.close()
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is closed."""
        self.at_eof = self.lost = True
        self.was_reset = exc is not None
        self._announce()

    def _announce(self) -> None:
        news, self._news = self._news, running().signal()
        news.set()
