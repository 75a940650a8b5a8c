"""A byte stream over a socket that asyncio watches."""

import select
import socket
from collections.abc import Callable
from typing import Any

from ..runtime import Sink
from ..speedups import accelerated_method
from .asyncio_loop import LARGE_READ, Loop
from .asyncio_pipe import AsyncioPipe
from .socket_pipe import SocketPipe

# The most that a short read takes, in bytes; one that takes as much is followed by longer ones.
SHORT_READ = 32 * 1024


class AsyncioSocketPipe(AsyncioPipe, SocketPipe):
    """The contract's Pipe. It takes fewer instructions and less memory than a transport."""

    __slots__ = (
        *("_buffer", "_ended", "_error", "_forgets", "_limit", "_lost", "_paused"),
        *("_peername", "_sock", "_unsent"),
    )

    def __init__(self, runtime: Loop, sink: Sink, sock: socket.socket, peer: Any = None) -> None:
        super().__init__(runtime, sink)
        self._own(sock, peer)
        self._buffer: memoryview | None = None  # what longer reads go into
        self._paused = False
        self._forgets = runtime.forgets_broken  # once the socket has an error

    def open(self) -> None:
        """Connect the sink, and read."""
        self._runtime.loop.add_reader(self._sock.fileno(), self._readable)
        self._sink.connected(self)

    @accelerated_method
    def _readable(self) -> None:
        sock, buffer = self._sock, self._buffer
        try:
            data = buffer[: sock.recv_into(buffer)] if buffer else sock.recv(SHORT_READ)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        self._unsure = self._forgets
        if len(data) >= SHORT_READ:
            self._take_long(data)
        elif data:
            self._sink.data_received(data)
        else:
            self._runtime.loop.remove_reader(self._sock.fileno())
            self._end()
        if self._unsure:
            self._watch_again()

    def _watch_again(self) -> None:
        """If the socket has an error, the loop has forgotten it: watch again, to read the rest."""
        if self._lost or self._paused:
            return
        poll = select.poll()
        poll.register(self._sock, 0)  # errors are always reported, and the end of both halves
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            self._runtime.loop.remove_reader(self._sock.fileno())
            self.resume_reading()

    def _take_long(self, data: bytes | memoryview) -> None:
        if len(data) >= LARGE_READ:
            self._buffer = self._runtime.large_read_buffer
        elif self._buffer is None:
            self._buffer = self._runtime.read_buffer
        self._sink.data_received(data)

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`, and then no large reads at first: what one of them
        brought is held until it is handled."""
        self._buffer = self._buffer and self._runtime.read_buffer
        self._paused = True
        if not self._lost:
            self._runtime.loop.remove_reader(self._sock.fileno())

    def resume_reading(self) -> None:
        """Go on reading."""
        self._paused = False
        if not (self._lost or self._ended):
            self._watch(self._runtime.loop.add_reader, self._readable)

    def _watch_writable(self) -> None:
        self._watch(self._runtime.loop.add_writer, self._writable)

    def _watch(self, add: Callable[..., object], call: Callable[[], None]) -> None:
        try:
            add(self._sock.fileno(), call)
        except OSError as error:  # the kernel watches no more, as where a user has too many
            self._break(error)

    def _writable(self) -> None:
        self._write_on()
        if not (self._holds or self._lost):
            self._runtime.loop.remove_writer(self._sock.fileno())

    def _drop(self) -> None:
        loop, number = self._runtime.loop, self._sock.fileno()
        loop.remove_reader(number)
        loop.remove_writer(number)
        self._descriptor = None
        self._sock.close()
        loop.call_soon(self._lose)
