"""The contract's Pipe over a byte stream of anyio's."""

import ssl
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any

from anyio import CancelScope, EndOfStream, Event, aclose_forcefully, create_task_group
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute, TLSStream

from ..runtime import LostSink, Sink, in_context, log_dropped
from .anyio_tasks import AnyioTasks
from .write_half import WriteHalf

CHUNK = 64 * 1024

_ATTRIBUTES = {
    "peername": SocketAttribute.remote_address,
    "sockname": SocketAttribute.local_address,
    "socket": SocketAttribute.raw_socket,
    "ssl_object": TLSAttribute.ssl_object,
}


class AnyioPipe(WriteHalf):
    """The contract's Pipe: connects a sink to a stream, whose bytes it moves while `run` runs."""

    def __init__(self, tasks: AnyioTasks, stream: ByteStream, sink: Sink) -> None:
        super().__init__(Event)
        self.over = Event()  # set when the stream is over, and so is all that `start` began
        self.call_at = tasks._call_at
        self._spawn = tasks.spawn
        self._stream = stream
        self._sink = sink
        # A stream that is lost has lost its name too, which log lines need.
        self._peername = stream.extra(SocketAttribute.remote_address, None)
        self._scope = CancelScope()  # all that waits for the stream
        self._receiving = CancelScope()
        self._more = Event()  # set when there is something for the sender to do
        self._resumed = Event()  # not set while reading is paused
        self._resumed.set()
        self._closed = False
        self._lost = False  # or about to be
        self._error: Exception | None = None
        self._started: dict[Coroutine[Any, Any, None], CancelScope] = {}
        self._unbegun = 0  # coroutines that `start` was given and that have taken no step
        self._unfinished = 1  # those that have not ended, and `run`
        sink.connected(self)

    async def run(self) -> None:
        """Move bytes until the stream is over, then tell the sink. A cancellation drops them."""
        closed = False
        try:
            with self._scope:
                async with create_task_group() as group:
                    group.start_soon(self._receive_all)
                    await self._send_all()
                try:
                    await _close(self._stream)
                    closed = True
                except Exception as error:  # noqa: BLE001  # whatever a stream raises
                    self._error = error
        finally:
            try:
                if not closed:
                    await aclose_forcefully(self._stream)
            except Exception as error:  # noqa: BLE001  # whatever a stream raises
                self._error = self._error or error
            finally:
                self._lost = True
                self._unsent.clear()
                self._make_space()
                self._sink.connection_lost(self._error)
                self._error = None  # its traceback refers to this pipe
                self._sink = LostSink(self._sink)
                self._finish_one()

    # As a Pipe.

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""
        if not (self._closed or self._lost):
            self._hold(data)
            self._more.set()

    def pause_reading(self) -> None:
        """Receive no more until `resume_reading`."""
        if self._resumed.is_set():
            self._resumed = Event()

    def resume_reading(self) -> None:
        """Go on receiving."""
        self._resumed.set()

    def close(self) -> None:
        """Send what is written, then end our half. A stream without halves (TLS) is closed."""
        self._closed = True
        self._more.set()

    def abort(self) -> None:
        """Drop the stream at once, unsent bytes included."""
        self._lost = self.full = True
        self._unsent.clear()
        self._scope.cancel()

    def info(self, name: str) -> Any:
        """What the stream knows by that name; only the peer's name once it is lost."""
        if name == "peername":
            return self._peername
        if self._lost or name not in _ATTRIBUTES:
            return None
        return self._stream.extra(_ATTRIBUTES[name], None)

    def start(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """Run a coroutine in a task; its first step on the loop's next turn."""
        self._unbegun += 1
        self._unfinished += 1
        self._started[coroutine] = self._spawn(self._run(coroutine, context))

    def cancel(self) -> None:
        """Cancel what `start` began and still runs."""
        for scope in self._started.values():
            scope.cancel()

    # Inside.

    async def _receive_all(self) -> None:
        with self._receiving:
            try:
                with suppress(EndOfStream):
                    await self._until_resumed()
                    while data := await self._stream.receive(CHUNK):
                        await self._until_resumed()
                        self._sink.data_received(data)
                        # Callbacks begin before more arrives: trio begins tasks in any order.
                        while self._unbegun:
                            await checkpoint()
                        await self._until_resumed()
                await self._until_resumed()
                self._sink.eof_received()
            except Exception as error:  # noqa: BLE001  # whatever a stream raises
                self._break(error)

    async def _until_resumed(self) -> None:
        while not self._resumed.is_set():
            await self._resumed.wait()

    async def _send_all(self) -> None:
        try:
            while self._unsent or not self._closed:
                if self._unsent:
                    # In parts, to show the progress of a long message.
                    part = bytes(self._unsent[:CHUNK])
                    await self._stream.send(part)
                    self._sent(len(part))
                else:
                    self._more = Event()
                    await self._more.wait()
            await self._stream.send_eof()
        except NotImplementedError:  # TLS has no halves; what still arrives is lost
            self._receiving.cancel()
        except Exception as error:  # noqa: BLE001  # whatever a stream raises
            self._break(error)

    def _break(self, error: Exception) -> None:
        if not self._lost:
            self._error = error
            self.abort()

    async def _run(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        self._unbegun -= 1
        try:
            await in_context(coroutine, context)
        except* Exception as errors:  # noqa: BLE001  # a callback's during its cancellation
            log_dropped(self._sink, errors)
            self._break(errors)
        finally:
            del self._started[coroutine]
            self._finish_one()

    def _finish_one(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self.over.set()


async def _close(stream: ByteStream) -> None:
    """Close a stream to which everything is sent, and whose peer has ended its half.

    TLS has no halves: the peer may go on sending. The kernel answers with a reset when it closes a
    socket with unread input, and a reset may overtake our Close: so we read until the peer ends.
    """
    if isinstance(stream, TLSStream) and stream.standard_compatible:
        below = stream.transport_stream
        try:
            await stream.unwrap()
        except ssl.SSLError:  # it goes on sending
            with suppress(EndOfStream):
                while True:
                    await below.receive()
        await below.aclose()
    else:
        await stream.aclose()
