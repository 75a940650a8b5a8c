"""How much history is in memory while clients come back."""

from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.rooms import FakeBroker, hall
from wscore import Deflate
from wscore.extensions.deflate import NegotiatedDeflate
from wstransports import ConnectionClosed, Reasons
from wstransports.rooms import pages
from wstransports.rooms.pages import MOST, Pages
from wstransports.rooms.subscription import PAGE


@on_memory
async def test_of_many_that_resume_at_once_some_wait(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        broker.engine.publish("news", "1")
        gate = broker.gates["read"] = loop.runtime.signal()
        ends = [await house.connect() for _ in range(MOST + 8)]
        joins = [loop.spawn(house.rooms["news"].join(end, since=start)) for _, end in ends]
        await loop.settle()
        assert broker.count("read") == MOST
        gate.set()
        for (peer, _), join in zip(ends, joins, strict=True):
            assert (await join.wait()).resumed
            assert await peer.message() == "1"
        assert broker.count("read") == MOST + 8


@on_memory
async def test_a_client_that_left_while_it_waited_reads_nothing(loop: MemoryLoop) -> None:
    """So peers that come and go at once do not keep the others waiting."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        broker.engine.publish("news", "1")
        gate = broker.gates["read"] = loop.runtime.signal()
        ends = [await house.connect() for _ in range(MOST + 8)]
        joins = [loop.spawn(house.rooms["news"].join(end, since=start)) for _, end in ends]
        await loop.settle()
        for peer, _ in ends[MOST:]:
            peer.reset()
        await loop.settle()
        gate.set()
        for join in joins[:MOST]:
            assert (await join.wait()).resumed
        for join in joins[MOST:]:
            with pytest.raises(ConnectionClosed):
                await join.wait()
        assert broker.count("read") == MOST


@on_each_loop
async def test_slow_clients_hold_up_nobody(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST", 1)
    count = 300
    async with hall(loop) as house:
        start = await house.rooms.publish("news", "0")
        for number in range(1, count):
            last = await house.rooms.publish("news", f"{number}".ljust(65_536))
        slow, client = await house.connect()
        slow.stop_reading()
        joining = loop.spawn(house.rooms["news"].join(client, since=start))
        await loop.until(lambda: client._session.outbox.pipe.full)
        await house.rooms.publish("news", "newest")
        other, _, joined = await house.join(since=last)
        assert joined.resumed
        assert await other.message() == "newest"
        assert not joining.done
        slow.start_reading()
        for number in range(1, count):
            assert int(str(await slow.message())) == number
        assert await slow.message() == "newest"
        assert (await joining.wait()).resumed


@on_memory
async def test_others_run_between_the_pages_of_a_replay(loop: MemoryLoop) -> None:
    """Even if neither the broker nor the client lets it wait."""
    async with hall(loop) as house:
        await house.join()
        start = await house.rooms.publish("news", "0")
        for _ in range(5 * PAGE):
            await house.rooms.publish("news", "more")
        _, client = await house.connect()
        joining = loop.spawn(house.rooms["news"].join(client, since=start))
        turns = 0
        while not joining.done:
            await loop.checkpoint()
            turns += 1
        assert turns >= 5


@on_memory
async def test_a_slow_client_reads_no_more_than_it_takes(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 100):
            broker.engine.publish("news", f"{number}".ljust(16_384))
        peer, client = await house.connect()
        peer.stop_reading()
        sizes: list[int] = []
        read = broker.read

        async def noting(room: str, since: Any, most: int) -> Any:
            sizes.append(most)
            return await read(room, since, most)

        monkeypatch.setattr(broker, "read", noting)
        joining = loop.spawn(house.rooms["news"].join(client, since=start))
        await loop.settle()
        assert not joining.done
        peer.start_reading()
        assert [int(str(await peer.message())) for _ in range(1, 100)] == list(range(1, 100))
        assert (await joining.wait()).resumed
        assert sum(sizes) < 3 * 128


@on_memory
async def test_an_extension_that_raises_during_a_replay(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoding(self: NegotiatedDeflate, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        raise MemoryError

    monkeypatch.setattr(NegotiatedDeflate, "encode_stateless", encoding)
    async with hall(loop) as house:
        start = await house.rooms.publish("news", "0")
        await house.rooms.publish("news", "1")
        peer = await loop.connect(house.server, extensions=[Deflate()])
        await loop.until(lambda: house.clients)
        with pytest.raises(ConnectionClosed):
            await house.rooms["news"].join(house.clients[0], since=start)
        assert await peer.closed() == (Reasons.UNEXPECTED_CONDITION, "")
        assert house.clients[0] not in house.rooms["news"]
        log.taken()


@pytest.mark.parametrize("when", ["waiting", "as its turn comes"])
@on_memory
async def test_a_cancelled_client_takes_no_place(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(pages, "MOST", 1)
    places = Pages(loop.runtime)
    gate = loop.runtime.signal()

    async def hold() -> None:
        async with places.place():
            await gate.wait()
        second.cancel()

    async def take() -> None:
        async with places.place():
            taken.append(None)

    taken: list[None] = []
    first = loop.spawn(hold())
    await loop.settle()
    second = loop.runtime.spawn(take())
    third = loop.spawn(take())
    await loop.settle()
    if when == "waiting":
        second.cancel()
        await loop.settle()
    gate.set()
    await first.wait()
    await third.wait()
    await take()
    assert len(taken) == 2


@on_memory
async def test_who_came_first_has_the_first_turn(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST", 1)
    places = Pages(loop.runtime)
    order: list[int] = []

    async def take(number: int) -> None:
        async with places.place():
            order.append(number)

    async with places.place():
        jobs = [loop.spawn(take(number)) for number in range(3)]
        await loop.settle()
    for job in jobs:
        await job.wait()
    assert order == [0, 1, 2]
