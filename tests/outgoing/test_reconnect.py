"""`async for client in connect(...)`: one connection after another."""

import asyncio
import gc
import logging
import random
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from kit.connecting import connecting, uri_of
from kit.handshake import acceptance
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, on_sockets
from kit.raw_server import End
from wscore import Reasons, Request, Response
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    WebSocketReader,
    WebSocketServer,
    connect,
    worth_retrying,
)
from wstransports.connecting.backoff import delays
from wstransports.connecting.reconnection import Reconnection


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are as long as they can be: 0.5, 1, 2, 4 s..."""
    monkeypatch.setattr(random, "uniform", lambda least, most: most)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are too short to notice, for tests that have a real clock."""
    monkeypatch.setattr(random, "uniform", lambda least, most: 0.001)


# How long it waits.


def test_delays_grow_and_vary() -> None:
    random.seed(1)
    bounds = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    runs = [list(islice(delays(), len(bounds))) for _ in range(200)]
    for longest, seconds in zip(bounds, zip(*runs, strict=True), strict=True):
        assert longest / 2 <= min(seconds) < longest * 0.52
        assert longest * 0.98 < max(seconds) <= longest
    assert len({run[0] for run in runs}) > 100


@on_memory
@pytest.mark.usefixtures("no_jitter")
async def test_after_each_failure_it_waits_longer(
    loop: MemoryLoop, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def process_request(request: Request) -> Response:
        tries.append(loop.now())
        return Response(503)

    async def use() -> None:
        async for _ in connecting(server):
            raise AssertionError("never")

    async with loop.serving(echo, process_request=process_request) as server:
        using = loop.spawn(use())
        await loop.advance(300)
        assert tries == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 63.5, 123.5, 183.5, 243.5]
        using.cancel()
        with pytest.raises(loop.cancelled):
            await using.wait()
        refused = f"{uri_of(server)} refused with 503 Service Unavailable; trying again in "
    for record, seconds in zip(caplog.records, [0.5, 1, 2, 4, 8, 16, 32, 60], strict=False):
        assert record.levelno == logging.WARNING
        assert record.getMessage() == f"{refused}{seconds:.1f} s"
    assert len(caplog.records) == len(tries)


@on_memory
@pytest.mark.usefixtures("no_jitter")
async def test_after_a_success_it_starts_anew(loop: MemoryLoop) -> None:
    tries: list[float] = []
    answers = iter([503, 503, 503, None, 503, 503, None])

    def process_request(request: Request) -> Response | None:
        tries.append(loop.now())
        status = next(answers)
        return None if status is None else Response(status)

    async def on_connection(client: Client) -> None:
        await client.close(Reasons.SERVICE_RESTART)

    async def use() -> None:
        async for client in connecting(server):
            with pytest.raises(ConnectionClosed) as caught:
                await client.receive()
            codes.append(caught.value.code)
            if len(codes) == 2:
                break

    codes: list[int] = []
    async with loop.serving(on_connection, process_request=process_request) as server:
        using = loop.spawn(use())
        await loop.advance(100)
        await using.wait()
    assert codes == [Reasons.SERVICE_RESTART] * 2
    #   three failures, a success; the wait after it, two failures, a success
    assert tries == [0, 0.5, 1.5, 3.5, 4, 5, 7]


@on_memory
async def test_cancelled_while_it_waits(loop: MemoryLoop) -> None:
    async def use() -> None:
        async for _ in connect("ws://127.0.0.1:1/"):
            raise AssertionError("never")

    using = loop.spawn(use())
    await loop.settle()
    using.cancel()
    with pytest.raises(loop.cancelled):
        await using.wait()


# What comes one after another.


