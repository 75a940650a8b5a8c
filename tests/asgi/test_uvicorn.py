"""Applications under uvicorn, in this process and on a real loop."""

import asyncio
import gc
import logging
import re
import socket
import ssl
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme
import uvicorn
from serving_app import ACCEPT, CLOSE, App, text

from kit.asyncio_pipes import ASYNCIO_LOOPS, new_loop
from kit.certificates import client_context
from kit.loops import Loop, on, on_asyncio
from wscore import State
from wstransports import ConnectionClosed, HandshakeError, connect
from wstransports.adapters import transport_take_over
from wstransports.asgi.application import Message, Receive, Send
from wstransports.asgi.scope import Scope
from wstransports.uvicorn import WebSocketProtocol

on_one = on("asyncio")


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Running:
    """uvicorn on the loop of a test."""

    def __init__(self, server: uvicorn.Server, scheme: str) -> None:
        self.server = server
        self.scheme = scheme

    @property
    def address(self) -> Any:
        """Where it listens."""
        return self.server.servers[0].sockets[0].getsockname()

    @property
    def uri(self) -> str:
        """The URI without a path."""
        return f"{self.scheme}://127.0.0.1:{self.address[1]}"

    def is_idle(self) -> bool:
        """Whether uvicorn knows of no connection and no application."""
        state = self.server.server_state
        return not state.connections and not state.tasks


@asynccontextmanager
async def serving(app: App, scheme: str = "ws", **options: Any) -> AsyncIterator[Running]:
    """Serve with uvicorn on this loop."""
    ws: Any = WebSocketProtocol
    options = {"port": 0, "lifespan": "off", "log_config": None, **options}
    config = uvicorn.Config(app, ws=ws, **options)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    running = Running(server, scheme)
    try:
        yield running
    finally:
        await server.shutdown()
    assert running.is_idle()


async def connections(loop: Loop, running: Running) -> list[WebSocketProtocol]:
    """The WebSocket connections, once there is one."""

    def found() -> list[WebSocketProtocol]:
        known: set[Any] = running.server.server_state.connections
        return [one for one in known if isinstance(one, WebSocketProtocol)]

    await loop.until(found)
    return found()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message back."""
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


@pytest.mark.parametrize("http", ["h11", "httptools"])
@on_asyncio
async def test_an_echo(loop: Loop, http: str) -> None:
    async with serving(echo, http=http) as running:
        async with connect(running.uri) as client:
            for message in "text", b"binary", "x" * 2**20, b"x" * 2**20:
                await client.writer.send(message)
                assert await client.receive() == message
        await loop.until(running.is_idle)


def certified(path: Path) -> ssl.SSLContext:
    """The context of clients that trust the certificate written to `path`."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(path)
    context: ssl.SSLContext = client_context(authority)
    return context


