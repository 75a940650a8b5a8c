"""Servers and raw peers over byte streams of anyio's, on each of its back ends."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint
from harness import PATIENCE, MemoryWire, Peer, World
from in_process import InProcessRuntime, MemoryStream, found
from jobs import ConcurrentJob, ConcurrentJobs

from wstransports import WebSocketServer
from wstransports.adapters.anyio_pipe import AnyioPipe
from wstransports.options import Address
from wstransports.runtime import Pipe

T = TypeVar("T")


class AnyioWire(MemoryWire):
    """A Wire over a stream in the process: the adapter's pipe does, but for how it breaks off."""

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
        """The stream stands."""
        assert isinstance(pipe, AnyioPipe)
        self.wire = AnyioWire(pipe)


class AnyioWorld(World):
    """No sockets, and the clock of the loop beneath."""

    peer_class = AnyioPeer

    _runtime: InProcessRuntime
    _jobs: ConcurrentJobs

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.name = f"anyio on {backend}"
        # anyio waits on asyncio until the task waits again, which that of our test does not.
        self.cancels_who_wakes = backend == "trio"
        self._backend = backend

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test, and see that the library leaves no task behind."""
        anyio.run(self._bounded, main, backend=self._backend)

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.cancelled = anyio.get_cancelled_exc_class()
        async with (
            ConcurrentJobs(anyio, anyio.create_task_group(), PATIENCE) as self._jobs,
            InProcessRuntime() as self._runtime,
        ):
            before = len(anyio.get_running_tasks())
            with found(self._runtime):
                try:
                    await main()
                finally:
                    for peer in self._peers:
                        if not peer.lost:
                            peer.reset()
                # Everybody has until the timeout to be gone.
                while len(anyio.get_running_tasks()) > before or not all(
                    peer.lost for peer in self._peers
                ):
                    self._jobs.cancel()
                    await checkpoint()

    def server(self, **options: Any) -> WebSocketServer:
        """A server of this loop."""
        return WebSocketServer("127.0.0.1", 0, runtime=self._runtime, **options)

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        peer = self._peer(server, **request)
        await self._runtime.connect(Address(server.addr, server.port), peer)
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> ConcurrentJob[T]:
        """Run a coroutine beside the others."""
        return self._jobs.spawn(coroutine)

    async def checkpoint(self) -> None:
        """Let the others run a few times: here each await of ours is a turn of its own."""
        for _ in range(10):
            await checkpoint()

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        while not condition():
            await checkpoint()
