"""`connect`: from a pipe, from a terminal, with and without the extra `cli`."""

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from pseudo import Terminal, run, run_on_terminal

from kit.certificates import server_context
from kit.in_thread import serving
from kit.proxies import proxy
from wstransports import Client, Request, Response, WebSocketServer
from wstransports.terminal import screen
from wstransports.terminal.program import main
from wstransports.terminal.typed import lines

Capture = pytest.CaptureFixture[bytes]
Patch = pytest.MonkeyPatch

# How prompt_toolkit begins to read a line: it asks for pasted text to be marked.
PROMPT = r"\x1b\[\?2004h"
TIME = r"\d\d:\d\d:\d\d\.\d{3} "


def echo_server(**options: Any) -> WebSocketServer:
    """Echoes; closes with a code that a message names."""
    server = WebSocketServer("127.0.0.1", 0, **options)

    @server.connection
    async def on_connection(client: Client) -> None:
        async for message in client:
            if isinstance(message, str) and message.startswith("close "):
                await client.close(int(message[6:]), "as you\x1b wish")
            else:
                await client.writer.send(message)

    return server


@pytest.fixture
def url() -> Iterator[str]:
    """The address of an echo server."""
    with serving(echo_server(subprotocols=["chat"])) as port:
        yield f"ws://127.0.0.1:{port}/room"


# From a pipe.


