"""`wstransports.sync`: connections without async."""

import asyncio
import contextvars
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from functools import partial
from typing import Any, assert_type

import pytest

import wstransports
from kit.background import background
from kit.blocking_echo import PATIENCE, Echo, loop_threads, no_loop_thread_left, uri_of
from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame, parse
from kit.handshake import acceptance
from kit.in_thread import BOTH_LOOPS, NewLoop, serving
from wstransports import (
    ConnectionClosed,
    HandshakeError,
    Reasons,
    Request,
    Response,
    State,
    Statistics,
    WebSocketServer,
)
from wstransports.sync import Client, connect
from wstransports.sync.loop_thread import LoopThread


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Each connection's thread ends with it."""
    yield from no_loop_thread_left()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    with serving(server):
        yield server


class Raw:
    """The server's end of a socket, which does only what the test says."""

    def __init__(self, **options: Any) -> None:
        mine, self.socket = socket.socketpair()
        self.socket.settimeout(PATIENCE)
        opening = background(connect("ws://raw/", sock=mine, compression=None, **options).open)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(65536)
        self.socket.sendall(acceptance(head))
        self.client = opening.result()
        self._unread = b""

    def frame(self) -> Frame:
        """The client's next frame."""
        while (parsed := parse(self._unread)) is None:
            self._unread += self.socket.recv(65536)
        self._unread = self._unread[parsed.size :]
        return parsed.frame

    def send(self, *frames: Frame) -> None:
        """Send frames in one write."""
        self.socket.sendall(b"".join(frame.encode(masked=False) for frame in frames))


@pytest.fixture
def raw() -> Iterator[Raw]:
    raw = Raw()
    yield raw
    raw.socket.close()
    raw.client.close()


# A conversation.


def test_instruments_follow_it(echo: Echo) -> None:
    """In the thread that runs the connection."""
    statistics = Statistics()
    with connect(f"ws://127.0.0.1:{echo.port}", instruments=[statistics]) as client:
        client.send("Hello")
        client.receive(timeout=PATIENCE)
    assert (statistics.messages_sent, statistics.messages_received) == (1, 1)
    assert statistics.connections_closed == {1000: 1}


@BOTH_LOOPS
def test_an_echo(new_loop: NewLoop) -> None:
    server = Echo(subprotocols=["chat"])
    with serving(server, new_loop) as port:
        with connect(f"ws://127.0.0.1:{port}/path", subprotocols=["chat"]) as client:
            assert_type(client, Client)
            for message in "text ☺", b"\x00\xff", "", bytes(200_000):
                client.send(message)
                assert client.receive(timeout=PATIENCE) == message
            assert (client.addr, client.port) == ("127.0.0.1", port)
            assert client.info("peername") == ("127.0.0.1", port)
            assert client.request.path == "/path"
            assert client.response is not None
            assert client.response.status == 101
            assert client.subprotocol == "chat"
            assert client.latency is None
            assert client.state.name == "OPEN"
            assert repr(client) == f"<Client #{client.id} 127.0.0.1:{port} OPEN>"
            assert (client.close_code, client.close_reason) == (None, None)
            assert client.max_message_size == 2**20
            client.max_message_size = 3
            client.send("four")
            with pytest.raises(ConnectionClosed) as caught:
                client.receive()
            assert caught.value.code == Reasons.MESSAGE_TOO_BIG
            assert caught.value.client is client
        assert client.state.name == "CLOSED"
        assert client.close_code is Reasons.MESSAGE_TOO_BIG
        assert client.close_reason == caught.value.reason


def test_the_server_of_websockets() -> None:
    server_module = pytest.importorskip("websockets.sync.server")

    def serve_echo(connection: Any) -> None:
        for message in connection:
            connection.send(message)

    with server_module.serve(serve_echo, "127.0.0.1", 0) as server:
        serving = background(server.serve_forever)
        port = server.socket.getsockname()[1]
        with connect(f"ws://127.0.0.1:{port}") as client:
            client.send("text " * 1000)
            client.send(b"bytes")
            assert [client.receive(), client.receive()] == ["text " * 1000, b"bytes"]
            client.close(4000, "enough")
        server.shutdown()
        serving.result(PATIENCE)


