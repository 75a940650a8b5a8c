"""Servers and raw peers on trio, over real sockets."""

import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import trio
from harness import PATIENCE, Peer, World
from jobs import ConcurrentJob, ConcurrentJobs

from wstransports import WebSocketServer
from wstransports.options import Address
from wstransports.runtime import Pipe, running

T = TypeVar("T")


class TrioWire:
    """A Wire on trio: the adapter's pipe does, but for how it breaks off."""

    def __init__(self, pipe: Pipe) -> None:
        self.write = pipe.write
        self.pause_reading = pipe.pause_reading
        self.resume_reading = pipe.resume_reading
        self.close = pipe.close
        self.vanish = pipe.abort
        self._pipe = pipe

    def abort(self) -> None:
        """Reset the connection: closing without lingering makes the kernel send that."""
        found = self._pipe.info("socket")
        if found.fileno() >= 0:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._pipe.abort()


class TrioPeer(Peer):
    """A Peer on trio."""

    at_once = b""

    def connected(self, pipe: Pipe) -> None:
        """The stream stands."""
        self.wire = TrioWire(pipe)
        if self.at_once:
            self.wire.write(self.at_once)


class TrioWorld(World):
    """Real sockets on trio."""

    name = "trio"
    cancelled = trio.Cancelled
    peer_class = TrioPeer

    _jobs: ConcurrentJobs

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a test, and see that the library leaves no task behind."""
        trio.run(self._bounded, main)

    async def _bounded(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with ConcurrentJobs(trio, trio.open_nursery(), PATIENCE) as self._jobs:
            before = trio.lowlevel.current_statistics().tasks_living
            try:
                await main()
            finally:
                for peer in self._peers:
                    if not peer.lost and hasattr(peer, "wire"):
                        peer.reset()
            # Everybody has until the timeout to be gone.
            while trio.lowlevel.current_statistics().tasks_living > before or not all(
                peer.lost for peer in self._peers
            ):
                self._jobs.cancel()
                await trio.sleep(0)

    def server(self, **options: Any) -> WebSocketServer:
        """A server of this loop, on a free port of 127.0.0.1."""
        return WebSocketServer("127.0.0.1", 0, **options)

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet; `unix_path` and `tls` say how to connect, `at_once`
        is sent in the very moment when the stream stands."""
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
        """Run a coroutine beside the others."""
        return self._jobs.spawn(coroutine)

    async def checkpoint(self) -> None:
        """Let the others run a few times: here each await of ours is a turn of its own."""
        for _ in range(10):
            await trio.sleep(0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a test that waits for nothing runs out of patience."""
        while not condition():
            await trio.sleep(0)
