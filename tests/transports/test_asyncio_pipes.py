"""Writing to streams on asyncio: over sockets, and over transports."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest

from kit.asyncio_pipes import ASYNCIO_LOOPS, PipeSink, new_loop
from kit.sockets import Pair, over_tcp, reset
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.asyncio_pipe import AsyncioPipe
from wstransports.adapters.asyncio_socket import AsyncioSocketPipe
from wstransports.adapters.direct_writes import DirectWrites
from wstransports.adapters.tls_watch import TlsWatch
from wstransports.adapters.transport_pipe import TransportPipe


class Stream:
    """A pipe over one of a pair of sockets, its sink, and the other end of its stream."""

    def __init__(self, pipe: AsyncioPipe, sink: PipeSink, peer: socket.socket) -> None:
        self.pipe: Any = pipe
        self.sink = sink
        self.peer = peer
        peer.setblocking(False)

    async def received(self, size: int) -> bytes:
        """So many bytes that the peer receives."""
        data = b""
        while len(data) < size:
            data += await asyncio.get_running_loop().sock_recv(self.peer, 2**20)
        return data


@asynccontextmanager
async def over_socket(pair: Pair) -> AsyncIterator[Stream]:
    """A stream over a socket that the loop watches."""
    ours, theirs = pair
    ours.setblocking(False)
    sink = PipeSink()
    pipe = AsyncioSocketPipe(AsyncioRuntime(asyncio.get_running_loop()), sink, ours)
    pipe.open()
    with theirs:
        yield Stream(pipe, sink, theirs)
        pipe.abort()
        await sink.lost


@asynccontextmanager
async def over_transport(pair: Pair) -> AsyncIterator[Stream]:
    """A stream over a transport."""
    ours, theirs = pair
    loop = asyncio.get_running_loop()
    sink = PipeSink()
    make = partial(TransportPipe, AsyncioRuntime(loop), sink)
    _, pipe = await loop.create_connection(make, sock=ours)
    with theirs:
        yield Stream(pipe, sink, theirs)
        pipe.abort()
        await sink.lost


Make = Callable[[Pair], AbstractAsyncContextManager[Stream]]
on_both = pytest.mark.parametrize("make", [over_socket, over_transport])


@pytest.fixture(autouse=True, params=["as built", "in Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write with the shortcut in C, where it was built, and without."""
    if request.param == "in Python":
        monkeypatch.setattr(DirectWrites, "write", DirectWrites.write)


Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=ASYNCIO_LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function on a loop."""

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=partial(new_loop, request.param)) as runner:
            runner.run(main())

    return run


def in_one(pipe: AsyncioPipe, data: bytes) -> None:
    pipe.write(data)


def in_parts(pipe: AsyncioPipe, data: bytes) -> None:
    pipe.writelines([data[:2], data[2:]])


Write = Callable[[AsyncioPipe, bytes], None]
both_ways = pytest.mark.parametrize("write", [in_one, in_parts])


@on_both
@pytest.mark.parametrize("size", [30_000, 200_000])
def test_what_the_kernel_does_not_take_follows(run: Run, make: Make, size: int) -> None:
    async def main() -> None:
        async with make(socket.socketpair()) as stream:
            sent = [bytes([number]) * size for number in range(20)]
            for data in sent:
                stream.pipe.write(data)
            assert stream.pipe.waiting() > 0
            assert await stream.received(20 * size) == b"".join(sent)
            assert stream.pipe.waiting() == 0
            stream.pipe.write(b"afterwards")
            assert await stream.received(10) == b"afterwards"

    run(main)


@on_both
def test_nothing_overtakes_large_parts(run: Run, make: Make) -> None:
    async def main() -> None:
        async with make(socket.socketpair()) as stream:
            stream.pipe.write(b"bef")
            stream.pipe.writelines([b"ore", bytes(1_000_000), bytes(1_000_000)])
            stream.pipe.write(b"after")
            got = await stream.received(2_000_011)
            assert got == b"before" + bytes(2_000_000) + b"after"

    run(main)


@on_both
@both_ways
def test_what_the_kernel_has_no_room_for_follows(run: Run, make: Make, write: Write) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        async with make((ours, theirs)) as stream:
            size = 0
            with suppress(BlockingIOError):
                while True:
                    size += ours.send(bytes(2**16))
            write(stream.pipe, b"one")
            assert stream.pipe.waiting() == 3
            write(stream.pipe, b"two")
            assert await stream.received(size + 6) == bytes(size) + b"onetwo"

    run(main)


@on_both
@both_ways
def test_the_loss_of_a_broken_stream_is_reported(run: Run, make: Make, write: Write) -> None:
    async def main() -> None:
        async with make(socket.socketpair()) as stream:
            pipe = stream.pipe
            pipe.pause_reading()
            stream.peer.close()
            write(pipe, b"nobody reads this")
            pipe.write(b"ignored")
            assert isinstance(await stream.sink.lost, OSError)
            assert not pipe.full, "nobody waits for ever"

    run(main)


def test_a_broken_socket_is_full_at_once(run: Run) -> None:
    """Senders wait for connection_lost()."""

    async def main() -> None:
        async with over_socket(over_tcp()) as stream:
            stream.pipe.pause_reading()
            stream.pipe.write(b"first")
            reset(stream.peer)
            stream.pipe.write(b"nobody reads this")
            assert stream.pipe.full
            assert isinstance(await stream.sink.lost, ConnectionResetError), "not the second error"

    run(main)


@on_both
def test_a_stream_that_was_reset_is_closed(run: Run, make: Make) -> None:
    async def main() -> None:
        async with make(over_tcp()) as stream:
            stream.pipe.pause_reading()
            reset(stream.peer)
            stream.pipe.close()
            await stream.sink.lost

    run(main)


@on_both
def test_what_is_known_of_a_lost_stream(run: Run, make: Make) -> None:
    """uvloop's transports fail where they have no socket any more."""

    async def main() -> None:
        async with make(socket.socketpair()) as stream:
            stream.pipe.abort()
            await stream.sink.lost
            assert not stream.pipe.info("sockname")

    run(main)


