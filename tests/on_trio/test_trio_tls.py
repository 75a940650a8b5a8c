"""A TLS peer that leaves without a word, or stops during its handshake; the peer is trio's TLS."""

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
import trustme
from closes import Closes

from kit.handshake import acceptance
from kit.stream_peer import StreamPeer
from wstransports import Client, ConnectionClosed, Reasons, WebSocketServer, connect

# A TLS record of a handshake, cut off in the middle.
CLIENT_HELLO = bytes.fromhex("16030102000100")


class Certificates(NamedTuple):
    """What both sides need."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls() -> Certificates:
    """For 127.0.0.1."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return Certificates(server, client)


Stream = trio.SSLStream[trio.SocketStream]
Leave = Callable[[Stream], Awaitable[None]]


async def close(stream: Stream) -> None:
    """TCP alone, without close_notify."""
    await stream.transport_stream.aclose()


async def reset(stream: Stream) -> None:
    """As the system does for a process that is killed with unread input."""
    linger = struct.pack("ii", 1, 0)
    stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await stream.transport_stream.aclose()


async def end_tls(stream: Stream) -> None:
    """close_notify, and TCP stays open beneath until the other side closes it too."""
    transport, _ = await stream.unwrap()
    assert await transport.receive_some() == b""
    await transport.aclose()


each_way = pytest.mark.parametrize("leave", [close, reset, end_tls])


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test with a clock that jumps while nothing happens; no task may remain."""

    async def bounded() -> None:
        tasks = trio.lowlevel.current_statistics().tasks_living
        await main()
        assert trio.lowlevel.current_statistics().tasks_living == tasks

    trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0.05))


# A client that leaves.


@asynccontextmanager
async def serving(
    tls: Certificates, open_timeout: float = 10
) -> AsyncIterator[tuple[WebSocketServer, Closes]]:
    """An echo, and how its clients end; it still serves when the test is over."""
    server = WebSocketServer("127.0.0.1", 0, tls.server, open_timeout=open_timeout)
    closes = Closes()

    @server.connection
    async def on_connection(client: Client) -> None:
        await closes.follow(client)
        async for message in client:
            await client.writer.send(message)

    async with server:
        yield server, closes
        async with connect(f"wss://127.0.0.1:{server.port}", ssl=tls.client) as client:
            await client.writer.send("still here?")
            assert await client.receive() == "still here?"


@each_way
@pytest.mark.parametrize("sent", [b"", b"\x01\x82\x00\x00\x00\x00ab", b"\x82\x85\x00"])
def test_a_client_that_leaves(
    leave: Leave, sent: bytes, tls: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """After no frame, after a fragment, and within a frame: it is lost at once."""

    async def main() -> None:
        async with serving(tls) as (server, closes):
            begun = trio.current_time()
            tcp = await trio.open_tcp_stream("127.0.0.1", server.port)
            stream = Stream(tcp, tls.client, server_hostname="127.0.0.1")
            await StreamPeer(stream).handshake()
            if sent:
                await stream.send_all(sent)
            await leave(stream)
            await closes.any.wait()
            assert [code for code, _ in closes.reported] == [Reasons.ABNORMAL_CLOSE]
            assert trio.current_time() == begun

    run(main)
    assert "raised" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("sent", [b"", CLIENT_HELLO])
def test_a_client_that_stops_during_the_handshake(sent: bytes, tls: Certificates) -> None:
    async def main() -> None:
        async with serving(tls, open_timeout=7) as (server, _):
            begun = trio.current_time()
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            if sent:
                await stream.send_all(sent)
            assert await stream.receive_some() == b""
            assert 7 <= trio.current_time() - begun < 8
            await stream.aclose()

    run(main)


def test_a_server_waits_for_no_handshake_at_its_end(tls: Certificates) -> None:
    async def main() -> None:
        async with serving(tls) as (server, _):
            begun = trio.current_time()
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            await stream.send_all(CLIENT_HELLO)
            await trio.testing.wait_all_tasks_blocked(0.01)  # it is accepted, and waited for
        assert await stream.receive_some() == b""
        assert trio.current_time() == begun
        await stream.aclose()

    run(main)


# A server that leaves.

Talk = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    """A server that does with its connections what `talk` says; its address."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, talk, [listener])
        yield f"wss://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@each_way
@pytest.mark.parametrize("sent", [b"", b"\x01\x02ab", b"\x82\x05a"])
def test_a_server_that_leaves(leave: Leave, sent: bytes, tls: Certificates) -> None:
    """Receivers and senders get the error, and the block's end waits for nothing."""

    async def talk(tcp: trio.SocketStream) -> None:
        stream = Stream(tcp, tls.server, server_side=True)
        await stream.send_all(acceptance(await StreamPeer(stream).head()) + sent)
        await leave(stream)

    async def main() -> None:
        begun = trio.current_time()
        async with listening(talk) as uri, connect(uri, ssl=tls.client) as client:
            with pytest.raises(ConnectionClosed, match="1006"):
                await client.receive()
            with pytest.raises(ConnectionClosed, match="1006"):
                await client.writer.send("x")
        assert trio.current_time() == begun

    run(main)


@pytest.mark.parametrize("how", ["time is over", "cancelled"])
def test_a_server_that_stops_during_the_handshake(how: str, tls: Certificates) -> None:
    """`open_timeout` bounds it, and so does a scope; nothing is left open."""

    async def talk(tcp: trio.SocketStream) -> None:
        while await tcp.receive_some():
            pass
        left.set()

    async def main() -> None:
        begun = trio.current_time()
        async with listening(talk) as uri:
            with trio.move_on_after(5 if how == "cancelled" else 100) as scope:
                with pytest.raises(TimeoutError, match="took longer than 7 s"):
                    await connect(uri, ssl=tls.client, open_timeout=7).__aenter__()
            assert scope.cancelled_caught is (how == "cancelled")
            assert trio.current_time() - begun == pytest.approx(5 if scope.cancelled_caught else 7)
            await left.wait()

    left = trio.Event()
    run(main)
