"""One connection to a Redis server: answers, pushes, time limits, and servers that are none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kit.fake_redis import FakeRedis, fake_redis, push
from kit.log import Log
from kit.loops import MemoryLoop, on_memory
from wstransports.address import Address
from wstransports.rooms import BrokerLost
from wstransports.rooms.redis.link import Link, cause
from wstransports.rooms.redis.resp import ErrorReply, Push
from wstransports.runtime import running

pytestmark = pytest.mark.usefixtures("log")

SECONDS = 5


class Owner:
    """Notes what a link reports."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.losses: list[str] = []
        self.raises = False

    def pushed(self, push: Push) -> None:
        """As a LinkOwner."""
        if self.raises:
            raise KeyError("a mistake")
        self.pushes.append(push)

    def link_lost(self, link: Link, error: BrokerLost) -> None:
        """As a LinkOwner."""
        self.losses.append(str(error))


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[FakeRedis, Owner, Link]]:
    """A link to a server."""
    owner = Owner()
    async with fake_redis() as server:
        link = Link(running(), owner, SECONDS, "redis://there", None)
        await running().connect(Address("127.0.0.1", server.port), link)
        await running().checkpoint()
        try:
            yield server, owner, link
        finally:
            await link.drop()


@on_memory
async def test_a_command_that_cannot_be_encoded_takes_no_answer(loop: MemoryLoop) -> None:
    """Otherwise each later command would get the answer to the one before it."""
    async with linked() as (server, _, link):
        server.answers["GET"] = b"+value\r\n"
        with pytest.raises(UnicodeEncodeError):
            link.send(("GET", "\udc80"))
        assert await link.ask("GET", "a") == b"value"
        assert await link.ask("PING") == b"PONG"


@on_memory
async def test_answers_in_order(loop: MemoryLoop) -> None:
    async with linked() as (server, _, link):
        server.answers["GET"] = lambda end, words: b"$1\r\n" + words[0] + b"\r\n"
        answers = link.send(*(("GET", name) for name in "abc"), ("PING",))
        assert [await answer.get() for answer in answers] == [b"a", b"b", b"c", b"PONG"]
        assert await link.ask("GET", b"d") == b"d"


