"""How long the slices of a broadcast are, and what others get between them."""

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from kit.loops import Loop, MemoryLoop, OnConnection, echo, on_each_loop, on_memory
from kit.peer import Peer
from wstransports import Client, WebSocketReader, broadcast

# The package has the function by this name.
MODULE = sys.modules["wstransports.broadcast"]

# Seconds for each delivery, and the seconds of the shortest and of the longest slice.
COST = 0.00002
SHORT = 0.0001
LONG = 0.0005


class Crowd:
    """Clients of a server on the memory loop; each delivery to one takes `COST`."""

    def __init__(self, loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients: list[Client] = []
        self.peers: list[Peer] = []
        self.slices: list[float] = []
        """The seconds of each slice."""
        self.in_slice: Callable[[], object] = lambda: None
        """Called at the end of each."""
        self._loop = loop
        send, send_slice = vars(MODULE.Sending)["_send"], MODULE.Sending.send_slice

        def sending(broadcast: Any, clients: list[Client]) -> None:
            loop.hold(COST * len(clients))
            send(broadcast, clients)

        def in_slices(sending: Any, until: float) -> bool:
            begin = loop.now()
            left: bool = send_slice(sending, until)
            self.slices.append(loop.now() - begin)
            self.in_slice()
            return left

        monkeypatch.setattr(MODULE.Sending, "_send", sending)
        monkeypatch.setattr(MODULE.Sending, "send_slice", in_slices)
        monkeypatch.setattr(MODULE, "_STEP", 1)

    async def gather(
        self, stack: AsyncExitStack, on_connection: OnConnection, count: int = 200
    ) -> None:
        """Connect so many clients."""
        server = await stack.enter_async_context(self._loop.serving(on_connection))
        self.peers = [await self._loop.connect(server) for _ in range(count)]
        await self._loop.until(lambda: len(server.clients) == count)
        self.clients = list(server.clients.values())

    async def lengths(self) -> list[float]:
        """Broadcast to all but the first; the seconds of each slice but the last, in tens of us."""
        self.slices.clear()
        await broadcast(self.clients[1:], "news")
        return [round(seconds, 5) for seconds in self.slices[:-1]]


def about(seconds: float) -> Any:
    """So long, and up to a delivery more."""
    return pytest.approx(seconds + COST / 2, abs=COST / 2 + 0.00001)


@on_memory
async def test_slices_are_short_while_input_arrives(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(loop, monkeypatch)
    async with AsyncExitStack() as stack:
        await crowd.gather(stack, echo)
        await loop.advance(2)
        assert await crowd.lengths() == [about(LONG)] * 7
        crowd.in_slice = lambda: crowd.peers[0].send("hello")
        first, *others = await crowd.lengths()
        assert first == about(LONG)
        assert others
        assert all(seconds == about(SHORT) for seconds in others)
        crowd.in_slice = lambda: None
        assert all(seconds == about(SHORT) for seconds in await crowd.lengths())
        await loop.advance(2)
        assert await crowd.lengths() == [about(LONG)] * 7


@on_memory
@pytest.mark.parametrize(
    ("pause", "expected"),
    [(0.00001, SHORT), (0.0003, 0.0003), (0.0005, LONG), (0.005, LONG)],
)
async def test_a_slice_takes_as_long_as_the_pause_before_it(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch, pause: float, expected: float
) -> None:
    """So others cannot hold up a broadcast much longer than it holds up them."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(pause)

    crowd = Crowd(loop, monkeypatch)
    async with AsyncExitStack() as stack:
        await crowd.gather(stack, on_connection)
        crowd.in_slice = lambda: crowd.peers[0].send("hello")
        _, *others = await crowd.lengths()
        assert others
        assert all(seconds == about(expected) for seconds in others)


@on_memory
async def test_input_in_each_turn_does_not_prolong_a_pause(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still: no pause ends because it is long."""
    crowd = Crowd(loop, monkeypatch)
    async with AsyncExitStack() as stack:
        await crowd.gather(stack, echo)
        job = loop.spawn(broadcast(crowd.clients[3:], "news"))
        await busy_echoes(loop, crowd.peers[:3], lambda: job.done)
        assert len((await job.wait()).sent) == len(crowd.clients[3:])


@pytest.mark.parametrize(("size", "most"), [(1, 32), (2**14, 15), (2**17, 1), (2**20, 1)])
@on_memory
async def test_large_messages_go_to_few_between_two_looks_at_the_clock(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    steps: list[int] = []
    send = vars(MODULE.Sending)["_send"]

    def sending(broadcast: Any, clients: list[Client]) -> None:
        steps.append(len(clients))
        send(broadcast, clients)

    monkeypatch.setattr(MODULE.Sending, "_send", sending)
    async with loop.serving(echo) as server:
        peers = [await loop.connect(server) for _ in range(50)]
        await loop.until(lambda: len(server.clients) == len(peers))
        await broadcast(server.clients, bytes(size), compress=False)
        assert max(steps) == most


@on_memory
async def test_several_that_begin_in_one_turn_take_one_slice_and_a_little(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(loop, monkeypatch)
    async with AsyncExitStack() as stack:
        await crowd.gather(stack, echo)
        await loop.advance(2)
        begin = loop.now()
        jobs = [loop.spawn(broadcast(crowd.clients, f"{number}")) for number in range(10)]
        await loop.checkpoint()
        assert len(crowd.slices) == 10
        assert loop.now() - begin == about(LONG + 9 * COST)
        for job in jobs:
            await job.wait()
        for peer in crowd.peers:
            assert [await peer.message() for _ in range(10)] == [f"{n}" for n in range(10)]


@on_memory
async def test_one_to_a_few_does_not_wait_for_one_to_many(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(loop, monkeypatch)
    monkeypatch.setattr(MODULE, "_STEP", 4)
    async with AsyncExitStack() as stack:
        await crowd.gather(stack, echo)
        many = loop.spawn(broadcast(crowd.clients, "many"))
        await loop.checkpoint()
        report = await broadcast(crowd.clients[-4:], "a few")
        assert report.sent == crowd.clients[-4:]
        assert not many.done
        await many.wait()
        for peer in crowd.peers[-4:]:
            assert [await peer.message() for _ in range(2)] == ["many", "a few"]


async def busy_echoes(loop: Loop, peers: list[Peer], over: Callable[[], bool]) -> None:
    """Have a message of each of these peers on its way at any time."""

    async def talk(peer: Peer) -> None:
        while not over():
            peer.send("hello")
            while await peer.message() != "hello":
                continue

    for job in [loop.spawn(talk(peer)) for peer in peers]:
        await job.wait()


@on_each_loop
async def test_broadcasts_reach_all_next_to_busy_echoes(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "_SHORT_SLICE", 0)
    monkeypatch.setattr(MODULE, "SLICE", 0)
    monkeypatch.setattr(MODULE, "_STEP", 1)
    count = 5
    async with loop.serving(echo) as server:
        peers = [await loop.connect(server) for _ in range(20)]
        await loop.until(lambda: len(server.clients) == len(peers))
        jobs = [loop.spawn(broadcast(server.clients, f"{n}")) for n in range(count)]
        await busy_echoes(loop, peers[:3], lambda: all(job.done for job in jobs))
        for job in jobs:
            assert len((await job.wait()).sent) == len(peers)
        for peer in peers[3:]:
            assert [await peer.message() for _ in range(count)] == [f"{n}" for n in range(count)]


@on_memory
async def test_they_take_at_most_about_twice_as_long(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Echoes that are never quiet get half of the time."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(0.0001)
            await client.writer.send(await reader.get())

    crowd = Crowd(loop, monkeypatch)
    done: list[float] = []

    async def send(message: str) -> None:
        await broadcast(crowd.clients[3:], message)
        done.append(loop.now())

    async with AsyncExitStack() as stack:
        await crowd.gather(stack, on_connection)
        begin = loop.now()
        jobs = [loop.spawn(send(f"{number}")) for number in range(5)]
        await busy_echoes(loop, crowd.peers[:3], lambda: len(done) == len(jobs))
        alone = len(crowd.clients[3:]) * COST
        assert all(now - begin < 2.5 * alone * number for number, now in enumerate(done, 1))
