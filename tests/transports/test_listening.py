"""Where a server listens: its queue, its port in each address family, its Unix path."""

import errno
import fcntl
import os
import socket
import struct
import termios
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit.loops import Loop, echo, on_own_streams, on_sockets
from wstransports import Client, WebSocketServer, listening_sockets
from wstransports.adapters import socket_listener
from wstransports.address import Address
from wstransports.testing import MemoryRuntime

SOMAXCONN = int(Path("/proc/sys/net/core/somaxconn").read_text())


def backlog_of(listening: socket.socket) -> int:
    """The length of a listening socket's queue, as Linux reports it (tcpi_sacked)."""
    found = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int(struct.unpack("8x6I", found)[5])


# --- The queue


@on_sockets
async def test_the_queue_is_long(loop: Loop) -> None:
    async with WebSocketServer("127.0.0.1", 0) as listening:
        assert backlog_of(listening.sockets[0]) == min(4096, SOMAXCONN)


@on_sockets
async def test_the_queue_that_was_asked_for(loop: Loop) -> None:
    async with WebSocketServer("127.0.0.1", 0, backlog=7) as listening:
        assert backlog_of(listening.sockets[0]) == 7


@on_sockets
async def test_a_given_socket_that_listens_keeps_its_queue(loop: Loop) -> None:
    given = socket.create_server(("127.0.0.1", 0), backlog=9)
    async with WebSocketServer(None, 0, sock=given):
        assert backlog_of(given) == 9


@on_sockets
async def test_a_given_socket_that_is_only_bound_listens(loop: Loop) -> None:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    async with WebSocketServer(None, 0, sock=given, backlog=9):
        assert backlog_of(given) == 9


@pytest.mark.parametrize("backlog", [0, -1, 1.5, None, "4096"])
def test_a_backlog_that_is_none_is_named(backlog: Any) -> None:
    with pytest.raises(ValueError, match="backlog must be an int of at least 1, not"):
        WebSocketServer(None, 0, backlog=backlog)


# --- What the kernel holds for a client that reads nothing


def unsent(server: WebSocketServer) -> int:
    """The bytes that the kernel holds for the only client."""
    [session] = server._acceptor._sessions
    found = array("i", [0])
    fcntl.ioctl(session.pipe.info("socket").fileno(), termios.TIOCOUTQ, found)
    return found[0]


@pytest.mark.parametrize("most", [None, 16384])
@on_sockets
async def test_the_kernel_holds_little_for_a_client_that_reads_nothing(
    loop: Loop, most: int | None
) -> None:
    """By default it holds megabytes before a send has to wait."""

    async def on_connection(client: Client) -> None:
        while True:
            await client.writer.send(bytes(65536))

    async with loop.serving(on_connection, notsent_lowat=most, compression=None) as server:
        peer = await loop.dial(server)
        peer.handshake()
        peer.stop_reading()
        await loop.until(lambda: is_full(server))
        held = unsent(server)
        assert held > 2**20 if most is None else held < 2**18
        peer.reset()


@pytest.mark.parametrize("inherited", [True, False])
@on_sockets
async def test_no_connection_waits_for_more_to_send(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, inherited: bool
) -> None:
    """Accepted sockets have TCP_NODELAY from the one that listens, or get it themselves."""
    monkeypatch.setattr(socket_listener, "_INHERITED", inherited)
    async with loop.serving(echo) as server:
        listener: Any = server._listener
        for sock in listener.sockets:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            if not inherited:  # as where the system does not do that
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        await check_accepted(loop, server)


@on_sockets
async def test_a_given_socket_keeps_its_options(loop: Loop) -> None:
    """It may be another program's, too: only what it accepts does not wait for more to send."""
    given = socket.create_server(("127.0.0.1", 0))
    async with loop.serving(echo, sock=given) as server:
        await check_accepted(loop, server)
        assert given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


async def check_accepted(loop: Loop, server: WebSocketServer) -> None:
    """Check that a connection does not wait for more to send."""
    peer = await loop.connect(server)
    [session] = server._acceptor._sessions
    accepted = session.pipe.info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    peer.close()
    await peer.closed()


def is_full(server: WebSocketServer) -> bool:
    """Whether the only client's sends have to wait."""
    return any(session.pipe.full for session in server._acceptor._sessions)


