"""The chats of examples/ without a browser: their page, and what their WebSockets say."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from running import PATIENCE, running
from snippets import ROOT

from kit.blocking_peer import TIMEOUT, BlockingPeer
from kit.redis_server import RedisServer, redis_server
from wstransports.rooms.broker import LEASE

pytestmark = pytest.mark.slow

CHAT = ROOT / "examples" / "chat.py"
PAGE = CHAT.with_suffix(".html")
ASGI_CHAT = ROOT / "examples" / "asgi_chat.py"

LOGS = {CHAT: "", ASGI_CHAT: "(INFO: .*\\n)+"}


def program(chat: Path, *arguments: str) -> str:
    """Runs an example at a free port."""
    return f"""
import runpy, sys
sys.argv = {[chat.name, "0", *arguments]}
# It does `import uvicorn`, perhaps.
runpy.run_path({str(chat)!r}, run_name="__main__")
"""


on_both = pytest.mark.parametrize("chat", LOGS, ids=lambda chat: chat.stem)


def line(peer: BlockingPeer) -> dict[str, Any]:
    """The next line of the chat, as the page gets it."""
    content: dict[str, Any] = json.loads(peer.message())
    content.pop("since", None)  # the ASGI chat has none
    return content


@on_both
def test_a_page_and_two_who_chat(chat: Path, tmp_path: Path) -> None:
    with running(program(chat), tmp_path) as server:
        server.logs = LOGS[chat]
        http = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        http.request("GET", "/")
        page = http.getresponse()
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page.read() == PAGE.read_bytes()
        http.close()

        with server.connect("/?name=Ada") as ada, server.connect("/?name=%3Cb%3E") as bob:
            assert line(ada) == {"name": "", "text": "Ada joined", "here": ["Ada"]}
            joined = {"name": "", "text": "<b> joined", "here": ["<b>", "Ada"]}
            assert line(ada) == line(bob) == joined
            bob.send("Hello ☺")
            said = {"name": "<b>", "text": "Hello ☺", "here": ["<b>", "Ada"]}
            assert line(ada) == line(bob) == said
            bob.finish()
            assert line(ada) == {"name": "", "text": "<b> left", "here": ["Ada"]}
    if chat is CHAT:
        assert server.printed.startswith(f"Open http://127.0.0.1:{server.port} ")


@on_both
def test_a_client_that_names_nobody_and_sends_no_text(chat: Path, tmp_path: Path) -> None:
    with running(program(chat), tmp_path) as server, server.connect("/?nonsense") as peer:
        server.logs = LOGS[chat]
        assert line(peer)["text"] == "Somebody joined"
        for message, text in ("", ""), (b"as bytes", "as bytes"):
            peer.send(message)
            assert line(peer)["text"] == text


def test_a_client_that_reads_nothing_holds_up_nobody(tmp_path: Path) -> None:
    with running(program(ASGI_CHAT), tmp_path) as server:
        server.logs = LOGS[ASGI_CHAT]
        with server.connect("/?name=Slow"), server.connect("/?name=Ada") as ada:
            assert line(ada)["text"] == "Ada joined"
            for number in range(300):  # 15 MB, more than all buffers on the way hold
                ada.send(f"{number} ".ljust(50_000))
                assert line(ada)["text"].split() == [str(number)]


def test_a_client_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    with running(program(CHAT), tmp_path) as server, server.connect("/?name=Ada") as ada:
        with server.connect("/?name=Bob") as bob:
            since = json.loads(bob.message())["since"]
            bob.finish()
        assert [line(ada)["text"] for _ in range(3)] == ["Ada joined", "Bob joined", "Bob left"]
        ada.send("Bob?")
        assert line(ada)["text"] == "Bob?"
        with server.connect(f"/?name=Bob&since={since}") as bob:
            said = [line(bob) for _ in range(3)]
            assert [one["text"] for one in said] == ["Bob left", "Bob?", "Bob joined"]
            assert said[-1]["here"] == ["Ada", "Bob"]
        with server.connect("/?name=Eve&since=forged.5") as eve:
            while line(eve)["text"] != "Eve joined":  # Bob may leave before, or after
                pass


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server, which reports the keys that expire."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server("redis", folder, "--notify-keyspace-events", "Ex") as server:
        yield server


def test_two_processes_on_one_redis_are_one_chat(redis: RedisServer, tmp_path: Path) -> None:
    source = program(CHAT, redis.url)
    with (
        running(source, tmp_path) as one,
        running(source, tmp_path) as other,
        one.connect("/?name=Ada") as ada,
    ):
        assert line(ada)["text"] == "Ada joined"
        with other.connect("/?name=Bob") as bob:
            joined = {"name": "", "text": "Bob joined", "here": ["Ada", "Bob"]}
            assert line(ada) == line(bob) == joined
            for peer, name in ((ada, "Ada"), (bob, "Bob")):
                peer.send(f"I am {name}")
                said = {"name": name, "text": f"I am {name}", "here": ["Ada", "Bob"]}
                assert line(ada) == line(bob) == said
            bob.finish()
        assert line(ada) == {"name": "", "text": "Bob left", "here": ["Ada"]}


@pytest.mark.timeout(60)
def test_who_was_in_a_killed_process_vanishes(redis: RedisServer, tmp_path: Path) -> None:
    """When the lease of its process ends on the Redis server, which says so."""
    assert LEASE <= 15  # seconds, which the docs promise
    source = program(CHAT, redis.url)
    with (
        socket.socket(socket.AF_UNIX) as watching,
        running(source, tmp_path) as one,
        running(source, tmp_path) as other,
        one.connect("/?name=Ada") as ada,
    ):
        watching.settimeout(LEASE + TIMEOUT)
        watching.connect(str(redis.path))
        watching.sendall(b"SUBSCRIBE __keyevent@0__:expired\r\n")
        assert line(ada)["text"] == "Ada joined"
        with other.connect("/?name=Bob"):
            said = line(ada)
            assert (said["text"], said["here"]) == ("Bob joined", ["Ada", "Bob"])
            other.kill()
        with watching.makefile("r") as lines:
            while said["here"] != ["Ada"]:
                next(text for text in lines if ":members:" in text)
                ada.send("Bob?")
                said = line(ada)


def test_who_comes_while_redis_is_away_is_asked_to_come_again(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Without a traceback for each of them."""
    with running(program(CHAT, redis.url), tmp_path) as server:
        server.logs = "the rooms' broker is lost, .*\n(cannot connect to .*; trying again\n)?"
        redis.kill()
        with server.connect("/?name=Ada") as ada:
            assert ada.closed() == (1013, "try again later")


def test_a_redis_that_cannot_be_reached_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{unused.getsockname()[1]}"
        command = [sys.executable, str(CHAT), "0", url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert url in ended.stderr
    assert ended.stderr.count("\n") == 1
