"""`RedisBroker` on a server of the test's own: what it sends, reports and raises."""

import pytest
from opened import KEEP, opened, position, warnings

from kit.fake_redis import fake_redis, push
from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.rooms import Broker, BrokerLost, History, Keep, Publication
from wstransports.rooms.redis import RedisBroker, broker

pytestmark = pytest.mark.usefixtures("log")


@on("memory", "asyncio", "trio")
async def test_a_message_goes_through_the_server(loop: Loop) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        assert await made.subscribe("news") == position(0)
        assert await made.publish("news", "hello é", None, KEEP) == position(1)
        assert await made.publish("news", b"\0 \xff", None, KEEP) == position(2)
        assert await made.publish("other", "not subscribed", None, KEEP) == position(1)
        await loop.until(lambda: len(heard.publications) == 2)
        assert heard.publications == [
            Publication("news", position(1), "hello é"),
            Publication("news", position(2), b"\0 \xff"),
        ]
        assert await made.positions(["news", "other", "new"]) == [
            position(2),
            position(1),
            position(0),
        ]
        page = await made.read("news", position(0), 1)
        assert page == History(position(2), heard.publications[:1], True)
        assert (await made.read("news", position(1), 10)).publications == heard.publications[1:]
        assert await made.read("news", position(3), 10) == History(position(2), [], False)
        assert heard.events == []


def test_it_is_a_broker() -> None:
    made: Broker = RedisBroker("redis://localhost")
    assert made is not None


@on_memory
async def test_what_is_sent(loop: MemoryLoop) -> None:
    """Names share a hash tag; the server learns which run of it the client knows."""
    async with fake_redis() as server, opened(server, "/3") as (made, _):
        await made.subscribe("a room")
        await made.publish("a room", "x", "key", Keep(7, 0.5))
        await made.publish("a room", "x", None, Keep(0, 0))
        assert server.asked("SELECT") == [[b"3"]]
        assert server.asked("SUBSCRIBE") == [[b"wstransports@3:{a room}"]]
        first, second = [words[1:] for words in server.asked("EVALSHA")[-2:]]
        run = b"00000001"
        head, log = b"wstransports:{a room}:head", b"wstransports:{a room}:log"
        channel = b"wstransports@3:{a room}"
        keyed = [b"3", head, log, b"wstransports:{a room}:key:key"]
        assert first == [*keyed, run, b"0", channel, b"t", b"x", b"7", b"500"]
        assert second == [b"2", head, log, run, b"0", channel, b"t", b"x", b"0", b"1"]


