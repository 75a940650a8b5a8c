"""Writing to sockets without asyncio's transports, while these hold nothing."""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest

from kit.asyncio_pipes import ASYNCIO_LOOPS, PipeSink, new_loop
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.asyncio_transport import TransportPipe
from wstransports.adapters.direct_writes import DirectWrites
from wstransports.adapters.tls_watch import TlsWatch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are not files there")


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[TransportPipe, PipeSink, socket.socket]]:
    """A pipe of the running loop, its sink, and the other end of its stream."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sink = PipeSink()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        pipe = AsyncioRuntime(loop).take_over(transport, sink)
        transport.set_protocol(pipe)
        # The first is Python's: only after it the pipe knows that the transport holds nothing.
        pipe.write(b"first")
        assert theirs.recv(10) == b"first"
        yield pipe, sink, theirs
        transport.abort()
        await sink.lost


@pytest.fixture(autouse=True, params=["as built", "in Python"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write with the shortcut in C, where it was built, and without."""
    if request.param == "in Python":
        monkeypatch.setattr(DirectWrites, "write", DirectWrites.write)


class Watched:
    """A transport, and what is written through it."""

    def __init__(self, pipe: TransportPipe) -> None:
        self.written: list[bytes] = []
        self._transport: Any = pipe._transport
        pipe._transport = cast(asyncio.Transport, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self._transport.write(data)


def in_one(pipe: TransportPipe, data: bytes) -> None:
    pipe.write(data)


def in_parts(pipe: TransportPipe, data: bytes) -> None:
    pipe.writelines([data[:2], data[2:]])


Write = Callable[[TransportPipe, bytes], None]
both_ways = pytest.mark.parametrize("write", [in_one, in_parts])

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=ASYNCIO_LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run an async function on a loop whose transports may be passed by."""

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=partial(new_loop, request.param)) as runner:
            runner.run(main())

    return run


def test_the_transport_has_no_part_in_it(run: Run) -> None:
    async def main() -> None:
        async with connected() as (pipe, _, peer):
            transport = Watched(pipe)
            pipe.write(b"one")
            pipe.write(b"two")
            assert transport.written == []
            assert peer.recv(10) == b"onetwo"

    run(main)


@pytest.mark.parametrize("size", [30_000, 200_000])
def test_what_the_kernel_does_not_take_goes_through_it(run: Run, size: int) -> None:
    async def main() -> None:
        async with connected() as (pipe, _, peer):
            transport = Watched(pipe)
            loop = asyncio.get_running_loop()
            sent = [bytes([number]) * size for number in range(20)]
            for data in sent:
                pipe.write(data)
            assert pipe.waiting() > 0
            first, *others = transport.written
            assert others and others == sent[-len(others) :], "nothing may overtake what waits"
            assert first == sent[-len(others) - 1][-len(first) :]
            got = b""
            while len(got) < sum(map(len, sent)):
                got += await loop.sock_recv(peer, 2**20)
            assert got == b"".join(sent)
            assert pipe.waiting() == 0
            pipe.write(b"afterwards")
            assert transport.written == [first, *others]

    run(main)


def test_nothing_overtakes_large_parts(run: Run) -> None:
    async def main() -> None:
        async with connected() as (pipe, _, peer):
            transport = Watched(pipe)
            loop = asyncio.get_running_loop()
            pipe.write(b"bef")
            pipe.writelines([b"ore", bytes(1_000_000), bytes(1_000_000)])
            pipe.write(b"after")
            assert transport.written[-1] == b"after"  # before it the parts, where each is written
            got = b""
            while not got.endswith(b"after"):
                got += await loop.sock_recv(peer, 2**20)
            assert got == b"before" + bytes(2_000_000) + b"after"

    run(main)


@both_ways
def test_what_the_kernel_has_no_room_for_follows(run: Run, write: Write) -> None:
    async def main() -> None:
        async with connected() as (pipe, _, peer):
            loop = asyncio.get_running_loop()
            size = 0
            with suppress(BlockingIOError):
                while True:
                    size += os.write(pipe.info("socket").fileno(), bytes(2**16))
            write(pipe, b"one")
            assert pipe.waiting() == 3
            write(pipe, b"two")
            got = b""
            while len(got) < size + 6:
                got += await loop.sock_recv(peer, 2**20)
            assert got == bytes(size) + b"onetwo"

    run(main)


@both_ways
def test_the_loss_of_a_broken_stream_is_reported(run: Run, write: Write) -> None:
    async def main() -> None:
        async with connected() as (pipe, sink, peer):
            pipe.pause_reading()
            peer.close()
            write(pipe, b"nobody reads this")
            assert pipe.full, "connection_lost follows"
            pipe.write(b"ignored")
            assert isinstance(await sink.lost, OSError)

    run(main)


async def paused_over_tcp() -> tuple[TransportPipe, PipeSink, socket.socket]:
    """A pipe that does not read, its sink, and its peer's socket."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    accepted.setblocking(False)
    sink = PipeSink()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=accepted)
    pipe = AsyncioRuntime(loop).take_over(transport, sink)
    transport.set_protocol(pipe)
    pipe.pause_reading()
    return pipe, sink, peer


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_the_error_of_a_stream_that_was_reset_is_the_first(run: Run) -> None:
    """The kernel reports it once, and a broken pipe afterwards."""

    async def main() -> None:
        pipe, sink, peer = await paused_over_tcp()
        pipe.write(b"first")
        reset(peer)
        pipe.write(b"nobody reads this")
        assert pipe.full, "connection_lost follows"
        pipe.write(b"ignored")
        assert isinstance(await sink.lost, ConnectionResetError)

    run(main)