@on_each_loop
@pytest.mark.usefixtures("hasty")
async def test_each_connection_is_a_client(loop: Loop) -> None:
    """Talks, is lost or closed or left open, and is followed by the next."""
    clients: list[Client] = []
    lost: list[Reasons | int] = []

    async def steps() -> None:
        # On memory it is the test that turns the clock.
        if isinstance(loop, MemoryLoop):
            await loop.advance(60)

    async def use() -> None:
        async for client in connecting(server):
            assert all(earlier.state.name == "CLOSED" for earlier in clients)
            clients.append(client)

            @client.closed
            async def on_closed(code: Reasons | int, reason: str) -> None:
                lost.append(code)

            await client.writer.send("hello")
            assert await client.receive() == "hello"
            if len(clients) == 1:
                await client.close(Reasons.GOING_AWAY)
            elif len(clients) == 2:
                [(_, theirs)] = server.clients.items()
                theirs._session.pipe.abort()
                with pytest.raises(ConnectionClosed):
                    await client.receive()
            elif len(clients) == 3:
                continue  # while it is open
            elif len(clients) == 4:
                return

    async with loop.serving(echo) as server:
        using = loop.spawn(use())
        await steps()
        await using.wait()
        await loop.until(lambda: clients[-1].state.name == "CLOSED")
        await loop.until(lambda: len(lost) == 4)
    assert lost == [
        Reasons.GOING_AWAY,
        Reasons.ABNORMAL_CLOSE,
        Reasons.NORMAL,
        Reasons.NORMAL,
    ]


# The loop is left.


@on_each_loop
@pytest.mark.parametrize("how", ["break", "return", "raise"])
async def test_leaving_the_loop_closes_the_connection(loop: Loop, how: str) -> None:
    told: list[Reasons | int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            told.append(code)

    async def use(connection: connect) -> Client:
        async for client in connection:
            clients.append(client)
            if how == "break":
                break
            if how == "return":
                return client
            raise ZeroDivisionError
        return client

    clients: list[Client] = []
    async with loop.serving(on_connection) as server:
        connection = connecting(server)  # which is still referred to, after the loop
        if how == "raise":
            with pytest.raises(ZeroDivisionError):
                await use(connection)
        else:
            client = await use(connection)
            assert client.state.name == "CLOSING"  # at once, without a turn of the loop
        await loop.until(lambda: told)
        await loop.until(lambda: clients[0].state.name == "CLOSED")
    assert told == [Reasons.NORMAL]


@on_each_loop
@pytest.mark.usefixtures("hasty")
async def test_a_kept_exception_does_not_keep_the_connection(loop: Loop) -> None:
    """Its traceback has frames, and those have variables."""
    kept: list[Exception] = []
    answers = iter([503, 503, None])
    told: list[Reasons | int] = []

    def process_request(request: Request) -> Response | None:
        status = next(answers)
        return None if status is None else Response(status)

    def retry(error: Exception) -> bool:
        kept.append(error)
        return True

    async def use() -> Client:
        async for client in connecting(server, retry=retry):  # noqa: B007  # used after it
            break
        told.append(client._session.core.close_frames[0].code)
        return client

    async with loop.serving(echo, process_request=process_request) as server:
        using = loop.spawn(use())
        if isinstance(loop, MemoryLoop):
            await loop.advance(60)
        client = await using.wait()
        await loop.until(lambda: client.state.name == "CLOSED")
    assert told == [Reasons.NORMAL]
    assert len(kept) == 2


@on_memory
async def test_a_left_connection_that_never_answers_is_dropped_in_the_end(loop: MemoryLoop) -> None:
    cancelled: list[float] = []

    async def talk(end: End) -> None:
        await end.accept(b"\x81\x02hi")
        await end.gone()

    async with loop.listening(talk) as raw:
        async for client in connect(raw.uri, close_timeout=5):

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                try:
                    await loop.signal().wait()
                except loop.cancelled:
                    cancelled.append(loop.now())
                    raise

            await loop.settle()
            break
        await loop.advance(4.9)
        assert not raw.ends[0].lost
        await loop.advance(0.1)
        assert raw.ends[0].lost
        assert cancelled == [5]


@pytest.mark.parametrize("new_loop", ["asyncio", "uvloop"])
def test_leaving_the_loop_and_then_the_event_loop(new_loop: str) -> None:
    """Nothing is left open, although nobody waits for the closing handshake."""

    def serve() -> bytes:
        with listener, listener.accept()[0] as sock:
            sock.sendall(acceptance(sock.recv(4096)))
            rest = b""
            while data := sock.recv(4096):
                rest += data
            return rest

    async def main() -> None:
        host, port = listener.getsockname()
        async for _ in connect(f"ws://{host}:{port}/"):
            break

    make: Callable[[], asyncio.AbstractEventLoop] | None = None
    if new_loop == "uvloop":
        make = pytest.importorskip("uvloop", reason="uvloop is not installed").new_event_loop
    listener = socket.create_server(("127.0.0.1", 0))
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(main())
        # It ended when the loop did, and after a Close.
        assert serving.result(timeout=10)[:2] == b"\x88\x82"
    gc.collect()  # an unclosed transport would warn here, and fail the test


def test_left_when_its_event_loop_is_over() -> None:
    """Then there is nothing to do, neither outside of any loop nor inside of another."""
    kept: list[Reconnection] = []
    clients: list[Client] = []

    async def open_one() -> None:
        server = WebSocketServer("127.0.0.1", 0)
        await server.__aenter__()
        connections = aiter(connecting(server))
        clients.append(await anext(connections))
        kept.append(connections)

    async def leave() -> None:
        kept.pop()

    for _ in range(2):
        MemoryLoop().runtime.run(open_one)
    MemoryLoop().run(leave)
    kept.pop()
    assert [client.state.name for client in clients] == ["OPEN", "OPEN"]


# What is worth another attempt.


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_refusal_that_may_pass(status: int) -> None:
    assert worth_retrying(HandshakeError("", Response(status)))


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 407, 426, 431, 501, 505])
def test_a_refusal_that_will_not(status: int) -> None:
    assert not worth_retrying(HandshakeError("", Response(status)))


