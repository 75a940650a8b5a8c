"""A worker: what its supervisor orders, what it says, and what its clients see."""

import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trustme

from kit.blocking_peer import connected
from kit.certificates import client_context, server_context
from kit.handshake import REQUEST
from kit.jobs import Job
from kit.loops import Loop, MemoryLoop, on, on_memory, on_own_streams
from kit.raw_server import End
from wstransports import Client, WebSocketServer
from wstransports.acceptor import HANDSHAKE_TIME
from wstransports.address import Address
from wstransports.runtime import running
from wstransports.workers.messages import ACCEPTS_NO_MORE, DRAIN, SERVES, STOP_ACCEPTING, VARIABLE
from wstransports.workers.worker import inherited, work


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """A worker ignores SIGHUP from then on."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


class Post:
    """A worker that serves, and the supervisor's end of its connection."""

    def __init__(self, server: WebSocketServer, end: End, job: Job[None]) -> None:
        self.server = server
        self.end = end
        self.job = job

    async def order(self, *orders: bytes) -> None:
        """Order something."""
        self.end.write(b"".join(orders))

    async def said(self, message: bytes) -> None:
        """See what the worker says next."""
        assert await self.end.read(1) == message


@asynccontextmanager
async def working(loop: Loop, seconds: float = 0, **options: Any) -> AsyncIterator[Post]:
    """A worker that serves, and leaves by itself before the end of the block."""
    server = loop.server(**options)
    ends: list[End] = []
    over = loop.signal()

    async def supervise(end: End) -> None:
        ends.append(end)
        await over.wait()

    async with loop.listening(supervise) as supervisor:
        where = Address(supervisor.host, supervisor.port)
        job = loop.spawn(work(server, server._acceptor, where, seconds))
        await loop.until(lambda: ends)
        post = Post(server, ends[0], job)
        await post.said(SERVES)
        yield post
        await job.wait()
        over.set()


@on_own_streams
async def test_an_order_ends_it(loop: Loop) -> None:
    async with working(loop) as post:
        peer = await loop.connect(post.server)
        await post.order(DRAIN)
        assert await peer.closed() == (1001, "")


@on_own_streams
async def test_its_clients_leave_within_the_time_given(loop: Loop) -> None:
    async with working(loop, 20) as post:
        peer = await loop.connect(post.server)
        await post.order(DRAIN)
        assert await peer.closed() == (1012, "")


