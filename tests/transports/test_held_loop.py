"""A loop that is held up: what has arrived meanwhile is read before a deadline is pronounced."""

import select
import socket
import ssl
from functools import partial
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import CLOSE, CONTINUATION, FIN, PING, TEXT
from kit.log import Log
from kit.loops import EACH, OWN_STREAMS, SOCKETS, Loop, MemoryLoop, echo, on, state_of
from kit.peer import Peer
from kit.raw_server import End
from wscore import State
from wstransports import Client, ConnectionClosed, WebSocketReader, WebSocketServer, connect
from wstransports.tls_end import TlsEnd

# The deadline of each test, and how long the loop is held up beyond it, in seconds.
LIMIT = 0.1
HELD = 0.15

# Holding a loop up takes real time.
REAL = {"asyncio", "trio"}
on_each_loop = on(*EACH, slow=REAL)
on_own_streams = on(*OWN_STREAMS, slow=REAL)
on_sockets = on(*SOCKETS, slow=REAL)

# Loops whose tasks run in random order need several chances to fail.
CHANCES = range(3)


def readable(sock: socket.socket) -> bool:
    """Whether something has arrived."""
    return bool(select.select([sock], [], [], 0)[0])


async def pinged(loop: Loop, server: WebSocketServer, **how: Any) -> Peer:
    """A peer that got the server's keepalive ping, and answered it a moment before its deadline."""
    peer = await loop.connect(server, **how)
    if isinstance(loop, MemoryLoop):
        await loop.advance(LIMIT / 2)
    ping = await peer.frame()
    assert ping.opcode == PING
    peer.pong(ping.payload)
    return peer


@on_each_loop
async def test_a_pong_that_came_in_time(loop: Loop, log: Log) -> None:
    async with loop.serving(timeout=LIMIT) as server:
        for _ in CHANCES:
            peer = await pinged(loop, server)
            loop.hold(HELD)
            await peer.nothing()
            peer.reset()
            await loop.until(lambda: not server.clients)
    assert log.lines() == []


