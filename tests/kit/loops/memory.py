"""The memory adapter's loop: no sockets, and a clock that the test advances."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kit.jobs import Job
from kit.loops.base import Loop, Main
from kit.peer import Peer
from wstransports import WebSocketServer
from wstransports.testing.memory import MemoryRuntime
from wstransports.testing.memory_kernel import Cancelled

T = TypeVar("T")


class MemoryLoop(Loop):
    """No sockets, and a clock that the test advances."""

    name = "memory"
    cancelled = Cancelled
    has_addresses = False

    def __init__(self) -> None:
        super().__init__()
        self.runtime = MemoryRuntime()

    def run(self, main: Main) -> None:
        """Run a test; it cannot hang, since the loop fails when every task waits."""
        self.runtime.run(main)

    def server(self, host: str = "127.0.0.1", **options: Any) -> WebSocketServer:
        """A server of this loop."""
        return super().server(host, **{"runtime": self.runtime, **options})

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        peer = self._peer(server, **request)
        self.runtime.connect_pipe(peer, str(server.addr), server.port)
        await self.settle()
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine next to the others."""
        return self.runtime.spawn(coroutine)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run; without the clock, these turns are enough for all that can happen."""
        for _ in range(10_000):
            if condition():
                return
            await self.checkpoint()
        assert condition()

    async def leave(self, server: WebSocketServer) -> None:
        """End a server's block, and let the time pass that this takes."""
        for peer in self._peers:
            peer.relent()
        leaving = self.spawn(server.__aexit__(None, None, None))
        await self.settle()
        if not leaving.done:
            await self.advance(1000)
        await leaving.wait()

    def now(self) -> float:
        """The clock."""
        return self.runtime.now()

    async def advance(self, seconds: float) -> None:
        """Advance the clock."""
        await self.runtime.advance(seconds)

    async def settle(self) -> None:
        """Let the others run until they all wait."""
        await self.runtime.settle()

    def hold(self, seconds: float) -> None:
        """Spend time without letting the others run, as a computation does."""
        self.runtime._now += seconds
