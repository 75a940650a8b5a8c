"""`async for client in connect(...)`: one connection after another."""

import asyncio
import gc
import logging
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from itertools import islice, repeat
from typing import Any

import pytest

from kit.connecting import connecting, uri_of
from kit.handshake import acceptance
from kit.loops import (
    EACH,
    Loop,
    MemoryLoop,
    echo,
    on,
    on_each_loop,
    on_memory,
    on_sockets,
    state_of,
)
from kit.raw_server import End
from wscore import Reasons, Request, Response
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    WebSocketReader,
    WebSocketServer,
    backoff,
    connect,
    worth_retrying,
)
from wstransports.connecting.backoff import LONGEST_RETRY_AFTER, retry_after
from wstransports.connecting.reconnection import Reconnection
from wstransports.runtime import running, wait_for


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
    runs = [list(islice(backoff(), len(bounds))) for _ in range(200)]
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
@pytest.mark.parametrize(("lasts", "starts_over"), [(0, False), (9.9, False), (10, True)])
async def test_it_starts_over_once_a_connection_has_lasted(
    loop: MemoryLoop, lasts: float, starts_over: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that accepts connections only to close them is spared."""
    caplog.set_level(logging.INFO, "wstransports")
    waits: list[float] = []
    ended = 0.0

    def process_request(request: Request) -> Response | None:
        waits.append(loop.now() - ended)
        return Response(503) if len(waits) == 2 else None

    async def on_connection(client: Client) -> None:
        if lasts:
            await wait_for(loop.runtime, loop.signal(), lasts)
        await client.close(Reasons.TRY_AGAIN_LATER, "full\n")

    async def use() -> None:
        nonlocal ended
        async for client in connecting(server):
            with pytest.raises(ConnectionClosed):
                await client.receive()
            ended = loop.now()
            if len(waits) == 5:
                break

    async with loop.serving(on_connection, process_request=process_request) as server:
        using = loop.spawn(use())
        await loop.advance(200)
        await using.wait()
        uri = uri_of(server)
    # The second attempt was refused, and counts from the end before it.
    assert waits == ([0, 0.5, 1.5, 0.5, 0.5] if starts_over else [0, 0.5, 1.5, 2, 4])
    refused = f"{uri} refused with 503 Service Unavailable; trying again in 1.0 s"
    closed = f"{uri} closed with 1013 (try again later): full\\n; connecting again in "
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [line for line in lines if uri in line[1]] == [
        ("INFO", f"{closed}0.5 s"),
        ("WARNING", refused),
        ("INFO", f"{closed}{waits[3]:.1f} s"),
        ("INFO", f"{closed}{waits[4]:.1f} s"),
    ]


@on_memory
@pytest.mark.usefixtures("no_jitter")
async def test_a_server_that_closes_with_1013_is_dialled_five_times_in_12_s(
    loop: MemoryLoop,
) -> None:
    opened: list[float] = []

    async def on_connection(client: Client) -> None:
        opened.append(loop.now())
        await client.close(Reasons.TRY_AGAIN_LATER)

    async def use() -> None:
        async for client in connecting(server):
            with pytest.raises(ConnectionClosed):
                await client.receive()

    async with loop.serving(on_connection) as server:
        using = loop.spawn(use())
        await loop.advance(12)
        using.cancel()
        with pytest.raises(loop.cancelled):
            await using.wait()
    assert opened == [0, 0.5, 1.5, 3.5, 7.5]


# What the server asks for.


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "999999999"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": "9" * 10_000}, 0),
        ({"Retry-After": "-1"}, 0),
        ({"Retry-After": "1.5"}, 0),
        ({"Retry-After": "soon"}, 0),
        (
            {
                "Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT",
                "Date": "Fri, 31 Dec 1999 23:58:29 GMT",
            },
            90,
        ),
        (
            {
                "Retry-After": "Fri, 31 Dec 1999 23:59:59 -0000",
                "Date": "Fri, 31 Dec 1999 23:58:29 GMT",
            },
            90,
        ),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),  # over
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", "Date": "x"}, LONGEST_RETRY_AFTER),
        ({"Retry-After": f"Fri, 31 Dec 1999 23:59:59 +{'9' * 30}"}, 0),
        ({"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"}, 0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(Response(503, headers)) == seconds


@on(*EACH, slow={"asyncio", "trio"})
async def test_it_waits_as_long_as_the_server_asks_for(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([Response(503, {"Retry-After": "1"}), None])

    async def use() -> None:
        async for _ in connecting(server, delays=[0]):
            break

    async with loop.serving(echo, process_request=lambda request: next(answers)) as server:
        begun = running().now()
        using = loop.spawn(use())
        if isinstance(loop, MemoryLoop):
            await loop.advance(1)
        await using.wait()
        assert 1 <= running().now() - begun < 3
    [line] = [record.getMessage() for record in caplog.records]
    assert line.endswith("503 Service Unavailable; trying again in 1.0 s")


# What the caller sets.


@on_memory
async def test_the_delays_can_be_set(loop: MemoryLoop) -> None:
    """When they end, the last failure is raised."""
    tries: list[float] = []

    def process_request(request: Request) -> Response:
        tries.append(loop.now())
        return Response(503)

    async def use(delays: Any) -> None:
        async for _ in connecting(server, delays=delays):
            raise AssertionError("never")

    async with loop.serving(echo, process_request=process_request) as server:
        for delays in ([0, 1, 10.5], lambda: iter([0, 1, 10.5])):
            begun = loop.now()
            tries.clear()
            using = loop.spawn(use(delays))
            await loop.advance(20)
            with pytest.raises(HandshakeError, match="503"):
                await using.wait()
            assert [at - begun for at in tries] == [0, 0, 1, 11.5]


@on_memory
async def test_when_the_delays_end_the_loop_raises_how_the_last_connection_ended(
    loop: MemoryLoop,
) -> None:
    async def on_connection(client: Client) -> None:
        await client.close(Reasons.TRY_AGAIN_LATER, "full")

    async with loop.serving(on_connection) as server:
        with pytest.raises(ConnectionClosed, match=r"1013 .*full") as caught:
            async for client in connecting(server, delays=[]):
                with pytest.raises(ConnectionClosed):
                    await client.receive()
    assert caught.value.client is client


@on_memory
@pytest.mark.usefixtures("no_jitter")
async def test_the_default_can_be_set_in_part(loop: MemoryLoop) -> None:
    assert list(islice(backoff(1, 10, 3), 4)) == [1, 3, 9, 10]


@pytest.mark.parametrize(
    ("delays", "kind", "mistake"),
    [
        (1, TypeError, "a list of seconds"),
        ("1", TypeError, "a list of seconds"),
        (iter([1]), TypeError, "a list of seconds"),
        (backoff(), TypeError, "a list of seconds"),
        ([1, -1], ValueError, "delays must be in seconds, 0 or more, not -1"),
        ([1, "2"], ValueError, "not '2'"),
        ([float("inf")], ValueError, "not inf"),
        ([float("nan")], ValueError, "not nan"),
    ],
)
def test_delays_that_are_none_are_refused_at_the_call(
    delays: Any, kind: type[Exception], mistake: str
) -> None:
    with pytest.raises(kind, match=mistake):
        connect("ws://h/", delays=delays)


@on_memory
async def test_a_function_that_gives_no_seconds_ends_the_loop(loop: MemoryLoop) -> None:
    with pytest.raises(ValueError, match="not -1"):
        async for _ in connect("ws://127.0.0.1:1/", delays=lambda: [-1]):
            raise AssertionError("never")


@on_each_loop
@pytest.mark.parametrize("waits", [False, True])
async def test_headers_may_be_a_function_of_the_attempt(loop: Loop, waits: bool) -> None:
    """Each attempt has a fresh token."""
    tokens: list[str] = []

    def process_request(request: Request) -> Response | None:
        tokens.append(request.headers["Authorization"])
        return Response(503) if len(tokens) == 1 else None

    def headers(attempt: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {attempt}"}

    async def headers_later(attempt: int) -> dict[str, str]:
        await running().checkpoint()
        return headers(attempt)

    function = headers_later if waits else headers
    async with loop.serving(echo, process_request=process_request) as server:
        async for client in connecting(server, headers=function, delays=lambda: repeat(0)):
            await client.writer.send("hello")
            assert await client.receive() == "hello"
            if len(tokens) == 3:
                break
        async with connecting(server, headers=function) as client:
            assert client.request.headers["Authorization"] == "Bearer 1"
    assert tokens == ["Bearer 1", "Bearer 2", "Bearer 3", "Bearer 1"]


@on_memory
async def test_a_function_that_fails_is_a_failed_attempt(loop: MemoryLoop) -> None:
    """`retry` decides about it; and `open_timeout` bounds it."""

    async def headers(attempt: int) -> dict[str, str]:
        if attempt == 1:
            raise OSError("no token")
        await loop.signal().wait()
        raise AssertionError("never")

    def retry(error: Exception) -> bool:
        failures.append(str(error))
        return len(failures) == 1

    async def use() -> None:
        async for _ in connect("ws://127.0.0.1:1/", headers=headers, retry=retry, delays=[0]):
            raise AssertionError("never")

    failures: list[str] = []
    using = loop.spawn(use())
    await loop.advance(10)
    with pytest.raises(TimeoutError):
        await using.wait()
    assert failures == ["no token", "opening ws://127.0.0.1:1/ took longer than 10 s"]


@on_memory
async def test_credentials_of_a_function_are_given_once(loop: MemoryLoop) -> None:
    with pytest.raises(ValueError, match="remove one"):
        await connect(
            "ws://ada@127.0.0.1:1/", headers=lambda attempt: {"Authorization": "x"}
        ).__aenter__()


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
    reported: list[Reasons | int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            reported.append(code)

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
        await loop.until(lambda: reported)
        await loop.until(lambda: clients[0].state.name == "CLOSED")
    assert reported == [Reasons.NORMAL]


@on_each_loop
@pytest.mark.usefixtures("hasty")
async def test_a_kept_exception_does_not_keep_the_connection(loop: Loop) -> None:
    """Its traceback has frames, and those have variables."""
    kept: list[Exception] = []
    answers = iter([503, 503, None])
    reported: list[Reasons | int] = []

    def process_request(request: Request) -> Response | None:
        status = next(answers)
        return None if status is None else Response(status)

    def retry(error: Exception) -> bool:
        kept.append(error)
        return True

    async def use() -> Client:
        async for client in connecting(server, retry=retry):  # noqa: B007  # used after it
            break
        reported.append(client._session.core.close_frames[0].code)
        return client

    async with loop.serving(echo, process_request=process_request) as server:
        using = loop.spawn(use())
        if isinstance(loop, MemoryLoop):
            await loop.advance(60)
        client = await using.wait()
        await loop.until(lambda: client.state.name == "CLOSED")
    assert reported == [Reasons.NORMAL]
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


@on_each_loop
async def test_leaving_the_loop_when_the_connection_is_closed(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        async for client in connecting(server):
            await client.close(Reasons.GOING_AWAY)
            session = client._session
            await loop.until(lambda: session.lost)  # noqa: B023  # the loop ends
            break
    assert [frame.code for frame in session.core.close_frames if frame.sent] == [1001]


@on_each_loop
async def test_aclose_closes_the_last_connection_and_ends_the_loop(loop: Loop) -> None:
    """For certain, wherever references to the iterator are."""
    codes: list[Reasons | int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            codes.append(code)

    async with loop.serving(on_connection) as server:
        async with aclosing(aiter(connecting(server))) as clients:
            async for client in clients:  # noqa: B007  # used after it
                break
            assert state_of(client).name == "OPEN"
        assert state_of(client).name == "CLOSED"
        with pytest.raises(StopAsyncIteration):
            await anext(clients)
        await clients.aclose()
        await loop.until(lambda: codes)
    assert codes == [Reasons.NORMAL]


@on_memory
@pytest.mark.parametrize("connected", [False, True])
async def test_aclose_while_it_waits(loop: MemoryLoop, connected: bool) -> None:
    async def on_connection(client: Client) -> None:
        await client.close()

    async def use() -> int:
        times = 0
        async for client in clients:
            times += 1
            with pytest.raises(ConnectionClosed):
                await client.receive()
        return times

    def process_request(request: Request) -> Response | None:
        return None if connected else Response(503)

    async with loop.serving(on_connection, process_request=process_request) as server:
        clients = aiter(connecting(server))
        using = loop.spawn(use())
        await loop.advance(0)
        await clients.aclose()
        await loop.advance(1)
        assert await using.wait() == connected


@on_memory
async def test_aclose_while_the_last_connection_closes(loop: MemoryLoop) -> None:
    """The loop is not at its wait yet, and begins none."""

    async def talk(end: End) -> None:
        await end.accept()
        await end.gone()

    async def use() -> None:
        async for _ in clients:
            pass

    async with loop.listening(talk) as raw:
        clients = aiter(connect(raw.uri))
        using = loop.spawn(use())
        await loop.advance(1)
        await clients.aclose()
        await loop.advance(20)
        await using.wait()


PROGRAM = """
import gc, sys
from contextlib import suppress
from wstransports import connect

async def messages(uri):
    async for client in connect(uri):
        async for message in client:
            yield message

async def louder(uri):
    async for message in messages(uri):
        yield message.upper()

async def use(uri, wait, started):
    async for message in louder(uri):
        started()
        if sys.argv[3] == "in the body":
            await wait()

def by_hand(loop, main):
    loop.run_until_complete(main)
    loop.close()

def on_asyncio(uri, run, new_loop, asyncio):
    async def main():
        started = asyncio.Event()
        using = asyncio.create_task(use(uri, asyncio.Event().wait, started.set))
        await started.wait()
        if sys.argv[4] == "main ends":
            return
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)
    by_hand(new_loop(), main()) if sys.argv[4] == "the loop is closed" else run(main())