@on_sockets
async def test_a_pong_that_came_in_time_over_tls(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    for_server, for_client = contexts
    async with loop.serving(timeout=LIMIT, certs=for_server) as server:
        for _ in CHANCES:
            peer = await pinged(loop, server, tls=for_client)
            loop.hold(HELD)
            await peer.nothing()
            peer.reset()
            await loop.until(lambda: not server.clients)


@on_sockets
async def test_a_tls_handshake_that_came_in_time(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The client's last part of it waits in the kernel when the time is up."""
    for_server, for_client = contexts
    limit = 3 * LIMIT  # a handshake takes a while
    async with loop.serving(certs=for_server, open_timeout=limit) as server:
        sessions = server._acceptor._sessions
        for _ in CHANCES:
            with socket.create_connection((str(server.addr), server.port)) as sock:
                sock.setblocking(False)
                tls = TlsEnd(for_client, False, "127.0.0.1")
                done = tls.handshake(b"")
                sock.send(tls.owed(False))
                while not done:
                    await loop.until(partial(readable, sock))
                    done = tls.handshake(sock.recv(65536))
                sock.send(tls.owed(False))
                loop.hold(limit + HELD)
                await loop.until(lambda: not sessions or not sessions._opening)
                assert len(sessions) == 1
                sock.send(tls.encrypt(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
                answer = b""
                while not answer:  # session tickets come first
                    await loop.until(partial(readable, sock))
                    answer = bytes(tls.decrypt(sock.recv(65536))[0])
                assert answer.startswith(b"HTTP/1.1 426 ")
            await loop.until(lambda: not sessions)


@on_own_streams
async def test_the_loop_is_held_up_in_the_turn_of_the_alarm(loop: Loop) -> None:
    """asyncio polls before it runs timers, so one that runs first may hold up the next."""
    async with loop.serving(timeout=LIMIT) as server:
        for _ in CHANCES:
            peer = await loop.connect(server)
            session = (await only_client(loop, server))._session
            if isinstance(loop, MemoryLoop):
                await loop.advance(LIMIT / 2)
            ping = await peer.frame()
            held = loop.signal()

            def hold(peer: Peer = peer, payload: bytes = ping.payload, held: Any = held) -> None:
                peer.pong(payload)
                loop.hold(HELD)
                held.set()

            session.pipe.call_at(session._alarm._at - 1e-9, hold)
            if isinstance(loop, MemoryLoop):
                await loop.advance(LIMIT / 2)
            await held.wait()
            await peer.nothing()
            peer.reset()
            await loop.until(lambda: not server.clients)


@on_each_loop
async def test_a_request_that_came_in_time(loop: Loop) -> None:
    async with loop.serving(open_timeout=LIMIT) as server:
        for _ in CHANCES:
            peer = await loop.dial(server)
            await loop.until(lambda: server._acceptor._sessions)
            peer.handshake()
            loop.hold(HELD)
            assert (await peer.answer()).status == 101
            peer.reset()
            await loop.until(lambda: not server._acceptor._sessions)


@on_each_loop
async def test_a_close_that_came_in_time(loop: Loop) -> None:
    closed: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            closed.append(code)

    async with loop.serving(on_connection, close_timeout=LIMIT) as server:
        for _ in CHANCES:
            peer = await loop.connect(server)
            peer.answers_close = False
            closing = loop.spawn((await only_client(loop, server)).close(3000))
            assert (await peer.frame()).first == FIN | CLOSE
            peer.acknowledge()
            loop.hold(HELD)
            await closing.wait()
            await loop.until(lambda: not server._acceptor._sessions)
    assert closed == [3000] * len(CHANCES)


@on_each_loop
async def test_output_that_was_taken_in_time(loop: Loop) -> None:
    """The peer makes room while the loop is held up, so that nothing has left yet."""
    async with loop.serving(timeout=LIMIT) as server:
        peer = await loop.connect(server, max_message_size=None)
        client = await only_client(loop, server)
        peer.stop_reading()
        sending = loop.spawn(client.writer.send(bytes(10_000_000)))
        await loop.until(lambda: client._session.pipe.full)
        peer.start_reading()
        loop.hold(HELD)
        await loop.until(lambda: peer.pong() or sending.done)  # type: ignore[func-returns-value]
        await sending.wait()


@on_each_loop
async def test_a_piece_of_what_is_fed_that_came_in_time(loop: Loop) -> None:
    """It is a part of a message of the peer, which is fed back."""

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.feed(reader)

    async with loop.serving(on_connection, timeout=LIMIT) as server:
        for _ in CHANCES:
            peer = await loop.connect(server)
            peer.part("be")
            frame = await peer.frame()
            assert frame.payload == b"be"
            peer.part("gun", last=True)
            loop.hold(HELD)
            while frame.opcode in (PING, TEXT):
                frame = await peer.frame()
            assert (frame.first, frame.payload) == (FIN | CONTINUATION, b"gun")
            peer.reset()
            await loop.until(lambda: not server.clients)


@on_each_loop
async def test_a_peer_that_was_silent_all_along_is_dropped(loop: Loop, log: Log) -> None:
    async with loop.serving(echo, timeout=LIMIT) as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        loop.hold(HELD)  # the ping goes out late
        if isinstance(loop, MemoryLoop):
            await loop.advance(LIMIT)
        await loop.until(lambda: peer.lost)
        assert state_of(client) is State.CLOSED
        [line] = log.lines()
        assert "nothing was received" in line
        peer.frames.clear()


@on_own_streams
async def test_connect_takes_an_answer_that_came_in_time(loop: Loop) -> None:
    async def talk(end: End) -> None:
        await end.accept()
        loop.hold(0.5)
        await end.close()

    async with loop.listening(talk) as server:
        for _ in range(2):
            async with connect(server.uri, open_timeout=0.4) as client:
                with pytest.raises(ConnectionClosed):
                    await client.receive()
