"""Broadcasts to thousands: in slices, with other tasks in between, and in order for each client."""

import sys
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from threading import Thread
from typing import Any, cast

import pytest

from kit.jobs import Job
from kit.loops import Loop, MemoryLoop, OnConnection, on, on_each_loop, on_memory, on_own_streams
from kit.peer import Peer
from kit.writes import CountingPipe
from wstransports import Client, WebSocketReader, broadcast, broadcast_nowait
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.runtime import Pipe, running

COUNT = 16

RequestCall = Callable[[AbstractEventLoop, Callable[[], None]], object]

# The package has the function by this name.
MODULE = sys.modules["wstransports.broadcast"]


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice has one client, and no pause ends because it is long."""
    send_slice = MODULE.Sending.send_slice
    monkeypatch.setattr(MODULE.Sending, "send_slice", lambda sending, _: send_slice(sending, 0.0))
    monkeypatch.setattr(MODULE, "SLICE", 60)
    monkeypatch.setattr(MODULE, "_STEP", 1)


def at_each_delivery(monkeypatch: pytest.MonkeyPatch, call: Callable[[], None]) -> None:
    """Call `call` before a broadcast sends to a client."""
    send = vars(MODULE.Sending)["_send"]

    def sending(broadcast: Any, clients: list[Client]) -> None:
        for client in clients:
            call()
            send(broadcast, [client])

    monkeypatch.setattr(MODULE.Sending, "_send", sending)


class Crowd:
    """The clients of a server, and their peers."""

    def __init__(self, loop: Loop, clients: list[Client], peers: list[Peer]) -> None:
        self.clients = clients
        self.peers = peers
        self._loop = loop
        self._unfinished = running().batch.unfinished

    async def begin(self, message: str, clients: list[Client] | None = None) -> Job[Any]:
        """Begin a broadcast, which most of the clients have not got yet."""
        before = [*self._unfinished]
        job = self._loop.spawn(broadcast(clients or self.clients, message))
        await self._loop.until(lambda: set(self._unfinished) - set(before) or job.done)
        assert not job.done
        return job

    async def got(self, *messages: str) -> None:
        """See that each peer gets these messages, in this order, and no others."""
        for peer in self.peers:
            assert [await peer.message() for _ in messages] == list(messages)
            await peer.nothing()
        assert not self._unfinished


async def crowd(
    loop: Loop, stack: AsyncExitStack, on_connection: OnConnection | None = None, **options: Any
) -> Crowd:
    """A server with clients."""
    server = await stack.enter_async_context(loop.serving(on_connection, **options))
    peers: list[Peer] = []
    for _ in range(COUNT):
        peers.append(await loop.connect(server))
        await loop.until(lambda: len(server.clients) == len(peers))
    return Crowd(loop, list(server.clients.values()), peers)


@on_each_loop
@pytest.mark.parametrize("busy", [False, True])
async def test_other_tasks_run_meanwhile(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    """For a few turns of the loop after each slice, or for one that takes as long as a slice."""
    monkeypatch.setattr(MODULE, "SLICE", 0 if busy else 60)
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        turns = 0
        before: list[int] = []
        at_each_delivery(monkeypatch, lambda: before.append(turns))

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await running().checkpoint()
                turns += 1

        job = loop.spawn(take_turns())
        await loop.until(lambda: turns)
        report = await broadcast(here.clients, "hello")
        passed = [after - turn for turn, after in pairwise(before)]
        # Some loops take tasks in any order, which makes a difference of one.
        assert all(turn <= 2 for turn in passed) if busy else all(turn >= 2 for turn in passed)
        assert set(report.sent) == set(here.clients)
        assert not (report.dropped or report.closed or report.failed)
        await here.got("hello")
        job.cancel()


@on("asyncio")
async def test_next_to_nobody_it_takes_no_turns(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's own loop shows whether anything waits. In memory all turns are taken."""
    turns: list[int] = []
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        checkpoint = running().checkpoint

        async def take_turn() -> None:
            turns.append(len(turns))
            await checkpoint()

        monkeypatch.setattr(AsyncioRuntime, "checkpoint", staticmethod(take_turn))
        for peer in here.peers:  # which are in the same loop
            peer.wire.pause_reading()
        await broadcast(here.clients, "hello")
        for peer in here.peers:
            peer.wire.resume_reading()
        assert turns == []
        await here.got("hello")


def in_a_thread(loop: AbstractEventLoop, call: Callable[[], None]) -> None:
    thread = Thread(target=loop.call_soon_threadsafe, args=[call])
    thread.start()
    thread.join()


async def soon(call: Callable[[], None]) -> None:
    call()