@pytest.mark.parametrize("how", ["eof", "reset"])
@on_own_streams
async def test_the_end_of_its_supervisor_ends_it(loop: Loop, how: str) -> None:
    async with working(loop, 20) as post:
        peer = await loop.connect(post.server)
        if how == "eof":
            post.end.pipe.close()
        else:
            post.end.pipe.abort()
        assert await peer.closed() == (1012, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@on_own_streams
async def test_a_signal_ends_it(loop: Loop, number: signal.Signals) -> None:
    async with working(loop, 20) as post:
        peer = await loop.connect(post.server)
        signal.raise_signal(signal.SIGHUP)  # ignored
        signal.raise_signal(number)
        assert await peer.closed() == (1012, "")


@on_own_streams
async def test_replaced_it_stops_accepting_first_and_drains_by_another_order(loop: Loop) -> None:
    async with working(loop, 20) as post:
        peer = await loop.connect(post.server)
        port = post.server.port
        await post.order(STOP_ACCEPTING)
        await post.said(ACCEPTS_NO_MORE)
        with pytest.raises(ConnectionRefusedError):
            await running().connect(Address("127.0.0.1", port), End(lambda end: None))
        await peer.nothing()
        await post.order(DRAIN)
        assert await peer.closed() == (1012, "")


@on_own_streams
async def test_replaced_it_answers_the_handshakes_that_have_begun(loop: Loop) -> None:
    """What has been accepted here cannot go to another worker."""
    async with working(loop, 20) as post:
        peer = await loop.dial(post.server)
        await loop.until(lambda: len(post.server._acceptor._sessions) == 1)
        await post.order(STOP_ACCEPTING, DRAIN)
        await post.said(ACCEPTS_NO_MORE)
        peer.handshake()
        if isinstance(loop, MemoryLoop):
            await loop.settle()
            await loop.advance(0.1)
        assert (await peer.answer()).status == 101
        assert await peer.closed() == (1012, "")


@on_memory
async def test_replaced_it_waits_for_handshakes_for_a_bounded_time(loop: MemoryLoop) -> None:
    async with working(loop, 20, open_timeout=0) as post:
        peer = await loop.dial(post.server)
        peer.raw(REQUEST[:20])
        await loop.settle()
        begun = loop.now()
        await post.order(STOP_ACCEPTING, DRAIN)
        await post.said(ACCEPTS_NO_MORE)
        while not peer.lost:
            await loop.advance(0.05)
        assert loop.now() - begun == pytest.approx(HANDSHAKE_TIME, abs=1.1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """What signs the certificates."""
    return trustme.CA()


@on("asyncio", "trio")
async def test_replaced_it_completes_the_tls_handshakes_that_have_begun(
    loop: Loop, authority: trustme.CA
) -> None:
    async with working(loop, 20, certs=server_context(authority, "localhost")) as post:
        with socket.create_connection(("127.0.0.1", post.server.port)) as stream:
            await loop.until(lambda: len(post.server._acceptor._sessions) == 1)
            await post.order(STOP_ACCEPTING, DRAIN)
            await post.said(ACCEPTS_NO_MORE)
            await running().in_thread(lambda: _conversation(stream, client_context(authority)))


def _conversation(stream: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(stream, server_hostname="localhost") as tls:
        tls.sendall(REQUEST)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += tls.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ")


@on("asyncio", "trio")
async def test_a_listener_that_accepts_no_more_is_closed_by_close(
    loop: Loop, authority: trustme.CA
) -> None:
    server = WebSocketServer("127.0.0.1", 0, server_context(authority, "localhost"))
    async with server as listening:
        with socket.create_connection(("127.0.0.1", server.port)) as stream:
            await loop.until(lambda: len(server._acceptor._sessions) == 1)
            listening.stop_accepting()
            listening.stop_accepting()
            assert not listening.is_serving()
            assert listening.sockets == ()
            closed = loop.spawn(listening.wait_closed())
            await loop.checkpoint()
            assert not closed.done
            listening.close()
            await closed.wait()
            assert await running().in_thread(lambda: _at_its_end(stream))


def _at_its_end(stream: socket.socket) -> bool:
    try:
        return not stream.recv(1)
    except ConnectionResetError:
        return True


# --- What it inherits


def test_a_program_that_no_supervisor_started_inherits_nothing() -> None:
    assert VARIABLE not in os.environ
    assert inherited(Address("127.0.0.1", 0)) is None


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The connection between a supervisor and a worker."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_worker_inherits_sockets(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    descriptors = [theirs.detach(), *(one.detach() for one in listening)]
    monkeypatch.setenv(VARIABLE, " ".join(map(str, [os.getppid(), *descriptors])))
    inheritance = inherited(Address(None, 8765, notsent_lowat=1, backlog=7))
    assert inheritance is not None
    assert VARIABLE not in os.environ  # its own children do not
    where, supervisor = inheritance.listens, inheritance.supervisor
    assert where.backlog == 7
    assert [one.fileno() for one in where.listening] == descriptors[1:]
    assert supervisor.sock is not None
    ours.send(DRAIN)
    assert supervisor.sock.recv(2) == DRAIN
    for one in (*where.listening, supervisor.sock):
        one.close()


def test_what_a_worker_starts_inherits_none_of_its_sockets(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A command that outlives the worker would keep the address in use, and answer nobody."""
    given, other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    descriptors = [pair[1].detach(), given.fileno(), other.detach()]
    for descriptor in descriptors:  # as they come from the supervisor
        os.set_inheritable(descriptor, True)
    monkeypatch.setenv(VARIABLE, " ".join(map(str, [os.getppid(), *descriptors])))
    inheritance = inherited(Address(None, 0, sock=given))
    assert inheritance is not None
    assert inheritance.supervisor.sock is not None
    for one in (*inheritance.listens.listening, inheritance.supervisor.sock):
        assert not one.get_inheritable()
        one.close()


def test_a_socket_that_the_program_has_wrapped_itself_is_used(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """As programs do that are started by systemd: another object would close it as well."""
    given = socket.create_server(("127.0.0.1", 0))
    control = pair[1].detach()
    monkeypatch.setenv(VARIABLE, f"{os.getppid()} {control} {given.fileno()}")
    inheritance = inherited(Address(None, 0, sock=given))
    assert inheritance is not None
    assert inheritance.listens.listening == (given,)
    assert inheritance.supervisor.sock is not None
    inheritance.supervisor.sock.close()
    given.close()


def test_what_was_meant_for_another_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{os.getpid()} 3 4")
    with pytest.raises(RuntimeError, match=f"{VARIABLE} says that process {os.getpid()} started"):
        inherited(Address("127.0.0.1", 0))


@on("asyncio", "uvloop", "trio")
async def test_it_serves_at_all_sockets_that_it_inherits(loop: Loop) -> None:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in listening]
    server = WebSocketServer("127.0.0.1", 0)
    server._address = Address("127.0.0.1", 0, listening=tuple(listening))

    @server.connection
    async def on_connection(client: Client) -> None:
        await client.writer.send("Hello")

    async with server:
        for port in ports:
            assert await running().in_thread(partial(_first_message, port)) == "Hello"


def _first_message(port: int) -> str | bytes:
    with connected(port) as peer:
        return peer.message()