def on_trio(uri, trio):
    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, uri, trio.sleep_forever, nursery.cancel_scope.cancel)
    trio.run(main)

name, uri = sys.argv[1:3]
if name == "trio":
    import trio
    on_trio(uri, trio)
elif name == "uvloop":
    import asyncio, uvloop
    on_asyncio(uri, uvloop.run, uvloop.new_event_loop, asyncio)
else:
    import asyncio
    on_asyncio(uri, asyncio.run, asyncio.new_event_loop, asyncio)
gc.collect()
"""


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("in the body", "cancelled"),
        ("in the body", "main ends"),
        ("in the loop", "cancelled"),
        ("in the loop", "main ends"),
        ("in the loop", "the loop is closed"),  # without asyncio.run(), which ends what is left
    ],
)
def test_a_program_that_ends_in_nested_generators_prints_nothing(
    loop: str, where: str, how: str
) -> None:
    pytest.importorskip(loop, reason=f"{loop} is not installed")

    def serve() -> bytes:
        with listener.accept()[0] as sock:
            sock.sendall(acceptance(sock.recv(4096)) + b"\x81\x02hi")
            received = b""
            with suppress(ConnectionError):
                while data := sock.recv(4096):
                    received += data
            return received

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        uri = "ws://{}:{}/".format(*listener.getsockname())
        command = [sys.executable, "-c", PROGRAM, loop, uri, where, how]
        run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        assert (run.stdout, run.stderr) == ("", "")
        assert serving.result(timeout=10)[:2] in (b"\x88\x82", b"")


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
async def test_what_is_worth_retrying_is_a_setting(loop: MemoryLoop) -> None:
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