@pytest.mark.parametrize("most", [0, -1, 1.5, "16384"])
def test_a_notsent_lowat_that_is_none_is_named(most: Any) -> None:
    with pytest.raises(ValueError, match="notsent_lowat must be an int of at least 1 or None, not"):
        WebSocketServer(None, 0, notsent_lowat=most)


def test_a_notsent_lowat_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as given, pytest.raises(ValueError, match="set it on the socket"):
        WebSocketServer(None, 0, sock=given, notsent_lowat=16384)
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT")
    with pytest.raises(ValueError, match="this system has no TCP_NOTSENT_LOWAT"):
        WebSocketServer(None, 0, notsent_lowat=16384)


# --- The port

FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@on_sockets
async def test_one_free_port_for_all_families(loop: Loop) -> None:
    server = WebSocketServer(None, 0)
    server.connection(echo)
    async with server as listening:
        assert {sock.family for sock in listening.sockets} == set(FAMILIES.values())
        assert {sock.getsockname()[1] for sock in listening.sockets} == {server.port}
        for host in FAMILIES:
            server.addr = host
            peer = await loop.connect(server)
            peer.send(host)
            assert await peer.message() == host
            peer.close()
            await peer.closed()


def failing(
    monkeypatch: pytest.MonkeyPatch, number: int, fails: Callable[[int], bool]
) -> list[int]:
    """Have bind() fail with `number` for IPv6 where `fails` says so; returns the ports tried."""
    bound = listening_sockets._bound
    tried: list[int] = []

    def bind(family: int, address: tuple[Any, ...], reuse_port: bool) -> socket.socket:
        if family == socket.AF_INET6:
            tried.append(address[1])
            if fails(len(tried)):
                raise OSError(number, os.strerror(number))
        return bound(family, address, reuse_port)

    monkeypatch.setattr(listening_sockets, "_bound", bind)
    return tried


@on_sockets
async def test_a_port_that_is_in_use_in_the_other_family(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, errno.EADDRINUSE, lambda attempt: attempt < 3)
    async with WebSocketServer(None, 0) as listening:
        assert len(listening.sockets) == 2
        assert len(tried) == 3
        assert listening.sockets[1].getsockname()[1] == tried[-1] > 0


