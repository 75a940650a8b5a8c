"""Byte streams of anyio inside the process, on each of its backends."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from kit.in_process import InProcessRuntime, MemoryStream, found
from kit.jobs import ConcurrentJob, ConcurrentJobs
from kit.loops.base import PATIENCE, Loop, Main
from kit.peer import Peer, PipeWire
from wstransports import WebSocketServer
from wstransports.adapters.anyio_pipe import AnyioPipe
from wstransports.address import Address
from wstransports.runtime import Pipe

T = TypeVar("T")


class AnyioWire(PipeWire):
    """A Wire over the adapter's Pipe; to reset the connection takes more than that can."""

    def __init__(self, pipe: AnyioPipe) -> None:
        super().__init__(pipe)
        self.abort = self._abort
        self._pipe = pipe

    def _abort(self) -> None:
        stream = self._pipe._stream
        assert isinstance(stream, MemoryStream)
        stream.reset()
        self._pipe.abort()


class AnyioPeer(Peer):
    """A Peer on anyio."""

    def connected(self, pipe: Pipe) -> None:
        """The stream is connected."""
        assert isinstance(pipe, AnyioPipe)
        self.wire = AnyioWire(pipe)


class AnyioLoop(Loop):
    """No sockets, and the clock of the backend."""

    has_addresses = False
    peer_class = AnyioPeer

    _runtime: InProcessRuntime
    _jobs: ConcurrentJobs

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.name = f"anyio on {backend}"
        # On asyncio, anyio cancels a task only when it waits again, which a test's task may not do.
        self.cancels_woken_tasks = backend == "trio"
        self._backend = backend

    def run(self, main: Main) -> None:
        """Run a test; fails if the library leaves tasks."""
        anyio.run(self._bounded, main, backend=self._backend)

    async def _bounded(self, main: Main) -> None:
        self.cancelled = anyio.get_cancelled_exc_class()
        async with (
            ConcurrentJobs(anyio, anyio.create_task_group(), PATIENCE) as self._jobs,
            InProcessRuntime() as self._runtime,
        ):
            tasks = len(anyio.get_running_tasks())
            with found(self._runtime):
                try:
                    await main()
                finally:
                    self._reset_peers()
                # All have until the timeout to end.
                while len(anyio.get_running_tasks()) > tasks or not self._all_lost():
                    self._jobs.cancel()
                    await checkpoint()

    def server(self, host: str = "127.0.0.1", **options: Any) -> WebSocketServer:
        """A server of this loop."""
        return super().server(host, **{"runtime": self._runtime, **options})

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        peer = self._peer(server, **request)
        await self._runtime.connect(Address(server.addr, server.port), peer)
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> ConcurrentJob[T]:
        """Run a coroutine next to the others."""
        return self._jobs.spawn(coroutine)

    async def checkpoint(self) -> None:
        """Let the others run a few times: each of our awaits takes a turn of the loop here."""
        for _ in range(10):
            await checkpoint()

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a condition that never holds ends with a timeout."""
        while not condition():
            await checkpoint()
