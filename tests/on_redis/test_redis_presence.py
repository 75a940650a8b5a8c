"""Who is in a room, as a `RedisBroker` lists it."""

import pytest
from opened import Heard, opened, warnings

from kit.fake_redis import fake_redis
from kit.log import Log
from kit.loops import MemoryLoop, on_memory
from wstransports.rooms import BrokerLost
from wstransports.rooms.redis import RedisBroker
from wstransports.runtime import running

pytestmark = pytest.mark.usefixtures("log")


@on_memory
async def test_members(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (one, _), opened(server) as (other, _):
        await one.enter("news", {"ada": b"1", "bob": b"2", "cyd": b"3"})
        await other.enter("news", {"dan": b"4"})
        everybody = {"ada": b"1", "bob": b"2", "cyd": b"3", "dan": b"4"}
        assert await other.present("news") == everybody
        assert await other.present("empty") == {}
        await one.leave("news", ["ada", "nobody"])
        await one.leave("empty", ["nobody"])
        assert await other.present("news") == {"bob": b"2", "cyd": b"3", "dan": b"4"}
        [[key, *_], _] = server.asked("ZRANGE")[:2]
        assert key == b"wstransports:{news}:processes"


@on_memory
async def test_renewing(loop: MemoryLoop) -> None:
    """A server that has lost the members gets them again, and no others."""
    async with fake_redis() as server, opened(server) as (made, _):
        await made.enter("news", {"ada": b"1", "bob": b"2"})
        await made.enter("more", {"ada": b"1"})
        server.commands.clear()
        await made.renew()
        assert [len(words) for words in server.asked("EVALSHA")] == [6, 6]
        assert server.asked("EVALSHA")[0][5] == b"15000"
        server.hashes.clear()
        await made.leave("news", ["bob"])
        await made.renew()
        assert list(server.hashes.values()) == [{b"ada": b"1"}, {b"ada": b"1"}]


@on_memory
async def test_members_that_left_while_the_server_was_away(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        await made.enter("news", {"ada": b"1", "bob": b"2"})
        server.drop()
        await loop.settle()
        with pytest.raises(BrokerLost):
            await made.leave("news", ["ada"])
        with pytest.raises(BrokerLost):
            await made.enter("news", {"cyd": b"3"})
        with pytest.raises(BrokerLost):
            await made.renew()
        await loop.advance(1)
        assert await made.present("news") == {"ada": b"1", "bob": b"2"}
        await made.renew()
        assert await made.present("news") == {"bob": b"2"}
        assert len(server.asked("HDEL")) == 1
        assert set(server.asked("HDEL")[0][1:]) == {b"ada", b"cyd"}
        warnings(log)


@on_memory
async def test_many_members(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        members = {f"member {number}": b"%d" % number for number in range(1201)}
        await made.enter("news", members)
        assert [len(words) - 6 for words in server.asked("EVALSHA")] == [1000, 1000, 402]
        assert await made.present("news") == members
        await made.leave("news", list(members))
        assert await made.present("news") == {}


@on_memory
async def test_answers_on_presence_that_redis_does_not_give(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        for answer in (b"_\r\n", b"*1\r\n:1\r\n"):
            server.answers["ZRANGE"] = answer
            with pytest.raises(BrokerLost, match="does not answer as Redis does"):
                await made.present("news")


@on_memory
async def test_a_broker_that_is_opened_again_begins_without_members(loop: MemoryLoop) -> None:
    """And as another process: a copy of this one may have the same broker."""
    async with fake_redis() as server:
        made, heard = RedisBroker(server.url), Heard()
        for _ in range(2):
            await made.open(running(), None, heard)
            await made.enter("news", {"ada": b"1"})
            await made.renew()
            await made.close()
        assert len(server.hashes) == 2
        processes = [words[4] for words in server.asked("EVALSHA")]
        assert len(processes) == 4
        assert len(set(processes)) == 2


@on_memory
async def test_renewing_while_members_leave(loop: MemoryLoop) -> None:
    """What is to be taken off the list may be off it when its turn comes."""
    async with fake_redis() as server, opened(server) as (made, _):
        for room in ("one", "two"):
            await made.enter(room, {"ada": b"1", "bob": b"2"})
        leaving = [loop.spawn(made.leave(room, ["ada"])) for room in ("one", "two")]
        renewing = loop.spawn(made.renew())
        for task in (*leaving, renewing):
            await task.wait()
        assert list(server.hashes.values()) == [{b"bob": b"2"}] * 2
