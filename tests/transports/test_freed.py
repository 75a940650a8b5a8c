"""What is freed without the garbage collector when a connection is over."""

import gc
import logging
import os
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from select import select
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, on, on_each_loop, on_own_streams, on_sockets, state_of
from kit.nowhere import Where, closed_address
from wscore import Response, State
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    Statistics,
    WebSocketReader,
    connect,
)

CONNECTIONS = 5

nobody = pytest.fixture(closed_address)

# A cancelled timer waits for its time in memory, and on asyncio while there are few. anyio's own
# cancelled tasks are in cycles on asyncio, with the pipe in the frames of their tracebacks, and
# with the connection's number and the count of its server's lines in it; but not with what the
# pipe served.
NOT_OURS: tuple[str, ...] = (
    "MemoryTimer",
    "FarTimer",
    "AnyioPipe",
    "LostSink",
    "Identity",
    "LogLimit",
)


@pytest.fixture(autouse=True)
def collector_off() -> Iterator[None]:
    """Nothing but reference counts frees anything; what was there before is not looked at."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


# Whose objects are looked at. On Python 3.11, asyncio's own transports are in cycles of their own,
# with our sockets in them.
MODULES: tuple[str, ...] = ("wscore", "wstransports")
if sys.version_info >= (3, 12):
    MODULES += ("asyncio.selector_events",)
else:
    NOT_OURS += ("_Inet", "_Inet6")


def living() -> Counter[str]:
    """Our objects, and the transports, by type."""
    return Counter(
        f"{type(one).__module__}.{type(one).__qualname__}"
        for one in gc.get_objects()
        if str(type(one).__module__).startswith(MODULES) and type(one).__name__ not in NOT_OURS
    )


def uri(server: Any, tls: bool = False) -> str:
    return f"{'wss' if tls else 'ws'}://{server.addr}:{server.port}/"


class Freed:
    """A block at whose end nothing lives that did not at its begin."""

    def __init__(self, loop: Loop, server: Any) -> None:
        self._loop = loop
        self._server = server

    async def __aenter__(self) -> None:
        self._before = living()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            await self._loop.until(lambda: not self._server._acceptor._sessions)
            for _ in range(3):
                await self._loop.checkpoint()
            left = living() - self._before
            assert not left, dict(left)


async def echo_with_everything(client: Client) -> None:
    """An on_connection whose callbacks all refer to their client."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())

    @client.ping
    async def on_ping(payload: bytes, length: int) -> None:
        await client.writer.pong(length, payload)

    @client.closed
    async def on_closed(code: int, reason: str) -> None:
        assert state_of(client) is State.CLOSED


async def talk(client: Client) -> None:
    """Long enough to be compressed."""
    for _ in range(2):
        await client.writer.send("x" * 5000)
        assert await client.receive() == "x" * 5000
    await client.writer.ping(b"ping")


async def settled(loop: Loop) -> None:
    """Let what has begun end."""
    for _ in range(20):
        await loop.checkpoint()


@pytest.mark.parametrize("closes", ["server", "client"])
@on_each_loop
async def test_after_a_clean_close(loop: Loop, closes: str) -> None:
    async def on_connection(client: Client) -> None:
        await echo_with_everything(client)

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            await client.close()

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            async with connect(uri(server)) as client:
                await talk(client)
                if closes == "server":
                    await client.writer.pong(4, b"pong")
                    assert [message async for message in client] == []

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_after_long_messages(loop: Loop) -> None:
    """Whose reads take turns with those of others."""
    messages = [bytes(10**6)] * 3

    async def on_connection(client: Client) -> None:
        async for message in client:
            await client.writer.send(message)

    options: dict[str, Any] = {"compression": None, "read_limit": 2**22}
    async with loop.serving(on_connection, **options) as server:

        async def visit() -> None:
            async with connect(uri(server), **options) as client:
                for message in messages:
                    await client.writer.send(message)
                    assert await client.receive() == message

        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_with_instruments(loop: Loop) -> None:
    """They get the bytes that wait."""
    statistics = Statistics()

    async def on_connection(client: Client) -> None:
        await echo_with_everything(client)
        await client.writer.send(bytes(10**6), compress=False)

    async with loop.serving(on_connection, instruments=[statistics]) as server:

        async def visit() -> None:
            async with connect(uri(server), instruments=[statistics]) as client:
                assert len(await client.receive()) == 10**6
                await talk(client)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_with_debug(loop: Loop) -> None:
    """What shows the bytes goes with them."""
    logger = logging.Logger("a test's own", logging.DEBUG)
    async with loop.serving(echo_with_everything, logger=logger) as server:

        async def visit() -> None:
            async with connect(uri(server), logger=logger) as client:
                await talk(client)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_sockets
