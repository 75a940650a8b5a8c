"""What `connect()` raises where no connection comes about: each names the host and the cause."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from kit.connecting import failure, uri_of
from kit.jobs import Job
from kit.loops import (
    AsyncioLoop,
    Loop,
    MemoryLoop,
    echo,
    on_asyncio,
    on_each_loop,
    on_memory,
    on_own_streams,
    on_sockets,
)
from kit.nowhere import Where, silent_address
from kit.raw_server import ClientLeft, End
from kit.sockets import open_sockets
from wscore import Headers, Request, Response
from wstransports import ConnectionClosed, HandshakeError, connect
from wstransports.address import Address
from wstransports.runtime import Sink

silent = pytest.fixture(silent_address)

# Refused.


@on_each_loop
async def test_a_refusal_carries_status_headers_and_body(loop: Loop) -> None:
    def process_request(request: Request) -> Response:
        return Response(401, {"WWW-Authenticate": "Basic", "X-Why": "name?"}, "who are you?\n")

    async with loop.serving(echo, process_request=process_request) as server:
        error = await failure(connect(uri_of(server, "/room?token=s3cret")))
        assert str(error) == f"ws://127.0.0.1:{server.port}/room refused with 401 Unauthorized"
    assert isinstance(error, HandshakeError)
    assert error.status == 401
    assert error.headers["www-authenticate"] == "Basic"
    assert error.headers["X-Why"] == "name?"
    assert error.body == b"who are you?\n"
    assert error.response is not None
    assert error.response.status == 401


@on_memory
@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "200 OK"), (304, "304 Not Modified"), (404, "404 Not Found"), (999, "999")],
)
async def test_anything_but_101_is_a_refusal(loop: MemoryLoop, status: int, said: str) -> None:
    async with loop.serving(echo, process_request=lambda request: Response(status)) as server:
        error = await failure(connect(uri_of(server)))
    assert isinstance(error, HandshakeError)
    assert error.status == status
    assert str(error).endswith(f"/ refused with {said}")


@on_each_loop
@pytest.mark.parametrize("length", [b"", b"Content-Length: 1000000\r\n"])
async def test_the_body_of_a_refusal_is_bounded(loop: Loop, length: bytes) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 500 Oops\r\n%b\r\n" % length)
        for _ in range(20):
            end.write(b"x" * 10_000)

    async with loop.listening(talk) as raw:
        error = await failure(connect(raw.uri))
    assert isinstance(error, HandshakeError)
    assert error.status == 500
    assert error.body == b"x" * 65536


@on_own_streams  # tests/streams has it for anyio's, whose two ends end each on its own
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0\r\n"]
)
async def test_a_server_that_refuses_and_stays_is_left(loop: Loop, answer: bytes) -> None:
    """It may keep its half of the stream open: ours is gone, all of it."""

    async def talk(end: End) -> None:
        end.ends_too = False
        await end.head()
        end.write(answer)

    async with loop.listening(talk) as raw:
        before = 0 if isinstance(loop, MemoryLoop) else open_sockets()
        assert isinstance(await failure(connect(raw.uri)), HandshakeError)
        if isinstance(loop, MemoryLoop):
            await loop.until(lambda: raw.ends[0].lost)
        else:
            # One more than before: the server's.
            await loop.until(lambda: open_sockets() == before + 1)
            assert not raw.ends[0].lost


@on_memory
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_refusal_whose_body_breaks_off(loop: MemoryLoop, how: str) -> None:
    """A reset is what a server's kernel sends that has not read all of ours."""

    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nname?")

    async with loop.listening(talk) as raw:
        opening = loop.spawn(failure(connect(raw.uri)))
        await loop.settle()
        assert not opening.done
        getattr(raw.ends[0].pipe, how)()
        error = await opening.wait()
    assert isinstance(error, HandshakeError)
    assert (error.status, error.body) == (401, b"name?")


