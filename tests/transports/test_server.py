"""WebSocketServer: where it listens, its forms, and what its block's end does."""

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from kit.certificates import certificate_files, client_context
from kit.frames import CLOSE, masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on, on_each_loop, on_memory, on_sockets
from wscore import Reasons, Request, State
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer
from wstransports.runtime import Signal, running

# --- Attributes and arguments


def test_attributes_are_the_arguments() -> None:
    loop = asyncio.new_event_loop()
    server = WebSocketServer("127.0.0.1", 8765, None, loop, 30)
    assert (server.addr, server.port, server.certs) == ("127.0.0.1", 8765, None)
    assert server.loop is loop
    assert server.timeout == 30
    assert len(server.clients) == 0
    loop.close()


def test_defaults() -> None:
    server = WebSocketServer("127.0.0.1", 8765)
    assert server.certs is None
    assert server.loop is None
    assert server.timeout == 120


@on_each_loop
async def test_port_0_picks_a_free_one(loop: Loop) -> None:
    server = loop.server()
    assert server.port == 0
    async with server:
        assert server.port > 0
        peer = await loop.connect(server)
        peer.close()
        await peer.closed()
    assert server.port == 0


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"port": -1}, ValueError, "port"),
        ({"port": 65536}, ValueError, "port"),
        ({"port": "80"}, ValueError, "port"),
        ({"addr": 127}, TypeError, "addr"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"timeout": float("inf")}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"timeout": "10"}, ValueError, "timeout"),
        ({"open_timeout": -1}, ValueError, "open_timeout"),
        ({"close_timeout": -1}, ValueError, "close_timeout"),
        ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout"),
        ({"max_message_size": 0}, ValueError, "max_message_size"),
        ({"max_message_size": 1.5}, ValueError, "max_message_size"),
        ({"read_limit": 0}, ValueError, "read_limit"),
        ({"read_limit": None}, ValueError, "read_limit"),
        ({"write_limit": 0}, ValueError, "write_limit must be an int of at least 1, not 0"),
        ({"max_connections": 0}, ValueError, "max_connections"),
        ({"max_head_size": 0}, ValueError, "max_head_size must be an int of at least 1, not 0"),
        ({"max_head_fields": "9"}, ValueError, "max_head_fields must be an int of at least 1, not"),
        ({"concurrent_messages": 0}, ValueError, "concurrent_messages"),
        ({"subprotocols": "chat"}, TypeError, "subprotocols"),
        ({"subprotocols": ["two words"]}, ValueError, "subprotocols"),
        ({"subprotocols": [1]}, TypeError, "subprotocols"),
        ({"origins": "https://example.com"}, TypeError, "origins"),
        ({"origins": [1]}, TypeError, "origins"),
        ({"process_request": 503}, TypeError, "process_request"),
        ({"certs": "cert.pem"}, TypeError, "certs"),
        ({"certs": ("no-cert.pem", "no-key.pem")}, FileNotFoundError, "no-cert.pem"),
        ({"unknown": 1}, TypeError, "unknown"),
    ],
)
def test_a_mistaken_argument_is_named_at_once(
    arguments: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        WebSocketServer(**({"addr": "127.0.0.1", "port": 0} | arguments))


def test_sock_and_unix_path_exclude_each_other() -> None:
    with socket.socket() as listening, pytest.raises(ValueError, match="exclude"):
        WebSocketServer(None, 0, sock=listening, unix_path="/nowhere")


def test_a_file_that_is_not_a_certificate_is_named(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text("no certificate")
    key.write_text("no key")
    with pytest.raises(ValueError, match=r"cert\.pem"):
        WebSocketServer("127.0.0.1", 0, certs=(cert, key))


# --- Decorators


async def on_connection(client: Client) -> None:
    """Does nothing."""


def test_the_decorator_returns_the_function() -> None:
    assert WebSocketServer("127.0.0.1", 0).connection(on_connection) is on_connection


@pytest.mark.parametrize(
    "callback", [lambda client: None, print, None, 3, on_connection.__code__, asyncio.sleep(0)]
)
def test_what_is_not_async_def_is_refused(callback: Any) -> None:
    with contextlib.suppress(AttributeError):
        callback.close()
    with pytest.raises(TypeError, match="async def"):
        WebSocketServer("127.0.0.1", 0).connection(callback)


@on_each_loop
async def test_an_object_with_an_async_call_is_a_callback(loop: Loop) -> None:
    class Greeter:
        async def __call__(self, client: Client) -> None:
            await client.writer.send("hello")

    async with loop.serving(Greeter()) as server:
        assert await (await loop.connect(server)).message() == "hello"


@on_each_loop
async def test_a_bound_method_is_a_callback(loop: Loop) -> None:
    class Greeter:
        async def greet(self, client: Client) -> None:
            await client.writer.send("hello")

    async with loop.serving(Greeter().greet) as server:
        assert await (await loop.connect(server)).message() == "hello"


@on_each_loop
async def test_without_on_connection_messages_are_discarded(loop: Loop, log: Log) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        peer.send("anybody?")
        await peer.nothing()
        assert log.lines() == ["messages are discarded, because no on_message is registered"]


# --- Where it listens


@on_sockets
async def test_the_block_yields_the_asyncio_server(loop: Loop) -> None:
    server = loop.server()
    async with server as listening:
        assert listening.sockets[0].getsockname() == ("127.0.0.1", server.port)
        peer = await loop.connect(server)
        peer.close()
        await peer.closed()


@on_sockets
async def test_an_address_in_use_is_named(loop: Loop) -> None:
    async with loop.serving() as server:
        other = WebSocketServer("127.0.0.1", server.port)
        with pytest.raises(OSError, match=f"127.0.0.1:{server.port}.*port 0"):
            await other.__aenter__()
        # And the failed one may be tried again elsewhere.
        with pytest.raises(RuntimeError, match="does not listen"):
            await other.__aexit__(None, None, None)


@on_memory
async def test_an_address_in_use_in_memory(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        other = WebSocketServer("127.0.0.1", server.port, runtime=loop.runtime)
        with pytest.raises(OSError, match="is in use already"):
            await other.__aenter__()


@on_each_loop
async def test_a_server_can_serve_again(loop: Loop) -> None:
    server = loop.server()
    server.connection(echo)
    for _ in range(2):
        async with server:
            peer = await loop.connect(server)
            peer.send("again")
            assert await peer.message() == "again"
            peer.close()
            assert await peer.closed() == (1000, "")


@on_each_loop
async def test_it_is_entered_once_at_a_time(loop: Loop) -> None:
    async with loop.serving() as server:
        with pytest.raises(RuntimeError, match="listens already"):
            await server.__aenter__()


@on_sockets
async def test_a_socket_of_the_users(loop: Loop) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    server = WebSocketServer(None, 0, sock=listening)
    server.connection(echo)
    async with server:
        assert server.port == listening.getsockname()[1]
        server.addr = "127.0.0.1"
        peer = await loop.connect(server)
        peer.send("here")
        assert await peer.message() == "here"
        peer.close()
        await peer.closed()
    listening.close()


@on_sockets
async def test_ipv6(loop: Loop) -> None:
    if not socket.has_ipv6:
        pytest.skip("this Python was built without IPv6")
    keys: list[tuple[str, int]] = []
    server = WebSocketServer("::1", 0)

    @server.connection
    async def on_connection(client: Client) -> None:
        keys.append((client.addr, client.port))

    async with server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        assert list(server.clients) == keys
        assert keys[0][0] == "::1"
        peer.close()
        await peer.closed()


@on_sockets
async def test_reuse_port_shares_a_port(loop: Loop) -> None:
    first = WebSocketServer("127.0.0.1", 0, reuse_port=True)
    async with first:
        second = WebSocketServer("127.0.0.1", first.port, reuse_port=True)
        async with second:
            assert second.port == first.port


@on_sockets
async def test_a_unix_path(loop: Loop, tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "socket")
    async with WebSocketServer(None, 0, unix_path=path) as _:
        pass
    server = WebSocketServer(None, 0, unix_path=path)
    server.connection(echo)
    async with server:
        peers = [await loop.connect(server, unix_path=path) for _ in range(2)]
        await loop.until(lambda: len(server.clients) == 2)
        addresses = {addr for addr, _ in server.clients}
        assert addresses == {path}
        for (key, client), peer in zip(server.clients.items(), peers, strict=True):
            assert key == (client.addr, client.port)
            peer.send("over a path")
            assert await peer.message() == "over a path"
            peer.close()
            await peer.closed()


@on_memory
async def test_in_memory_a_client_has_a_number(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        await loop.connect(server)
        await loop.connect(server)
        assert [addr for addr, _ in server.clients] == ["", ""]
        assert len({port for _, port in server.clients}) == 2


# --- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    return client_context(authority)


@pytest.mark.parametrize("form", ["files", "context"])
@on_sockets
async def test_certs(
    loop: Loop,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
    tmp_path: Path,
    form: str,
) -> None:
    files = certificate_files(authority, tmp_path, "127.0.0.1")
    certs: Any = files
    if form == "context":
        certs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certs.load_cert_chain(*files)
    async with loop.serving(echo, certs=certs) as server:
        assert server.certs is certs
        peer = await loop.connect(server, tls=trusting)
        for size in (5, 300_000):
            peer.send(b"x" * size)
            assert await peer.message() == b"x" * size
        peer.close(1000, "thanks")
        assert await peer.closed() == (1000, "thanks")


@on_sockets
async def test_a_request_and_frames_right_after_the_tls_handshake(
    loop: Loop, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """They arrive in the same read as the handshake's last step."""
    request = (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    frames = b"".join(masked(0x81, str(number).encode()) for number in range(1000))
    async with loop.serving(
        echo, certs=certificate_files(authority, tmp_path, "127.0.0.1")
    ) as server:
        peer = await loop.dial(server, tls=trusting, at_once=request + frames)
        assert [await peer.message() for _ in range(1000)] == [str(n) for n in range(1000)]
        peer.reset()


@on_sockets
async def test_the_block_closes_tls_connections_too(
    loop: Loop, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    server = loop.server(certs=certificate_files(authority, tmp_path, "127.0.0.1"))
    async with server:
        peer = await loop.connect(server, tls=trusting)
    assert await peer.closed() == (1001, "")


@on_sockets
async def test_plain_http_at_a_tls_port(
    loop: Loop, authority: trustme.CA, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    async with loop.serving(
        echo, certs=certificate_files(authority, tmp_path, "127.0.0.1")
    ) as server:
        plain = await loop.dial(server)
        plain.handshake()
        await plain.eof()
        other = await loop.connect(server, tls=trusting)
        other.send("undisturbed")
        assert await other.message() == "undisturbed"


# --- The forms


def test_with_drives_the_given_loop() -> None:
    loop = asyncio.new_event_loop()
    server = WebSocketServer("127.0.0.1", 0, loop=loop)
    with server as listening:
        port = listening.sockets[0].getsockname()[1]
        loop.call_soon(loop.stop)
        loop.run_forever()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert not loop.is_closed()
    loop.close()


def test_with_makes_a_loop_where_there_is_none() -> None:
    ports: list[int] = []

    def serve() -> None:
        with WebSocketServer("127.0.0.1", 0) as listening:
            ports.append(listening.sockets[0].getsockname()[1])

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert ports


@on_each_loop
async def test_with_inside_a_running_loop_names_the_right_form(loop: Loop) -> None:
    with pytest.raises(RuntimeError, match="async with"), loop.server():
        pass


def test_async_with_needs_a_loop() -> None:
    entering = WebSocketServer("127.0.0.1", 0).__aenter__()
    with pytest.raises(RuntimeError, match="no event loop"):
        entering.send(None)


@on_each_loop
async def test_serve_forever_until_cancelled(loop: Loop) -> None:
    server = loop.server()
    server.connection(echo)
    serving = loop.spawn(server.serve_forever())
    await loop.until(lambda: server.port)
    peer = await loop.connect(server)
    peer.send("hello")
    assert await peer.message() == "hello"
    serving.cancel()
    assert await peer.closed() == (1001, "")
    with pytest.raises(loop.cancelled):
        await serving.wait()


# --- The block's end


@on_each_loop
async def test_the_end_closes_every_client_with_1001(loop: Loop) -> None:
    server = loop.server()
    reported: list[tuple[int, str]] = []

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))

    async with server:
        peers = [await loop.connect(server) for _ in range(3)]
    for peer in peers:
        assert await peer.closed() == (1001, "")
    assert reported == [(1001, "")] * 3
    assert not server.clients


@on_memory
async def test_the_end_is_bounded_where_a_client_does_not_answer(loop: MemoryLoop) -> None:
    server = loop.server(shutdown_timeout=3)
    await server.__aenter__()
    peer = await loop.connect(server)
    peer.answers_close = False
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.advance(2.9)
    assert not leaving.done
    await loop.advance(0.2)
    assert leaving.done
    await leaving.wait()
    assert peer.lost


@on_memory
async def test_the_end_is_bounded_where_a_client_reads_nothing(loop: MemoryLoop) -> None:
    server = loop.server(close_timeout=3)
    sending: list[Any] = []

    @server.connection
    async def on_connection(client: Client) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            while True:
                await client.writer.send(b"x" * 10_000)
        sending.append(caught.value.client is client)

    await server.__aenter__()
    peer = await loop.dial(server)
    peer.handshake()
    peer.stop_reading()
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.advance(3.1)
    assert leaving.done
    await leaving.wait()
    assert sending == [True]
    assert peer.lost


@on_each_loop
async def test_the_end_answers_half_a_handshake_with_503(loop: Loop, log: Log) -> None:
    server = loop.server()
    async with server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: ")
        other = await loop.connect(server)
        await other.nothing()
    await peer.eof()
    assert peer.head.startswith(b"HTTP/1.1 503 ")
    assert log.lines() == []


@on_memory
async def test_callbacks_get_shutdown_timeout_and_then_cancellation(loop: MemoryLoop) -> None:
    server = loop.server(shutdown_timeout=3)
    story: list[str] = []

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            seconds = float(await reader.get(str))
            try:
                await loop.runtime.sleep(seconds)
                story.append(f"{seconds:g} done at {loop.now():g}")
            except loop.cancelled:
                story.append(f"{seconds:g} cancelled at {loop.now():g}")
                raise

    await server.__aenter__()
    quick, slow = await loop.connect(server), await loop.connect(server)
    quick.send("2")
    slow.send("4")
    await loop.settle()
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.advance(2.9)
    assert story == ["2 done at 2"]
    assert not leaving.done
    await loop.advance(0.2)
    assert story == ["2 done at 2", "4 cancelled at 3"]
    assert leaving.done
    await leaving.wait()


@on_memory
async def test_even_a_callback_that_refuses_to_end_does_not_hold_the_end(
    loop: MemoryLoop,
) -> None:
    server = loop.server(shutdown_timeout=3)
    stubborn = loop.signal()

    @server.connection
    async def on_connection(client: Client) -> None:
        while not loop.now() > 100:
            with contextlib.suppress(loop.cancelled):
                await stubborn.wait()

    await server.__aenter__()
    await loop.connect(server)
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.advance(6.1)
    assert leaving.done
    await loop.advance(100)
    stubborn.set()


@on_memory
async def test_a_client_that_comes_while_the_block_ends_is_refused(loop: MemoryLoop) -> None:
    server = loop.server(close_timeout=3)
    await server.__aenter__()
    peer = await loop.connect(server)
    peer.answers_close = False
    port = server.port
    leaving = loop.spawn(server.__aexit__(None, None, None))
    await loop.settle()
    with pytest.raises(ConnectionRefusedError):
        loop.runtime.open("127.0.0.1", port)
    await loop.advance(10)
    await leaving.wait()


@pytest.mark.parametrize("turns", range(6))
@on_sockets
async def test_a_client_that_is_being_accepted_while_the_block_ends(
    loop: Loop, log: Log, turns: int
) -> None:
    server = loop.server()
    await server.__aenter__()
    peer = await loop.dial(server)
    peer.handshake()
    for _ in range(turns):
        await loop.checkpoint()
    await server.__aexit__(None, None, None)
    await loop.until(lambda: peer.at_eof)
    assert peer.head == b"" or peer.head.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 101 "))
    peer.frames.clear()
    assert log.lines() in ([], ["refused with 503: the server is full or closing"])


@on_each_loop
async def test_the_end_answers_a_request_that_is_still_processed(loop: Loop, log: Log) -> None:
    story: list[str] = []

    async def process_request(request: Request) -> None:
        story.append("begun")
        try:
            await loop.signal().wait()
        except loop.cancelled:
            story.append("cancelled")
            raise

    server = loop.server(process_request=process_request)
    async with server:
        peer = await loop.dial(server)
        peer.handshake()
        await loop.until(lambda: story)
    await peer.eof()
    assert peer.head.startswith(b"HTTP/1.1 503 ")
    assert story == ["begun", "cancelled"]
    assert log.lines() == []


async def serve_until(server: WebSocketServer, may_end: Signal) -> None:
    """A block of its own task."""
    async with server:
        await may_end.wait()
    await running().checkpoint()  # on trio the end is shielded: a cancellation shows after it


@on_each_loop
async def test_the_end_leaves_a_callback_the_answer_it_owes(loop: Loop) -> None:
    """The peer has closed already: its Close is answered when the callback has returned."""
    may_go_on = loop.signal()
    server = loop.server()

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_go_on.wait()
            await client.writer.send("the answer")

    may_end = loop.signal()
    serving = loop.spawn(serve_until(server, may_end))
    await loop.until(lambda: server.port)
    peer = await loop.connect(server)
    peer.send("the question")
    peer.close()
    await loop.until(lambda: not server.clients)
    may_end.set()
    await loop.checkpoint()
    may_go_on.set()
    assert await peer.message() == "the answer"
    assert await peer.closed() == (1000, "")
    await serving.wait()


@on_each_loop
async def test_a_cancelled_end_still_leaves_nothing_open(loop: Loop) -> None:
    server = loop.server(close_timeout=0.1)  # on trio the end is shielded, and lasts that long
    may_end = loop.signal()
    serving = loop.spawn(serve_until(server, may_end))
    await loop.until(lambda: server.port)
    peer = await loop.connect(server)
    peer.answers_close = False
    may_end.set()
    assert (await peer.frame()).opcode == CLOSE
    serving.cancel()
    with pytest.raises(loop.cancelled):
        await serving.wait()
    await loop.until(lambda: peer.lost)


@on_each_loop
async def test_an_exception_in_the_block_passes_through(loop: Loop) -> None:
    server = loop.server()
    peer = None
    with pytest.raises(KeyError):
        async with server:
            peer = await loop.connect(server)
            raise KeyError
    assert peer is not None
    assert await peer.closed() == (1001, "")


# --- disconnect_client, max_connections


@on_each_loop
async def test_disconnect_client(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await server.disconnect_client(client, Reasons.POLICY_VIOLATION, "no cheating")
        assert client.state is State.CLOSED
        assert await peer.closed() == (1008, "no cheating")
        assert not server.clients


@on_each_loop
async def test_disconnect_client_by_default_says_1000(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        await server.disconnect_client(client)
        assert await peer.closed() == (1000, "")


@on_each_loop
async def test_max_connections(loop: Loop, log: Log) -> None:
    async with loop.serving(echo, max_connections=2) as server:
        first, second = await loop.connect(server), await loop.connect(server)
        third = await loop.dial(server)
        third.handshake()
        assert (await third.answer()).status == 503
        await third.eof()
        assert log.lines() == ["refused with 503: the server is full or closing"]
        for peer in (first, second):
            peer.send("undisturbed")
            assert await peer.message() == "undisturbed"
        first.close()
        await first.closed()
        await loop.until(lambda: len(server._acceptor._sessions) == 1)
        fourth = await loop.connect(server)
        fourth.send("room")
        assert await fourth.message() == "room"


@on_memory
async def test_those_refused_do_not_count(loop: MemoryLoop, log: Log) -> None:
    """They stay until they have read the answer, and take nobody's place meanwhile."""
    async with loop.serving(echo, max_connections=1) as server:
        first = await loop.connect(server)
        for _ in range(5):
            refused = await loop.dial(server)
            refused.answers_eof = False
            assert refused.head.startswith(b"HTTP/1.1 503 ")
        assert len(log.lines()) == 5
        first.close()
        await first.closed()
        await loop.settle()
        second = await loop.connect(server)
        second.send("room")
        assert await second.message() == "room"


# --- Which loop


@on_memory
async def test_the_memory_runtime_is_found_by_itself(loop: MemoryLoop) -> None:
    server = WebSocketServer("127.0.0.1", 0)
    async with server:
        peer = await loop.connect(server)
    assert await peer.closed() == (1001, "")


@on("asyncio", "trio")  # uvloop does not see that it cannot listen there
async def test_a_given_socket_that_cannot_listen_is_named(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = WebSocketServer(None, 0, sock=ours)
        with pytest.raises(OSError, match="cannot listen on the given socket, bound to") as caught:
            await server.__aenter__()
        assert "<socket" not in str(caught.value)
