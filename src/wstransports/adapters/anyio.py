"""The contract over any byte stream of anyio's, on each of its back ends."""

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from typing import Self

from ..address import Address
from ..batch import Batch
from ..log import log
from ..runtime import LoopRuntime, Sink, running

try:
    import anyio
except ImportError as error:
    raise ImportError(
        "this needs anyio, which is not installed: install the extra `anyio`", name="anyio"
    ) from error

from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSAttribute

from .anyio_pipe import AnyioPipe
from .anyio_tasks import AnyioTasks
from .listening import Listening
from .signal_waiter import SignalWaiter
from .time_limit import TimeLimit


class AnyioListener(Listening):
    """The contract's Listener: streams are handed in."""

    def __init__(
        self, runtime: "AnyioRuntime", where: Address, make_sink: Callable[[], Sink | None]
    ) -> None:
        super().__init__(where, make_sink, anyio.Event())
        self._runtime = runtime

    def address(self) -> tuple[str, int]:
        """The server's host and port, which nothing listens at."""
        return self._where.host or "", self._where.port

    async def serve(self, stream: ByteStream) -> None:
        """Serve one stream, which the server owns from then on.

        Returns when the connection is over, and so are its callbacks. A cancellation leaves the
        connection open: the end of the server's block closes it with 1001.
        """
        pipe = self._begun(lambda: self._pipe(stream))
        if pipe is None:
            await self._drop(stream)
            return
        self._runtime.spawn(pipe.run())
        await pipe.over.wait()

    def _pipe(self, stream: ByteStream) -> AnyioPipe | None:
        sink = self._make_sink()
        return None if sink is None else AnyioPipe(self._runtime, stream, sink)

    def _stop(self) -> None:
        """Nothing to stop: the server answers 503 from now on."""

    async def _drop(self, stream: ByteStream) -> None:
        try:
            await anyio.aclose_forcefully(stream)
        except Exception as error:  # noqa: BLE001  # whatever a stream raises
            what = "cannot drop the stream of a connection that was not begun"
            log(self._where.logger, logging.ERROR, what, error=error)


class AnyioRuntime(AnyioTasks):
    """The contract's Runtime: `async with AnyioRuntime() as runtime`, then `runtime=runtime`.

    All tasks live in the block, and only its end cancels them: so a server's block inside it can
    close its connections first. `connect(uri, runtime=runtime)` uses `stream`, once, and owns it
    from then on. A server's block gives an `AnyioListener`, whose `serve(stream)` serves any number
    of streams.
    """

    checkpoints: bool
    _beneath: LoopRuntime

    def __init__(self, stream: ByteStream | None = None) -> None:
        super().__init__()
        self.batch: Batch = Batch()
        self.now = anyio.current_time
        self.signal = anyio.Event
        self.waiter = partial(SignalWaiter, anyio.Event)
        self.checkpoint = checkpoint
        self.in_thread = partial(anyio.to_thread.run_sync, abandon_on_cancel=True)
        self._stream = stream

    async def __aenter__(self) -> Self:
        self._beneath = beneath = running()
        self.checkpoints = beneath.checkpoints
        return await super().__aenter__()

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[None]:
        """A block that is cancelled, and raises TimeoutError, when the clock shows `when`."""
        return TimeLimit(anyio.CancelScope(deadline=when))

    def stop_signals(self, stop: Callable[[], None]) -> AbstractContextManager[object]:
        """A block in which signals call `stop`, as on the loop beneath."""
        return self._beneath.stop_signals(stop)

    def current_task(self) -> str:
        """The id of the task that runs now, interned: the same object each time."""
        return sys.intern(str(anyio.get_current_task().id))

    def is_cancellation(self, error: BaseException) -> bool:
        """Whether it is that of a scope that this task is in."""
        cancelled = anyio.current_effective_deadline() == -float("inf")
        return cancelled and isinstance(error, anyio.get_cancelled_exc_class())

    def task_group(self) -> nullcontext[None]:
        """The runtime's own block, which is open already."""
        if not self._open:
            raise RuntimeError("enter the runtime first: `async with AnyioRuntime() as runtime`")
        return nullcontext()

    def shield(self) -> anyio.CancelScope:
        """A scope that no cancellation from outside reaches."""
        return anyio.CancelScope(shield=True)

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: None = None
    ) -> AnyioListener:
        """Serve the streams that are handed in. Raises ValueError for any other address."""
        if where.sock is not None or where.unix_path is not None or where.tls is not None:
            raise ValueError("streams are handed in, TLS included: give no sock, unix_path, certs")
        await self.checkpoint()
        return AnyioListener(self, where, make_sink)

    async def connect(self, where: Address, sink: Sink, group: None = None) -> None:
        """Connect `sink` to the stream. Raises ValueError for any other address."""
        if where.sock is not None or where.unix_path is not None or where.proxy is not None:
            raise ValueError("the stream is all there is: give no sock, unix_path or proxy")
        stream, self._stream = self._stream, None
        if stream is None:
            raise ValueError("there is no stream left: AnyioRuntime(stream) is for one connection")
        if where.tls is not None and stream.extra(TLSAttribute.ssl_object, None) is None:
            raise ValueError(
                "wss:// takes a stream with TLS: wrap it with anyio.streams.tls.TLSStream.wrap()"
            )
        self.spawn(AnyioPipe(self, stream, sink).run())
        await self.checkpoint()
