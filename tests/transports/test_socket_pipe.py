"""The pipe over a socket that asyncio watches: its ends, where the contract does not say it all."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from kit.asyncio_pipes import new_loop
from kit.sockets import over_tcp, reset
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.asyncio_socket import SHORT_READ, AsyncioSocketPipe
from wstransports.address import Address
from wstransports.identity import Identity

Main = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run an async function on a loop that watches sockets."""

    def run(main: Main) -> None:
        with asyncio.Runner(loop_factory=partial(new_loop, request.param)) as runner:
            runner.run(main())

    return run


class Sink:
    """Notes what it is given, and does `at_first` when it is connected."""

    identity = Identity.__new__(Identity)

    def __init__(self, at_first: Callable[[Any], None]) -> None:
        self.at_first = at_first
        self.notes: list[object] = []
        self.lost = asyncio.Event()

    def connected(self, pipe: Any) -> None:
        self.at_first(pipe)

    def data_received(self, data: bytes | memoryview) -> None:
        self.notes.append(bytes(data))

    def eof_received(self) -> None:
        self.notes.append("the end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.notes.append(exc)
        self.lost.set()


def opened(
    pair: tuple[socket.socket, socket.socket], at_first: Callable[[Any], None] = lambda pipe: None
) -> tuple[AsyncioSocketPipe, Sink, socket.socket]:
    ours, theirs = pair
    for sock in pair:
        sock.setblocking(False)
    sink = Sink(at_first)
    pipe = AsyncioSocketPipe(AsyncioRuntime(asyncio.get_running_loop()), sink, ours, None)
    pipe.open()
    return pipe, sink, theirs


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_one_that_is_paused_at_once_reads_nothing(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair(), AsyncioSocketPipe.pause_reading)
        theirs.send(b"early")
        theirs.close()
        await turns()
        assert sink.notes == []
        pipe.resume_reading()
        await turns()
        assert sink.notes == [b"early", "the end"]
        pipe.close()
        await sink.lost.wait()
        assert sink.notes == [b"early", "the end", None]

    run(main)


def test_one_that_is_dropped_at_once_reads_nothing(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair(), AsyncioSocketPipe.abort)
        with theirs:
            assert sink.notes == []
            for harmless in (pipe.pause_reading, pipe.resume_reading, pipe.close, pipe.abort):
                harmless()
            await sink.lost.wait()
            pipe.resume_reading()
            pipe.write(b"nobody reads this")
            await turns()
            assert sink.notes == [None]
            assert theirs.recv(10) == b""

    run(main)


def test_after_the_peers_end_nothing_is_read_again_and_again(
    run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = AsyncioSocketPipe._readable

    def noted(pipe: AsyncioSocketPipe) -> None:
        reads.append("one")
        read(pipe)

    monkeypatch.setattr(AsyncioSocketPipe, "_readable", noted)

    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        with theirs:
            theirs.shutdown(socket.SHUT_WR)
            await turns()
            pipe.pause_reading()
            pipe.resume_reading()
            await turns()
            assert (reads, sink.notes) == (["one"], ["the end"])
            pipe.write(b"ours still works")
            assert theirs.recv(100) == b"ours still works"
            pipe.close()
            await sink.lost.wait()

    run(main)


def test_a_loop_that_calls_for_nothing(run: Callable[[Main], None]) -> None:
    """As the system may say that a socket is ready that is not."""

    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        with theirs:
            pipe._readable()
            AsyncioSocketPipe._readable(pipe)
            pipe._buffer = memoryview(bytearray(10))
            pipe._readable()
            assert sink.notes == []
            pipe.write(bytes(2**25))
            waiting = pipe.waiting()
            pipe._write_on()
            assert pipe.waiting() == waiting
            pipe.abort()
            await sink.lost.wait()

    run(main)


def test_it_has_space_again_when_a_quarter_of_the_limit_waits(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        limit = 2**20
        pipe.set_write_limit(limit)
        pipe.write(bytes(limit // 2))
        assert not pipe.full
        pipe.write(bytes(4 * limit))
        seen = set()
        with theirs:
            while pipe.waiting():
                theirs.recv(2**16)
                pipe._write_on()
                seen.add((pipe.full, pipe.waiting() > limit // 4))
            assert seen == {(True, True), (False, False)}
            pipe.abort()
            await sink.lost.wait()

    run(main)


def test_more_parts_than_a_system_takes_at_once(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        parts = [bytes([number % 256]) for number in range(3000)]
        with theirs:
            pipe.writelines(parts)
            await turns()
            assert theirs.recv(10_000) == b"".join(parts)
            pipe.abort()
            await sink.lost.wait()
            assert sink.notes == [None]

    run(main)


@pytest.mark.parametrize("close", [True, False])
def test_a_stream_that_breaks_while_output_waits(run: Callable[[Main], None], close: bool) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(over_tcp(), AsyncioSocketPipe.pause_reading)
        pipe.write(bytes(2**25))
        if close:
            pipe.close()
        await turns()
        assert pipe.full
        waiting = pipe.waiting()
        assert waiting
        reset(theirs)
        await sink.lost.wait()
        [error] = sink.notes
        assert isinstance(error, OSError)
        assert not pipe.waiting()
        await pipe.drain()

    run(main)


def test_a_stream_that_breaks_at_the_end_of_our_half(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(over_tcp(), AsyncioSocketPipe.pause_reading)
        reset(theirs)
        pipe.close()
        await sink.lost.wait()
        [error] = sink.notes
        assert isinstance(error, OSError)

    run(main)


# uvloop calls once more what watches a socket with an error, and never again: not even if it has
# left something to read, nor if it then watches again.
@pytest.mark.parametrize("in_c", [True, False])
@pytest.mark.parametrize("size", [5, SHORT_READ, 3 * SHORT_READ + 5])
@pytest.mark.parametrize("at_first", ["reads", "paused", "pauses"])
def test_what_arrives_before_a_reset_is_read_and_then_the_loss_is_reported(
    run: Callable[[Main], None],
    at_first: str,
    size: int,
    in_c: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not in_c:
        monkeypatch.setattr(AsyncioSocketPipe, "_readable", AsyncioSocketPipe._readable)

    async def main() -> None:
        pipe, sink, theirs = opened(over_tcp())
        if at_first == "paused":
            pipe.pause_reading()
        theirs.send(bytes(size))
        reset(theirs)
        await turns() if at_first == "paused" else None
        if at_first == "pauses":
            take = sink.data_received

            def take_and_pause(data: bytes | memoryview) -> None:
                take(data)
                pipe.pause_reading()
                asyncio.get_running_loop().call_later(0.001, pipe.resume_reading)

            monkeypatch.setattr(sink, "data_received", take_and_pause)
        pipe.resume_reading()
        async with asyncio.timeout(5):
            await sink.lost.wait()
        *data, error = sink.notes
        assert isinstance(error, ConnectionResetError)
        assert sum(len(some) for some in data if isinstance(some, bytes)) == size

    run(main)


@pytest.mark.parametrize("reads", [True, False])
def test_a_stream_is_lost_if_the_kernel_does_not_watch_it(
    run: Callable[[Main], None], reads: bool
) -> None:
    class Full:
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        def __getattr__(self, name: str) -> Any:
            return getattr(self.loop, name)

        def add_reader(self, *arguments: Any) -> None:
            raise OSError(errno.ENOSPC, "no space left")

        add_writer = add_reader

    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair(), AsyncioSocketPipe.pause_reading)
        with theirs:
            runtime: Any = pipe._runtime
            runtime.loop = Full(runtime.loop)
            if reads:
                pipe.resume_reading()
            else:
                pipe.write(bytes(2**24))
                assert pipe.full
            assert sink.notes == []
            await sink.lost.wait()
            [error] = sink.notes
            assert isinstance(error, OSError)
            assert error.errno == errno.ENOSPC

    run(main)


def test_once_all_is_sent_nothing_is_written_again_and_again(
    run: Callable[[Main], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    write = AsyncioSocketPipe._writable

    def noted(pipe: AsyncioSocketPipe) -> None:
        writes.append("one")
        write(pipe)

    monkeypatch.setattr(AsyncioSocketPipe, "_writable", noted)

    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        with theirs:
            pipe.write(bytes(2**20))
            left = 2**20
            while left:
                left -= len(await asyncio.get_running_loop().sock_recv(theirs, left))
            await turns()
            assert not pipe.waiting()
            before = len(writes)
            assert before
            await turns()
            assert len(writes) == before
            pipe.abort()
            await sink.lost.wait()

    run(main)


def test_one_that_is_dropped_is_not_watched(run: Callable[[Main], None]) -> None:
    """Another socket gets the number of this one."""

    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        with theirs:
            loop, number = asyncio.get_running_loop(), pipe.info("socket").fileno()
            pipe.write(bytes(2**24))
            pipe.abort()
            assert not loop.remove_reader(number)
            assert not loop.remove_writer(number)
            await sink.lost.wait()

    run(main)


def test_a_given_socket_that_blocks_does_so_no_more(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            pipes: list[AsyncioSocketPipe] = []
            sink = Sink(pipes.append)
            runtime = AsyncioRuntime(asyncio.get_running_loop())
            await runtime.connect(Address(None, 0, sock=ours), sink)
            assert not os.get_blocking(pipes[0].info("socket").fileno())
            assert pipes[0].info("socket").gettimeout() == 0
            pipes[0].abort()
            await sink.lost.wait()

    run(main)


def test_our_half_ends_once_all_is_sent(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        pipe, sink, theirs = opened(socket.socketpair())
        with theirs:
            parts = [b"a" * 1000, b"b" * 2**21, b"c" * 1000]
            pipe.writelines(parts)
            pipe.close()
            got = b""
            async with asyncio.timeout(5):
                while some := await asyncio.get_running_loop().sock_recv(theirs, 2**20):
                    got += some
            assert got == b"".join(parts)
            pipe.abort()
            await sink.lost.wait()

    run(main)
