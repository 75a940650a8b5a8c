"""Real sockets on trio."""

import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

from kit.jobs import ConcurrentJob, ConcurrentJobs
from kit.loops.base import PATIENCE, Loop, Main
from kit.peer import Peer, PipeWire
from kit.sockets import leftovers_reported, open_sockets
from wstransports import WebSocketServer
from wstransports.address import Address
from wstransports.runtime import Pipe, running

T = TypeVar("T")


class TrioWire(PipeWire):
    """A Wire over the adapter's Pipe; to reset the connection takes more than that can."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.abort = self._abort
        self._pipe = pipe

    def _abort(self) -> None:
        """Reset the connection, which the kernel does on a close without lingering."""
        found = self._pipe.info("socket")
        if found.fileno() >= 0:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._pipe.abort()


class TrioPeer(Peer):
    """A Peer on trio."""

    at_once = b""

    def connected(self, pipe: Pipe) -> None:
        """The stream is connected."""
        self.wire = TrioWire(pipe)
        if self.at_once:
            self.wire.write(self.at_once)


class TrioLoop(Loop):
    """Real sockets on trio; with a clock that jumps, no test waits for the time to pass."""

    cancelled = trio.Cancelled
    peer_class = TrioPeer

    _jobs: ConcurrentJobs

    def __init__(self, name: str = "trio", jumps: bool = False) -> None:
        super().__init__()
        self.name = name
        self._jumps = jumps

    def run(self, main: Main) -> None:
        """Run a test; fails if the library leaves tasks or sockets."""
        # What is sent arrives within the threshold, or the clock would jump before.
        clock = MockClock(autojump_threshold=0.05) if self._jumps else None
        with leftovers_reported():
            trio.run(self._bounded, main, clock=clock)

    async def _bounded(self, main: Main) -> None:
        async with ConcurrentJobs(trio, trio.open_nursery(), PATIENCE) as self._jobs:
            tasks = trio.lowlevel.current_statistics().tasks_living
            sockets = open_sockets()
            try:
                await main()
            finally:
                self._reset_peers()
            # All have until the timeout to end.
            while (
                trio.lowlevel.current_statistics().tasks_living > tasks
                or not self._all_lost()
                or open_sockets() > sockets
            ):
                self._jobs.cancel()
                await trio.lowlevel.checkpoint()

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        unix_path: str | None = request.pop("unix_path", None)
        at_once: bytes = request.pop("at_once", b"")
        tls: ssl.SSLContext | None = request.pop("tls", None)
        peer = self._peer(server, **request)
        assert isinstance(peer, TrioPeer)
        peer.at_once = at_once
        address = Address(
            str(server.addr), server.port, unix_path=unix_path, tls=tls, server_hostname=server.addr
        )
        await running().connect(address, peer, self._jobs.nursery)
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> ConcurrentJob[T]:
        """Run a coroutine next to the others."""
        return self._jobs.spawn(coroutine)

    async def checkpoint(self) -> None:
        """Let the others run a few times: each of our awaits takes a turn of the loop here."""
        for _ in range(10):
            await trio.lowlevel.checkpoint()

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a condition that never holds ends with a timeout."""
        while not condition():
            await trio.lowlevel.checkpoint()
