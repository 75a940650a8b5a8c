"""Whatever happens in whatever order: nobody gets a message twice, or misses one unnoticed."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kit.loops import MemoryLoop
from kit.peer import Peer
from kit.rooms import Engine, FakeBroker, Hall, hall
from wstransports import Client, ConnectionClosed
from wstransports.rooms import BrokerLost, Joined, Position
from wstransports.rooms.hub import PERIOD
from wstransports.testing.memory_kernel import MemoryTask

# What happens, and to whom; processes and visits by a number, whatever there is of them.
OFTEN = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 2)),  # by a process, or from elsewhere
    st.tuples(st.just("join"), st.integers(0, 1)),
    st.tuples(st.just("come back"), st.integers(0, 9)),
    st.tuples(st.just("settle"), st.just(0)),
)
SELDOM = st.one_of(
    st.tuples(st.just("publish twice"), st.integers(0, 1)),  # with one key
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(st.just("lose the broker"), st.integers(0, 1)),
    st.tuples(st.just("recover"), st.integers(0, 1)),
    st.tuples(st.just("lose messages"), st.integers(0, 1)),
    st.tuples(st.just("hold messages"), st.integers(0, 1)),
    st.tuples(st.just("release one"), st.integers(0, 1)),
    st.tuples(st.just("release all"), st.integers(0, 1)),
    st.tuples(st.just("double one"), st.integers(0, 1)),
    st.tuples(st.just("pass time"), st.integers(1, 10)),
    st.tuples(st.just("cut"), st.integers(0, 3)),
    st.tuples(st.just("next epoch"), st.just(0)),
)
EVENTS = st.lists(OFTEN | SELDOM, min_size=5, max_size=40)


@dataclass
class Visit:
    """One connection, and its time in the room."""

    house: Hall
    peer: Peer
    client: Client
    since: Position | None
    joining: MemoryTask[Joined]
    left: bool = False
    got: list[Position] = field(default_factory=list)
    code: int | None = None
    """That of the server's Close."""

    def receive(self) -> None:
        """Take what has come."""
        while self.peer.frames:
            frame = self.peer.frames.popleft()
            if frame.first == 0x88:
                assert not self.peer.frames
                self.code = int.from_bytes(frame.payload[:2])
            else:
                self.got.append(Position.parse(frame.payload.decode()))

    def start(self) -> Position | None:
        """After which position it has to get all; None if it has not joined."""
        if not self.joining.done:
            return None
        try:
            joined = self.joining.result
        except (BrokerLost, ConnectionClosed):
            return self.since if self.got else None
        return self.since if joined.resumed else joined.position


class World:
    """Two processes with a room, and a broker."""

    def __init__(self, loop: MemoryLoop, engine: Engine, houses: list[Hall]) -> None:
        self.loop = loop
        self.engine = engine
        self.houses = houses
        self.brokers = engine.links[:]
        self.visits: list[Visit] = []
        self.published = 0

    async def do(self, what: str, who: int) -> None:
        """One event."""
        broker = self.brokers[who % 2]
        if what == "publish":
            await self.publish(who)
        elif what == "publish twice":
            self.published += 1
            for _ in range(2):
                await self.publish(who, key=f"key {self.published}")
        elif what == "join":
            await self.join(self.houses[who], None)
        elif what == "lose the broker":
            if broker.up:
                broker.lose()
        elif what == "recover":
            if not broker.up:
                broker.recover()
        elif what == "lose messages":
            broker.loses = not broker.loses
        elif what == "hold messages":
            broker.holds = True
        elif what == "release one":
            broker.release(min(1, len(broker._pushes)))
        elif what == "release all":
            broker.holds = False
            broker.release()
        elif what == "double one":
            broker._pushes.extend(list(broker._pushes)[:1])
        elif what == "settle":
            await self.loop.settle()
        elif what == "pass time":
            await self.loop.advance(who)
        elif what == "cut":
            self.engine.cut(keep=who)
        elif what == "next epoch":
            self.engine.forget()
        elif self.visits:
            await self.do_with(what, self.visits[who % len(self.visits)])

    async def do_with(self, what: str, visit: Visit) -> None:
        """One event of a client."""
        if what == "come back":
            visit.receive()
            since = visit.got[-1] if visit.got else visit.start()
            await self.join(self.houses[len(self.visits) % 2], since)
        elif what == "leave":
            visit.left |= await visit.house.rooms["news"].leave(visit.client)
        else:
            visit.left = True
            visit.client.close_nowait()

    async def publish(self, who: int, **options: Any) -> None:
        """By a process, or from elsewhere."""
        if who == 2:
            self.engine.publish("news", "x", history=20)
            return
        try:
            await self.houses[who].rooms.publish("news", "x", **options)
        except BrokerLost:
            assert not self.brokers[who].up

    async def join(self, house: Hall, since: Position | None) -> None:
        """A client begins to join."""
        peer, client = await house.connect()
        joining = self.loop.runtime.spawn(house.rooms["news"].join(client, since=since))
        self.visits.append(Visit(house, peer, client, since, joining))

    async def calm(self) -> None:
        """All works again, and there is time for everything."""
        for broker in self.brokers:
            broker.loses = broker.holds = False
            broker.release()
            if not broker.up:
                broker.recover()
        await self.loop.advance(3 * PERIOD)

    def check(self) -> None:
        """What each client got."""
        newest = self.engine.stream("news").position
        for visit in self.visits:
            visit.receive()
            start = visit.start()
            if start is None:
                assert not visit.got
                continue
            offsets = range(start.offset + 1, start.offset + 1 + len(visit.got))
            assert visit.got == [Position(start.epoch, offset) for offset in offsets]
            if visit.code is None and not visit.left and visit.client in visit.house.rooms["news"]:
                assert (visit.got or [start])[-1] == newest
            elif not visit.left and not failed(visit.joining):
                assert visit.code == 1012


def failed(job: MemoryTask[Joined]) -> bool:
    """Whether a client could not join."""
    try:
        assert job.result
    except BrokerLost:
        return True
    except ConnectionClosed as closed:
        return closed.code != 1012
    return False


async def happen(loop: MemoryLoop, events: list[tuple[str, int]], history: int) -> None:
    """All these events, and then calm."""
    engine = Engine()
    options: dict[str, Any] = {"history": history, "drain": 1}
    async with hall(loop, {"timeout": 0}, broker=FakeBroker(engine), **options) as one:
        async with hall(loop, {"timeout": 0}, broker=FakeBroker(engine), **options) as two:
            for house in (one, two):
                house.rooms.render(lambda publication: str(publication.position))
            world = World(loop, engine, [one, two])
            for what, who in events:
                await world.do(what, who)
            await world.calm()
            world.check()
            for visit in world.visits:
                visit.peer.frames.clear()


@pytest.mark.parametrize("history", [0, 20])
@given(events=EVENTS)
def test_in_any_order(history: int, events: list[tuple[str, int]]) -> None:
    loop = MemoryLoop()
    loop.run(lambda: happen(loop, events, history))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("history", [0, 20])
@given(events=st.lists(OFTEN | SELDOM, min_size=20, max_size=80))
@settings(max_examples=2 * settings().max_examples, phases=[Phase.generate])
def test_in_any_order_for_long(history: int, events: list[tuple[str, int]]) -> None:
    loop = MemoryLoop()
    loop.run(lambda: happen(loop, events, history))