@on_memory
@pytest.mark.parametrize("length", [b"", b"Content-Length: 100\r\n"])
async def test_a_refusal_whose_body_never_ends(loop: MemoryLoop, length: bytes) -> None:
    """Until the time is over, and then what came of it will do."""

    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 401 No\r\n%b\r\nname?" % length)

    async with loop.listening(talk) as raw:
        opening = loop.spawn(failure(connect(raw.uri, open_timeout=7)))
        await loop.advance(6.9)
        assert not opening.done
        await loop.advance(0.1)
        error = await opening.wait()
        assert isinstance(error, HandshakeError)
        assert (error.status, error.body) == (401, b"name?")
        await loop.settle()
        assert raw.ends[0].lost


# No WebSocket server.


@on_each_loop
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not respond with HTTP/1.1"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "does not respond with HTTP/1.1 but with TLS"),
        (b"HTTP/1.1 hello\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "longer than"),
        (
            b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "does not match the key",
        ),
    ],
)
async def test_what_is_not_a_handshake(loop: Loop, answer: bytes, cause: str) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.write(answer)

    async with loop.listening(talk) as raw:
        error = await failure(connect(raw.uri))
        await loop.until(lambda: raw.ends[0].lost)
    assert isinstance(error, HandshakeError)
    assert str(error).startswith(f"{raw.uri}: the opening handshake failed: ")
    assert cause in str(error)
    assert (error.status, error.response, error.body) == (None, None, b"")
    assert error.headers == Headers()


@on_each_loop
async def test_an_extension_that_was_not_offered_is_answered_1010(loop: Loop) -> None:
    """RFC 6455 section 7.4.1."""
    closes: list[bytes] = []

    async def talk(end: End) -> None:
        await end.accept(headers=b"Sec-WebSocket-Extensions: x-other\r\n")
        first, payload, *_ = await end.frame()
        assert first == 0x88
        closes.append(payload[:2])

    async with loop.listening(talk) as raw:
        error = await failure(connect(raw.uri))
        await loop.until(lambda: closes)
    assert isinstance(error, HandshakeError)
    assert "x-other" in str(error)
    assert closes == [(1010).to_bytes(2)]


@on_each_loop
async def test_after_a_101_that_it_refuses_it_fails_at_once(loop: Loop) -> None:
    """The server reads the Close and stays: without a time limit, waiting would have no end."""
    closes: list[bytes] = []
    stay = loop.signal()

    async def talk(end: End) -> None:
        end.ends_too = False
        await end.accept(headers=b"Sec-WebSocket-Extensions: x-other\r\n")
        closes.append((await end.frame()).payload[:2])
        await stay.wait()

    async with loop.listening(talk) as raw:
        before = 0 if isinstance(loop, MemoryLoop) else open_sockets()
        error = await failure(connect(raw.uri, open_timeout=0, close_timeout=0))
        assert "x-other" in str(error)
        if isinstance(loop, AsyncioLoop):  # on the others each task has a block that has ended
            assert len(asyncio.all_tasks()) == 2  # this one, and the server's
        await loop.until(lambda: closes)
        if isinstance(loop, MemoryLoop):
            await loop.until(lambda: raw.ends[0].lost)
        elif loop.has_addresses:
            await loop.until(lambda: open_sockets() == before + 1)  # the server's
        else:
            await loop.until(lambda: raw.ends[0].ended)
        stay.set()
    assert closes == [(1010).to_bytes(2)]


@on_each_loop
@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 101 Switching Pr", b"HTTP/1.1 200 OK\r\nX: y\r\n"]
)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_server_that_leaves_at_once(loop: Loop, said: bytes, how: str) -> None:
    """That is worth another attempt, and therefore an OSError."""

    async def talk(end: End) -> None:
        if said:
            await end.head()
            end.write(said)
        getattr(end.pipe, how)()

    async with loop.listening(talk) as raw:
        error = await failure(connect(raw.uri))
    assert isinstance(error, ConnectionResetError)
    assert error.errno == errno.ECONNRESET
    assert f"{raw.uri}: the opening handshake failed: " in str(error)


