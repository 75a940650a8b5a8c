"""`max_connections`: what counts, and how little refused clients take."""

import logging
import os
import re
import socket
from pathlib import Path

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.log import Log
from kit.loops import SOCKETS, Loop, MemoryLoop, echo, on, on_memory, on_sockets
from kit.sockets import open_sockets
from wstransports import WebSocketServer
from wstransports.admission import LINGER, MOST_LINGERING, MOST_OPENING

MOST = 50
CROWD = 300

# What may be open above MOST: those that linger, or shake hands to be refused, and those that were
# accepted in the last turns of the loop, or dropped in them.
MORE = 64


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Crowd:
    """Clients that connect and say nothing."""

    def __init__(self, server: WebSocketServer) -> None:
        self._before = open_sockets()
        self.most = 0
        """The most sockets that the server held."""
        self.received: dict[socket.socket, bytes] = {}
        self.ended = 0
        for _ in range(CROWD):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", server.port))
            self.received[peer] = b""

    def look(self) -> bool:
        """Count, and read; whether all but MOST were sent away."""
        self.most = max(self.most, open_sockets() - self._before - CROWD)
        self.ended = sum(self._has_ended(peer) for peer in self.received)
        return self.ended >= CROWD - MOST

    def _has_ended(self, peer: socket.socket) -> bool:
        try:
            while data := peer.recv(1000):
                self.received[peer] += data
        except BlockingIOError:
            return False
        except ConnectionResetError:
            pass
        return True

    def leave(self) -> None:
        """Close all."""
        for peer in self.received:
            peer.close()


@on(*SOCKETS, slow={"trio"})
async def test_silent_clients_hold_no_more_than_they_may(loop: Loop, log: Log) -> None:
    async with loop.serving(max_connections=MOST) as server:
        crowd = Crowd(server)
        await loop.until(crowd.look)
        assert MOST <= crowd.most <= MOST + MORE
        refused = [data for data in crowd.received.values() if data]
        assert len(refused) == CROWD - MOST
        assert all(data.startswith(b"HTTP/1.1 503 ") for data in refused)
        assert set(log.lines()) == {"refused with 503: the server is full or closing"}
        # Those that do not close are dropped all the same.
        before = open_sockets()
        await loop.until(lambda: len(server._acceptor._sessions) == MOST)
        assert open_sockets() <= before
        crowd.leave()


@on_sockets
async def test_silent_clients_of_tls_hold_no_more_than_they_may(
    loop: Loop, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond the few that get a 503, clients are closed at once."""
    certs = server_context(authority, "127.0.0.1")
    async with loop.serving(max_connections=MOST, certs=certs) as server:
        crowd = Crowd(server)
        await loop.until(lambda: crowd.look() or crowd.ended >= CROWD - MOST - MOST_OPENING)
        assert MOST <= crowd.most <= MOST + MORE
        assert crowd.ended == CROWD - MOST - MOST_OPENING
        assert not any(crowd.received.values())
        crowd.leave()


@on_sockets
async def test_tls_handshakes_count(
    loop: Loop, authority: trustme.CA, caplog: pytest.LogCaptureFixture, log: Log
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    trusting = client_context(authority)
    certs = server_context(authority, "127.0.0.1")
    async with loop.serving(echo, max_connections=1, certs=certs) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            await loop.until(lambda: len(server._acceptor._sessions) == 1)
            refused = await loop.dial(server, tls=trusting)
            refused.handshake()
            assert (await refused.answer()).status == 503
            await refused.eof()
            host, port = silent.getsockname()
        await loop.until(lambda: not server._acceptor._sessions)
        [line] = [line for line in caplog.messages if "TLS" in line]
        assert f" {host}:{port}: the TLS handshake failed: " in line
        assert line.startswith("#")
        peer = await loop.connect(server, tls=trusting)
        peer.send("room")
        assert await peer.message() == "room"
        peer.close()
        await peer.closed()
    assert log.lines() == ["refused with 503: the server is full or closing"]


@on_sockets
async def test_a_tls_handshake_that_takes_too_long(
    loop: Loop, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    certs = server_context(authority, "127.0.0.1")
    async with loop.serving(max_connections=1, certs=certs, open_timeout=0.1) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            silent.setblocking(False)
            await loop.until(lambda: server._acceptor._sessions)
            await loop.until(lambda: not server._acceptor._sessions)
            await loop.until(lambda: has_ended(silent))
    [line] = caplog.messages
    assert ": the TLS handshake failed: " in line


@on_sockets
async def test_a_tls_handshake_that_fails_on_a_unix_path(
    loop: Loop, authority: trustme.CA, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    certs = server_context(authority, "127.0.0.1")
    path = os.fspath(tmp_path / "socket")
    server = WebSocketServer(None, 0, unix_path=path, certs=certs)
    async with server:
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(path)
            await loop.until(lambda: server._acceptor._sessions)
        await loop.until(lambda: caplog.messages)
    [line] = caplog.messages
    assert re.match(r"#\d+: the TLS handshake failed: .", line)


def has_ended(peer: socket.socket) -> bool:
    """Whether the server has closed a connection on which it sends nothing."""
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False


@on_sockets
async def test_the_end_of_the_block_does_not_wait_for_tls_handshakes(
    loop: Loop, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    certs = server_context(authority, "127.0.0.1")
    server = loop.server(certs=certs, open_timeout=0, close_timeout=0)
    await server.__aenter__()
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.setblocking(False)
        await loop.until(lambda: server._acceptor._sessions)
        await server.__aexit__(None, None, None)
        await loop.until(lambda: has_ended(silent))
    [line] = caplog.messages
    assert line.endswith(": the TLS handshake failed: the server stopped listening")


@on_memory
async def test_those_refused_are_dropped_before_close_timeout(loop: MemoryLoop, log: Log) -> None:
    """They get their answer, and have a second to read it and to close."""
    async with loop.serving(max_connections=1, close_timeout=0) as server:
        await loop.connect(server)
        refused = loop.runtime.open("127.0.0.1", server.port)
        await loop.settle()
        assert refused.received_now().startswith(b"HTTP/1.1 503 ")
        assert refused.at_eof
        await loop.advance(LINGER - 0.01)
        refused.write(b"GET")
        await loop.advance(0.02)
        with pytest.raises(OSError, match="reset"):
            refused.write(b"GET")
        assert log.lines() == ["refused with 503: the server is full or closing"]


@on_memory
async def test_those_refused_first_are_dropped_for_others(loop: MemoryLoop, log: Log) -> None:
    async with loop.serving(max_connections=1) as server:
        await loop.connect(server)
        refused = []
        for _ in range(MOST_LINGERING + 2):
            refused.append(loop.runtime.open("127.0.0.1", server.port))
            await loop.settle()
        for end in refused:
            assert end.received_now().startswith(b"HTTP/1.1 503 ")
        assert len(server._acceptor._sessions) == 1 + MOST_LINGERING
        for end in refused[:2]:
            with pytest.raises(OSError, match="reset"):
                end.write(b"GET")
        for end in refused[2:]:
            end.write(b"GET")
        assert len(log.lines()) == len(refused)


@on_sockets
async def test_a_refused_request_gets_its_answer(loop: Loop, log: Log) -> None:
    """Although the request arrives after it: closing at once would reset the connection."""
    async with loop.serving(max_connections=1) as server:
        await loop.connect(server)
        refused = await loop.dial(server)
        await loop.until(lambda: refused.head)
        refused.handshake()
        assert (await refused.answer()).status == 503
        await refused.eof()
        log.lines()