@on_memory
async def test_pushes_between_answers(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        message = push(b"message", b"news", b"x")
        server.answers["GET"] = message + b":1\r\n" + message
        assert await link.ask("GET", "a") == 1
        assert owner.pushes == [[b"message", b"news", b"x"]] * 2


@on_memory
async def test_an_error_raises_where_it_is_awaited(loop: MemoryLoop) -> None:
    async with linked() as (server, _, link):
        server.answers["GET"] = b"-WRONGTYPE not a string\r\n"
        with pytest.raises(ErrorReply, match="WRONGTYPE not a string"):
            await link.ask("GET", "a")
        assert await link.ask("PING") == b"PONG"


@on_memory
async def test_subscriptions_are_answered_by_pushes(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        several, ping = link.send(("SUBSCRIBE", "a", "b"), ("PING",))
        await several.get()
        assert await ping.get() == b"PONG"
        await link.ask("UNSUBSCRIBE", "a")
        assert server.ends[0].channels == {b"b"}
        assert owner.pushes == []
        server.answers["SUBSCRIBE"] = b"-NOPERM no channel for you\r\n"
        with pytest.raises(ErrorReply, match="NOPERM"):
            await link.ask("SUBSCRIBE", "a")
        assert await link.ask("PING") == b"PONG"


@on_memory
async def test_a_silent_server_is_asked_and_then_dropped(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        await loop.advance(SECONDS / 2)
        assert server.asked("PING") == [[]]
        await loop.advance(SECONDS * 10)  # it answers each time
        assert len(server.asked("PING")) > 10
        assert owner.losses == []
        server.silent = True
        await loop.advance(SECONDS * 1.4)
        assert owner.losses == []
        await loop.advance(SECONDS * 0.2)
        assert owner.losses == ["redis://there has not answered for 5 s"]
        with pytest.raises(BrokerLost, match="has not answered for 5 s"):
            await link.ask("PING")


@on_memory
async def test_what_comes_shows_that_the_server_is_there(loop: MemoryLoop) -> None:
    async with linked() as (server, _, link):
        for _ in range(10):
            await loop.advance(SECONDS / 3)
            server.ends[0].write(push(b"message", b"a", b"b"))
        assert server.asked("PING") == []


@on_memory
async def test_answers_extend_the_time_of_those_that_wait(loop: MemoryLoop) -> None:
    """A hundred commands may take longer than one may; pushes extend nothing."""
    async with linked() as (server, owner, link):
        server.silent = True
        answers = link.send(*[("PING",)] * 4)
        for answer in answers[:3]:
            await loop.advance(SECONDS - 1)
            server.ends[0].write(b"+PONG\r\n")
            assert await answer.get() == b"PONG"
        await loop.advance(SECONDS - 1)
        server.ends[0].write(push(b"message", b"a", b"b"))
        assert owner.losses == []
        await loop.advance(1)
        assert owner.losses == ["redis://there has not answered for 5 s"]
        with pytest.raises(BrokerLost, match="has not answered for 5 s"):
            await answers[3].get()


@on_memory
async def test_a_process_that_was_held_up_blames_no_server(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        [answer] = link.send(("PING",))
        loop.hold(SECONDS * 2)
        await loop.advance(0)
        assert await answer.get() == b"PONG"
        await loop.advance(SECONDS * 3)
        assert owner.losses == []


@on_memory
async def test_a_lost_connection(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        server.silent = True
        waiting = link.send(("PING",), ("PING",))
        await loop.settle()
        server.drop()
        for answer in waiting:
            with pytest.raises(BrokerLost, match="lost: Connection reset by peer"):
                await answer.get()
        assert owner.losses == ["the connection to redis://there is lost: Connection reset by peer"]
        with pytest.raises(BrokerLost, match="Connection reset"):
            link.send(("PING",))


@on_memory
async def test_a_server_that_ends(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, _):
        server.ends[0].pipe.close()
        await loop.settle()
        assert owner.losses == ["redis://there closed the connection"]


@on_memory
async def test_the_end_is_ours(loop: MemoryLoop) -> None:
    async with linked() as (server, owner, link):
        server.silent = True
        [answer] = link.send(("PING",))
        await link.drop()
        await link.drop()
        assert server.ends == []
        with pytest.raises(BrokerLost, match="the connection to redis://there was closed"):
            await answer.get()
        assert owner.losses == ["the connection to redis://there was closed"]
    never = Link(running(), Owner(), SECONDS, "redis://there", None)
    await never.drop()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not a reply of RESP3: b'HTTP/1.1 400 Bad Request'"),
        (b":1\r\n", "an answer that no command asked for"),
        (b"-ERR who are you\r\n", "an answer that no command asked for"),
        (push(b"subscribe", b"a"), "an answer that no command asked for"),
    ],
)
@on_memory
async def test_a_server_that_is_none(loop: MemoryLoop, data: bytes, why: str) -> None:
    async with linked() as (server, owner, link):
        server.ends[0].write(data + b":2\r\n")
        await loop.settle()
        [loss] = owner.losses
        assert loss == f"redis://there does not answer as Redis does: {why}"


@pytest.mark.parametrize(
    ("command", "answer"), [("SUBSCRIBE", b":1\r\n"), ("GET", push(b"subscribe", b"a"))]
)
@on_memory
async def test_an_answer_of_another_kind(loop: MemoryLoop, command: str, answer: bytes) -> None:
    async with linked() as (server, owner, link):
        server.answers[command] = answer
        with pytest.raises(BrokerLost, match="an answer that no command asked for"):
            await link.ask(command, "a")


@on_memory
async def test_after_a_mistake_nothing_is_taken(loop: MemoryLoop) -> None:
    """The rest of what has arrived included."""
    async with linked() as (server, owner, link):
        message = push(b"message", b"a", b"b")
        link.data_received(message + b"+x\r\n")
        link.data_received(message)
        await loop.settle()
        assert owner.pushes == [[b"message", b"a", b"b"]]


@on_memory
async def test_an_error_in_taking_a_push(loop: MemoryLoop, log: Log) -> None:
    """The application's mistake is logged, and what was missed is caught up on."""
    async with linked() as (server, owner, link):
        owner.raises = True
        server.ends[0].write(push(b"message", b"a", b"b"))
        await loop.settle()
        [(what, error)] = log.tracebacks()
        assert what == "dropped because of an error in handling the connection"
        assert repr(error) == "KeyError('a mistake')"
        assert owner.losses == [
            "an error in handling what redis://there sent: KeyError: 'a mistake'"
        ]


@on_memory
async def test_a_cancelled_wait_leaves_the_order(loop: MemoryLoop) -> None:
    async with linked() as (server, _, link):
        server.silent = True
        job = loop.spawn(link.ask("PING"))
        await loop.settle()
        job.cancel()
        await loop.settle()
        [answer] = link.send(("PING",))
        server.ends[0].write(b":1\r\n:2\r\n")
        assert await answer.get() == 2


def test_causes() -> None:
    assert cause(None) == "it was closed"
    assert cause(KeyError()) == "KeyError"
    assert cause(OSError("odd")) == "odd"
    assert cause(ConnectionResetError(104, "reset")) == "reset"