# No connection.


@on_sockets
async def test_a_refused_connection(loop: Loop) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        port = bound.getsockname()[1]
        error = await failure(connect(f"ws://user:hunter2@127.0.0.1:{port}/"))
    assert isinstance(error, ConnectionRefusedError)
    assert error.errno == errno.ECONNREFUSED
    assert error.strerror == f"cannot connect to ws://127.0.0.1:{port}/: Connection refused"


@on_memory
async def test_nobody_listens(loop: MemoryLoop) -> None:
    error = await failure(connect("ws://127.0.0.1:1/"))
    assert isinstance(error, ConnectionRefusedError)
    assert "cannot connect to ws://127.0.0.1:1/: nothing listens" in str(error)


@on_asyncio
async def test_a_host_that_has_no_address(
    loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    error = await failure(connect("ws://nowhere.example/", proxy=None))
    assert isinstance(error, socket.gaierror)
    assert error.errno == socket.EAI_NONAME
    assert error.strerror == "cannot connect to ws://nowhere.example/: Name or service not known"


@on_sockets
async def test_a_unix_socket_that_is_not_there(loop: Loop) -> None:
    error = await failure(connect("ws://localhost/", unix_path="/nowhere/at/all"))
    assert isinstance(error, FileNotFoundError)
    assert error.strerror == (
        "cannot connect to ws://localhost/ at /nowhere/at/all: No such file or directory"
    )


@on_sockets
async def test_a_unix_path_that_is_too_long(loop: AsyncioLoop) -> None:
    error = await failure(connect("ws://localhost/", unix_path="/" + "x" * 200))
    assert isinstance(error, ConnectionError)
    assert str(error).endswith("x: AF_UNIX path too long")


# Time.


@on_memory
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_server_that_never_answers(loop: MemoryLoop, said: bytes) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.write(said)

    async with loop.listening(talk) as raw:
        opening = loop.spawn(connect(raw.uri, open_timeout=7).__aenter__())
        await loop.advance(6.9)
        assert not opening.done
        await loop.advance(0.1)
        with pytest.raises(TimeoutError) as caught:
            await opening.wait()
        assert str(caught.value) == f"opening {raw.uri} took longer than 7 s"
        await loop.settle()
        assert raw.ends[0].lost


@on_memory
async def test_without_a_limit_it_waits(loop: MemoryLoop) -> None:
    async def talk(end: End) -> None:
        await answer.wait()
        await end.accept(b"\x81\x02hi")
        await end.close()

    answer = loop.signal()
    async with loop.listening(talk) as raw:
        opening = loop.spawn(connect(raw.uri, open_timeout=0).__aenter__())
        await loop.advance(1e6)
        assert not opening.done
        answer.set()
        client = await opening.wait()
        assert await client.receive() == "hi"
        await client.close()


@on_memory
async def test_the_systems_own_timeout_keeps_its_words(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect_nowhere(where: Address, sink: Sink, group: Any = None) -> None:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(loop.runtime, "connect", connect_nowhere)
    error = await failure(connect("ws://127.0.0.1:1/"))
    assert isinstance(error, TimeoutError)
    assert error.strerror == "cannot connect to ws://127.0.0.1:1/: Connection timed out"


@on_sockets
async def test_the_limit_holds_with_real_sockets(loop: Loop) -> None:
    """While the server is silent, and while its TLS is."""

    async def talk(end: End) -> None:
        await end.gone()

    async with loop.listening(talk) as raw:
        for scheme in ("ws", "wss"):
            uri = f"{scheme}://127.0.0.1:{raw.port}/"
            error = await failure(connect(uri, open_timeout=0.05))
            assert isinstance(error, TimeoutError)
            assert str(error) == f"opening {uri} took longer than 0.05 s"


# Cancelled.


async def talk_politely(end: End) -> None:
    """Answer the handshake and close, as far as the client goes along."""
    with suppress(ClientLeft):
        await end.accept()
        await end.close()


@on_each_loop
async def test_cancelled_at_whatever_stage_nothing_is_left_open(loop: Loop) -> None:
    """Cancelled after each number of the loop's turns, up to where all of it is over."""
    outcomes: list[str] = []

    def waited(job: Job[None], turns: Iterator[int]) -> bool:
        return job.done or next(turns, None) is None

    async def use(uri: str) -> None:
        async with connect(uri) as client:
            outcomes[-1] = "open"
            with pytest.raises(ConnectionClosed):
                await client.receive()

    async with loop.listening(talk_politely) as raw:
        for turns in range(200):
            outcomes.append("opening")
            using = loop.spawn(use(raw.uri))
            await loop.until(partial(waited, using, iter(range(turns))))
            using.cancel()
            try:
                await using.wait()
            except loop.cancelled:
                await loop.until(lambda: all(end.lost for end in raw.ends if end.pipe is not None))
            else:
                break
    assert list(dict.fromkeys(outcomes)) == ["opening", "open"]


@on_each_loop
async def test_cancelled_while_the_server_is_silent(loop: Loop) -> None:
    """It would wait for ever: the end is ours."""
    asked = loop.signal()

    async def talk(end: End) -> None:
        await end.head()
        asked.set()
        await end.gone()

    async with loop.listening(talk) as raw:
        opening = loop.spawn(connect(raw.uri).__aenter__())
        await asked.wait()
        opening.cancel()
        with pytest.raises(loop.cancelled):
            await opening.wait()
        await loop.until(lambda: raw.ends[0].lost)


@on_asyncio
async def test_cancelled_while_a_name_is_looked_up(
    loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_it: list[bool] = []

    async def for_ever(*args: object, **kwargs: object) -> None:
        at_it.append(True)
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", for_ever)
    opening = loop.spawn(connect("ws://name.example/", proxy=None).__aenter__())
    await loop.until(lambda: at_it)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening.wait()


@on_sockets
async def test_cancelled_while_no_address_answers(loop: Loop, silent: Where) -> None:
    before = open_sockets()
    opening = loop.spawn(connect(f"ws://127.0.0.1:{silent[1]}/").__aenter__())
    await loop.until(lambda: open_sockets() > before)
    opening.cancel()
    with pytest.raises(loop.cancelled):
        await opening.wait()
    assert open_sockets() == before


@on_each_loop
async def test_cancelled_while_the_block_ends(loop: Loop) -> None:
    async def talk(end: End) -> None:
        await end.accept()
        assert (await end.frame())[0] == 0x88
        closing.append(True)
        await end.gone()
        gone.append(True)

    async def use(uri: str) -> None:
        async with connect(uri):
            pass

    closing: list[bool] = []
    gone: list[bool] = []
    async with loop.listening(talk) as raw:
        using = loop.spawn(use(raw.uri))
        await loop.until(lambda: closing)
        assert not using.done
        using.cancel()
        with pytest.raises(loop.cancelled):
            await using.wait()
        await loop.until(lambda: gone)


# The caller's mistakes.


@pytest.mark.parametrize(
    ("options", "kind", "mistake"),
    [
        ({"headers": {"X Y": "z"}}, ValueError, "is not a header name"),
        ({"headers": {"X": "y\r\nZ: z"}}, ValueError, "line breaks"),
        ({"headers": {"X": 1}}, TypeError, "pair"),
        ({"headers": {"Host": "h/"}}, ValueError, "is not a host"),
        ({"headers": [("Host", "a"), ("Host", "b")]}, ValueError, "is not a host"),
        ({"host": 7}, TypeError, "host must be"),
        ({"host": ""}, ValueError, "host"),
        ({"host": "h/"}, ValueError, "host"),
        ({"port": 0}, ValueError, "port 0"),
        ({"port": "80"}, ValueError, "port must be"),
        ({"host": "g", "sock": object()}, TypeError, "sock must be"),
        ({"host": "g", "unix_path": "/x"}, ValueError, "exclude each other"),
        ({"port": 81, "unix_path": "/x"}, ValueError, "exclude each other"),
        ({"local_addr": "127.0.0.1"}, ValueError, r"local_addr must be \(IP address, port\)"),
        ({"local_addr": ("localhost", 0)}, ValueError, "local_addr must be"),
        ({"local_addr": ("127.0.0.1", "0")}, ValueError, "local_addr must be"),
        ({"local_addr": ("127.0.0.1", 0), "unix_path": "/x"}, ValueError, "leave out"),
        ({"headers": {"Sec-WebSocket-Key": "k"}}, ValueError, "sec-websocket-key"),
        ({"origin": "a\nb"}, ValueError, "line breaks"),
        ({"subprotocols": "chat"}, TypeError, "list"),
        ({"subprotocols": ["a b"]}, ValueError, "subprotocols"),
        ({"subprotocols": ["a", "a"]}, ValueError, "repeated"),
        ({"open_timeout": -1}, ValueError, "open_timeout"),
        ({"close_timeout": "1"}, ValueError, "close_timeout"),
        ({"compression": "gzip"}, ValueError, "compression"),
        ({"max_redirects": -1}, ValueError, "max_redirects"),
        ({"max_redirects": "5"}, ValueError, "max_redirects"),
        ({"retry": True}, TypeError, "retry must be a plain function"),
        ({"retry": failure}, TypeError, "retry must be a plain function"),
        ({"sock": 7}, TypeError, "sock must be a socket"),
        ({"unix_path": 7}, TypeError, "path"),
        ({"unix_path": "/x", "proxy": "http://h:1"}, ValueError, "exclude each other"),
        ({"ssl": None, "server_hostname": "h"}, ValueError, "wss://"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_mistakes_raise_at_the_call(
    options: dict[str, object], kind: type[Exception], mistake: str
) -> None:
    with pytest.raises(kind, match=mistake):
        connect("ws://h/", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [".h", "a..b", "a" * 64, "a\0b", 7])
def test_a_name_that_tls_cannot_ask_for_raises_at_the_call(name: Any) -> None:
    """Else it raises once the stream is connected, and leaves that open."""
    kind = TypeError if name == 7 else ValueError
    with pytest.raises(kind, match="server_hostname must be a host name"):
        connect("wss://h/", server_hostname=name)


def test_credentials_are_given_once() -> None:
    with pytest.raises(ValueError, match="remove one"):
        connect("ws://user:pass@h/", headers={"authorization": "Bearer x"})


def test_a_socket_of_ones_own_is_connected() -> None:
    with socket.socket() as fresh, pytest.raises(ValueError, match="not connected"):
        connect("ws://h/", sock=fresh)


def test_a_socket_of_ones_own_has_no_tls() -> None:
    one, other = socket.socketpair()
    context = ssl.create_default_context()
    with (
        other,
        context.wrap_socket(one, server_hostname="h", do_handshake_on_connect=False) as wrapped,
        pytest.raises(TypeError, match="without TLS of its own"),
    ):
        connect("ws://h/", sock=wrapped)


def test_a_socket_of_ones_own_is_a_stream() -> None:
    one, other = socket.socketpair(type=socket.SOCK_DGRAM)
    with one, other, pytest.raises(ValueError, match="stream socket"):
        connect("ws://h/", sock=one)
    with pytest.raises(ValueError, match="open"):
        connect("ws://h/", sock=one)


def test_outside_of_a_loop_it_says_so() -> None:
    entering = connect("ws://h/").__aenter__()
    with pytest.raises(RuntimeError, match="no event loop is running"):
        entering.send(None)