def test_each_line_is_a_message(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    status = run(["connect", url], "one\r\ntwo\n\ncaf\xe9".encode(), monkeypatch)
    out, err = capsysbinary.readouterr()
    assert (status, out) == (0, "one\ntwo\n\ncaf\xe9\n".encode())
    where = url.removeprefix("ws://")
    assert err.decode() == f"* connected to {where}\n* closed: 1000 (normal closure)\n"


def test_many_lines_are_sent_in_order(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    """More than a pipe holds, and lines longer than one read."""
    data = b"".join(b"%d " % i * (20_000 if i % 100 == 0 else 1) + b"\n" for i in range(500))
    assert run(["connect", url], data, monkeypatch) == 0
    assert capsysbinary.readouterr().out == data


def test_binary_is_sent_whole(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    data = b"\x00\xff\n" * 50_000
    assert run(["connect", url, "--binary"], data, monkeypatch) == 0
    assert capsysbinary.readouterr().out == data


def test_json_is_sent_whole(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    assert run(["connect", url, "--json"], b'{"a":\n 1}\n', monkeypatch) == 0
    assert capsysbinary.readouterr().out == b'{"a":\n 1}\n'


@pytest.mark.parametrize(
    ("how", "data", "complaint"),
    [
        (["--json"], b"{a}", "this is not JSON: Expecting property name"),
        ([], b"fine\n\xff\n", "stdin is not UTF-8: send it with --binary"),
        (["--json"], b"\xff", "stdin is not UTF-8: send it with --binary"),
    ],
)
def test_input_that_is_not_valid(
    how: list[str],
    data: bytes,
    complaint: str,
    url: str,
    monkeypatch: Patch,
    capsysbinary: Capture,
) -> None:
    assert run(["connect", url, *how, "--wait", "60"], data, monkeypatch) == 2
    assert f"wstransports: {complaint}" in capsysbinary.readouterr().err.decode()


@pytest.mark.parametrize(
    ("code", "status"), [(1000, 0), (1001, 0), (1008, 3), (1011, 3), (4000, 3)]
)
def test_the_servers_close_is_the_exit_status(
    code: int, status: int, url: str, monkeypatch: Patch, capsysbinary: Capture
) -> None:
    data = f"close {code}\n".encode()
    assert run(["connect", url, "--wait", "60"], data, monkeypatch) == status
    assert re.search(
        rf"\* closed: {code} \(.*\): as you\\x1b wish\n", capsysbinary.readouterr().err.decode()
    )


def test_sending_ends_when_the_server_closes(
    url: str, monkeypatch: Patch, capsysbinary: Capture
) -> None:
    data = b"close 1008\n" + b"x\n" * 100_000
    assert run(["connect", url], data, monkeypatch) == 3


def test_waiting_for_late_answers(monkeypatch: Patch, capsysbinary: Capture) -> None:
    server = WebSocketServer("127.0.0.1", 0)
    gone = asyncio.Event()

    @server.connection
    async def on_connection(client: Client) -> None:
        await client.writer.send(await client.receive())
        gone.set()
        await client.receive()

    with serving(server) as port:
        status = run(["connect", f"ws://127.0.0.1:{port}", "--wait", "0.05"], b"x\n", monkeypatch)
    assert (status, capsysbinary.readouterr().out) == (0, b"x\n")


def test_pings(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    status = run(["connect", url, "--ping", "0.01", "--wait", "0.2"], b"", monkeypatch)
    assert status == 0
    pongs = re.findall(r"\* pong after \d+\.\d ms\n", capsysbinary.readouterr().err.decode())
    assert len(pongs) > 1


def test_what_a_request_may_have(monkeypatch: Patch, capsysbinary: Capture) -> None:
    seen: list[Request] = []
    server = echo_server(subprotocols=["chat"], process_request=seen.append)
    arguments = ["--header", "X-Token: a:b", "--origin", "https://example.com"]
    arguments += ["--subprotocol", "other", "--subprotocol", "chat"]
    with serving(server) as port:
        assert run(["connect", f"ws://127.0.0.1:{port}", *arguments], b"", monkeypatch) == 0
    [request] = seen
    assert (request.headers["X-Token"], request.origin) == ("a:b", "https://example.com")
    assert request.subprotocols == ("other", "chat")
    assert ", subprotocol chat\n" in capsysbinary.readouterr().err.decode()


def test_insecure_accepts_any_certificate(monkeypatch: Patch, capsysbinary: Capture) -> None:
    server = echo_server(certs=server_context(trustme.CA(), "example.com"))
    with serving(server) as port:
        url = f"wss://127.0.0.1:{port}/"
        assert run(["connect", url], b"", monkeypatch) == 1
        assert "certificate was rejected" in capsysbinary.readouterr().err.decode()
        assert run(["connect", url, "--insecure"], b"Hello\n", monkeypatch) == 0
    assert capsysbinary.readouterr().out == b"Hello\n"


def test_insecure_needs_no_wss(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    assert run(["connect", url, "--insecure"], b"Hello\n", monkeypatch) == 0


def test_a_message_that_is_too_big(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    assert run(["connect", url, "--max-size", "3", "--wait", "60"], b"four\n", monkeypatch) == 3
    assert "closed: 1009 (message too big)" in capsysbinary.readouterr().err.decode()


# No connection.


@pytest.mark.parametrize("body", ["come\x1b back later\n", ""])
def test_a_refusal(body: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    def refuse(request: Request) -> Response:
        return Response(503, body=body)

    with serving(echo_server(process_request=refuse)) as port:
        assert run(["connect", f"ws://127.0.0.1:{port}"], b"x\n", monkeypatch) == 1
    err = capsysbinary.readouterr().err.decode()
    assert "refused with 503 Service Unavailable\n" in err
    assert (r"* come\x1b back later" in err) is bool(body)


# Through a proxy.


@pytest.fixture
def no_proxies(monkeypatch: Patch) -> None:
    """The environment names none."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
def test_a_proxy(kind: str, url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    """It finds the host, which nobody else knows."""
    if kind != "http":
        pytest.importorskip("python_socks")
    name = {"http": "ada:secret", "socks4": "ada:", "socks5": "ada:secret"}[kind]
    with proxy(kind, int(url.split(":")[2].partition("/")[0]), name) as through:
        uri = f"{kind}://{name.rstrip(':')}@127.0.0.1:{through.port}"
        arguments = ["connect", "ws://chat.example:80/room", "--proxy", uri]
        assert run(arguments, b"Hello\n", monkeypatch) == 0
        assert through.asked == ["chat.example:80"]
    out, err = capsysbinary.readouterr()
    assert out == b"Hello\n"
    assert b"* connected to chat.example/room\n" in err
    assert b"secret" not in err


@pytest.mark.usefixtures("no_proxies")
def test_the_proxy_of_the_environment(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    with proxy("http", int(url.split(":")[2].partition("/")[0])) as through:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{through.port}")
        assert run(["connect", "ws://chat.example/room"], b"Hello\n", monkeypatch) == 0
        assert through.asked == ["chat.example:80"]
    assert capsysbinary.readouterr().out == b"Hello\n"


@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_that_refuses(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    """Its address is shown without the password."""
    with proxy("http", 0, "ada:secret") as through:
        uri = f"http://ada:wrong@127.0.0.1:{through.port}"
        assert run(["connect", url, "--proxy", uri], b"Hello\n", monkeypatch) == 1
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert re.match(rb"wstransports: cannot connect to ws://\S+ through http://\S+: ", err)
    assert b"wrong" not in err
    assert b"Traceback" not in err


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    ("arguments", "environment", "status", "complaint"),
    [
        (["ws://127.0.0.1:1/"], {}, 1, "wstransports: cannot connect to ws://127.0.0.1:1/: "),
        (["http://a/"], {}, 2, "it must begin with ws:// or wss://"),
        (["ws://a/", "--header", "a b: c"], {}, 2, "is not a header name"),
        (["ws://a/", "--proxy", "x"], {}, 2, "'x' is not a proxy's URL"),
        (["ws://a/", "--max-size", "0"], {}, 2, "max_message_size must be"),
        (["ws://a.example/"], {"http_proxy": "x://"}, 1, "http_proxy in the environment: "),
    ],
)
def test_no_connection(
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    complaint: str,
    monkeypatch: Patch,
    capsysbinary: Capture,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["connect", *arguments], b"", monkeypatch) == status
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert complaint in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--header", "secret"], "argument --header: write it like Name:value"),
        (["--ping", "0"], "argument --ping: '0' is not a number of seconds above 0"),
        (["--wait", "soon"], "argument --wait: 'soon' is not a number of seconds above 0"),
        (["--ping", "nan"], "is not a number of seconds above 0"),
        (["--binary", "--json"], "not allowed with argument"),
    ],
)
def test_wrong_arguments(arguments: list[str], complaint: str, capsysbinary: Capture) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["connect", "ws://a/", *arguments])
    err = capsysbinary.readouterr().err.decode()
    assert (exit.value.code, complaint in err) == (2, True), err
    assert "secret" not in err


def test_no_reader(url: str, monkeypatch: Patch, capsysbinary: Capture) -> None:
    """As before `head`, which ends early."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run(["connect", url, "--wait", "60"], b"Hello\n", monkeypatch) == 141


# On a terminal.


def greet(terminal: Terminal) -> None:
    """Say Hello, then leave."""
    terminal.until("connected to .*\n")
    terminal.type("Hello\r")
    terminal.until("> .*text 5 B  .*Hello")
    terminal.until("< .*text 5 B  .*Hello")
    terminal.type("\x04")


@pytest.fixture
def fresh_session() -> Iterator[None]:
    """prompt_toolkit remembers its terminal."""
    sessions = pytest.importorskip("prompt_toolkit.application.current")
    with sessions.create_app_session():
        yield


def without(monkeypatch: Patch, *names: str) -> None:
    """As if these were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_at_a_prompt(url: str, monkeypatch: Patch, fresh_session: None) -> None:
    status, left = run_on_terminal(["connect", url], greet, monkeypatch)
    assert status == 0
    assert "closed: 1000 (normal closure)" in left


def test_ctrl_c_at_a_prompt(url: str, monkeypatch: Patch, fresh_session: None) -> None:
    def interrupt(terminal: Terminal) -> None:
        terminal.until(PROMPT)
        terminal.type("\x03")

    status, left = run_on_terminal(["connect", url], interrupt, monkeypatch)
    assert status == 130
    assert "closed: 1000 (normal closure)" in left


def test_the_server_closes_while_a_prompt_waits(
    url: str, monkeypatch: Patch, fresh_session: None
) -> None:
    def provoke(terminal: Terminal) -> None:
        terminal.until(PROMPT)
        terminal.type("close 4001\r")

    status, left = run_on_terminal(["connect", url], provoke, monkeypatch)
    assert status == 3
    assert r"closed: 4001 (private code): as you\x1b wish" in left


def test_json_is_checked_at_a_prompt(url: str, monkeypatch: Patch, fresh_session: None) -> None:
    def mistype(terminal: Terminal) -> None:
        terminal.until(PROMPT)
        terminal.type("{\r")
        terminal.until("this is not JSON")
        terminal.type("[1]\r")
        terminal.until(r"< .*text 3 B  .*\[1\]")
        terminal.type("\x04")

    assert run_on_terminal(["connect", url, "--json"], mistype, monkeypatch)[0] == 0


def test_a_terminal_without_the_extra(url: str, monkeypatch: Patch) -> None:
    without(monkeypatch, "prompt_toolkit", "rich.console")
    lines: list[str] = []

    def write(terminal: Terminal) -> None:
        terminal.until("connected to .*\n")
        terminal.type("a\tb\n")
        lines.append(terminal.until("< .*\n"))
        terminal.type("\x04")

    status, left = run_on_terminal(["connect", url], write, monkeypatch)
    assert status == 0
    shown = f"({TIME})> text 3 B  a\\\\tb\r\n({TIME})< text 3 B  a\\\\tb\r\n"
    assert re.fullmatch(shown, lines[0])
    assert left == "* closed: 1000 (normal closure)\r\n"


def test_what_is_typed_can_be_binary(url: str, monkeypatch: Patch) -> None:
    without(monkeypatch, "prompt_toolkit", "rich.console")

    def write(terminal: Terminal) -> None:
        terminal.until("connected to .*\n")
        terminal.type("Hi\n")
        terminal.until("< binary 2 B  48 69\r\n")
        terminal.type("\x04")

    assert run_on_terminal(["connect", url, "--binary"], write, monkeypatch)[0] == 0


@pytest.mark.parametrize("rich", [True, False])
def test_a_peer_cannot_act_on_the_terminal(rich: bool, monkeypatch: Patch) -> None:
    if rich:
        pytest.importorskip("rich", reason="rich is not installed")
    without(monkeypatch, "prompt_toolkit", *([] if rich else ["rich.console"]))
    server = WebSocketServer("127.0.0.1", 0)
    evil = "\x1b[2J\x1b]0;title\x07\x9b2J\u202e\r\nforged [bold red]:smile:"

    @server.connection
    async def on_connection(client: Client) -> None:
        await client.writer.send(evil)
        await client.close(1000, evil)

    with serving(server) as port:
        url = f"ws://127.0.0.1:{port}/"
        _, left = run_on_terminal(["connect", url], lambda terminal: None, monkeypatch)
    plain = re.sub(r"\x1b\[[\d;]*m", "", left)  # our own colours
    assert plain.replace("\r\n", "").isprintable()
    assert (plain != left) is rich
    escaped = r"\x1b[2J\x1b]0;title\x07\x9b2J\u202e\r\nforged [bold red]:smile:"
    assert f"< text 47 B  {escaped}\r\n" in plain
    assert f"closed: 1000 (normal closure): {escaped}\r\n" in plain


def test_ctrl_c_where_there_is_no_prompt(url: str, monkeypatch: Patch) -> None:
    without(monkeypatch, "prompt_toolkit", "rich.console")

    def interrupt(terminal: Terminal) -> None:
        terminal.until("connected to .*\n")
        terminal.type("Hello\n")
        terminal.until("< .*\n")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        # A signal just before the loop waits does not wake it (no wakeup descriptor is set).
        terminal.type("\n")

    status, _ = run_on_terminal(["connect", url], interrupt, monkeypatch)
    assert status == 130


def test_long_messages_are_shortened_on_a_terminal() -> None:
    assert screen.shown("x" * 3000) == "x" * 2000 + "..."
    assert screen.shown(bytes(65)) == "00 " * 63 + "00..."


def test_a_terminal_that_lacks_characters(monkeypatch: Patch) -> None:
    with open(os.devnull, "w", encoding="ascii") as stream:
        assert screen._encodable("caf\xe9", stream) == r"caf\xe9"


# What is read from a descriptor.


def test_a_descriptor_that_fails_ends() -> None:
    """As a terminal does that hangs up."""
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)

    async def read() -> list[bytes]:
        return [line async for line in lines(reading)]

    assert asyncio.run(read()) == []


def test_what_arrives_after_the_end_of_the_loop_is_dropped() -> None:
    reading, writing = os.pipe()

    async def begin() -> None:
        asyncio.get_running_loop().call_later(0, asyncio.current_task().cancel)  # type: ignore[union-attr]
        async for _ in lines(reading):
            pass

    before = set(threading.enumerate())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(begin())
    [thread] = set(threading.enumerate()) - before
    os.write(writing, b"late")
    thread.join(20)
    assert not thread.is_alive()
    os.close(reading)
    os.close(writing)
