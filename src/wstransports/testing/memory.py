"""Byte streams between two ends in one process, for tests: no sockets, threads or sleeping."""

import errno
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from ..adapters.listening import Listening
from ..adapters.stop_signals import StopSignals
from ..adapters.write_half import WriteHalf
from ..address import Address
from ..batch import Batch
from ..identity import Identity
from ..runtime import LostSink, Pipe, Sink, register
from .memory_kernel import Kernel, MemoryTask

T = TypeVar("T")

FREE_PORTS = range(49152, 65536)


class MemoryPipe(WriteHalf):
    """The contract's Pipe: one side of a byte stream. What its peer has not taken waits here."""

    _peer: "MemoryPipe"  # until both are lost

    def __init__(self, runtime: "MemoryRuntime", sink: Sink) -> None:
        super().__init__(runtime.signal)
        self.call_at = runtime.call_at
        self._runtime = runtime
        self._sink = sink
        self._started: list[MemoryTask[None]] = []
        self._paused = False
        self._closed = False
        self._eof_seen = False
        self._lost = False
        self._reported = False  # the loss, to the sink

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""
        if not (self._closed or self._lost):
            self._hold(data)
            self._peer._deliver_soon()

    def pause_reading(self) -> None:
        """Call neither `data_received` nor `eof_received` until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Go on reading."""
        self._paused = False
        self._deliver_soon()

    def close(self) -> None:
        """Send what is written, then end our half; still read until the peer ends its half."""
        self._closed = True
        if hasattr(self, "_peer"):
            self._peer._deliver_soon()
            self._lose_if_over()

    def abort(self) -> None:
        """Drop the stream at once, unsent bytes included; the peer sees a reset, even paused."""
        if not self._lost:
            self._lose(None)
            self._peer._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def info(self, name: str) -> None:
        """A stream in memory has no name, no socket and no TLS: always None."""

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a task of its own, its first step at once or, while
        another task runs in `context`, later.

        An exception that it lets escape fails `MemoryRuntime.run`.
        """
        task = MemoryTask(self._runtime, coroutine, context)
        self._started = [earlier for earlier in self._started if not earlier.done]
        self._started.append(task)
        if any(entered is context for entered in self._runtime._entered):
            task._wake()
        else:
            task._step()

    def cancel(self) -> None:
        """Cancel what `start` began and still runs."""
        for task in self._started:
            task.cancel()

    def _deliver_soon(self) -> None:
        """Deliver what there is for our sink, but not within this call."""
        self._runtime._ready.append(self._deliver)

    def _deliver(self) -> None:
        if self._paused or self._eof_seen or self._lost:
            return
        peer = self._peer
        if peer._unsent:
            data = peer._take(self._runtime.chunk)
            self._deliver_soon()
            self._sink.data_received(data)
        elif peer._closed:
            self._eof_seen = True
            self._lose_if_over()
            self._sink.eof_received()

    def _take(self, most: int) -> bytes:
        data = bytes(self._unsent[:most])
        self._sent(len(data))
        self._lose_if_over()
        return data

    def _lose_if_over(self) -> None:
        if self._closed and self._eof_seen and not self._unsent:
            self._lose(None)

    def _lose(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._unsent.clear()
            self.full = True
            self._runtime._ready.append(partial(self._report_lost, exc))

    def _report_lost(self, exc: Exception | None) -> None:
        self._make_space()  # waiting senders go on after us, and find the connection lost
        self._sink.connection_lost(exc)
        self._sink = LostSink(self._sink)
        self._reported = True
        if self._peer._reported:  # they would be a cycle
            del self._peer._peer, self._peer


class MemoryEnd:
    """A raw end for tests, without a WebSocket; `MemoryRuntime.open` makes one."""

    _pipe: Pipe

    def __init__(self, runtime: "MemoryRuntime") -> None:
        self.identity: Identity = Identity()
        self.at_eof: bool = False
        """No more bytes will arrive: the peer ended its half, or the connection is lost."""
        self._runtime = runtime
        self._received = bytearray()
        self._news = runtime.signal()
        self._taking = True
        self._unwritable: Exception | None = None
        self._error: Exception | None = None

    def write(self, data: bytes) -> None:
        """Send `data` without waiting. Raises OSError when this end or the connection is closed."""
        if self._unwritable is not None:
            raise self._unwritable
        self._pipe.write(data)

    async def send(self, data: bytes) -> None:
        """`write`, then wait while more than the high-water mark is not taken by the peer."""
        self.write(data)
        await self._pipe.drain()

    async def receive(self) -> bytes:
        """What has arrived, at least a byte; b"" at the end of the peer's half.

        Raises ConnectionResetError if the peer dropped the connection.
        """
        while not (self._received or self.at_eof):
            await self._news.wait()
        if self._error is not None and not self._received:
            raise self._error
        return self.received_now()

    def received_now(self) -> bytes:
        """What has arrived, perhaps nothing, without waiting."""
        data = bytes(self._received)
        self._received.clear()
        return data

    def send_eof(self) -> None:
        """End our half; the peer's bytes can still be received."""
        self._unwritable = BrokenPipeError(errno.EPIPE, "this end has ended its half")
        self._pipe.close()

    def close(self) -> None:
        """End our half and take no more: bytes that still come are answered with a reset."""
        self.send_eof()
        self._taking = False
        self._pipe.resume_reading()

    def reset(self) -> None:
        """Drop the connection; the peer gets ConnectionResetError."""
        self._pipe.abort()

    def stop_taking(self) -> None:
        """Read no more: what the peer writes waits on its side."""
        self._pipe.pause_reading()

    def start_taking(self) -> None:
        """Read again."""
        self._pipe.resume_reading()

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self._pipe = pipe

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        if self._taking:
            self._received += data
            self._announce()
        else:
            self._pipe.abort()

    def eof_received(self) -> None:
        """As a Sink."""
        self.at_eof = True
        self._announce()

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self._unwritable = exc or BrokenPipeError(errno.EPIPE, "the connection is closed")
        self._error = exc
        self.eof_received()

    def _announce(self) -> None:
        news, self._news = self._news, self._runtime.signal()
        news.set()


