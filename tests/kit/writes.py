"""Counts what a server writes: each call of a pipe's `write`, on any event loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from kit.loops.base import Loop, OnConnection
from kit.peer import Peer
from wstransports import WebSocketServer
from wstransports.address import Address
from wstransports.runtime import Pipe, Runtime, Sink, running


class CountingPipe:
    """A Pipe as it is, except that it records the writes."""

    def __init__(self, pipe: Pipe, writes: list[bytes]) -> None:
        self._pipe = pipe
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipe, name)

    def write(self, data: bytes) -> None:
        """As a Pipe."""
        self._writes.append(data)
        self._pipe.write(data)

    def writelines(self, parts: list[bytes]) -> None:
        """As a Pipe."""
        self._writes.extend(parts)
        self._pipe.writelines(parts)


class CountingSink:
    """A Sink in front of the real one, which it gives a CountingPipe."""

    def __init__(self, sink: Sink, writes: list[bytes]) -> None:
        self._sink = sink
        self._writes = writes
        self.identity = sink.identity
        self.data_received = sink.data_received
        self.eof_received = sink.eof_received
        self.connection_lost = sink.connection_lost

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self._sink.connected(cast(Pipe, CountingPipe(pipe, self._writes)))


class CountingRuntime:
    """The running Runtime, which counts each connection's writes, in the order of connecting."""

    def __init__(self) -> None:
        self.writes: list[list[bytes]] = []
        self._runtime = running()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: Any = None
    ) -> Any:
        """As a Runtime."""

        def make_counting() -> Sink:
            writes: list[bytes] = []
            self.writes.append(writes)
            sink = make_sink()
            assert sink is not None
            return CountingSink(sink, writes)

        return await self._runtime.listen(where, make_counting, group)


class Counted:
    """A server whose writes are counted."""

    def __init__(self, loop: Loop, server: WebSocketServer, runtime: CountingRuntime):
        self.loop = loop
        self.server = server
        self.runtime = runtime

    async def connect(self, path: str = "/") -> tuple[Peer, list[bytes]]:
        """A peer, and the writes to it from here on."""
        peer = await self.loop.connect(self.server, target=path)
        writes = self.runtime.writes[-1]
        await peer.nothing()
        writes.clear()
        return peer, writes


@asynccontextmanager
async def counting(
    loop: Loop, on_connection: OnConnection | None = None, **options: Any
) -> AsyncIterator[Counted]:
    """A server whose writes are counted."""
    runtime = CountingRuntime()
    options["runtime"] = cast(Runtime, runtime)
    async with loop.serving(on_connection, **options) as server:
        yield Counted(loop, server, runtime)
