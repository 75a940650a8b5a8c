"""`socket.drain(seconds)`: idle clients leave one after another with 1012, the others with 1001."""

import asyncio
import signal
from typing import Any

import pytest
from test_going_away import Work as BaseWork

from kit.jobs import Job
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from wstransports import Client, WebSocketServer


class Work(BaseWork):
    """Callbacks that work until the test says so."""

    async def fragments(self, client: Client) -> None:
        """An on_connection that sends a fragmented message."""
        async with client.writer.fragment() as stream:
            await stream.send("x")
            self.taken.append("a message to send")
            await self.go_on.wait()


async def busy(loop: Loop, server: WebSocketServer, work: Work) -> Peer:
    """A peer for which a callback works."""
    begun = len(work.taken)
    peer = await loop.connect(server)
    peer.send("question")
    await loop.until(lambda: len(work.taken) > begun)
    return peer


async def draining(loop: Loop, server: WebSocketServer, seconds: float) -> Job[None]:
    """A call of `drain` that has begun."""
    job = loop.spawn(server.drain(seconds))
    await loop.until(lambda: not server._acceptor._open)
    return job


async def pass_time(loop: Loop) -> None:
    """Let it look at the clients again."""
    if isinstance(loop, MemoryLoop):
        await loop.advance(0.1)


@on_each_loop
async def test_an_idle_client_leaves_at_once(loop: Loop) -> None:
    async with loop.serving(Work(loop).receiving) as server:
        peer = await loop.connect(server)
        draining_job = await draining(loop, server, 20)
        assert not server.port  # it listens no more
        assert await peer.closed() == (1012, "")
        await draining_job.wait()
        await server.drain(20)  # nobody is left


@pytest.mark.parametrize("way", ["callback", "receiving"])
@on_each_loop
async def test_a_client_whose_callback_works_gets_its_answer_first(loop: Loop, way: str) -> None:
    work = Work(loop)
    async with loop.serving(getattr(work, way)) as server:
        peer = await busy(loop, server, work)
        draining_job = await draining(loop, server, 20)
        await peer.nothing()  # open, and pings are answered
        peer.send("more, while it works")
        await peer.nothing()
        work.go_on.set()
        assert await peer.message() == "answer to question"
        assert await peer.message() == "answer to more, while it works"
        await pass_time(loop)
        assert await peer.closed() == (1012, "")
        await draining_job.wait()


@on_each_loop
async def test_no_time_closes_all_with_1001(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await server.drain(0)
        assert await peer.closed() == (1001, "")


@on_each_loop
async def test_cancelled_it_leaves_the_others_connected(loop: Loop) -> None:
    work = Work(loop)
    async with loop.serving(work.callback) as server:
        peer = await busy(loop, server, work)
        draining_job = await draining(loop, server, 20)
        draining_job.cancel()
        with pytest.raises(loop.cancelled):
            await draining_job.wait()
        work.go_on.set()
        assert await peer.message() == "answer to question"
        await peer.nothing()
        assert not server.port
        await server.drain(20)
        assert await peer.closed() == (1012, "")


@pytest.mark.parametrize("fails", [False, True])
@on_each_loop
async def test_the_end_of_the_block_waits_for_it_after_no_error(loop: Loop, fails: bool) -> None:
    work = Work(loop)
    server = loop.server()
    server.connection(work.callback)
    begun = loop.signal()

    async def serve() -> None:
        async with server as listening:
            begun.set()
            await listening.wait_closed()
            if fails:
                raise ZeroDivisionError

    serving = loop.spawn(serve())
    await begun.wait()
    peer = await busy(loop, server, work)
    draining_job = await draining(loop, server, 20)
    await peer.nothing()
    work.go_on.set()
    assert await peer.message() == "answer to question"
    await pass_time(loop)
    assert await peer.closed() == (1001 if fails else 1012, "")
    await draining_job.wait()
    if fails:
        with pytest.raises(ZeroDivisionError):
            await serving.wait()
    else:
        await serving.wait()


@on_each_loop
async def test_a_signal_can_begin_it(loop: Loop) -> None:
    server = loop.server()

    async def serve() -> None:
        async with server as listening:
            await listening.serve_forever(signals=True)
            await server.drain(20)

    before = signal.getsignal(signal.SIGTERM)
    serving = loop.spawn(serve())
    await loop.until(lambda: server.port and signal.getsignal(signal.SIGTERM) != before)
    peer = await loop.connect(server)
    signal.raise_signal(signal.SIGTERM)
    assert await peer.closed() == (1012, "")
    await serving.wait()


@on_memory
async def test_clients_leave_evenly_over_the_time(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peers = [await loop.connect(server) for _ in range(300)]
        job = await draining(loop, server, 30)
        left = []
        for _ in range(6):
            await loop.settle()
            left.append(len(server.clients))
            await loop.advance(5)
        assert left[0] == 299
        assert all(abs(left[n] - (300 - 50 * n)) <= 3 for n in range(6)), left
        await job.wait()
        assert {await peer.closed() for peer in peers} == {(1012, "")}


@pytest.mark.parametrize("way", ["callback", "fragments"])
@on_memory
async def test_a_client_that_is_never_idle_is_closed_as_by_the_end(
    loop: MemoryLoop, way: str
) -> None:
    work = Work(loop)
    async with loop.serving(getattr(work, way), shutdown_timeout=3) as server:
        peer = await busy(loop, server, work)
        peer.frames.clear()
        job = await draining(loop, server, 30)
        await loop.advance(29.9)
        assert not peer.frames
        await loop.advance(0.2 + 3)  # the callback is cancelled
        assert await peer.closed() == (1001, "")
        await job.wait()


@on_memory
async def test_of_two_calls_the_shorter_time_counts(loop: MemoryLoop) -> None:
    work = Work(loop)
    async with loop.serving(work.callback, shutdown_timeout=3) as server:
        peer = await busy(loop, server, work)
        jobs = [await draining(loop, server, 30), await draining(loop, server, 1)]
        await loop.advance(1 + 3)
        assert await peer.closed() == (1001, "")
        for job in jobs:
            await job.wait()


@on_memory
async def test_clients_in_the_handshake_are_turned_away(loop: MemoryLoop) -> None:
    async with loop.serving(Work(loop).callback) as server:
        asking, silent, idle = [await loop.dial(server) for _ in range(3)]
        asking.wire.write(b"GET / HTTP/1.1\r\n")
        idle.handshake()
        await loop.settle()
        job = await draining(loop, server, 30)
        assert (await asking.answer()).status == 503
        await silent.eof()
        assert silent.response is None
        assert await idle.closed() == (1012, "")
        await loop.advance(30)
        await job.wait()


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan"), "10", None])
@on_memory
async def test_wrong_times_raise(loop: MemoryLoop, seconds: Any) -> None:
    async with loop.serving() as server:
        with pytest.raises(ValueError, match=r"drain takes a number of seconds"):
            await server.drain(seconds)
        assert server._acceptor._open


@on_memory
async def test_a_server_that_does_not_listen_cannot_drain(loop: MemoryLoop) -> None:
    with pytest.raises(RuntimeError, match="does not listen"):
        await loop.server().drain(1)


def test_after_run_forever_the_loop_of_the_with_form_drains() -> None:
    loop = asyncio.new_event_loop()
    server = WebSocketServer("127.0.0.1", 0, loop=loop)
    with server as listening:
        loop.run_until_complete(server.drain(1))
        assert not listening.is_serving()
    loop.close()