class MemoryListener(Listening):
    """The contract's Listener."""

    def __init__(
        self,
        runtime: "MemoryRuntime",
        where: Address,
        address: tuple[str, int],
        make_sink: Callable[[], Sink | None],
    ) -> None:
        super().__init__(where, make_sink, runtime.signal())
        self._runtime = runtime
        self._address = address

    def address(self) -> tuple[str, int]:
        """Where it listens: host and port, or the path and 0."""
        return self._address

    def _stop(self) -> None:
        del self._runtime._listeners[self._address]  # nobody else can have taken it meanwhile


class MemoryRuntime(Kernel):
    """The contract's Runtime: tasks, a clock that only the test turns, and streams in memory.

    `chunk` is the most bytes that one `data_received` brings; 1 delivers byte by byte.
    """

    def __init__(self, chunk: int = 64 * 1024) -> None:
        super().__init__()
        self.chunk = chunk
        self.checkpoints = False
        self.batch: Batch = Batch()
        self._listeners: dict[tuple[str, int], MemoryListener] = {}

    def run(self, async_main: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """As `Kernel.run`; meanwhile this is the runtime that runs in this thread."""
        if _running() is not None:
            raise RuntimeError("a MemoryRuntime is running already: await, or spawn a task in it")
        _thread.runtime = self
        try:
            return super().run(async_main, *args)
        finally:
            _thread.runtime = None

    def stop_signals(self, stop: Callable[[], None]) -> StopSignals:
        """A block in which signals call `stop`."""
        return StopSignals(partial(self._ready.append, stop))

    def task_group(self) -> AbstractAsyncContextManager[Any]:
        """Tasks in memory need none."""
        return nullcontext()

    def shield(self) -> AbstractContextManager[object]:
        """A task is cancelled once, and can wait again after that."""
        return nullcontext()

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> MemoryListener:
        """Accept connections at `where`, each with a sink of its own; port 0 picks a free one.

        Raises OSError (EADDRINUSE) if the address is in use, ValueError for a socket or TLS.
        """
        if where.sock is not None or where.tls is not None:
            raise ValueError("streams in memory have no sockets and no TLS: give a host and port")
        host = where.host or ""
        if where.unix_path is not None:
            address = (os.fspath(where.unix_path), 0)
        elif where.port:
            address = (host, where.port)
        else:
            address = next((host, p) for p in FREE_PORTS if (host, p) not in self._listeners)
        if address in self._listeners:
            raise OSError(
                errno.EADDRINUSE, f"{where} is in use already: listen at another port, or at 0"
            )
        listener = self._listeners[address] = MemoryListener(self, where, address, make_sink)
        return listener

    async def connect(self, where: Address, sink: Sink, group: Any = None) -> None:
        """Connect `sink` to the listener at `where`.

        Raises ConnectionRefusedError if nothing listens there, ValueError for a socket, TLS or a
        proxy.
        """
        if where.sock is not None or where.tls is not None or where.proxy is not None:
            raise ValueError("streams in memory have no sockets, TLS or proxies: use ws:// only")
        unix = where.unix_path
        address = (where.host or "", where.port) if unix is None else (os.fspath(unix), 0)
        self.connect_pipe(sink, *address)
        await self.checkpoint()

    def open(self, host: str, port: int) -> MemoryEnd:
        """Connect a raw end, for tests, to the listener at `host` and `port` (a path and 0).

        Raises ConnectionRefusedError if nothing listens there.
        """
        end = MemoryEnd(self)
        mine, theirs = self._join(end, self._accept(host, port))
        end.connected(mine)
        self._ready.append(partial(theirs._sink.connected, theirs))
        return end

    def connect_pipe(self, sink: Sink, host: str, port: int) -> None:
        """Connect `sink` to the listener at `host` and `port`; raises as `open` does."""
        self.pair(sink, self._accept(host, port))

    def pair(self, sink_a: Sink, sink_b: Sink) -> None:
        """Connect two sinks with one another, without a listener."""
        for pipe in self._join(sink_a, sink_b):
            self._ready.append(partial(pipe._sink.connected, pipe))

    def _accept(self, host: str, port: int) -> Sink:
        listener = self._listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens at {(host, port)}")
        sink = listener._make_sink()
        if sink is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "the server refused the connection")
        return sink

    def _join(self, sink_a: Sink, sink_b: Sink) -> tuple[MemoryPipe, MemoryPipe]:
        a, b = MemoryPipe(self, sink_a), MemoryPipe(self, sink_b)
        a._peer, b._peer = b, a
        return a, b


_thread = threading.local()


def _running() -> MemoryRuntime | None:
    """The runtime that runs in this thread."""
    return getattr(_thread, "runtime", None)


register(_running)