@on("asyncio")
@pytest.mark.parametrize(
    "request_call",
    [
        lambda loop, call: loop.create_task(soon(call)),
        lambda loop, call: loop.call_soon(call),
        lambda loop, call: loop.call_later(0, call),
        in_a_thread,
    ],
    ids=["a task", "a callback", "a timer", "a thread"],
)
async def test_what_waits_runs_before_the_next_slice(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, request_call: RequestCall
) -> None:
    here_is = get_running_loop()
    ran_after: list[int] = []
    delivered = 0
    held: list[object] = []  # asyncio holds tasks weakly

    def deliver() -> None:
        nonlocal delivered
        delivered += 1
        if delivered == 5:
            held.append(request_call(here_is, lambda: ran_after.append(delivered)))

    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        at_each_delivery(monkeypatch, deliver)
        await broadcast(here.clients, "hello")
        assert ran_after == [5]
        await here.got("hello")


async def echo(client: Client) -> None:
    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


async def echo_what_it_receives(client: Client) -> None:
    async for message in client:
        await client.writer.send(message)


@on_own_streams
@pytest.mark.parametrize("on_connection", [echo, echo_what_it_receives])
async def test_what_arrives_during_a_slice_is_answered_before_the_next(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, on_connection: OnConnection
) -> None:
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack, on_connection)
        client, peer = here.clients.pop(), here.peers.pop()
        answers: list[bytes] = []
        client._session.outbox.pipe = cast(Pipe, CountingPipe(client._session.outbox.pipe, answers))
        answered: list[int] = []

        def deliver() -> None:
            answered.append(len(answers))
            if len(answered) % 4 == 1:
                peer.send("hello")

        at_each_delivery(monkeypatch, deliver)
        await broadcast(here.clients, "news")
        assert answered == [(number + 3) // 4 for number in range(COUNT - 1)]
        for _ in range(4):
            assert await peer.message() == "hello"
        await here.got("news")


@on_each_loop
async def test_each_client_gets_the_messages_in_order(loop: Loop) -> None:
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        jobs = [await here.begin("1"), await here.begin("2", here.clients[::-1])]
        reports = [broadcast_nowait(here.clients[2:4], "3")]
        jobs.append(await here.begin("4"))
        reports += [await job.wait() for job in jobs]
        reports.append(broadcast_nowait(here.clients, "5"))
        for number, peer in enumerate(here.peers):
            expected = ["1", "2", *(["3"] if number in (2, 3) else []), "4", "5"]
            assert [await peer.message() for _ in expected] == expected
        await here.got()
        assert [len(report.sent) for report in reports] == [2, COUNT, COUNT, COUNT, COUNT]


@on_each_loop
async def test_cancelled_it_reaches_all_nevertheless(loop: Loop) -> None:
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        first, second = await here.begin("1"), await here.begin("2")
        second.cancel()
        with pytest.raises(loop.cancelled):
            await second.wait()
        await first.wait()
        await here.got("1", "2")


@on_each_loop
async def test_in_a_callback(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get(str)
            for number in range(2):
                await broadcast(server.clients, f"{message} {number}")

    async with loop.serving(on_connection) as server:
        peers = [await loop.connect(server) for _ in range(3)]
        await loop.until(lambda: len(server.clients) == 3)
        peers[0].send("hello")
        for peer in peers:
            assert [await peer.message() for _ in range(2)] == ["hello 0", "hello 1"]


@on_memory
async def test_a_client_that_leaves_meanwhile_is_reported(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        job = await here.begin("hello")
        leaving = here.peers.pop()
        leaving.reset()
        report = await job.wait()
        assert [*report.failed] == here.clients[-1:]
        assert set(report.sent) == set(here.clients[:-1])
        await here.got("hello")


@on_memory
async def test_wait_waits_for_those_of_all_slices(loop: MemoryLoop) -> None:
    big = "x" * 100_000
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack, timeout=0)
        slow = here.peers[0], here.peers[-1]
        for peer in slow:
            peer.stop_reading()
        job = loop.spawn(broadcast(here.clients, big, slow="wait", compress=False))
        await loop.settle()
        assert not job.done
        slow[0].start_reading()
        await loop.settle()
        assert not job.done
        slow[1].start_reading()
        report = await job.wait()
        assert set(report.sent) == set(here.clients)
        await here.got(big)


@on_memory
async def test_an_interrupt_holds_up_no_later_broadcast(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C twice: in the pause, and while the rest is sent at once."""

    async def pause(_: object) -> None:
        at_each_delivery(patch, interrupt)
        raise KeyboardInterrupt

    def interrupt() -> None:
        raise KeyboardInterrupt

    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        with monkeypatch.context() as patch:
            patch.setattr(MODULE, "_pause", pause)
            with pytest.raises(KeyboardInterrupt):
                await broadcast(here.clients, "1")
        job = loop.spawn(broadcast(here.clients, "2"))
        await loop.until(lambda: job.done)
        assert set((await job.wait()).sent) == set(here.clients)
