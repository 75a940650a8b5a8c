"""The contract over any byte stream of anyio's, on each of its back ends."""

import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from types import TracebackType
from typing import Any, Self, cast

from ..batch import Batch
from ..options import Address
from ..runtime import Sink, running

try:
    import anyio
except ImportError as error:
    raise ImportError(
        "this needs anyio, which is not installed: install the extra `anyio`", name="anyio"
    ) from error

from anyio import (
    CancelScope,
    EndOfStream,
    Event,
    aclose_forcefully,
    create_task_group,
    current_effective_deadline,
    get_cancelled_exc_class,
    get_current_task,
    sleep_until,
)
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute, TLSStream

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

    def __init__(self, runtime: "AnyioRuntime", stream: ByteStream, sink: Sink) -> None:
        self.full = False
        self.call_at = runtime.call_at
        self._runtime = runtime
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
        self._tasks: dict[Coroutine[Any, Any, None], CancelScope] = {}
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
        while self._tasks:
            self._idle = Event()
            await self._idle.wait()

    # As a Pipe.

    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""
        if not (self._closed or self._lost):
            self._unsent += data
            self.full = self.full or len(self._unsent) > HIGH_WATER
            self._more.set()

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
        self._tasks[coroutine] = self._runtime.spawn(self._run, coroutine)

    def cancel(self) -> None:
        """Cancel whatever `start` began and still runs."""
        for scope in self._tasks.values():
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
            await coroutine
        except get_cancelled_exc_class():
            # On asyncio, who awaits a cancelled task is raised one too: that ends this one only.
            if current_effective_deadline() == -float("inf"):
                raise
        finally:
            del self._tasks[coroutine]
            if not self._tasks:
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


class AnyioTimer:
    """The contract's Timer: a task that sleeps."""

    __slots__ = ("_call", "_scope", "_when")

    def __init__(self, runtime: "AnyioRuntime", when: float, call: Callable[[], None]) -> None:
        self._when = when
        self._call = call
        self._scope = runtime.spawn(self._run)

    def cancel(self) -> None:
        """Do not call."""
        self._scope.cancel()

    async def _run(self) -> None:
        await sleep_until(self._when)
        if not self._scope.cancel_called:  # after the last moment to wake us by it
            self._call()


class AnyioListener:
    """The contract's Listener: streams are handed in."""

    def __init__(
        self, runtime: "AnyioRuntime", where: Address, make_sink: Callable[[], Sink]
    ) -> None:
        self.server = self
        self._runtime = runtime
        self._where = where
        self._make_sink = make_sink

    def address(self) -> tuple[str, int]:
        """What the server was told."""
        return self._where.host or "", self._where.port

    async def serve(self, stream: ByteStream) -> None:
        """Serve one stream, which is ours from then on.

        Returns when the connection is over, its callbacks included. Cancelled, it leaves the
        connection to the end of the server's block, which closes it with 1001.
        """
        over = Event()
        self._runtime.spawn(_serve, self._runtime.pipe(stream, self._make_sink()), over)
        await over.wait()

    async def close(self) -> None:
        """The server answers 503 from now on; connections that stand are left alone."""
        await self._runtime.checkpoint()


async def _serve(pipe: AnyioPipe, over: Event) -> None:
    try:
        await pipe.run()
        await pipe.idle()
    finally:
        over.set()


class AnyioRuntime:
    """The contract's Runtime: `async with AnyioRuntime() as runtime`, then `runtime=runtime`.

    All tasks live in the block, and a cancellation reaches them by way of its end only: so a
    server's block inside it can close its connections first. `stream` is what
    `connect(uri, runtime=runtime)` uses, once; it is ours from then on. A server's block gives an
    `AnyioListener`, whose `serve(stream)` serves any number of streams.
    """

    checkpoints: bool

    def __init__(self, stream: ByteStream | None = None) -> None:
        self.batch = Batch()
        self.now = anyio.current_time
        self.signal = Event
        self.checkpoint = checkpoint
        self._stream = stream
        self._group: TaskGroup = cast(TaskGroup, None)  # until it is entered
        self._scopes: set[CancelScope] = set()
        self._ending = False

    async def __aenter__(self) -> Self:
        self.checkpoints = running().checkpoints  # as on the loop beneath
        self._group = create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._ending = True
        for scope in self._scopes:
            scope.cancel()
        if isinstance(error, get_cancelled_exc_class()):
            return await self._group.__aexit__(kind, error, traceback)
        self._group.cancel_scope.cancel()
        # Any other goes on as it is, not in a group.
        await self._group.__aexit__(None, None, None)
        return None

    def pipe(self, stream: ByteStream, sink: Sink) -> AnyioPipe:
        """Connect `sink` to `stream`; `run` must follow."""
        pipe = AnyioPipe(self, stream, sink)
        sink.connected(pipe)
        return pipe

    def spawn(
        self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any
    ) -> CancelScope:
        """Run a task in the block; what is returned cancels it."""
        scope = CancelScope(shield=not self._ending)
        self._scopes.add(scope)
        self._group.start_soon(self._run, scope, function, *arguments)
        return scope

    async def _run(
        self,
        scope: CancelScope,
        function: Callable[..., Coroutine[Any, Any, None]],
        *arguments: Any,
    ) -> None:
        try:
            with scope:
                await function(*arguments)
        finally:
            self._scopes.discard(scope)

    def call_at(self, when: float, call: Callable[[], None]) -> AnyioTimer:
        """As `Pipe.call_at`."""
        return AnyioTimer(self, when, call)

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return _timeout_at(when)

    def current_task(self) -> str:
        """The id of the task that runs now, as the one str there is of it."""
        return sys.intern(str(get_current_task().id))

    def task_group(self) -> AbstractAsyncContextManager[None]:
        """Ours is open already."""
        if self._group is None:
            raise RuntimeError("enter the runtime first: `async with AnyioRuntime() as runtime`")
        return nullcontext()

    def shield(self) -> AbstractContextManager[object]:
        """A scope that no cancellation from outside reaches."""
        return CancelScope(shield=True)

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink], group: None = None
    ) -> AnyioListener:
        """Serve the streams that are handed in. Raises ValueError where there are no such."""
        if where.sock is not None or where.unix_path is not None or where.tls is not None:
            raise ValueError("streams are handed in, TLS included: give no sock, unix_path, certs")
        await self.checkpoint()
        return AnyioListener(self, where, make_sink)

    async def connect(self, where: Address, sink: Sink, group: None = None) -> None:
        """Connect `sink` to the stream; raises ValueError where that is not what was asked for."""
        if where.sock is not None or where.unix_path is not None or where.proxy is not None:
            raise ValueError("the stream is all there is: give no sock, unix_path or proxy")
        stream, self._stream = self._stream, None
        if stream is None:
            raise ValueError("there is no stream left: AnyioRuntime(stream) is for one connection")
        if where.tls is not None and stream.extra(TLSAttribute.ssl_object, None) is None:
            raise ValueError(
                "wss:// takes a stream with TLS: wrap it with anyio.streams.tls.TLSStream.wrap()"
            )
        self.spawn(self.pipe(stream, sink).run)
        await self.checkpoint()


@asynccontextmanager
async def _timeout_at(when: float) -> AsyncIterator[None]:
    with CancelScope(deadline=when) as scope:
        yield
    if scope.cancelled_caught:
        raise TimeoutError