@on_sockets
async def test_no_port_that_is_free_in_both_families(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, errno.EADDRINUSE, lambda attempt: True)
    with pytest.raises(OSError, match=r"cannot listen on \*:0 \(Address already in use\)"):
        await WebSocketServer(None, 0).__aenter__()
    assert len(tried) == listening_sockets.ATTEMPTS


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@on_sockets
async def test_a_machine_without_ipv6(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing(monkeypatch, number, lambda attempt: True)
    async with WebSocketServer(None, 0) as listening:
        [only] = listening.sockets
        assert only.family == socket.AF_INET
    with pytest.raises(OSError, match=f"cannot listen on ::1:0 .{os.strerror(number)}"):
        await WebSocketServer("::1", 0).__aenter__()


@on_sockets
async def test_an_address_that_is_not_here(loop: Loop) -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0 \(Cannot assign"):
        await WebSocketServer("192.0.2.1", 0).__aenter__()


@on_sockets
async def test_a_name_is_looked_up(loop: Loop) -> None:
    server = WebSocketServer("localhost", 0)
    async with server as listening:
        assert {sock.getsockname()[1] for sock in listening.sockets} == {server.port}
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:0"):
        await WebSocketServer("nowhere.invalid", 0).__aenter__()


@on_own_streams
async def test_the_port_of_a_server_that_the_user_closed(loop: Loop) -> None:
    server = loop.server()
    async with server as listening:
        assert listening.is_serving()
        assert listening.address() == ("127.0.0.1", server.port)
        listening.close()
        listening.close()
        assert not listening.is_serving()
        assert server.port == 0


@on_sockets
async def test_a_closed_server_has_no_sockets(loop: Loop) -> None:
    async with loop.server() as listening:
        listening.close()
        assert listening.sockets == ()


@on_sockets
async def test_a_given_socket_that_its_owner_closed(loop: Loop) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    async with WebSocketServer(None, 0, sock=given):
        await loop.checkpoint()
        given.close()


# --- A Unix path


@on_sockets
async def test_a_unix_path_is_removed_at_the_end(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with WebSocketServer(None, 0, unix_path=path):
        assert path.is_socket()
    assert not path.exists()


@on_sockets
async def test_a_relative_unix_path_is_removed_from_elsewhere(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with WebSocketServer(None, 0, unix_path="socket"):
        monkeypatch.chdir("/")
    assert not (tmp_path / "socket").exists()


@on_sockets
async def test_a_unix_path_that_is_another_servers_stays(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        async with WebSocketServer(None, 0, unix_path=path):
            path.rename(tmp_path / "ours")
            other.bind(os.fspath(path))
        assert path.is_socket()


@on_sockets
async def test_a_new_server_takes_a_unix_path_over(loop: Loop, tmp_path: Path) -> None:
    """As in a restart without a gap, or after a server that was killed."""
    path = tmp_path / "socket"
    second = WebSocketServer(None, 0, unix_path=path)
    second.connection(echo)
    async with WebSocketServer(None, 0, unix_path=path):
        async with second:
            peer = await loop.connect(second, unix_path=os.fspath(path))
            peer.send("the second")
            assert await peer.message() == "the second"
            peer.close()
            await peer.closed()
        assert not path.exists()


@on_sockets
async def test_a_unix_path_that_is_removed_already(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with WebSocketServer(None, 0, unix_path=path):
        path.unlink()


@on_sockets
async def test_an_abstract_unix_path(loop: Loop) -> None:
    name = f"\0wstransports-{os.getpid()}"
    async with WebSocketServer(None, 0, unix_path=name):
        with pytest.raises(OSError, match="in use.*: another server listens there") as caught:
            await WebSocketServer(None, 0, unix_path=name).__aenter__()
        assert caught.value.errno == errno.EADDRINUSE


@on_sockets
async def test_a_unix_path_with_a_file_in_the_way(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not ours")
    with pytest.raises(OSError, match="remove the file, or use another path") as caught:
        await WebSocketServer(None, 0, unix_path=path).__aenter__()
    assert "port" not in str(caught.value)
    assert path.read_text() == "not ours"


@on_sockets
async def test_a_unix_path_that_cannot_be(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "missing" / "socket"
    with pytest.raises(OSError, match=f"cannot listen on {path}"):
        await WebSocketServer(None, 0, unix_path=path).__aenter__()


# --- What the block yields


@on_own_streams
async def test_serve_forever_of_what_the_block_yields(loop: Loop) -> None:
    server = loop.server()
    server.connection(echo)

    async def serve() -> None:
        async with server as listening:
            await listening.serve_forever()

    serving = loop.spawn(serve())
    await loop.until(lambda: server.port)
    peer = await loop.connect(server)
    serving.cancel()
    assert await peer.closed() == (1001, "")
    with pytest.raises(loop.cancelled):
        await serving.wait()


@on_own_streams
async def test_leaving_a_block_of_what_the_block_yields(loop: Loop) -> None:
    """asyncio's own Server waits there for the connections, which the outer block ends."""
    server = loop.server()
    server.connection(echo)
    async with server as listening:
        async with listening as same:
            assert same is listening
            await listening.start_serving()
            peer = await loop.connect(server)
        assert not listening.is_serving()
        await listening.wait_closed()
        peer.send("still here")
        assert await peer.message() == "still here"
        for use in (listening.serve_forever, listening.start_serving):
            with pytest.raises(RuntimeError, match="this server is closed"):
                await use()
    assert await peer.closed() == (1001, "")


@on_own_streams
async def test_an_error_in_a_block_of_what_the_block_yields(loop: Loop) -> None:
    with pytest.raises(KeyError):
        async with loop.server() as listening, listening:
            raise KeyError


@on_own_streams
async def test_closing_ends_serve_forever(loop: Loop) -> None:
    async with loop.server() as listening:
        serving = loop.spawn(listening.serve_forever())
        waiting = loop.spawn(listening.wait_closed())
        await loop.checkpoint()
        assert not serving.done
        assert not waiting.done
        listening.close()
        await serving.wait()
        await waiting.wait()


def test_a_connection_in_memory_that_is_closed_at_once() -> None:
    """As `max_connections` has it where many clients are being refused."""
    runtime = MemoryRuntime()

    async def main() -> None:
        await runtime.listen(Address("host", 80), lambda: None)
        with pytest.raises(ConnectionRefusedError, match="the server refused the connection"):
            runtime.open("host", 80)

    runtime.run(main)