def test_a_stream_that_was_reset_is_closed(run: Run) -> None:
    async def main() -> None:
        pipe, sink, peer = await paused_over_tcp()
        reset(peer)
        pipe.close()
        await sink.lost

    run(main)


def test_what_is_known_of_a_lost_stream(run: Run) -> None:
    """uvloop's transports fail where they have no socket any more."""

    async def main() -> None:
        async with connected() as (pipe, sink, _):
            pipe.abort()
            await sink.lost
            assert not pipe.info("sockname")

    run(main)


def test_a_stream_that_breaks_in_a_transports_write_takes_no_more(run: Run) -> None:
    class Breaking(Watched):
        def write(self, data: bytes) -> None:
            super().write(data)
            self.abort()

    async def main() -> None:
        async with connected() as (pipe, _, _):
            pipe._descriptor = None  # as with TLS
            transport = Breaking(pipe)
            pipe.write(b"one")
            assert pipe.full, "connection_lost follows"
            pipe.write(b"ignored")
            assert transport.written == [b"one"]

    run(main)


def test_what_is_written_to_a_full_stream_of_tls_is_counted(run: Run) -> None:
    """Else it would seem to be TLS's own: see TlsWatch."""

    counted: list[bytes] = []

    class Watch:
        def count(self, *parts: bytes) -> None:
            counted.extend(parts)

        def stop(self) -> None: ...

    async def main() -> None:
        async with connected() as (pipe, _, _):
            pipe._descriptor = None
            pipe._watch = cast(TlsWatch, Watch())
            pipe.write(b"one")
            assert counted == [b"one"]

    run(main)


def test_an_aborted_stream_takes_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (pipe, _, peer):
            pipe.write(b"before")
            pipe.abort()
            pipe.write(b"after")
            assert peer.recv(20) == b"before"

    run(main)


@pytest.mark.filterwarnings("ignore:unclosed resource:ResourceWarning")
def test_a_loop_that_is_closed_writes_to_no_other_socket() -> None:
    """uvloop closes the sockets of its transports: others get their descriptors."""

    async def main() -> tuple[TransportPipe, int]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        descriptor = ours.fileno()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        pipe = AsyncioRuntime(loop).take_over(transport, PipeSink())
        for data in (b"one", b"two"):
            pipe.write(data)
        assert theirs.recv(10) == b"onetwo"
        theirs.close()
        return pipe, descriptor

    with asyncio.Runner(loop_factory=partial(new_loop, "uvloop")) as runner:
        pipe, descriptor = runner.run(main())
    one, other = socket.socketpair()
    with one, other:
        other.setblocking(False)
        os.dup2(one.fileno(), descriptor)
        pipe.write(b"after")
        os.close(descriptor)
        assert pipe.full, "the stream is lost"
        with pytest.raises(BlockingIOError):
            other.recv(10)
