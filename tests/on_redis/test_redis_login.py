"""Which servers a `RedisBroker` takes, and how it logs in."""

import pytest
import trustme
from opened import KEEP, Heard, opened, position, refused

from kit.certificates import client_context, server_context
from kit.fake_redis import FakeRedis, fake_redis
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.rooms import BrokerLost
from wstransports.rooms.redis import RedisBroker, pair
from wstransports.runtime import running

pytestmark = pytest.mark.usefixtures("log")


@on_memory
async def test_a_password(loop: MemoryLoop) -> None:
    async with fake_redis() as server:
        heard = Heard()
        made = RedisBroker(server.url.replace("://", "://ada:sesame@"))
        await made.open(running(), None, heard)
        hello = [b"3", b"AUTH", b"ada", b"sesame", b"SETNAME", b"wstransports"]
        assert server.asked("HELLO") == [hello, hello]
        await made.close()
        made = RedisBroker(server.url.replace("://", "://:sesame@"))
        await made.open(running(), None, heard)
        assert server.asked("HELLO")[-1] == [
            *(b"3", b"AUTH", b"default", b"sesame"),
            *(b"SETNAME", b"wstransports"),
        ]
        await made.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-NOAUTH HELLO must be called\r\n", "the server wants a password: write it as in redis"),
        (b"-WRONGPASS invalid pair\r\n", "the server refuses: WRONGPASS invalid pair"),
        (b"-ERR unknown command `HELLO`, with args: `sesame`\r\n", "the server is too old: use"),
        (b"-ERR syntax error near sesame\r\n", "the server refuses HELLO with ERR"),
        (b"+OK\r\n", "does not answer as Redis does"),
        (b"%1\r\n+proto\r\n:2\r\n", "does not answer as Redis does"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not answer as Redis does: not a reply",
        ),
    ],
)
@on_memory
async def test_servers_that_refuse(loop: MemoryLoop, answer: bytes, why: str) -> None:
    async with fake_redis() as server:
        server.answers["HELLO"] = answer
        found = await refused(server)
        assert found.startswith("redis://127.0.0.1:PORT/0")
        assert why in found
        assert "sesame" not in found


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({b"version": b"6.2.14"}, "is redis 6.2.14, which is too old: use Redis 7 or later, or"),
        ({b"version": b"x"}, "is redis x, which is too old"),
        ({b"mode": 7}, "runs as a 7"),
        ({b"mode": b"cluster"}, "runs as a cluster: use a single server"),
        ({b"mode": b"sentinel"}, "runs as a sentinel: use a single server"),
        ({b"role": b"replica"}, "is a replica, which takes no messages: use its primary"),
    ],
)
@on_memory
async def test_servers_that_do_not_serve(
    loop: MemoryLoop, hello: dict[bytes, bytes | int], why: str
) -> None:
    async with fake_redis() as server:
        server.hello.update(hello)
        assert why in await refused(server)


@on_memory
async def test_valkey_serves(loop: MemoryLoop) -> None:
    async with fake_redis() as server:
        server.hello.update({b"server": b"valkey", b"version": b"9.1.2"})
        async with opened(server) as (made, _):
            assert await made.publish("news", "x", None, KEEP) == position(1)


@on_memory
async def test_a_server_that_refuses_what_follows(loop: MemoryLoop) -> None:
    async with fake_redis() as server:
        server.answers["SELECT"] = b"-ERR DB index is out of range\r\n"
        assert "answers with an error: ERR DB index is out of range" in await refused(server, "/99")
        server.answers["INFO"] = b":1\r\n"
        assert "does not say its run_id" in await refused(server)
        del server.answers["INFO"]
        server.info["loading"] = "1"
        assert "is still loading its data" in await refused(server)


@pytest.mark.parametrize(
    ("info", "appendfsync", "keeps"),
    [
        ({}, b"always", b"0"),
        ({"aof_enabled": "1"}, b"always", b"1"),
        ({"aof_enabled": "1"}, b"everysec", b"0"),
        ({"aof_enabled": "1"}, b"", b"0"),
        ({"aof_enabled": "1", "master_replid2": "a" * 40}, b"always", b"0"),
    ],
)
@on_memory
async def test_whether_a_server_kept_its_data(
    loop: MemoryLoop, info: dict[str, str], appendfsync: bytes, keeps: bytes
) -> None:
    async with fake_redis() as server:
        server.info.update(info)
        server.appendfsync = appendfsync
        if not appendfsync:
            server.answers["CONFIG"] = b"-NOPERM this user has no permissions\r\n"
        async with opened(server) as (made, _):
            await made.publish("news", "x", None, KEEP)
        assert server.asked("EVAL")[0][4:6] == [b"00000001", keeps]


@on_memory
async def test_nothing_listens(loop: MemoryLoop) -> None:
    server = FakeRedis()
    server.port = 7
    found = await refused(server)
    assert found.startswith("cannot connect to redis://127.0.0.1:PORT/0: nothing listens at")


@on_memory
async def test_a_server_that_says_nothing(loop: MemoryLoop) -> None:
    async with fake_redis() as server:
        server.silent = True
        job = loop.spawn(refused(server))
        await loop.advance(4.9)
        assert not job.done
        await loop.advance(0.2)
        assert await job.wait() == "redis://127.0.0.1:PORT/0 has not answered for 5 s"


@on_memory
async def test_a_cancelled_open(loop: MemoryLoop) -> None:
    async with fake_redis() as server:
        server.silent = True
        made = RedisBroker(server.url)
        job = loop.spawn(made.open(running(), None, Heard()))
        await loop.settle()
        assert len(server.ends) == 1
        job.cancel()
        await loop.settle()
        assert server.ends == []
        server.silent = False
        heard = Heard()
        await made.open(running(), None, heard)
        with pytest.raises(RuntimeError, match="this broker is open already: make another one"):
            await made.open(running(), None, Heard())
        await made.subscribe("news")
        await made.publish("news", "x", None, KEEP)
        await loop.settle()
        assert heard.data() == ["x"]  # the first one still works
        await made.close()
        await made.close()


@on("asyncio", "trio")
async def test_tls(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "kept_default_context", lambda: None)
    authority = trustme.CA()
    async with fake_redis(server_context(authority, "127.0.0.1")) as server:
        heard = Heard()
        url = server.url.replace("redis:", "rediss:")
        made = RedisBroker(url, ssl=client_context(authority))
        async with running().task_group() as group:
            await made.open(running(), group, heard)
            assert await made.publish("news", "x", None, KEEP) == position(1)
            await made.close()
            with pytest.raises(BrokerLost, match="the server's certificate was rejected"):
                await RedisBroker(url).open(running(), group, heard)