async def test_with_tls(loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    for_server, for_client = contexts
    async with loop.serving(echo_with_everything, certs=for_server) as server:

        async def visit() -> None:
            async with connect(uri(server, tls=True), ssl=for_client) as client:
                await talk(client)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_after_a_loss(loop: Loop) -> None:
    """Within a message that a callback reads."""
    raised: list[int] = []

    async def on_connection(client: Client) -> None:
        await echo_with_everything(client)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            try:
                await reader.get()
            except ConnectionClosed as closed:
                raised.append(int(closed.code))

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            async with connect(uri(server)) as client:
                client._session.core.send_fragment("x", False)
                client._session.outbox.flush()
                await settled(loop)
                client._session.pipe.abort()
                with pytest.raises(ConnectionClosed):
                    await client.receive()

        await visit()
        await loop.until(lambda: raised)
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()
            await loop.until(lambda: len(raised) == CONNECTIONS + 1)
    assert set(raised) == {1006}


def stream(client: Client) -> socket.socket:
    found: socket.socket = client._session.pipe.info("socket")
    return found


@pytest.mark.parametrize("tls", [False, True])
@on_sockets
async def test_after_a_reset(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], tls: bool
) -> None:
    server_tls, client_tls = contexts
    options: dict[str, Any] = {"certs": server_tls} if tls else {}
    async with loop.serving(echo_with_everything, **options) as server:

        async def visit() -> None:
            async with connect(uri(server, tls), ssl=client_tls if tls else None) as client:
                await talk(client)
                linger = struct.pack("ii", 1, 0)
                stream(client).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client._session.pipe.abort()

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_sockets
async def test_after_a_send_that_fails(loop: Loop) -> None:
    """The peer resets the stream, and a callback sends before anything has noticed that."""
    ended: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            fd = os.dup(stream(client).fileno())
            with socket.socket(fileno=fd) as same:
                same.shutdown(socket.SHUT_RDWR)
            await client.writer.send("late")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            ended.append(code)

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            async with connect(uri(server)) as client:
                await client.writer.send("now")
                with pytest.raises(ConnectionClosed):
                    await client.receive()

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()
    assert ended == [1006] * (CONNECTIONS + 1)


@on_sockets
async def test_after_an_error_of_tls(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], log: Log
) -> None:
    server_tls, client_tls = contexts
    async with loop.serving(echo_with_everything, certs=server_tls) as server:

        async def visit() -> None:
            async with connect(uri(server, True), ssl=client_tls) as client:
                await talk(client)
                os.write(stream(client).fileno(), b"not a record " * 10)
                with pytest.raises(ConnectionClosed):
                    await client.receive()

        await visit()
        log.records.clear()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()
                log.records.clear()  # a record of logging has the error


@pytest.mark.parametrize("how", ["untrusted", "garbage", "too late"])
@on_sockets
async def test_after_a_handshake_of_tls_that_fails(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext], how: str
) -> None:
    """Neither the server's end nor ours is left."""
    timeout = 0.01 if how == "too late" else 10
    async with loop.serving(certs=contexts[0], open_timeout=timeout) as server:
        sessions = server._acceptor._sessions

        async def visit() -> None:
            if how == "untrusted":
                with pytest.raises(ConnectionError, match="certificate"):
                    async with connect(uri(server, True)):
                        raise AssertionError("it was trusted")
                return
            with socket.create_connection((str(server.addr), server.port)) as peer:
                await loop.until(lambda: sessions)
                if how == "garbage":
                    peer.send(b"GET / HTTP/1.1\r\n\r\n")
                await loop.until(lambda: not sessions)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on("asyncio", "uvloop", "trio", "anyio-on-asyncio", "anyio-on-trio")
async def test_after_a_time_limit(loop: Loop) -> None:
    """Of receive(), and of the wait for a pong."""
    passed: list[str] = []

    async def on_connection(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0.001)
        pong = client._session.outbox.send_ping(None)
        with pytest.raises(TimeoutError):
            await pong.within(0.001)
        passed.append("")
        async for message in client:
            await client.writer.send(message)

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            passed.clear()
            async with connect(uri(server)) as client:
                client._session.pipe.pause_reading()
                await loop.until(lambda: passed)
                client._session.pipe.resume_reading()
                await talk(client)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on("asyncio", "uvloop", "trio", "anyio-on-asyncio", "anyio-on-trio")
