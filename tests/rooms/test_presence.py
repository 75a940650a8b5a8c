"""Who is present: in all processes, and not for long after one is killed."""

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.rooms import Engine, FakeBroker, Hall, hall
from wstransports.rooms import BrokerLost
from wstransports.rooms.broker import LEASE
from wstransports.rooms.hub import PERIOD


async def present(house: Hall, room: str = "news") -> list[str]:
    """Who is, in order."""
    return sorted((await house.rooms[room].present()).values())


@on_each_loop
async def test_those_are_present_that_joined_with_an_info(loop: Loop) -> None:
    async with hall(loop) as house:
        peer, _, _ = await house.join(info="Ada")
        _, bob, _ = await house.join(info="Bøb")
        await house.join()  # unlisted
        assert await present(house) == ["Ada", "Bøb"]
        assert await present(house, "sports") == []
        await house.rooms["news"].leave(bob)
        assert await present(house) == ["Ada"]
        await house.rooms["news"].join(bob, info="Bob again")
        peer.close()
        while await present(house) != ["Bob again"]:
            await loop.checkpoint()


@on_memory
async def test_two_with_the_same_info_are_two(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        await house.join(info="Ada")
        await house.join(info="Ada")
        assert await present(house) == ["Ada", "Ada"]


@on_memory
async def test_presence_spans_processes_and_a_killed_one_vanishes(loop: MemoryLoop) -> None:
    engine = Engine()
    killed = FakeBroker(engine)
    async with hall(loop, {"timeout": 0}, broker=FakeBroker(engine)) as one:
        async with hall(loop, {"timeout": 0}, broker=killed) as two:
            await one.join(info="Ada")
            await two.join(info="Bob")
            await loop.advance(10 * LEASE)
            assert await present(one) == await present(two) == ["Ada", "Bob"]
            killed.fails["renew"] = BrokerLost("killed")
            await loop.advance(LEASE)
            assert await present(one) == ["Ada"]
            killed.fails.clear()
            await loop.advance(PERIOD)
            assert await present(one) == ["Ada", "Bob"]
        assert await present(one) == ["Ada"]


@on_memory
async def test_a_broker_that_forgot_who_is_present_is_informed_again(
    loop: MemoryLoop, log: Log
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        await house.join(info="Ada")
        await house.join(info="Bob")
        await house.join()
        await house.join("sports")
        broker.lose()
        broker.engine.present.clear()
        broker.recover()
        await loop.settle()
        assert await present(house) == ["Ada", "Bob"]
        assert broker.calls.count(("enter", "news", b"Ada", b"Bob")) == 1
        assert broker.count("enter") == 3
    log.taken()


@on_memory
async def test_who_leaves_while_the_broker_is_lost_is_taken_off_later(
    loop: MemoryLoop, log: Log
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, ada, _ = await house.join(info="Ada")
        broker.lose()
        await house.rooms["news"].leave(ada)
        await loop.advance(2 * PERIOD)
        assert broker.engine.present
        broker.recover()
        await loop.settle()
        assert not broker.engine.present
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms
    log.taken()


@on_memory
async def test_who_cannot_be_listed_does_not_join(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, client = await house.connect()
        broker.fails["enter"] = BrokerLost("no answer")
        with pytest.raises(BrokerLost, match="no answer"):
            await house.rooms["news"].join(client, info="Ada")
        assert client not in house.rooms["news"]
        await loop.settle()
        assert broker.count("leave") == 1  # it may be listed nevertheless
        assert not broker.subscribed


@on_memory
async def test_nothing_is_renewed_where_nobody_is_present(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        await house.join()
        await loop.advance(10 * PERIOD)
        assert broker.count("renew") == 0
        with pytest.raises(BrokerLost):
            broker.fails["present"] = BrokerLost("no answer")
            await house.rooms["news"].present()
