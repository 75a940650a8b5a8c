"""examples/chat.py without a browser: its page, and what its WebSocket says."""

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from running import PATIENCE, running
from snippets import ROOT

from kit.blocking_peer import BlockingPeer

pytestmark = pytest.mark.slow

CHAT = ROOT / "examples" / "chat.py"
PROGRAM = f"""
import runpy, sys
sys.argv = ["chat.py", "0"]
runpy.run_path({str(CHAT)!r}, run_name="__main__")
"""


def line(peer: BlockingPeer) -> dict[str, Any]:
    """The next line of the chat, as the page gets it."""
    content: dict[str, Any] = json.loads(peer.message())
    return content


def test_a_page_and_two_who_chat(tmp_path: Path) -> None:
    with running(PROGRAM, tmp_path) as server:
        http = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        http.request("GET", "/")
        page = http.getresponse()
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert page.read() == CHAT.with_suffix(".html").read_bytes()

        with server.connect("/?name=Ada") as ada, server.connect("/?name=%3Cb%3E") as bob:
            assert line(ada) == {"name": "", "text": "Ada joined", "here": ["Ada"]}
            joined = {"name": "", "text": "<b> joined", "here": ["<b>", "Ada"]}
            assert line(ada) == line(bob) == joined
            bob.send("Hello ☺")
            said = {"name": "<b>", "text": "Hello ☺", "here": ["<b>", "Ada"]}
            assert line(ada) == line(bob) == said
            bob.finish()
            assert line(ada) == {"name": "", "text": "<b> left", "here": ["Ada"]}
    assert server.printed.startswith(f"Open http://127.0.0.1:{server.port} ")


def test_a_client_that_names_nobody_and_sends_no_text(tmp_path: Path) -> None:
    with running(PROGRAM, tmp_path) as server, server.connect("/?nonsense") as peer:
        assert line(peer)["text"] == "Somebody joined"
        peer.send(b"as bytes")
        assert line(peer)["text"] == "as bytes"
