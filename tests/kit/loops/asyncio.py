"""Real sockets on asyncio, or on a loop that replaces asyncio's own."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from kit.jobs import AsyncioJob
from kit.loops.base import PATIENCE, Loop, Main
from kit.peer import Peer
from kit.sockets import leftovers_reported, open_sockets
from wstransports import WebSocketServer

T = TypeVar("T")


class AsyncioWire(asyncio.Protocol):
    """A Wire on asyncio."""

    _transport: asyncio.Transport

    def __init__(self, peer: Peer, at_once: bytes) -> None:
        self._peer = peer
        self._at_once = at_once
        self._ended = False
        self.data_received = peer.data_received  # type: ignore[method-assign]
        self.connection_lost = peer.connection_lost  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self._peer.wire = self
        if self._at_once:
            self.write(self._at_once)

    def eof_received(self) -> bool:
        self._peer.eof_received()
        return self._transport.can_write_eof()

    def write(self, data: bytes) -> None:
        """Send; does nothing after our half is ended, or the connection is lost."""
        if not self._ended and not self._transport.is_closing():
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Read no more."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again; a TLS transport that is closing cannot."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """End our half, or close if the server has ended its own."""
        self._ended = True
        if self._peer.at_eof or not self._transport.can_write_eof():
            if not self._transport.is_closing():  # closed again, asyncio's TLS cannot be aborted
                self._transport.close()
        else:
            self._transport.write_eof()

    def abort(self) -> None:
        """Reset the connection, which the kernel does on a close without lingering."""
        if not self._transport.is_closing():
            found = self._transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def vanish(self) -> None:
        """Close both halves at once."""
        self._transport.abort()


class AsyncioLoop(Loop):
    """Real sockets on asyncio's own loop, or on one that replaces it."""

    cancelled = asyncio.CancelledError

    def __init__(
        self, name: str = "asyncio", new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self._new_loop = new_loop
        self._jobs: list[AsyncioJob[Any]] = []

    def run(self, main: Main) -> None:
        """Run a test; fails if the library leaves tasks or sockets."""
        with leftovers_reported(), asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(self._bounded(main))

    async def _bounded(self, main: Main) -> None:
        async with asyncio.timeout(PATIENCE):
            sockets = open_sockets()
            await main()
            for job in self._jobs:
                job.cancel()
            self._reset_peers()
            # All have until the timeout to end.
            # Nothing announces the end of the last of them.
            while (  # noqa: ASYNC110
                len(asyncio.all_tasks()) > 1 or not self._all_lost() or open_sockets() > sockets
            ):
                await asyncio.sleep(0)

    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has sent nothing yet."""
        unix_path: str | None = request.pop("unix_path", None)
        at_once: bytes = request.pop("at_once", b"")
        tls: ssl.SSLContext | None = request.pop("tls", None)
        peer = self._peer(server, **request)
        loop = asyncio.get_running_loop()
        if unix_path is not None:
            await loop.create_unix_connection(lambda: AsyncioWire(peer, at_once), unix_path)
        else:
            await loop.create_connection(
                lambda: AsyncioWire(peer, at_once), str(server.addr), server.port, ssl=tls
            )
        return peer

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> AsyncioJob[T]:
        """Run a coroutine next to the others."""
        job = AsyncioJob(asyncio.create_task(coroutine))
        self._jobs.append(job)
        return job

    async def until(self, condition: Callable[[], object]) -> None:
        """Turn the loop; a condition that never holds ends with a timeout."""
        while not condition():  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0)
