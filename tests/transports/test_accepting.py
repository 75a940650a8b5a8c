"""Failures to accept: most often no file descriptor is left. One line a second, none afterwards."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest
import trustme

from kit.asyncio_pipes import WatchesNoSockets
from kit.certificates import client_context, server_context
from kit.log import Log
from kit.loops import AsyncioLoop, Loop, echo, on, on_sockets
from wstransports import WebSocketServer, connect
from wstransports.adapters.asyncio_socket import AsyncioSocketPipe
from wstransports.adapters.socket_listener import QUIET, RETRY, SocketListener
from wstransports.adapters.tls_handshake import TlsHandshake
from wstransports.address import Address
from wstransports.connection.session import Session
from wstransports.listening_sockets import ListeningSockets
from wstransports.log_limit import MOST, LogLimit
from wstransports.runtime import Sink, running
from wstransports.testing.memory import MemoryRuntime

NO_DESCRIPTOR = os.strerror(errno.EMFILE)
LINE = f"cannot accept a connection: {NO_DESCRIPTOR}"


class Exhausted(socket.socket):
    """A listening socket of a process that may have no descriptor left."""

    exhausted = True
    tries = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """As the system's."""
        self.tries += 1
        if self.exhausted:
            raise OSError(errno.EMFILE, NO_DESCRIPTOR)
        return super().accept()


@pytest.fixture
def exhausted() -> Iterator[Exhausted]:
    """One that listens."""
    with Exhausted() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def messages(log: Log) -> list[str]:
    """What was logged, which names no client."""
    taken, log.records = log.records, []
    assert not any(record.exc_info for record in taken)
    return [record.getMessage() for record in taken]


@on_sockets
async def test_clients_are_accepted_when_there_are_descriptors_again(
    loop: Loop, log: Log, exhausted: Exhausted
) -> None:
    server = WebSocketServer("127.0.0.1", 0, sock=exhausted)
    server.connection(echo)
    async with server:
        peer = await loop.dial(server)
        began = running().now()
        await loop.until(lambda: exhausted.tries > 3)
        assert running().now() - began > 2 * RETRY  # the loop did not spin
        exhausted.exhausted = False
        peer.handshake()
        assert (await peer.answer()).status == 101
        peer.send("here")
        assert await peer.message() == "here"
        peer.close()
        await peer.closed()
    assert messages(log) == [LINE]


@on_sockets
async def test_nothing_follows_the_end_of_the_block(
    loop: Loop, log: Log, exhausted: Exhausted
) -> None:
    async with WebSocketServer("127.0.0.1", 0, sock=exhausted):
        with socket.create_connection(exhausted.getsockname()):
            await loop.until(lambda: exhausted.tries)
    assert messages(log) == [LINE]
    tries = exhausted.tries
    before = running().now()
    await loop.until(lambda: running().now() > before + 2 * RETRY)
    assert exhausted.tries == tries


@on_sockets
async def test_a_given_socket_that_is_closed_meanwhile(
    loop: Loop, log: Log, exhausted: Exhausted
) -> None:
    async with WebSocketServer("127.0.0.1", 0, sock=exhausted):
        with socket.create_connection(exhausted.getsockname()):
            await loop.until(lambda: exhausted.tries)
        exhausted.close()
        before = running().now()
        await loop.until(lambda: running().now() > before + 2 * RETRY)
    assert messages(log) == [LINE]


def test_one_line_a_second(log: Log, exhausted: Exhausted) -> None:
    now = 100.0

    class Listener(SocketListener):
        """One that a test drives."""

        def _watch(self, sock: socket.socket) -> None:
            """The test calls instead."""

        def _join(self, sink: Sink, accepted: socket.socket, peer: object) -> None:
            """Nothing is accepted."""

    class Clock(MemoryRuntime):
        """One that a test moves."""

        def now(self) -> float:
            return now

    where = Address(None, 0, sock=exhausted)
    listener = Listener(Clock(), ListeningSockets([exhausted]), where, lambda: None)
    for _ in range(25):
        with pytest.raises(OSError, match=NO_DESCRIPTOR):
            listener._accept_waiting(exhausted)
        now += RETRY
    assert messages(log) == [LINE] * 3
    assert now - 100 < 3 * QUIET


@on_sockets
async def test_a_connection_that_left_before_it_was_accepted(loop: Loop, log: Log) -> None:
    """Some systems report it, as ECONNABORTED."""

    class Aborted(socket.socket):
        aborted = True

        def accept(self) -> tuple[socket.socket, Any]:
            aborted, self.aborted = self.aborted, False
            if aborted:
                raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
            return super().accept()

    with Aborted() as sock:
        sock.bind(("127.0.0.1", 0))
        server = WebSocketServer("127.0.0.1", 0, sock=sock)
        async with server:
            peer = await loop.connect(server)
            peer.close()
            await peer.closed()
    assert messages(log) == []


