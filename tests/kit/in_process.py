"""anyio with byte streams inside the process: no sockets, each of its backends."""

import errno
import functools
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, cast

import anyio.lowlevel
import pytest
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
)
from anyio.abc import ByteStream

from wstransports import runtime as contract
from wstransports.adapters.anyio import AnyioListener, AnyioRuntime
from wstransports.adapters.anyio_pipe import AnyioPipe
from wstransports.address import Address
from wstransports.runtime import Sink

# How long a test may take, in seconds.
PATIENCE = 10

BACKENDS = [
    "asyncio",
    pytest.param(
        "trio",
        marks=[
            pytest.mark.skipif(not find_spec("trio"), reason="trio is missing"),
            pytest.mark.slow,
        ],
    ),
]

# How much may wait between two ends, in bytes.
CAPACITY = 64 * 1024


def on_each_backend(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on each backend, its argument `backend`, for a bounded time."""

    @pytest.mark.parametrize("backend", BACKENDS)
    @functools.wraps(test)
    def run(backend: str, **others: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(PATIENCE):
                await test(backend=backend, **others)

        anyio.run(bounded, backend=backend)

    return cast(Callable[..., None], run)


class MemoryStream(ByteStream):
    """One end of a byte stream; `stream_pair` makes two."""

    _peer: "MemoryStream"

    def __init__(self) -> None:
        self._arrived = bytearray()
        self._at_eof = False
        self._closed = False
        self._reset = False
        self._news = Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """As anyio says."""
        await anyio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise ClosedResourceError
            if self._reset:
                raise BrokenResourceError
            if self._arrived:
                data = bytes(self._arrived[:max_bytes])
                del self._arrived[:max_bytes]
                self._announce()
                return data
            if self._at_eof:
                raise EndOfStream
            await self._news.wait()

    async def send(self, item: bytes) -> None:
        """As anyio says; if cancelled, it has sent a part."""
        await anyio.lowlevel.checkpoint()
        peer = self._peer
        while item:
            if self._closed:
                raise ClosedResourceError
            if peer._closed:
                raise BrokenResourceError
            room = CAPACITY - len(peer._arrived)
            if room > 0:
                peer._arrived += item[:room]
                item = item[room:]
                peer._announce()
            else:
                await peer._news.wait()

    async def send_eof(self) -> None:
        """As anyio says."""
        await anyio.lowlevel.checkpoint()
        self._peer._at_eof = True
        self._peer._announce()

    async def aclose(self) -> None:
        """As anyio says."""
        self._closed = self._peer._at_eof = True
        self._announce()
        self._peer._announce()
        await anyio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Reset the connection: the other end loses what it has not received yet."""
        self._peer._reset = True
        self._peer._announce()

    def _announce(self) -> None:
        news, self._news = self._news, Event()
        news.set()


def stream_pair() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of one byte stream."""
    a, b = MemoryStream(), MemoryStream()
    a._peer, b._peer = b, a
    return a, b


class InProcessListener(AnyioListener):
    """A listener that can be connected to by address."""

    def __init__(
        self, runtime: "InProcessRuntime", where: Address, make_sink: Callable[[], Sink | None]
    ) -> None:
        super().__init__(runtime, where, make_sink)
        self._listeners = runtime.listeners
        self._listeners[self.address()] = self

    def _stop(self) -> None:
        self._listeners.pop(self.address(), None)
        super()._stop()


class InProcessRuntime(AnyioRuntime):
    """Connects to the servers that listen in it."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: dict[tuple[str, int], InProcessListener] = {}
        self._ports = itertools.count(1)

    async def listen(
        self, where: Address, make_sink: Callable[[], Sink | None], group: None = None
    ) -> InProcessListener:
        """Listen, at a free port if none is given."""
        if not where.port:
            where = replace(where, port=next(self._ports))
        if (where.host or "", where.port) in self.listeners:
            raise OSError(errno.EADDRINUSE, f"{where} is in use")
        await super().listen(where, make_sink)
        return InProcessListener(self, where, make_sink)

    async def connect(self, where: Address, sink: Sink, group: None = None) -> None:
        """Connect to the listener there."""
        listener = self.listeners.get((where.host or "", where.port))
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens at {where}")
        mine, theirs = stream_pair()
        self.spawn(listener.serve(theirs))
        self.spawn(AnyioPipe(self, mine, sink).run())
        await self.checkpoint()


@contextmanager
def found(runtime: AnyioRuntime) -> Iterator[None]:
    """Make this the running runtime; adapters over streams are not, by themselves."""
    contract._finders.insert(0, lambda: runtime)
    try:
        yield
    finally:
        del contract._finders[0]
