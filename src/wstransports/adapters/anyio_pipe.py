"""The contract's Pipe over a byte stream of anyio's."""

import ssl
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from anyio import (
    CancelScope,
    EndOfStream,
    Event,
    aclose_forcefully,
    create_task_group,
    current_effective_deadline,
    get_cancelled_exc_class,
)
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute, TLSStream

from ..runtime import Sink, log_dropped
from .anyio_tasks import AnyioTasks

HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
CHUNK = 64 * 1024

_ATTRIBUTES = {
    "peername": SocketAttribute.remote_address,
    "sockname": SocketAttribute.local_address,
    "socket": SocketAttribute.raw_socket,
    "ssl_object": TLSAttribute.ssl_object,
}


class AnyioPipe:
    """The contract's Pipe: moves the bytes of a stream while `run` runs."""

    def __init__(self, tasks: AnyioTasks, stream: ByteStream, sink: Sink) -> None:
        self.full = False
        self.call_at = tasks.call_at
        self._spawn = tasks.spawn
        self._stream = stream
        self._sink = sink
        # A stream that is lost has no name any more, and then it is logged.
        self._peername = stream.extra(SocketAttribute.remote_address, None)
        self._scope = CancelScope()  # all that waits for the stream
        self._receiving = CancelScope()
        self._unsent = bytearray()
        self._more = Event()  # set when there is something for the sender to do
        self._room = Event()
        self._resumed: Event | None = None  # while reading is paused
        self._closed = False
        self._lost = False  # or about to be
        self._error: Exception | None = None
        self._started: dict[Coroutine[Any, Any, None], CancelScope] = {}
        self._idle = Event()
        self._unbegun = 0  # coroutines that `start` was given and that have taken no step

    async def run(self) -> None:
        """Move bytes until the stream is over, then tell the sink. Cancelled, it drops them."""
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
                    await self._drop()
            finally:
                self._end()

    async def idle(self) -> None:
        """Return when nothing runs that `start` began."""
        while self._started:
            self._idle = Event()
            await self._idle.wait()

    # As a Pipe.

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""
        if not (self._closed or self._lost):
            self._unsent += data
            self.full = self.full or len(self._unsent) > HIGH_WATER
            self._more.set()

    def writelines(self, parts: list[bytes]) -> None:
        """Send them one behind the other."""
        for part in parts:
            self.write(part)

    def waiting(self) -> int:
        """How many written bytes the stream has not taken yet."""
        return len(self._unsent)

    async def drain(self) -> None:
        """Return when `full` is False, or when the connection is lost. Any number may wait."""
        while self.full:
            await self._room.wait()

    def pause_reading(self) -> None:
        """Receive no more until `resume_reading`."""
        if self._resumed is None:
            self._resumed = Event()

    def resume_reading(self) -> None:
        """Go on receiving."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

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
        """What the stream knows by that name; of one that is lost, only who the peer was."""
        if name == "peername":
            return self._peername
        if self._lost or name not in _ATTRIBUTES:
            return None
        return self._stream.extra(_ATTRIBUTES[name], None)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task; its first step on the loop's next turn."""
        self._unbegun += 1
        self._started[coroutine] = self._spawn(self._run, coroutine)

    def cancel(self) -> None:
        """Cancel whatever `start` began and still runs."""
        for scope in self._started.values():
            scope.cancel()

    # Inside.

    async def _receive_all(self) -> None:
        with self._receiving:
            data = b"?"
            while data:
                await self._until_resumed()
                try:
                    data = await self._stream.receive(CHUNK)
                except EndOfStream:
                    data = b""
                except Exception as error:  # noqa: BLE001  # whatever a stream raises
                    self._break(error)
                    return
                await self._until_resumed()
                if data:
                    self._sink.data_received(data)
                    await self._all_begun()
            self._sink.eof_received()

    async def _all_begun(self) -> None:
        """Callbacks begin before more arrives, which is for them; trio begins tasks in any order."""
        while self._unbegun:
            await checkpoint()

    async def _until_resumed(self) -> None:
        while self._resumed is not None:
            await self._resumed.wait()

    async def _send_all(self) -> None:
        try:
            while self._unsent or not self._closed:
                if self._unsent:
                    # In parts, so that a long message shows progress. More may be written meanwhile.
                    part = bytes(self._unsent[:CHUNK])
                    await self._stream.send(part)
                    del self._unsent[: len(part)]
                    if self.full and len(self._unsent) <= LOW_WATER:
                        self._make_room()
                else:
                    self._more = Event()
                    await self._more.wait()
            await self._stream.send_eof()
        except NotImplementedError:  # TLS has no halves; what still arrives is lost
            self._receiving.cancel()
        except Exception as error:  # noqa: BLE001  # whatever a stream raises
            self._break(error)

    def _make_room(self) -> None:
        self.full = False
        room, self._room = self._room, Event()
        room.set()

    def _break(self, error: Exception) -> None:
        if not self._lost:
            self._error = error
            self.abort()

    async def _drop(self) -> None:
        try:
            await aclose_forcefully(self._stream)
        except Exception as error:  # noqa: BLE001  # whatever a stream raises
            self._error = self._error or error

    def _end(self) -> None:
        self._lost = True
        self._unsent.clear()
        self._make_room()
        self._sink.connection_lost(self._error)

    async def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._unbegun -= 1
        try:
            try:
                await coroutine
            except* Exception as errors:  # noqa: BLE001  # a callback's amid its cancellation
                log_dropped(self._sink, errors)
                self._break(errors)
        except get_cancelled_exc_class():
            # On asyncio, who awaits a cancelled task is raised one too: that ends this one only.
            if current_effective_deadline() == -float("inf"):
                raise
        finally:
            del self._started[coroutine]
            if not self._started:
                self._idle.set()


async def _close(stream: ByteStream) -> None:
    """Close a stream, to which all is sent and whose peer has ended its half, where there are any.

    TLS has none: the peer may send on, and the kernel answers with a reset when it closes a socket
    with unread input, and that may overtake our Close. So all is read until the peer ends.
    """
    if isinstance(stream, TLSStream) and stream.standard_compatible:
        below = stream.transport_stream
        try:
            await stream.unwrap()
        except ssl.SSLError:  # it sends on
            with suppress(EndOfStream):
                while True:
                    await below.receive()
        await below.aclose()
    else:
        await stream.aclose()