@on_sockets
async def test_a_connection_that_cannot_be_begun(
    loop: Loop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped, with few lines for many of them, and the next one is served."""

    def no_memory() -> None:
        raise MemoryError

    async with loop.serving(echo) as server:
        with monkeypatch.context() as patch:
            patch.setattr(server._acceptor, "_new_core", no_memory)
            patch.setattr(server._listener, "_limit", LogLimit(lambda: 0.0))
            for _ in range(MOST + 2):
                peer = await loop.dial(server)
                await peer.eof()
        records = log.records.copy()
        log.records.clear()
        assert len(records) == MOST
        for record in records:
            assert record.getMessage() == "cannot begin a connection"
            assert record.exc_info
            assert isinstance(record.exc_info[1], MemoryError)
        other = await loop.connect(server)
        other.send("served")
        assert await other.message() == "served"


@pytest.mark.parametrize("tls", [False, True])
@on("asyncio")
async def test_a_socket_that_cannot_be_watched(
    loop: Loop, log: Log, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    """A user may have too many of them. It is forgotten, and the next one is served at once."""
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(*_: Any) -> None:
        raise error

    authority = trustme.CA()
    for_server = server_context(authority, "127.0.0.1") if tls else None
    for_client = client_context(authority) if tls else None
    async with loop.serving(echo, certs=for_server) as server:
        with monkeypatch.context() as patch:
            patch.setattr(AsyncioSocketPipe, "open", full)
            peer = await loop.dial(server)
            await peer.eof()
            await loop.until(lambda: not server._acceptor._sessions)
            url = f"ws{'s' if tls else ''}://127.0.0.1:{server.port}"
            with pytest.raises(OSError, match=error.strerror):
                await connect(url, ssl=for_client, proxy=None)
        other = await loop.connect(server, tls=for_client)
        other.send("served")
        assert await other.message() == "served"
    assert messages(log) == []


def test_a_loop_that_watches_no_sockets(log: Log) -> None:
    """One of its own: clients come one by one, and failures to accept are logged as ever."""

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, max_connections=1)
        server.connection(echo)
        exhausted = Exhausted()
        exhausted.bind(("127.0.0.1", 0))
        failing = WebSocketServer("127.0.0.1", 0, sock=exhausted)
        async with server as listening, failing:
            loop = AsyncioLoop()
            assert cast(Any, listening).get_loop() is asyncio.get_running_loop()
            peer = await loop.connect(server)
            refused = await loop.dial(server)
            await refused.eof()
            assert refused.head.startswith(b"HTTP/1.1 503 ")
            server._acceptor._sessions.may_refuse = lambda: False  # type: ignore[method-assign]
            dropped = await loop.dial(server)
            await dropped.eof()
            assert dropped.head == b""
            peer.send("here")
            assert await peer.message() == "here"
            peer.close()
            await peer.closed()
            late = await loop.dial(failing)
            await loop.until(lambda: exhausted.tries > 1)
        await loop.until(lambda: late.lost)

    with asyncio.Runner(loop_factory=WatchesNoSockets) as runner:
        runner.run(main())
    assert [line.partition(": ")[2] for line in messages(log)] == [
        NO_DESCRIPTOR,  # from the start
        "refused with 503: the server is full or closing",
    ]


def test_a_loop_that_watches_no_sockets_and_makes_no_transport(log: Log) -> None:
    class Full(WatchesNoSockets):
        async def create_connection(self, *arguments: Any, **named: Any) -> Any:
            if "sock" in named:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return await super().create_connection(*arguments, **named)

    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0)
        async with server:
            peer = await AsyncioLoop().dial(server)
            await peer.eof()
            assert not server._acceptor._sessions

    with asyncio.Runner(loop_factory=Full) as runner:
        runner.run(main())
    assert messages(log) == []


class Seen:
    """What the running loop spawns from now on, and the sessions that end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[Any] = []
        self.lost: list[Session] = []
        runtime = running()
        spawn, connection_lost = runtime.spawn, Session.connection_lost

        def noted(coroutine: Any, group: Any = None) -> Any:
            self.started.append(spawn(coroutine, group))
            return self.started[-1]

        def noted_loss(session: Session, error: Exception | None) -> None:
            self.lost.append(session)
            connection_lost(session, error)

        monkeypatch.setattr(runtime, "spawn", noted)
        monkeypatch.setattr(Session, "connection_lost", noted_loss)


@pytest.mark.parametrize("ends", ["the task", "the listener"])
@on_sockets
async def test_what_ends_when_a_tls_handshake_is_complete(
    loop: Loop,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ends: str,
) -> None:
    """Before the task that waits for it goes on: the connection ends once, its handshake is good.

    A loop that ends cancels the task.
    """
    caplog.set_level(logging.INFO, logger="wstransports")
    authority = trustme.CA()
    seen = Seen(monkeypatch)
    end = TlsHandshake.end
    over: list[TlsHandshake] = []

    def end_of_more(handshake: TlsHandshake, error: OSError | None) -> None:
        end(handshake, error)
        if not handshake.pipe._server_side:  # the peer's
            return
        monkeypatch.setattr(TlsHandshake, "end", end)
        over.append(handshake)
        if ends == "the task":
            seen.started[-1].cancel()
        else:
            listener.close()

    monkeypatch.setattr(TlsHandshake, "end", end_of_more)
    async with loop.serving(echo, certs=server_context(authority, "127.0.0.1")) as server:
        listener: Any = server._listener
        peer = await loop.dial(server, tls=client_context(authority))
        await loop.until(lambda: over)
        if ends == "the listener":
            peer.handshake()
            assert (await peer.answer()).status == 101
            peer.close()
            await peer.closed()
    assert len(seen.lost) == 1
    assert "TLS" not in caplog.text


@on_sockets
async def test_a_loop_that_ends_during_a_tls_handshake(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cancels the task that waits for the handshake: the connection ends once."""
    caplog.set_level(logging.INFO, logger="wstransports")
    certs = server_context(trustme.CA(), "127.0.0.1")
    async with loop.serving(echo, certs=certs) as server:
        seen = Seen(monkeypatch)
        await loop.dial(server)  # and sends nothing
        await loop.until(lambda: seen.started)
        await loop.checkpoint()  # the task waits
        seen.started[-1].cancel()
        await loop.until(lambda: seen.lost)
    assert len(seen.lost) == 1
    assert "the TLS handshake failed: the event loop ended" in caplog.text