@on_asyncio
async def test_over_tls(loop: Loop, tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["scheme"] == "wss"
        await echo(scope, receive, send)

    context = certified(tmp_path / "pem")
    async with serving(app, "wss", ssl_certfile=tmp_path / "pem") as running:
        async with connect(running.uri, ssl=context) as client:
            for message in "text", b"x" * 2**20:
                await client.writer.send(message)
                assert await client.receive() == message
        await loop.until(running.is_idle)


@pytest.mark.parametrize("over", ["a socket", "a transport", "TLS"])
@on_asyncio
async def test_an_application_that_sends_much_at_once_has_to_wait(
    loop: Loop, over: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first step runs before uvicorn sets our protocol."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        for _ in range(20):
            await send(text("x" * size))
            sent.append(1)

    size = 2**22
    sent: list[int] = []
    if over != "a socket":
        monkeypatch.setattr(transport_take_over, "_PLAIN", set())
    context = certified(tmp_path / "pem") if over == "TLS" else None
    tls = {} if context is None else {"ssl_certfile": tmp_path / "pem"}
    async with serving(app, "wss" if tls else "ws", **tls) as running:
        options: Any = {"ssl": context, "max_message_size": size, "compression": None}
        async with connect(running.uri, **options) as client:
            [protocol] = await connections(loop, running)
            await loop.until(lambda: protocol._session.pipe.full)
            assert len(sent) < 5  # the loop's TLS takes one more than it says
            for _ in range(20):
                assert len(await client.receive()) == size
        await loop.until(running.is_idle)


@on_asyncio
async def test_a_tls_peer_that_leaves_while_its_messages_wait_is_dropped(
    loop: Loop, tmp_path: Path
) -> None:
    """asyncio's TLS, which is uvicorn's, does not say that it has left."""
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await go_on.wait()

    context = certified(tmp_path / "pem")
    keepalive = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
    async with serving(app, "wss", ssl_certfile=tmp_path / "pem", **keepalive) as running:
        async with connect(running.uri, ssl=context, compression=None) as client:
            [connection] = await connections(loop, running)
            for _ in range(3):
                await client.writer.send(bytes(50_000))
            session = connection._session
            await loop.until(lambda: session.intake.pause_reasons)
            client._session.pipe.abort()
        await loop.until(lambda: session.core.state is State.CLOSED)
        go_on.set()
        await loop.until(running.is_idle)


@on_asyncio
async def test_over_a_unix_socket(loop: Loop, tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    scopes: list[Scope] = []
    path = str(tmp_path / "socket")
    async with serving(app, uds=path) as running:
        async with connect("ws://localhost/", unix_path=path) as client:
            await client.writer.send("text")
            assert await client.receive() == "text"
        await loop.until(running.is_idle)
    assert (scopes[0]["server"], scopes[0]["client"]) == ((path, None), None)


# Options.


@on_one
async def test_the_longest_message(loop: Loop) -> None:
    async with serving(echo, ws_max_size=100) as running, connect(running.uri) as client:
        await client.writer.send("x" * 100)
        assert await client.receive() == "x" * 100
        await client.writer.send("x" * 101)
        with pytest.raises(ConnectionClosed) as error:
            await client.receive()
        assert error.value.code == 1009


@pytest.mark.parametrize("deflates", [True, False])
@on_one
async def test_compression(loop: Loop, deflates: bool) -> None:
    async with serving(echo, ws_per_message_deflate=deflates) as running:
        async with connect(running.uri) as client:
            assert client.response is not None
            assert ("Sec-WebSocket-Extensions" in client.response.headers) == deflates


@pytest.mark.parametrize(
    ("interval", "answer_within", "deadlines"),
    [
        (20, 20, (20, 40)),
        (5.5, 1, (5.5, 6.5)),
        (20, None, (20, 40)),
        (0, 20, None),
        (None, 20, None),
    ],
)
@on_one
async def test_the_keepalive(
    loop: Loop, interval: float | None, answer_within: float | None, deadlines: Any
) -> None:
    async with serving(echo, ws_ping_interval=interval, ws_ping_timeout=answer_within) as running:
        async with connect(running.uri):
            [protocol] = await connections(loop, running)
            core = protocol._session.core
            first = core.next_deadline()
            if deadlines is None:
                assert first is None
                return
            assert first is not None
            opened = first - deadlines[0]
            assert core.handle_timeout(first) == []
            assert core.next_deadline() == pytest.approx(opened + deadlines[1])
            overdue = core.is_overdue(opened + deadlines[1])
            assert overdue == (answer_within is not None)


@on_one
async def test_root_path_and_headers(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    scopes: list[Scope] = []
    async with serving(app, root_path="/api", headers=[("X-From", "uvicorn")]) as running:
        await running.server.on_tick(0)
        async with connect(f"{running.uri}/chat") as client:
            assert client.response is not None
            headers = client.response.headers
            assert headers["server"] == "uvicorn"
            assert headers["x-from"] == "uvicorn"
            assert "date" in headers
    assert (scopes[0]["root_path"], scopes[0]["path"]) == ("/api", "/api/chat")


@on_one
async def test_a_head_that_is_too_long(loop: Loop) -> None:
    async with serving(echo, h11_max_incomplete_event_size=1000, http="httptools") as running:
        with pytest.raises(HandshakeError) as error:
            async with connect(running.uri, headers={"X": "x" * 1000}):
                pass
        assert error.value.status == 431
        await loop.until(running.is_idle)


# Log lines.


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What uvicorn's logger got of a connection, without the port."""
    return [
        re.sub(r"127.0.0.1:\d+", "127.0.0.1:PORT", record.getMessage())
        for record in caplog.records
        if record.name == "uvicorn.error" and re.match(r"127|#", record.getMessage())
    ]


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a 403."""
    await send(CLOSE)


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a 404."""
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no such room"})


@pytest.mark.parametrize(
    ("app", "says"), [(echo, "[accepted]"), (refuse, "403"), (deny, "404")], ids=str
)
@on_one
async def test_the_line_about_the_answer(
    loop: Loop, app: App, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with serving(app) as running:
        headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}
        try:
            async with connect(f"{running.uri}/a%20b?c=d"):
                pass
            async with connect(f"{running.uri}/forwarded", headers=headers):
                pass
        except HandshakeError as error:
            assert str(error.status) == says
    assert lines(caplog)[0] == f'127.0.0.1:PORT - "WebSocket /a%20b?c=d" {says}'
    if says == "[accepted]":
        forwarded = [r.getMessage() for r in caplog.records if "forwarded" in r.getMessage()]
        assert forwarded == ['192.0.2.1:0 - "WebSocket /forwarded" [accepted]']


@on_one
async def test_our_own_lines_go_to_its_logger(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo, ws_max_size=1) as running, connect(running.uri) as client:
        await client.writer.send("xx")
        with pytest.raises(ConnectionClosed):
            await client.receive()
    [line] = lines(caplog)
    assert re.fullmatch(r"#\d+ 127.0.0.1:PORT: failed with 1009, .*", line)


@on_asyncio
async def test_traces(loop: Loop, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(5, "uvicorn.error")
    path = str(tmp_path / "socket")
    for options, prefix in ({}, "127.0.0.1:PORT - "), ({"uds": path}, ""):
        caplog.clear()
        async with serving(echo, **options) as running:
            uri = running.uri if not options else "ws://localhost/"
            async with connect(uri, unix_path=options.get("uds")):
                pass
            await loop.until(running.is_idle)
        messages = [
            re.sub(r"127.0.0.1:\d+", "127.0.0.1:PORT", record.getMessage())
            for record in caplog.records
        ]
        for what in "made", "lost":
            assert f"{prefix}WebSocket connection {what}" in messages


@on_one
async def test_debug_shows_what_passes(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """With `--log-level debug`, as uvicorn's own classes show it."""
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with serving(echo, log_level="debug") as running:
        async with connect(f"{running.uri}/?token=sesame") as client:
            await client.writer.send("Hello")
            assert await client.receive() == "Hello"
        await loop.until(running.is_idle)
    shown = [line.partition(": ")[2] for line in lines(caplog) if line.startswith("#")]
    assert shown[0] == "< request: line=GET /?token=... HTTP/1.1"
    assert '< FIN=1 RSV=000 opcode=1(text) length=5 text="Hello"' in shown
    assert '> FIN=1 RSV=000 opcode=1(text) length=5 text="Hello"' in shown
    assert shown[-1] == 'closed by the peer with 1000 "", answered with 1000 ""'


# The end.


@pytest.mark.parametrize("tls", [False, True])
@on_asyncio
async def test_a_client_that_leaves_before_the_answer(
    loop: Loop, tls: bool, tmp_path: Path
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.append(await receive())
        asked.set()
        events.append(await receive())

    def leave(address: tuple[str, int]) -> bytes:
        """Ask, end our half, and read the end of the other."""
        with socket.create_connection(address, timeout=10) as raw:
            if context is None:
                raw.sendall(REQUEST)
                raw.shutdown(socket.SHUT_WR)
                return raw.recv(10)
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
                secured.sendall(REQUEST)
                assert asked.wait(10)
                with secured.unwrap() as plain:  # raises unless it is answered
                    return plain.recv(10)

    asked = threading.Event()
    events: list[Message] = []
    context = certified(tmp_path / "pem") if tls else None
    files = {"ssl_certfile": tmp_path / "pem"} if tls else {}
    async with serving(app, "wss" if tls else "ws", **files) as running:
        assert await asyncio.to_thread(leave, running.address) == b""
        await loop.until(running.is_idle)
    assert events[1] == {"type": "websocket.disconnect", "code": 1006}


@on_asyncio
async def test_shutdown_takes_less_than_a_second(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the naps that uvicorn takes until all are gone."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        events.append(await receive())

    async def wait_for_close() -> ConnectionClosed:
        async with connect(running.uri) as client:
            opened.append(1)
            with pytest.raises(ConnectionClosed) as error:
                await client.receive()
            return error.value

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await sleep(seconds)

    sleep = asyncio.sleep
    naps: list[float] = []
    events: list[Message] = []
    opened: list[int] = []
    async with serving(app) as running:
        waiting = [asyncio.create_task(wait_for_close()) for _ in range(10)]
        await loop.until(lambda: len(opened) == 10)
        monkeypatch.setattr(asyncio, "sleep", nap)
    assert 0 < sum(naps) < 1
    assert [(await task).code for task in waiting] == [1012] * 10
    assert events == [{"type": "websocket.disconnect", "code": 1012}] * 10


@on_one
async def test_an_application_that_uvicorn_cancels(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits for something else than its client."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    ended: list[int] = []
    async with serving(app, timeout_graceful_shutdown=0) as running:
        client = connect(running.uri)
        await client.__aenter__()
        await running.server.shutdown()
        await client.__aexit__(None, None, None)
        await loop.until(lambda: ended)
        await loop.until(running.is_idle)
    assert "Exception in ASGI application" not in caplog.text


@on_asyncio
async def test_a_client_that_reads_its_denial_slowly(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
        for _ in range(100):
            body = {"body": bytes(100_000), "more_body": True}
            await send({"type": "websocket.http.response.body", **body})
            sent.append(1)
        await send({"type": "websocket.http.response.body"})

    sent: list[int] = []
    async with serving(app) as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(REQUEST)
        [protocol] = await connections(loop, running)
        await loop.until(lambda: protocol._session.pipe.full)
        assert len(sent) < 100
        response = await reader.read()
        assert response.endswith(b"\r\n0\r\n\r\n")
        assert len(response) > 10_000_000
        writer.close()
        await loop.until(running.is_idle)


@on_asyncio
async def test_a_connection_that_is_lost_as_it_is_accepted(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        [protocol] = await connections(loop, running)
        await receive()
        await send(ACCEPT)
        protocol._session.pipe.abort()
        events.append(await receive())

    events: list[Message] = []
    async with serving(app) as running:
        with socket.create_connection(running.address) as raw:
            raw.sendall(REQUEST)
            await loop.until(lambda: events)
        await loop.until(running.is_idle)
    assert events[0]["code"] == 1006


@on_asyncio
async def test_a_connection_that_is_over_is_freed_without_the_collector(loop: Loop) -> None:
    gc.collect()
    gc.disable()
    try:
        async with serving(echo) as running:
            async with connect(running.uri) as client:
                await client.writer.send("text")
                assert await client.receive() == "text"
                [held] = map(weakref.ref, await connections(loop, running))
            await loop.until(running.is_idle)
            await loop.until(lambda: held() is None)
    finally:
        gc.enable()


@on_asyncio
async def test_a_transport_leaves_nothing_to_the_collector(loop: Loop) -> None:
    async with serving(echo, http="h11") as running:  # httptools' parser makes a cycle itself
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            async with connect(running.uri):
                pass
            await loop.until(running.is_idle)
            await asyncio.sleep(0)
            gc.collect()
            kinds = {type(one).__name__ for one in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    # asyncio's own is a cycle until Python 3.12, whatever is done with it.
    own = {"_SelectorSocketTransport", "TransportSocket"} if sys.version_info < (3, 12) else set()
    assert {name for name in kinds if "Transport" in name} <= own


@on_asyncio
async def test_a_request_that_is_not_answered_yet_gets_its_answer(loop: Loop) -> None:
    """httptools' class goes on to the upgrade meanwhile, and writes to the transport later."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [(b"content-length", b"5")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await asked.wait()
            await send({"type": "http.response.body", "body": b"hello"})
            answered.set()
        else:
            asked.set()
            await answered.wait()
            await echo(scope, receive, send)

    asked, answered = asyncio.Event(), asyncio.Event()
    async with serving(app, http="httptools") as running:
        reader, writer = await asyncio.open_connection(*running.address)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + REQUEST)
        answer = await reader.readuntil(b"hello")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        upgraded = await reader.readuntil(b"\r\n\r\n")
        assert upgraded.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        writer.close()
        await loop.until(running.is_idle)


@pytest.mark.parametrize("kind", ASYNCIO_LOOPS[:2])
def test_a_loop_that_ends_drops_what_is_connected(kind: str) -> None:
    """No loop closes sockets of others."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await receive()

    async def main(raw: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with serving(app) as running:
            running.server.server_state.connections.add(cast(Any, UvicornsOwn()))
            await loop.sock_connect(raw, running.address)
            await loop.sock_sendall(raw, REQUEST)
            assert (await loop.sock_recv(raw, 1000)).startswith(b"HTTP/1.1 101 ")
            running.server.force_exit = True
            await running.server.shutdown()
            raise Stopped

    gc.disable()
    try:
        with socket.socket() as raw:
            raw.setblocking(False)
            with (
                pytest.raises(Stopped),
                asyncio.Runner(loop_factory=partial(new_loop, kind)) as runner,
            ):
                runner.run(main(raw))
            raw.settimeout(10)
            assert raw.recv(100).startswith(b"\x88")
            assert raw.recv(100) == b""
    finally:
        gc.enable()


class UvicornsOwn:
    """A connection of another class."""

    def shutdown(self) -> None:
        """It goes on."""


class Stopped(Exception):
    """The program goes on without uvicorn."""


def test_without_a_turn_between_the_transport_calls_it() -> None:
    """uvloop may, until uvicorn's choice of the protocol is undone."""
    noted: list[str] = []
    protocol: Any = WebSocketProtocol.__new__(WebSocketProtocol)
    protocol._protocol = SimpleNamespace(
        pause_writing=lambda: noted.append("full"), resume_writing=lambda: noted.append("room")
    )
    protocol.pause_writing()
    protocol.resume_writing()
    assert noted == ["full", "room"]


@on_asyncio
async def test_many_that_push_and_leave(loop: Loop) -> None:
    """The transport is taken over while it may be full, or lost."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        for _ in range(100):
            await send(text("x" * 10_000))

    async with serving(app) as running:
        for count in range(5):
            async with connect(running.uri) as client:
                for _ in range(count):
                    assert await client.receive() == "x" * 10_000
        await loop.until(running.is_idle)