def test_a_loop_over_messages_ends_with_a_clean_close(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        client.send("one")
        client.send("two")
        client.send("close 1000")
        for message in client:
            assert_type(message, str | bytes)
        assert list(client) == []  # still closed
    assert list(client) == []  # and its thread has ended


def test_a_loop_over_messages_raises_after_another_close(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        client.send("one")
        client.send("close 1011")
        assert next(client) == "one"
        with pytest.raises(ConnectionClosed, match="1011 .*: as asked"):
            next(client)


def test_a_message_in_parts(raw: Raw) -> None:
    with raw.client.fragment() as stream:
        stream.send(b"a")
        stream.send(b"b")
        assert raw.frame() == Frame(BINARY, b"a")
        for wrong in (lambda: raw.client.send("c"), raw.client.fragment().__enter__):
            with pytest.raises(RuntimeError, match="this thread has a fragmented message open"):
                wrong()
    assert raw.frame() == Frame(FIN | CONTINUATION, b"b")
    raw.client.send("c")
    assert raw.frame() == Frame(FIN | TEXT, b"c")
    with pytest.raises(RuntimeError, match="not open"):
        stream.send("d")


def test_a_message_in_parts_may_be_sent_uncompressed(echo: Echo) -> None:
    statistics = Statistics()
    with connect(uri_of(echo), instruments=[statistics]) as client:
        for compress in False, None:
            before = statistics.wire_bytes_sent
            with client.fragment(compress=compress) as stream:
                stream.send(bytes(1000))
                stream.send(bytes(1000))
            assert client.receive(timeout=PATIENCE) == bytes(2000)
            sent = statistics.wire_bytes_sent - before
            assert sent == 2000 if compress is False else sent < 200


def test_other_threads_wait_for_the_end_of_a_message_in_parts(raw: Raw) -> None:
    with raw.client.fragment() as stream:
        stream.send("a")
        sending = background(lambda: raw.client.send("other"))
        stream.send("b")
    assert sending.result(PATIENCE) is None
    frames = [raw.frame() for _ in range(3)]
    assert [frame.payload for frame in frames] in ([b"a", b"b", b"other"], [b"other", b"a", b"b"])


def test_an_error_in_the_middle_of_a_message_closes(raw: Raw) -> None:
    with pytest.raises(ZeroDivisionError), raw.client.fragment() as stream:
        stream.send("a")
        raise ZeroDivisionError
    assert raw.frame().payload[:2] == (1011).to_bytes(2)


def test_pings(raw: Raw) -> None:
    raw.client.ping(b"are you there?")
    assert raw.frame() == Frame(FIN | PING, b"are you there?")
    with pytest.raises(ValueError, match="125"):
        raw.client.ping(bytes(126))


def test_waiting_for_a_pong(raw: Raw) -> None:
    pongs = [raw.client.ping() for _ in range(2)]
    pings = [raw.frame() for _ in range(2)]
    for timeout in 0, 0.001:
        with pytest.raises(TimeoutError, match="no pong came within"):
            pongs[0].wait(timeout)
    with pytest.raises(ValueError, match="-1"):
        pongs[0].wait(-1)
    waiting = background(pongs[0].wait)
    raw.send(Frame(FIN | PONG, pings[0].payload))
    latency = waiting.result(PATIENCE)
    assert 0.001 <= latency < PATIENCE
    assert pongs[0].wait(0) == pongs[0].wait(PATIENCE) == latency == raw.client.latency
    waiting = background(pongs[1].wait)
    raw.socket.close()
    for pong in waiting.result, pongs[1].wait:
        with pytest.raises(ConnectionClosed) as caught:
            pong(PATIENCE)
        assert caught.value.client is raw.client
    with pytest.raises(ConnectionClosed):
        pongs[1].wait(0)
    assert pongs[0].wait() == latency


def test_pings_are_answered_while_the_caller_does_something_else(raw: Raw) -> None:
    raw.send(Frame(FIN | PING, b"there?"))
    assert raw.frame() == Frame(FIN | PONG, b"there?")


def test_keepalive_works_while_the_caller_does_something_else() -> None:
    raw = Raw(timeout=0.2)
    for _ in range(3):
        ping = raw.frame()
        assert ping.first == FIN | PING
        raw.send(Frame(FIN | PONG, ping.payload))
    raw.socket.close()
    raw.client.close()
    assert raw.client.latency is not None


def test_messages_of_one_type(raw: Raw) -> None:
    raw.send(Frame(FIN | TEXT, b"text"), Frame(FIN | BINARY, b"text"), Frame(FIN | BINARY, b"\xff"))
    mistaken: Any = int
    with pytest.raises(TypeError, match="kind must be str or bytes"):
        raw.client.receive(mistaken)
    assert assert_type(raw.client.receive(bytes), bytes) == b"text"
    assert assert_type(raw.client.receive(str, timeout=PATIENCE), str) == "text"
    with pytest.raises(UnicodeDecodeError):
        raw.client.receive(str)
    raw.send(Frame(FIN | TEXT, b"next"))
    assert raw.client.receive() == "next"


def test_messages_of_json(raw: Raw) -> None:
    raw.send(Frame(FIN | TEXT, b'{"a": 1}'), Frame(FIN | TEXT, b"{"), Frame(FIN | BINARY, b"[2]"))
    assert raw.client.receive_json() == {"a": 1}
    with pytest.raises(ValueError, match="Expecting property name"):
        raw.client.receive_json(timeout=PATIENCE)
    assert assert_type(raw.client.receive_json(loads=len), int) == 3
    with pytest.raises(TimeoutError):
        raw.client.receive_json(timeout=0)


# Time limits.


def test_a_time_limit_loses_no_message(raw: Raw) -> None:
    with pytest.raises(TimeoutError, match="no message came within 0.01 s"):
        raw.client.receive(timeout=0.01)
    raw.send(Frame(TEXT, b"half"))
    with pytest.raises(TimeoutError):
        raw.client.receive(timeout=0.01)
    raw.send(Frame(FIN | CONTINUATION, b" and half"), Frame(FIN | TEXT, b"more"))
    assert raw.client.receive() == "half and half"
    assert raw.client.receive(timeout=0) == "more"  # it is here already
    with pytest.raises(TimeoutError):
        raw.client.receive(timeout=0)


def test_time_limits_that_race_with_messages_lose_none(raw: Raw) -> None:
    count = 500

    def send() -> None:
        for number in range(count):
            raw.send(Frame(FIN | TEXT, b"%d" % number))

    sending = background(send)
    received: list[str | bytes] = []
    while len(received) < count:
        try:
            received.append(raw.client.receive(timeout=0.0002))
        except TimeoutError:
            continue
    sending.result(PATIENCE)
    assert received == [str(number) for number in range(count)]


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_limit_that_cannot_be(raw: Raw, seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout must be in seconds, None for no limit"):
        raw.client.receive(timeout=seconds)


# Threads.


def test_many_threads_send(echo: Echo) -> None:
    threads, each = 8, 25
    with connect(uri_of(echo)) as client:

        def send(name: int) -> None:
            for number in range(each):
                client.send(f"{name} {number}")

        sending = [background(partial(send, name)) for name in range(threads)]
        received = [str(client.receive()) for _ in range(threads * each)]
        for one in sending:
            one.result(PATIENCE)
    for name in range(threads):
        of_one = [text for text in received if text.startswith(f"{name} ")]
        assert of_one == [f"{name} {number}" for number in range(each)]


def test_one_thread_receives_while_another_sends(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        receiving = background(client.receive)
        client.send("Hello")
        assert receiving.result(PATIENCE) == "Hello"


def test_two_threads_cannot_receive(raw: Raw) -> None:
    receiving = {background(raw.client.receive), background(raw.client.receive)}
    failed, waiting = wait(receiving, PATIENCE, FIRST_COMPLETED)
    with pytest.raises(RuntimeError, match="another thread is waiting in this client's receive"):
        failed.pop().result()
    raw.send(Frame(FIN | TEXT, b"Hello"))
    assert waiting.pop().result(PATIENCE) == "Hello"


def test_a_close_in_another_thread_ends_a_receive(echo: Echo) -> None:
    with connect(uri_of(echo)) as client:
        receiving = background(client.receive)
        client.close(4001, "bye")
        with pytest.raises(ConnectionClosed) as caught:
            receiving.result(PATIENCE)
    assert (caught.value.code, caught.value.reason) == (4001, "bye")
    assert caught.value.client is client


def test_the_threads_end_ends_calls(raw: Raw) -> None:
    """As at the end of the interpreter."""
    receiving = background(raw.client.receive)
    raw.client.ping()  # so that it is waiting, or will find the thread stopped
    raw.client._leave()
    with pytest.raises(ConnectionClosed) as caught:
        receiving.result(PATIENCE)
    assert caught.value.client is raw.client


def test_a_thread_does_not_wait_for_itself(raw: Raw) -> None:
    async def inside() -> None:
        raw.client.send("never")

    with pytest.raises(RuntimeError, match="this is the thread of the connection itself"):
        raw.client._thread.call(inside)


def test_inside_a_running_loop_it_blocks_that_loop(echo: Echo) -> None:
    """As in a notebook, whose cells run in one."""

    async def main() -> str | bytes:
        with connect(uri_of(echo)) as client:
            client.send("Hello")
            return client.receive()

    assert asyncio.run(main()) == "Hello"


# Closing.


def test_closing(echo: Echo) -> None:
    client = connect(uri_of(echo)).open()
    with pytest.raises(ValueError, match="1005"):
        client.close(1005)
    assert client.state.name == "OPEN"
    client.close(4000, "enough")
    client.close()
    assert client.state.name == "CLOSED"
    for call in (
        lambda: client.send("x"),
        client.receive,
        client.ping,
        client.fragment().__enter__,
    ):
        with pytest.raises(ConnectionClosed) as caught:
            call()
        assert (caught.value.code, caught.value.reason) == (4000, "enough")
        assert caught.value.client is client
    assert echo.left() == [4000]


def test_a_close_of_the_server(raw: Raw) -> None:
    raw.send(Frame(FIN | CLOSE, (1012).to_bytes(2) + b"again"))
    with pytest.raises(ConnectionClosed) as caught:
        raw.client.receive()
    assert (caught.value.code, caught.value.reason) == (1012, "again")
    with pytest.raises(ConnectionClosed, match="1012"):
        raw.client.send("x")


def test_a_connection_that_is_lost(raw: Raw) -> None:
    raw.socket.close()
    with pytest.raises(ConnectionClosed, match="1006"):
        raw.client.receive()


def test_waiting_for_the_end(raw: Raw) -> None:
    for seconds in 0, 0.01:
        with pytest.raises(TimeoutError, match=f"the connection was not over within {seconds} s"):
            raw.client.wait_closed(timeout=seconds)
    with pytest.raises(ValueError, match="timeout must be in seconds"):
        raw.client.wait_closed(timeout=-1)
    waiting = background(raw.client.wait_closed)
    raw.send(Frame(FIN | CLOSE, (1012).to_bytes(2) + b"again"))
    raw.socket.close()
    waiting.result(PATIENCE)
    raw.client.wait_closed(timeout=0)
    assert (raw.client.close_code, raw.client.close_reason) == (1012, "again")
    raw.client.close()
    raw.client.wait_closed()  # its thread has ended


def test_the_thread_that_received_has_handled_its_message() -> None:
    raw = Raw(close_timeout=0)
    raw.send(Frame(FIN | TEXT, b"last"))
    assert raw.client.receive() == "last"
    waiting = background(partial(raw.client.wait_closed, timeout=0))
    assert isinstance(waiting.exception(PATIENCE), TimeoutError)
    assert not raw.client._client._session.inbox.is_idle()  # for another thread waited
    raw.send(Frame(FIN | CLOSE, (1012).to_bytes(2)))

    def answer() -> Frame:
        with raw.socket:
            return raw.frame()

    answering = background(answer)
    raw.client.wait_closed()
    assert answering.result(PATIENCE) == Frame(FIN | CLOSE, (1012).to_bytes(2))
    raw.client.close()


def test_an_end_that_came_in_time_counts_though_the_loop_was_held_up(raw: Raw) -> None:
    def hold_the_loop() -> None:
        raw.send(Frame(FIN | CLOSE, (1000).to_bytes(2)))
        raw.socket.close()
        time.sleep(0.1)

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(hold_the_loop)
        await raw.client._wait_closed(0.05, threading.current_thread())

    raw.client._thread.call(wait)
    assert raw.client.close_code == 1000


def test_an_unclosed_client_warns_and_is_closed(echo: Echo) -> None:
    client = connect(uri_of(echo)).open()
    with pytest.warns(ResourceWarning, match=r"unclosed <Client #\d+ 127\.0\.0\.1:\d+ OPEN>"):
        del client
    assert echo.left() == [1000]


def test_an_exception_does_not_keep_a_client(echo: Echo) -> None:
    """It would be found by the garbage collector only."""
    client = connect(uri_of(echo)).open()
    try:
        client.receive(timeout=0.001)
    except TimeoutError:
        pass
    with pytest.warns(ResourceWarning, match="unclosed"):
        del client
    echo.left()


# Connecting.


def test_it_takes_the_keywords_of_the_other_connect() -> None:
    signatures = inspect.signature(connect), inspect.signature(wstransports.connect)
    assert signatures[0].parameters == signatures[1].parameters


@pytest.mark.parametrize(
    ("uri", "options", "error", "text"),
    [
        ("http://host", {}, ValueError, "ws:"),
        ("ws://host", {"open_timeout": -1}, ValueError, "open_timeout must be in seconds"),
        ("ws://host", {"open_timout": 1}, TypeError, "open_timout"),
        ("ws://host", {"runtime": object()}, TypeError, "has its own loop; leave it out"),
    ],
)
def test_wrong_arguments_raise_at_the_call(
    uri: str, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        connect(uri, **options)


def test_what_connecting_raises() -> None:
    def refuse(request: Request) -> Response:
        return Response(503, {}, "later")

    with serving(WebSocketServer("127.0.0.1", 0, process_request=refuse)) as port:
        with (
            pytest.raises(HandshakeError, match="503") as caught,
            connect(f"ws://127.0.0.1:{port}"),
        ):
            pass
        assert caught.value.body == b"later"
    with pytest.raises(ConnectionRefusedError, match="cannot connect to"):
        connect(f"ws://127.0.0.1:{port}").open()


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(TimeoutError, match="took longer than 0.05 s"):
            connect(uri, open_timeout=0.05).open()


def test_a_block_is_entered_once_at_a_time(echo: Echo) -> None:
    connection = connect(uri_of(echo))
    with pytest.raises(RuntimeError, match="is not entered: use `with`"):
        connection.__exit__(None, None, None)
    for _ in range(2):
        with connection as client:
            with pytest.raises(RuntimeError, match="entered already"):
                connection.__enter__()
            client.send("Hello")
            assert client.receive() == "Hello"


def test_a_connection_that_is_not_open_says_so() -> None:
    connection: Any = connect("ws://host")
    with pytest.raises(AttributeError, match=r"no 'send', and has not connected: use `with"):
        connection.send("x")


def test_functions_among_the_arguments_see_the_callers_context(echo: Echo) -> None:
    variable = contextvars.ContextVar[str]("variable")
    variable.set("mine")
    with connect(uri_of(echo), headers=lambda attempt: {"X-Context": variable.get()}) as client:
        assert client.request.headers["X-Context"] == "mine"


def test_a_thread_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(LoopThread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        connect("ws://host").open()  # an open loop would warn


# Connecting again and again.


def test_it_reconnects(echo: Echo) -> None:
    came: list[Client] = []
    for client in connect(uri_of(echo), delays=[0, 0]):
        assert_type(client, Client)
        came.append(client)
        if len(came) == 3:
            break
        client.send("close 1012")
        with pytest.raises(ConnectionClosed, match="1012"):
            client.receive()
    assert loop_threads() == []  # the loop's end has waited for that
    assert came[2].state is State.CLOSED
    with pytest.raises(ConnectionClosed, match="1000"):
        came[2].send("x")
    assert echo.left(3)[:2] == [1012, 1012]


def test_a_client_of_a_loop_may_be_closed(echo: Echo) -> None:
    count = 0
    for client in connect(uri_of(echo), delays=[0]):
        client.close(4000)
        with pytest.raises(ConnectionClosed, match="4000"):
            client.send("x")
        count += 1
        if count == 2:
            break


def test_when_the_delays_end_the_last_failure_is_raised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        for _ in connect(f"ws://127.0.0.1:{port}", delays=[0, 0]):
            pass


def test_a_socket_serves_one_connection_only() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(ValueError, match="a socket serves one connection only"):
        for _ in connect("ws://host", sock=one):
            pass


def test_a_loop_that_is_stopped_from_outside(echo: Echo) -> None:
    """As at the end of the interpreter."""
    clients = iter(connect(uri_of(echo)))
    next(clients)
    [thread] = loop_threads()
    thread.end()
    clients.close()
    echo.left()


def test_an_argument_cannot_call_the_client_in_its_thread(echo: Echo) -> None:
    def headers(attempt: int) -> dict[str, str]:
        if attempt > 1:
            client.send("never")
        return {}

    with pytest.raises(RuntimeError, match="this is the thread of the connection itself"):
        for client in connect(uri_of(echo), headers=headers, delays=[0]):
            client.send("Hello")
