"""The contract over any byte stream of anyio's, on each of its back ends."""

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from types import TracebackType
from typing import Self

from ..batch import Batch
from ..options import Address
from ..runtime import Sink, running

try:
    import anyio
except ImportError as error:
    raise ImportError(
        "this needs anyio, which is not installed: install the extra `anyio`", name="anyio"
    ) from error

from anyio import CancelScope, Event, aclose_forcefully, get_current_task
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from .anyio_pipe import AnyioPipe
from .anyio_tasks import AnyioTasks

logger = logging.getLogger("wstransports")


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
        try:
            pipe = self._runtime.pipe(stream, self._make_sink())
        except Exception:
            logger.exception("cannot begin a connection")
            await _drop(stream)
            return
        over = Event()
        self._runtime.spawn(_serve, pipe, over)
        await over.wait()

    async def close(self) -> None:
        """The server answers 503 from now on; connections that stand are left alone."""
        await self._runtime.checkpoint()


async def _drop(stream: ByteStream) -> None:
    try:
        await aclose_forcefully(stream)
    except Exception:  # whatever a stream raises
        logger.exception("cannot drop the stream of a connection that was not begun")


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
        self._tasks = AnyioTasks()
        self.spawn = self._tasks.spawn

    async def __aenter__(self) -> Self:
        self.checkpoints = running().checkpoints  # as on the loop beneath
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._tasks.__aexit__(kind, error, traceback)

    def pipe(self, stream: ByteStream, sink: Sink) -> AnyioPipe:
        """Connect `sink` to `stream`; `run` must follow."""
        pipe = AnyioPipe(self._tasks, stream, sink)
        sink.connected(pipe)
        return pipe

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return _timeout_at(when)

    def current_task(self) -> str:
        """The id of the task that runs now, as the one str there is of it."""
        return sys.intern(str(get_current_task().id))

    def task_group(self) -> AbstractAsyncContextManager[None]:
        """Ours is open already."""
        if not self._tasks.entered:
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