@pytest.mark.parametrize(
    "error",
    [
        OSError("whatever"),
        ConnectionRefusedError(),
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        FileNotFoundError(),
    ],
)
def test_the_network_may_recover(error: Exception) -> None:
    assert worth_retrying(error)


@pytest.mark.parametrize(
    "error",
    [
        HandshakeError("no HTTP"),
        ValueError(),
        ImportError(),
        RuntimeError(),
        ConnectionClosed(Reasons.GOING_AWAY, ""),
    ],
)
def test_mistakes_do_not_pass(error: Exception) -> None:
    assert not worth_retrying(error)


def test_a_certificate_is_not_accepted_the_next_time_either() -> None:
    error = ConnectionError("in our words")
    error.__cause__ = ssl.SSLCertVerificationError()
    assert not worth_retrying(error)


@on_each_loop
async def test_what_is_not_worth_it_is_raised(loop: Loop) -> None:
    async with loop.serving(echo, process_request=lambda request: Response(401)) as server:
        with pytest.raises(HandshakeError) as caught:
            async for _ in connecting(server):
                raise AssertionError("never")
    assert caught.value.status == 401


@on_memory
async def test_it_can_be_told_what_is_worth_it(loop: MemoryLoop) -> None:
    asked: list[Exception] = []
    statuses = iter([401, 403, 404])

    def retry(error: Exception) -> bool:
        asked.append(error)
        return isinstance(error, HandshakeError) and error.status != 404

    async def use() -> None:
        async for _ in connecting(server, retry=retry):
            raise AssertionError("never")

    async with loop.serving(echo, process_request=lambda r: Response(next(statuses))) as server:
        using = loop.spawn(use())
        await loop.advance(60)
        with pytest.raises(HandshakeError, match="404"):
            await using.wait()
    assert [error.status for error in asked if isinstance(error, HandshakeError)] == [401, 403, 404]


@on_memory
async def test_what_retry_raises_ends_the_loop(loop: MemoryLoop) -> None:
    def retry(error: Exception) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in connect("ws://127.0.0.1:1/", retry=retry):
            raise AssertionError("never")


@on_sockets
async def test_a_socket_of_ones_own_serves_once(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="serves one connection"):
        aiter(connect("ws://h/", sock=ours))


def test_outside_of_an_event_loop_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="no event loop is running"):
        aiter(connect("ws://h/"))