@on_memory
async def test_a_script_that_the_server_forgot_is_sent_again(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        await made.publish("news", "1", None, KEEP)
        await made.publish("news", "2", None, KEEP)
        assert (len(server.asked("EVALSHA")), len(server.asked("EVAL"))) == (2, 1)
        server.scripts.clear()
        await made.publish("news", "3", None, KEEP)
        assert (len(server.asked("EVALSHA")), len(server.asked("EVAL"))) == (3, 2)
        assert await made.positions(["news"]) == [position(3)]


@on_memory
async def test_a_key_returns_the_first_position(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        assert await made.publish("news", "x", "k", KEEP) == position(1)
        assert await made.publish("news", "x", "k", KEEP) == position(1)
        assert await made.publish("news", "x", "l", KEEP) == position(2)
        await loop.settle()
        assert heard.data() == ["x", "x"]


@on_memory
async def test_no_two_rooms_share_a_key(loop: MemoryLoop) -> None:
    """Both the name of a room and the key of a message may come from anybody."""
    async with fake_redis() as server, opened(server) as (made, _):
        await made.publish("a", "x", "b}:head", KEEP)
        await made.publish("a}:key:b", "x", "%7D", KEEP)
        await made.publish("a%7D:key:b", "x", None, KEEP)
        names = [words[2 : 2 + int(words[1])] for words in server.asked("EVALSHA")]
        assert len({*names[0], *names[1], *names[2]}) == 3 + 3 + 2


@on_memory
async def test_much_to_keep(loop: MemoryLoop) -> None:
    """The server gets numbers with which it counts."""
    async with fake_redis() as server, opened(server) as (made, _):
        await made.publish("news", "x", None, Keep(10**30, 1e308))
        assert server.asked("EVALSHA")[0][-2:] == [b"%d" % 2**50] * 2


@on_memory
async def test_a_room_that_was_left(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        await made.unsubscribe("news")
        await made.unsubscribe("news")
        await loop.settle()
        assert [end.channels for end in server.ends] == [set(), set()]
        server.ends[1].write(push(b"message", b"wstransports@0:{news}", b"te.1 late"))
        await loop.settle()
        assert heard.publications == []


@pytest.mark.parametrize(
    "payload", [b"", b"x", b"te.1", b"te.x y", b"xe.1 y", b"te.1 \xff", b"te.9999999999999999999 y"]
)
@on_memory
async def test_what_others_publish_is_ignored(loop: MemoryLoop, log: Log, payload: bytes) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.publish(b"wstransports@0:{news}", payload)
        await loop.settle()
        await made.positions(["news"])
        what = "ignores what something else published in the channel wstransports@0:{news} of "
        assert warnings(log) == [f"{what}{server.url}/0"]
        assert heard.publications == []


@on_memory
async def test_much_that_others_publish_is_logged_up_to_a_limit(loop: MemoryLoop, log: Log) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        await made.subscribe("news")
        for _ in range(100):
            server.publish(b"wstransports@0:{news}", b"x")
        await made.positions(["news"])
        assert len(warnings(log)) == 10
        await loop.advance(2)
        server.publish(b"wstransports@0:{news}", b"x")
        await made.positions(["news"])
        [line] = warnings(log)
        assert line.endswith("(90 such lines were left out)")


@pytest.mark.parametrize(
    "pushed",
    [push(b"invalidate", b"x"), push(b"message", b"x"), b">3\r\n+message\r\n*0\r\n+x\r\n"],
)
@on_memory
async def test_other_pushes_are_ignored(loop: MemoryLoop, pushed: bytes) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.subscribe("news")
        server.ends[1].write(pushed)
        await made.publish("news", "x", None, KEEP)
        await loop.settle()
        assert heard.data() == ["x"]


@on_memory
async def test_a_message_that_is_too_long(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        most = broker.MOST_DATA
        with pytest.raises(ValueError, match=f"takes at most {most} bytes, not {most + 1}"):
            await made.publish("news", b"x" * (most + 1), None, KEEP)
        assert await made.publish("news", b"x" * most, None, KEEP) == position(1)


# What the server answers.


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("POSITION", b":1\r\n"),
        ("POSITION", b"$3\r\nxyz\r\n"),
        ("READ", b"_\r\n"),
        ("READ", b"*1\r\n:1\r\n"),
        ("READ", b"*3\r\n+e.1\r\n:1\r\n+t\r\n"),
        ("READ", b"*4\r\n+e.1\r\n:1\r\n+x\r\n+y\r\n"),
        ("READ", b"*4\r\n+e.1\r\n:1\r\n+t\r\n:1\r\n"),
        ("PUBLISH", b"$2\r\n\xff\xff\r\n"),
    ],
)
@on_memory
async def test_answers_that_no_script_gives(loop: MemoryLoop, script: str, answer: bytes) -> None:
    async with fake_redis() as server, opened(server) as (made, _):
        server.answers[script] = answer
        with pytest.raises(BrokerLost, match="does not answer as Redis does"):
            if script == "POSITION":
                await made.positions(["news"])
            elif script == "READ":
                await made.read("news", position(0), 10)
            else:
                await made.publish("news", "x", None, KEEP)


@on_memory
async def test_an_error_of_the_server(loop: MemoryLoop) -> None:
    async with fake_redis() as server, opened(server) as (made, heard):
        await made.publish("news", "0", None, KEEP)
        server.answers["PUBLISH"] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        with pytest.raises(BrokerLost, match="answers with an error: OOM command not allowed"):
            await made.publish("news", "x", None, KEEP)
        server.answers["SUBSCRIBE"] = b"-NOPERM no permissions to access a channel\r\n"
        with pytest.raises(BrokerLost, match="NOPERM"):
            await made.subscribe("news")
        del server.answers["PUBLISH"], server.answers["SUBSCRIBE"]
        await made.publish("news", "x", None, KEEP)
        await loop.settle()
        assert heard.publications == []  # it is not subscribed
        assert heard.events == []


@on_memory
async def test_a_primary_that_became_a_replica(loop: MemoryLoop, log: Log) -> None:
    """Another connection may lead to the new primary."""
    async with fake_redis() as server, opened(server) as (made, heard):
        server.answers["PUBLISH"] = b"-READONLY You can't write against a read only replica.\r\n"
        server.hello[b"role"] = b"replica"
        with pytest.raises(BrokerLost, match="READONLY"):
            await made.publish("news", "x", None, KEEP)
        await loop.advance(1)
        server.hello[b"role"] = b"master"
        del server.answers["PUBLISH"]
        await loop.advance(10)
        assert heard.events[1:] == ["recovered"]
        assert await made.publish("news", "x", None, KEEP) == position(1)
        assert "READONLY" in heard.events[0]
        [warning] = warnings(log)
        assert warning == (
            f"{server.url}/0 is a replica, which takes no messages: use its primary; trying again"
        )
