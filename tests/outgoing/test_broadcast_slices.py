"""Broadcasts to thousands: in slices, with other tasks in between, and in order for each client."""

import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kit.jobs import Job
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from wstransports import Client, WebSocketReader, broadcast, broadcast_nowait
from wstransports.runtime import running
from wstransports.sending.outbox import Outbox

COUNT = 16


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice has one client."""
    module = sys.modules["wstransports.broadcast"]  # the package has the function by this name
    monkeypatch.setattr(module, "SLICE", 0)
    monkeypatch.setattr(module, "_STEP", 1)


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


async def crowd(loop: Loop, stack: AsyncExitStack, **options: Any) -> Crowd:
    """A server with clients."""
    server = await stack.enter_async_context(loop.serving(**options))
    peers: list[Peer] = []
    for _ in range(COUNT):
        peers.append(await loop.connect(server))
        await loop.until(lambda: len(server.clients) == len(peers))
    return Crowd(loop, list(server.clients.values()), peers)


@on_each_loop
async def test_other_tasks_run_meanwhile(loop: Loop) -> None:
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                await running().checkpoint()
                turns += 1

        job = loop.spawn(take_turns())
        report = await broadcast(here.clients, "hello")
        assert turns >= COUNT // 2
        assert set(report.sent) == set(here.clients)
        assert not (report.dropped or report.closed or report.failed)
        await here.got("hello")
        job.cancel()


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
async def test_what_raises_for_one_client_leaves_out_no_other(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extension may raise, also when a later broadcast sends the earlier message."""
    async with AsyncExitStack() as stack:
        here = await crowd(loop, stack)
        job = await here.begin("1")
        failing = here.clients[COUNT // 2]._session.outbox
        really = Outbox.try_send

        def try_send(outbox: Outbox, *arguments: Any) -> bool:
            if outbox is failing:
                raise ZeroDivisionError
            return really(outbox, *arguments)

        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(Outbox, "try_send", try_send)
            broadcast_nowait(here.clients[::-1], "2")
        report = await job.wait()
        del here.clients[COUNT // 2], here.peers[COUNT // 2]
        assert set(report.sent) == set(here.clients)
        await here.got("1")
