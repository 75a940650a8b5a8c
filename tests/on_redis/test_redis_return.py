"""A `RedisBroker` whose server is lost and comes back."""

import re

import pytest
from opened import KEEP, Heard, opened, warnings

from kit.fake_redis import fake_redis, push
from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.rooms import BrokerLost
from wstransports.rooms.redis import RedisBroker, pair
from wstransports.rooms.redis.link import Link
from wstransports.runtime import running

pytestmark = pytest.mark.usefixtures("log")


@on("memory", "asyncio", "trio")
async def test_lost_and_back(loop: Loop, log: Log) -> None:
    """It subscribes again, before it says that it has recovered."""
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        await made.subscribe("left")
        server.drop()
        await loop.until(lambda: heard.events)
        [lost] = heard.events
        assert lost.startswith("lost: ")
        with pytest.raises(BrokerLost, match=re.escape(lost[6:])):
            await made.publish("news", "x", None, KEEP)
        with pytest.raises(BrokerLost, match=re.escape(lost[6:])):
            await made.subscribe("more")
        await made.unsubscribe("left")
        if isinstance(loop, MemoryLoop):
            await loop.advance(0.1)
        await loop.until(lambda: heard.events[1:] == ["recovered"])
        assert [end.channels for end in server.ends] == [set(), {b"wstransports@0:{news}"}]
        await made.publish("news", "x", None, KEEP)
        await loop.until(lambda: heard.data() == ["x"])
        assert warnings(log) == []  # the rooms log the loss