@on_both
def test_an_aborted_stream_takes_nothing(run: Run, make: Make) -> None:
    async def main() -> None:
        async with make(socket.socketpair()) as stream:
            stream.pipe.write(b"before")
            assert await stream.received(6) == b"before"
            stream.pipe.abort()
            stream.pipe.write(b"after")
            await stream.sink.lost
            assert stream.peer.recv(20) == b""

    run(main)


# Transports.


class Breaking:
    """A transport that breaks in a write, and what it is given."""

    def __init__(self, transport: Any) -> None:
        self.written: list[bytes] = []
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._transport.abort()


def test_a_stream_that_breaks_in_a_transports_write_takes_no_more(run: Run) -> None:
    async def main() -> None:
        async with over_transport(socket.socketpair()) as stream:
            stream.pipe._transport = transport = Breaking(stream.pipe._transport)
            stream.pipe.write(b"one")
            assert stream.pipe.full, "connection_lost follows"
            stream.pipe.write(b"ignored")
            assert transport.written == [b"one"]
            await stream.sink.lost

    run(main)


def test_what_is_written_to_a_full_stream_of_tls_is_counted(run: Run) -> None:
    """Else it would seem to be TLS's own: see TlsWatch."""

    counted: list[bytes] = []

    class Watch:
        def count(self, *parts: bytes) -> None:
            counted.extend(parts)

        def stop(self) -> None: ...

    async def main() -> None:
        async with over_transport(socket.socketpair()) as stream:
            stream.pipe._watch = cast(TlsWatch, Watch())
            stream.pipe.write(b"one")
            assert counted == [b"one"]
            stream.pipe.abort()
            await stream.sink.lost

    run(main)
