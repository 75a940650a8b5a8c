"""A byte stream over a transport, where the library cannot read the socket itself."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from ..runtime import LostSink, Sink
from .asyncio_loop import LARGE_READ, Loop
from .asyncio_pipe import AsyncioPipe
from .tls_watch import TlsWatch
from .write_half import LOW

# The most bytes that a loop's own TLS reads ahead while reading is paused, but for one read more.
# A record is less, so that a peer can complete one.
READ_AHEAD = 64 * 1024


class TransportPipe(AsyncioPipe, asyncio.BufferedProtocol):
    """The contract's Pipe, and the protocol that a transport calls.

    It is a BufferedProtocol, because loops allocate 256 KiB for each read of any other: with 256
    bytes a message, a bare echo takes 10 us of CPU instead of 30.
    """

    # The attributes that connection_made sets would give each pipe a dict of 900 bytes.
    __slots__ = ("_buffer", "_ended", "_loss", "_peername", "_transport", "_watch")

    _transport: asyncio.Transport

    def __init__(self, runtime: Loop, sink: Sink) -> None:
        super().__init__(runtime, sink)
        self._buffer = runtime.read_buffer
        self._ended = False  # the peer ended its half
        self._watch: TlsWatch | None = None  # while the stream is full
        self._loss: Exception | None = None

    # As a protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        # Log lines need it after the end, when uvloop and TLS streams have forgotten it.
        self._peername = transport.get_extra_info("peername")
        if hasattr(transport, "set_read_buffer_limits"):
            transport.set_read_buffer_limits(READ_AHEAD)  # a loop's own TLS
        self._sink.connected(self)
        if self.waiting() > self._transport.get_write_buffer_limits()[1]:
            self.pause_writing()  # the transport calls it once: it called the former protocol

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        # Passed on where it lies: 0.83 of the CPU time with 1 MiB a message.
        data = self._buffer[:nbytes]
        if nbytes >= LARGE_READ:
            self._buffer = self._runtime.large_read_buffer
        self._sink.data_received(data)

    def pause_writing(self) -> None:
        self.full = True
        if self.info("ssl_object") is not None:
            self._watch = TlsWatch(self.waiting, self._break, self._runtime.loop.call_later)

    def resume_writing(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._make_space()

    def eof_received(self) -> bool:
        self._ended = True
        self._sink.eof_received()
        # Our half stays open for what is still to be sent; TLS has no halves.
        return not self._closing and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.resume_writing()
        self._sink.connection_lost(exc or self._loss)
        self._loss = None  # its traceback refers to this pipe
        self._sink = LostSink(self._sink)
        if self._transport.can_write_eof():
            self._transport.close()  # again: asyncio's own breaks its cycle then
        else:  # asyncio's TLS keeps our methods
            self._transport.set_protocol(asyncio.BufferedProtocol())

    # As a Pipe. It has no descriptor: all that is written comes to `_write_rest`.

    def _write_rest(self, parts: Sequence[bytes], sent: int) -> None:
        for part in parts:  # Python 3.13.0 calls no pause_writing() in its writelines()
            if self._watch is not None:  # the part before may have begun it
                self._watch.count(part)
            self._transport.write(part)
        if self._transport.is_closing():  # it broke; connection_lost() follows on the next turn
            self._closing = self.full = True

    def _break(self, error: Exception | None) -> None:
        self._closing = self.full = True
        self._loss = error
        self.abort()

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark, which otherwise is eight times as much with asyncio's TLS."""
        transport = self._transport
        if transport.get_write_buffer_limits() != (size // LOW, size):  # asking is cheaper
            transport.set_write_buffer_limits(size)

    def waiting(self) -> int:
        """How many written bytes the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`, and then no large reads at first: what one of them
        brought is held until it is handled."""
        self._buffer = self._runtime.read_buffer
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Send what is written, then end our half; see the contract."""
        self._closing = True
        if not self._ended and self._transport.can_write_eof():
            # The kernel answers with a reset when it closes a socket with unread input, and a
            # reset may overtake our Close: so only our half ends, until the peer ends its own.
            try:
                self._transport.write_eof()
            except OSError:  # it is reset already; connection_lost() follows
                self._transport.abort()
        elif not self._transport.is_closing():  # closed again, asyncio's TLS cannot be aborted
            self._transport.close()

    def abort(self) -> None:
        """Drop the stream at once."""
        self._transport.abort()

    def info(self, name: str) -> Any:
        """What the transport knows by that name."""
        if name == "peername":
            return self._peername
        try:
            return self._transport.get_extra_info(name)
        except (AttributeError, ValueError):  # uvloop's, once it is lost
            return None