async def test_after_a_callback_whose_last_wait_was_cancelled(loop: Loop) -> None:
    """As by a time limit of its own; on trio any sleep ends so."""
    over: list[str] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get(str)
            runtime = client._session.runtime
            with pytest.raises(TimeoutError):
                async with runtime.timeout_at(runtime.now() + 0.001):
                    await loop.signal().wait()
            over.append(message)

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            over.clear()
            async with connect(uri(server)) as client:
                await client.writer.send("once")
                await loop.until(lambda: over)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_sockets
async def test_after_a_request_that_did_not_come_in_time(loop: Loop) -> None:
    async with loop.serving(open_timeout=0.01) as server:
        sessions = server._acceptor._sessions

        async def visit() -> None:
            with socket.create_connection((str(server.addr), server.port)) as peer:
                await loop.until(lambda: select([peer], [], [], 0)[0])  # the 408
            await loop.until(lambda: not sessions)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_after_a_refused_handshake(loop: Loop) -> None:
    async with loop.serving(process_request=lambda request: Response(401)) as server:

        async def visit() -> None:
            with pytest.raises(HandshakeError):
                async with connect(uri(server)):
                    raise AssertionError("it was accepted")

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_sockets
async def test_after_an_attempt_that_fails(loop: Loop, nobody: Where) -> None:
    async with loop.serving() as server:

        async def visit() -> None:
            with pytest.raises(ConnectionRefusedError):
                async with connect(f"ws://127.0.0.1:{nobody[1]}/"):
                    raise AssertionError("somebody listens")

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_each_loop
async def test_a_client_that_is_kept(loop: Loop) -> None:
    """It is closed in every respect, and gives what has come."""
    kept: list[Client] = []

    async def on_connection(client: Client) -> None:
        kept.append(client)
        await client.writer.send("first")
        await client.writer.send("second")

    async with loop.serving(on_connection) as server:
        async with connect(uri(server), close_timeout=0.1) as client:
            await loop.until(lambda: len(client._session.inbox._waiting) == 2)
            kept[0]._session.pipe.abort()
            await loop.until(lambda: state_of(client) is State.CLOSED)
            assert await client.receive() == "first"
            assert await client.receive() == "second"
        await loop.until(lambda: not server._acceptor._sessions)
        [other] = kept
        for one in (client, other):
            assert one._session.client is one
            assert one.state is State.CLOSED
            assert one.writer.closed
            with pytest.raises(ConnectionClosed) as caught:
                await one.writer.send("late")
            assert caught.value.code == 1006
            assert caught.value.client is one
            await one.close()
            one.max_message_size = 10
        for one in (client, other):
            with pytest.raises(ConnectionClosed, match="1006"):
                await one.receive()
        assert client.id > 0


@on_own_streams
async def test_a_callback_that_is_registered_late(loop: Loop) -> None:
    """It still gets what waits."""
    got: list[str | bytes] = []
    kept: list[Client] = []

    async def on_connection(client: Client) -> None:
        kept.append(client)
        await client.writer.send("first")

    async with (
        loop.serving(on_connection) as server,
        connect(uri(server), close_timeout=0.1) as client,
    ):
        await loop.until(lambda: client._session.inbox._waiting)
        kept[0]._session.pipe.abort()
        await loop.until(lambda: state_of(client) is State.CLOSED)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append(await reader.get())
            await client.close()

        await loop.until(lambda: got == ["first"])


@on_own_streams
async def test_what_callbacks_share_ends_too(loop: Loop) -> None:
    """The context of the callbacks, in which many programs keep the client."""
    current: ContextVar[Client] = ContextVar("current")

    async def on_connection(client: Client) -> None:
        current.set(client)
        await echo_with_everything(client)

    async with loop.serving(on_connection) as server:

        async def visit() -> None:
            async with connect(uri(server)) as client:
                await talk(client)

        await visit()
        async with Freed(loop, server):
            for _ in range(CONNECTIONS):
                await visit()


@on_own_streams
async def test_compression_ends_with_the_stream(loop: Loop) -> None:
    """However long a callback takes."""
    may_end = loop.signal()

    async def on_connection(client: Client) -> None:
        await client.writer.send(await client.receive())
        await may_end.wait()

    async with loop.serving(on_connection, close_timeout=0.1) as server:
        async with connect(uri(server)) as client:
            await client.writer.send("x" * 5000)
            assert await client.receive() == "x" * 5000
            [session] = server._acceptor._sessions
            core = session.core
            assert core._encoders
            assert core._parser._all_decoders
            client._session.pipe.abort()
        await loop.until(lambda: session.lost)
        assert not core._encoders
        assert not core._parser._all_decoders
        assert session.callbacks.running
        may_end.set()
