"""The demo as a person meets it: two browser windows chat through examples/chat.py."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import Chromium, Page, installed

pytestmark = pytest.mark.slow

CHAT = Path(__file__).parents[2] / "examples" / "chat.py"


class Chat:
    """examples/chat.py in a process of its own, any warning of Python's an error."""

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", str(CHAT), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.said = ""
        for line in self._process.stdout:
            self.said += line
            if found := re.search(r"Open (http://127\.0\.0\.1:\d+) ", line):
                self.url = found[1]
                return
        raise AssertionError(f"no address: {self._process.communicate()}")

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def stop(self, number: signal.Signals) -> None:
        """Signal it, and see it end as it should."""
        self._process.send_signal(number)
        _, complaints = self._process.communicate(timeout=5)
        assert self._process.returncode == 0, complaints
        assert "Traceback" not in complaints

    def kill(self) -> None:
        """Whatever became of it, it is gone afterwards."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def chat(port: int = 0) -> Iterator[Chat]:
    server = Chat(port)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with installed(tmp_path / "profile", "nobody tried the demo in a browser") as browser:
        yield browser


def log_has(line: str) -> str:
    """A condition: the log's last line, as a person reads it."""
    return f'document.querySelector("#log > :last-child")?.textContent === {json.dumps(line)}'


def status_is(text: str) -> str:
    return f'document.querySelector("#status").textContent === {json.dumps(text)}'


def join(browser: Chromium, url: str, name: str) -> Page:
    page = browser.open(url)
    page.type("name", name)
    page.wait_until(log_has(f"{name} joined"))
    return page


@pytest.mark.timeout(90)  # a browser takes its time to start
def test_two_windows_chat(browser: Chromium) -> None:
    with chat() as server:
        port = server.port
        ada = join(browser, server.url, "Ada")
        bob = join(browser, server.url, "Bob & Co")
        for page in ada, bob:
            page.wait_until(log_has("Bob & Co joined"))
            page.wait_until(status_is("Here: Ada, Bob & Co"))

        ada.type("text", "Hello Bob ☺")
        for page in ada, bob:
            page.wait_until(log_has("Ada: Hello Bob ☺"))

        evil = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
        bob.type("text", evil)
        for page in ada, bob:
            page.wait_until(log_has(f"Bob & Co: {evil}"))
            assert page.evaluate("document.querySelectorAll('#log img').length") == 0
            assert page.evaluate("document.title") == "Chat"

        bob.close()
        ada.wait_until(log_has("Bob & Co left"))
        ada.wait_until(status_is("Here: Ada"))

        server.stop(signal.SIGINT)
    ada.wait_until(status_is("Connection lost, trying again …"))

    with chat(port) as server:
        ada.wait_until(log_has("Ada joined"))
        ada.type("text", "I am back")
        ada.wait_until(log_has("Ada: I am back"))
        server.stop(signal.SIGTERM)
    ada.wait_until(status_is("Connection lost, trying again …"))


def test_a_port_that_is_taken_is_said_and_another_one_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with chat(port) as server:
            assert server.port != port
            assert f"cannot listen on 127.0.0.1:{port}" in server.said
            server.stop(signal.SIGTERM)