@on_memory
async def test_one_connection_lost_is_both(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (_, heard):
        for which in (0, 1):
            heard.events.clear()
            server.ends[which].pipe.abort()
            await loop.advance(1)
            assert len(heard.events) == 2
            assert len(server.ends) == 2
        assert warnings(log) == []


@on_memory
async def test_waits_grow_until_the_server_is_back(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (_, heard):
        await loop.advance(pair.LASTING)
        server.refuse()
        await loop.advance(600)
        assert heard.events[1:] == []
        [warning] = warnings(log)  # the same cause is logged once
        assert warning.endswith("; trying again")
        await server.listen()
        await loop.advance(pair.LONGEST_DELAY)
        assert heard.events[1:] == ["recovered"]


@on_memory
async def test_connections_that_do_not_last_are_made_less_often(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server):
        hellos = []
        for _ in range(20):
            server.drop()
            await loop.advance(pair.LONGEST_DELAY)
            hellos.append(len(server.asked("HELLO")))
        assert hellos[-1] == 42
        server.drop()
        await loop.advance(pair.FIRST_DELAY)
        assert len(server.asked("HELLO")) == 42  # it still waits
        await loop.advance(pair.LASTING + pair.LONGEST_DELAY)
        server.drop()
        await loop.advance(pair.FIRST_DELAY)
        assert len(server.asked("HELLO")) == 46
        assert warnings(log) == []


@on_memory
async def test_a_server_that_stands_still(loop: MemoryLoop, log: Log) -> None:
    """Its system still takes connections."""
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.silent = True
        publishing = loop.spawn(made.publish("news", "x", None, KEEP))
        await loop.advance(7.5)
        with pytest.raises(BrokerLost, match="has not answered for 5 s"):
            await publishing.wait()
        await loop.advance(60)
        server.silent = False
        await loop.advance(10)
        assert heard.events == [f"lost: {server.url}/0 has not answered for 5 s", "recovered"]
        assert len(warnings(log)) == 1


@on_memory
async def test_a_publish_is_not_repeated(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        await made.publish("news", "1", None, KEEP)
        server.silent = True
        publishing = loop.spawn(made.publish("news", "2", None, KEEP))
        await loop.settle()
        server.drop()
        with pytest.raises(BrokerLost):
            await publishing.wait()
        server.silent = False
        sent = len(server.asked("EVALSHA"))
        await loop.advance(10)
        assert len(server.asked("EVALSHA")) == sent
        warnings(log)


@on_memory
async def test_many_rooms_are_subscribed_again(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        rooms = [f"room {number}" for number in range(pair.CHANNELS + 1)]
        for room in rooms:
            await made.subscribe(room)
        server.commands.clear()
        server.drop()
        await loop.advance(1)
        assert heard.events[1:] == ["recovered"]
        assert [len(words) for words in server.asked("SUBSCRIBE")] == [pair.CHANNELS, 1]
        assert len(server.ends[1].channels) == len(rooms)
        warnings(log)


@on_memory
async def test_a_room_left_while_it_is_subscribed_again(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.answers["SUBSCRIBE"] = lambda end, words: b""
        server.drop()
        await loop.advance(1)
        assert heard.events[1:] == []
        await made.unsubscribe("news")
        server.ends[1].channels.add(b"wstransports@0:{news}")
        server.ends[1].write(push(b"subscribe", b"wstransports@0:{news}"))
        await loop.settle()
        assert heard.events[1:] == ["recovered"]
        assert server.ends[1].channels == set()
        warnings(log)


@on_memory
async def test_subscribing_again_is_refused(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.answers["SUBSCRIBE"] = b"-NOPERM no\r\n"
        server.drop()
        await loop.advance(1)
        assert warnings(log)[0] == f"{server.url}/0 answers SUBSCRIBE with NOPERM no; trying again"
        del server.answers["SUBSCRIBE"]
        await loop.advance(10)
        assert heard.events[1:] == ["recovered"]


@on_memory
async def test_a_connection_lost_while_the_other_is_made(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.answers["SUBSCRIBE"] = lambda end, words: b""
        server.drop()
        await loop.advance(1)
        server.ends[0].pipe.abort()
        await loop.settle()
        server.ends[1 - len(server.ends)].write(push(b"subscribe", b"wstransports@0:{news}"))
        await loop.settle()
        assert heard.events[1:] == []
        assert warnings(log)[0].endswith("is lost: Connection reset by peer; trying again")
        del server.answers["SUBSCRIBE"]
        await loop.advance(10)
        assert heard.events[1:] == ["recovered"]


@on_memory
async def test_an_error_in_recovering(loop: MemoryLoop, log: Log) -> None:
    """It is logged, and the attempts go on."""
    async with fake_redis() as server, opened(server) as (_, heard):
        heard.fails = 2
        server.drop()
        await loop.advance(10)
        assert heard.events[1:] == ["recovered"]
        assert len(server.ends) == 2
        records = log.taken()
        assert [str(record.exc_info and record.exc_info[1]) for record in records] == [
            "'a mistake'"
        ] * 2
        assert {record.getMessage() for record in records} == {
            "an error in connecting again; trying again"
        }


@on("memory", "asyncio", "trio")
async def test_closing(loop: Loop) -> None:
    """Calls that wait raise BrokerLost, and so do later ones; nothing is connected again."""
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.silent = True
        publishing = loop.spawn(made.publish("news", "x", None, KEEP))
        await loop.until(lambda: len(server.asked("EVALSHA")) == 2)
        await made.close()
        with pytest.raises(BrokerLost, match="was closed"):
            await publishing.wait()
        with pytest.raises(BrokerLost, match="is not connected: the broker is closed"):
            await made.publish("news", "x", None, KEEP)
        assert heard.events == []
        await loop.until(lambda: not server.ends)
        server.silent = False
        await made.open(running(), None, heard)  # a server may be entered again
        assert server.asked("SUBSCRIBE")[1:] == []


@on("memory", "asyncio", "trio")
async def test_closing_while_it_connects_again(loop: Loop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        server.silent = True
        server.drop()
        await loop.until(lambda: heard.events)
        server.commands.clear()
        if isinstance(loop, MemoryLoop):
            await loop.advance(0.1)
        await loop.until(lambda: server.asked("HELLO"))
        await made.close()
        await loop.until(lambda: not server.ends)
        assert len(heard.events) == 1
        warnings(log)


@on("memory", "asyncio", "trio")
async def test_closing_while_it_waits(loop: Loop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        server.refuse()
        await loop.until(lambda: heard.events)
        await made.close()
        assert len(heard.events) == 1
        warnings(log)
        await server.listen()


def test_no_call_before_it_is_open() -> None:
    async def main() -> None:
        made = RedisBroker("redis://localhost")
        await made.close()
        with pytest.raises(BrokerLost, match="redis://localhost:6379/0 is not connected"):
            await made.positions(["news"])

    MemoryLoop().run(main)


@on_memory
async def test_what_a_server_says_is_escaped_in_the_log(loop: MemoryLoop, log: Log) -> None:
    """It forges no line, and the password is in none."""
    async with fake_redis() as server:
        heard = Heard()
        made = RedisBroker(server.url.replace("://", "://ada:sesame@"))
        await made.open(running(), None, heard)
        server.answers["HELLO"] = b"-NOPERM forged\x1b[31m\xe2\x80\xa8CRITICAL\r\n"
        server.ends[1].write(b"forged\x1b[31m\r\n")
        await loop.advance(1)
        server.answers["HELLO"] = b"-ERR sesame\r\n"
        await loop.advance(10)
        await made.close()
        found = warnings(log)
        assert len(found) == 2
        assert all(one.isprintable() and "sesame" not in one for one in found)


@on_memory
async def test_pushes_lost_in_the_moment_in_which_they_are_back(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As may be on trio: the loss is known before the task goes on that subscribes again."""
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        links: list[Link] = []
        new_link, channels = made._pair._new_link, made.channels

        def noted() -> Link:
            links.append(new_link())
            return links[-1]

        def channels_of_the_lost() -> list[bytes]:
            if links[-1]._connected and server.ends[-1].channels and len(links) == 2:
                links[-1].connection_lost(None)
            return channels()

        monkeypatch.setattr(made._pair, "_new_link", noted)
        monkeypatch.setattr(made, "channels", channels_of_the_lost)
        server.drop()
        await loop.advance(10)
        assert heard.events[1:] == ["recovered"]
        assert len(links) == 4
        await made.subscribe("more")
        assert len(warnings(log)) == 1
