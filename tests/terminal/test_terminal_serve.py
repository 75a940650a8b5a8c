"""`serve`: an echo, a hub, a folder that lets nothing out of it."""

import os
import re
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
import trustme

from kit.blocking_peer import BlockingPeer, connected
from kit.certificates import certificate_files
from kit.in_thread import serving
from wscore import Request
from wstransports.terminal import folder as folder_module
from wstransports.terminal import serve
from wstransports.terminal.folder import Folder
from wstransports.terminal.program import main
from wstransports.terminal.screen import Screen

Capture = pytest.CaptureFixture[str]


@contextmanager
def served(**chosen: Any) -> Iterator[int]:
    """The server of these arguments, at the port it gives."""
    defaults = {"host": "127.0.0.1", "port": 0, "certs": None, "hub": False, "folder": None}
    arguments = Namespace(**{**defaults, "subprotocol": [], **chosen})
    with serving(serve.server(arguments, Screen())) as port:
        yield port


def test_an_echo(capsys: Capture) -> None:
    with served(subprotocol=["chat"]) as port, BlockingPeer(port, subprotocols=["chat"]) as peer:
        peer.connect()
        assert peer.subprotocol == "chat"
        peer.send("Hello\x1b")
        assert peer.message() == "Hello\x1b"
        peer.send(b"\xff")
        assert peer.message() == b"\xff"
        peer.finish(4000, "bye\x1b")
        name = str(peer)
    assert capsys.readouterr().err == (
        f"* {name} connected to /\n"
        f"* {name} sent Hello\\x1b\n"
        f"* {name} sent ff\n"
        f"* {name} closed: 4000 (private code): bye\\x1b\n"
    )


def test_a_hub(capsys: Capture) -> None:
    with served(hub=True) as port, ExitStack() as stack:
        one, two = [stack.enter_context(connected(port)) for _ in range(2)]
        two.send("two is in")
        two.message()
        one.send("to all")
        messages = [peer.message() for peer in (two, one)]
        assert "to all" in messages


def test_a_folder_next_to_a_websocket(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    with served(folder=str(tmp_path)) as port:
        with BlockingPeer(port) as peer:
            peer._write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert peer.socket.recv(65536).startswith(b"HTTP/1.1 200 ")
        with connected(port) as peer:
            peer.send("Hello")
            assert peer.message() == "Hello"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder, and a secret next to it."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".git").mkdir()
    (root / "index.html").write_text("index")
    (root / "sub" / "index.html").write_text("sub")
    (root / "a b.txt").write_text("text")
    (root / "script.js").write_text("script")
    (root / "data").write_text("data")
    (root / "page.html.gz").write_text("packed")
    (root / ".env").write_text("secret")
    (root / ".git" / "config").write_text("secret")
    (root / "big").write_bytes(bytes(100))
    (root / "inside").symlink_to(root / "data")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder-link").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    (root / "linked").mkdir()
    (root / "linked" / "index.html").symlink_to(tmp_path / "secret")
    return root


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("/", b"index", "text/html; charset=utf-8"),
        ("/index.html?x=1", b"index", "text/html; charset=utf-8"),
        ("http://host/index.html", b"index", "text/html; charset=utf-8"),
        ("/sub", b"sub", "text/html; charset=utf-8"),
        ("/sub/", b"sub", "text/html; charset=utf-8"),
        ("/a%20b.txt", b"text", "text/plain; charset=utf-8"),
        ("/script.js", b"script", "text/javascript; charset=utf-8"),
        ("/data", b"data", "application/octet-stream"),
        ("/inside", b"data", "application/octet-stream"),
        ("/page.html.gz", b"packed", "application/octet-stream"),
    ],
)
def test_a_file(target: str, body: bytes, kind: str, tree: Path) -> None:
    response = Folder(str(tree)).respond(Request("GET", target))
    assert response is not None
    assert (response.status, response.body) == (200, body)
    assert response.headers["Content-Type"] == kind
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "/empty",
        "/.env",
        "/.git/config",
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/..%2froot2/secret",
        "//secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/link",
        "/folder-link/secret",
        "/linked",
        "/loop",
        "/pipe",
        "/%00",
        "/" + "x" * 5000,
        "/data/",
        "/data/x",
        "/%ff",
        "/%2fetc/passwd",
        "//etc/passwd",
        "*",
    ],
)
def test_no_file(target: str, tree: Path) -> None:
    response = Folder(str(tree)).respond(Request("GET", target))
    assert response is not None
    if target == "/data/":  # the same file
        assert response.body == b"data"
    elif target == "*":
        assert response.body == b"index"
    else:
        assert (response.status, response.body) == (404, b"There is no such file here.\n")


def test_a_file_that_is_too_long(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MOST", 99)
    response = Folder(str(tree)).respond(Request("GET", "/big"))
    assert response is not None
    assert (response.status, response.body) == (403, b"This file is longer than 99 bytes.\n")


def test_a_file_that_cannot_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    response = Folder(str(tree)).respond(Request("GET", "/data"))
    assert response is not None
    assert (response.status, response.body) == (403, b"This file cannot be read.\n")


class Lines:
    """A stderr whose lines another thread waits for."""

    def __init__(self) -> None:
        self._text = ""
        self._news = threading.Condition()
        self.encoding = "utf-8"

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def write(self, text: str) -> int:
        with self._news:
            self._text += text
            self._news.notify_all()
        return len(text)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until what was written matches."""
        with self._news:
            while (match := re.search(pattern, self._text)) is None:
                assert self._news.wait(20), self._text
            return match


def interrupt(number: signal.Signals, port: int, host: str = "127.0.0.1") -> None:
    """Send a signal to the server in the main thread."""
    signal.pthread_kill(threading.main_thread().ident or 0, number)
    # A signal just before the loop waits does not wake it (no wakeup descriptor is set).
    with suppress(ConnectionError):  # refused, or reset while the server stops listening
        create_connection((host, port)).close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tls", [False, True])
def test_it_serves_until_a_signal(
    number: signal.Signals, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Lines()
    monkeypatch.setattr(sys, "stderr", stderr)
    arguments = ["serve", "--port", "0", "--folder", str(tmp_path)]
    if tls:
        arguments += ["--certs", *map(str, certificate_files(trustme.CA(), tmp_path, "localhost"))]
    else:
        arguments.append("--hub")
    closed: list[object] = []

    def use() -> None:
        port = int(stderr.until(r"serving .* at http.*:(\d+)/\n")[1])
        with ExitStack() as stack:
            if not tls:
                peer = stack.enter_context(connected(port))
            interrupt(number, port)
            closed.append(None if tls else peer.closed())

    user = threading.Thread(target=use, daemon=True)
    user.start()
    assert main(arguments) == 0
    user.join(20)
    assert closed == [None if tls else (1001, "")]
    what = "an echo at wss" if tls else "a hub at ws"
    stderr.until(rf"\* serving {what}://127\.0\.0\.1:\d+/\n\* serving .* at https?://")


def test_without_a_folder(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Lines()
    monkeypatch.setattr(sys, "stderr", stderr)

    def stop() -> None:
        interrupt(
            signal.SIGINT, int(stderr.until(r"serving an echo at ws://.*:(\d+)/\n")[1]), "::1"
        )

    threading.Thread(target=stop, daemon=True).start()
    assert main(["serve", "--port", "0", "--host", "::1"]) == 0
    stderr.until(r"ws://\[::1\]:")


def test_a_port_in_use(capsys: Capture) -> None:
    with served() as port:
        assert main(["serve", "--port", str(port)]) == 1
    assert re.search(r"wstransports: .*in use", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "70000"], "port must be 1 to 65535, or 0 for a free one, not 70000"),
        (["--folder", "/nowhere"], "/nowhere is not a folder"),
        (["--certs", "/no", "/key"], "/no"),
        (["--subprotocol", "a b"], "'a b'"),
    ],
)
def test_wrong_arguments(arguments: list[str], complaint: str, capsys: Capture) -> None:
    assert main(["serve", *arguments]) == 2
    assert complaint in capsys.readouterr().err
