"""Peers that break rules get an answer that says why, and the log gets one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kit.blocking_peer import BlockingPeer, connected
from kit.frames import BINARY, CLOSE, FIN, TEXT, Frame
from kit.handshake import KEY, REQUEST
from kit.in_thread import BOTH_LOOPS, NewLoop, serving
from kit.log import one_line
from wstransports import Client, WebSocketReader, WebSocketServer

KiB = 1024


@contextmanager
def next_to_another_client(new_loop: NewLoop) -> Iterator[int]:
    """An echo server's port; at the end, a client that was there before is served as ever."""
    server = WebSocketServer("127.0.0.1", 0, open_timeout=0.5)

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

    with serving(server, new_loop) as port, connected(port) as other:
        yield port
        other.send("still here?")
        assert other.frame() == Frame(FIN | TEXT, b"still here?")
        other.finish()


def lines(*lines: str) -> bytes:
    """A head."""
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


GET, HOST = "GET / HTTP/1.1", "Host: localhost"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")


@pytest.mark.parametrize(
    ("sent", "status", "why"),
    [
        pytest.param(bytes(range(256)) * 10, 400, "not an HTTP/1.1 request", id="bytes"),
        pytest.param(b"\xff", 400, "not an HTTP/1.1 request", id="a byte"),
        pytest.param(b"HELO localhost\r\n", 400, "not an HTTP/1.1 request", id="another protocol"),
        pytest.param(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not an HTTP/1.1 request", id="HTTP/2"
        ),
        pytest.param(lines(GET), 400, "Host", id="no Host"),
        pytest.param(lines(GET, HOST, "no header"), 400, "malformed", id="no header"),
        pytest.param(lines(GET, HOST), 426, "WebSocket", id="GET"),
        pytest.param(
            lines("POST / HTTP/1.1", HOST, "Content-Length: 5") + b"hello", 405, "GET", id="POST"
        ),
        pytest.param(
            lines("POST / HTTP/1.1", HOST, "Content-Length: 1000000") + bytes(1000000),
            405,
            "GET",
            id="POST of 1 MB",
        ),
        pytest.param(
            lines(GET, HOST, "X: " + "x" * 200_000), 431, "32768 bytes", id="a head of 200 kB"
        ),
        pytest.param(
            lines(GET, HOST, *["X: x"] * 200), 431, "128 header lines", id="200 header lines"
        ),
        pytest.param(
            lines("GET /" + "x" * 200_000 + " HTTP/1.1", HOST), 431, "", id="a path of 200 kB"
        ),
        pytest.param(lines(GET, HOST, *UPGRADE), 400, "Sec-WebSocket-Key", id="no key"),
        pytest.param(
            lines(GET, HOST, *UPGRADE[:2], f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 8"),
            426,
            "only WebSocket version 13 is supported",
            id="version 8",
        ),
    ],
)
@BOTH_LOOPS
def test_what_is_not_an_opening_handshake(
    sent: bytes, status: int, why: str, new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with next_to_another_client(new_loop) as port, BlockingPeer(port) as peer:
        peer.raw(sent)
        head, _, body = peer.read_to_end().partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        assert first.startswith(f"HTTP/1.1 {status} ")
        assert f"Content-Length: {len(body)}" in fields
        assert any(field.startswith("Connection: close") for field in fields)
        assert why in body.decode()
        peer.leave()
    line = one_line(caplog)
    assert line.startswith(f"{peer}: ")
    assert why in line


@BOTH_LOOPS
def test_a_request_that_does_not_end(new_loop: NewLoop, caplog: pytest.LogCaptureFixture) -> None:
    with next_to_another_client(new_loop) as port, BlockingPeer(port) as peer:
        peer.raw(REQUEST[:-1])
        assert peer.read_to_end().startswith(b"HTTP/1.1 408 ")
        peer.leave()
    assert one_line(caplog) == f"{peer}: handshake failed: the request did not arrive in time"


@BOTH_LOOPS
@pytest.mark.parametrize("sent", [b"", b"GET", REQUEST[:-1]])
def test_a_peer_that_leaves_before_the_handshake_leaves_no_trace(
    sent: bytes, new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with next_to_another_client(new_loop) as port, BlockingPeer(port) as peer:
        peer.raw(sent)
        peer.leave()
    assert caplog.record_tuples == []


@BOTH_LOOPS
@pytest.mark.parametrize("sent", [b"", b"GET", REQUEST[:-1]])
def test_a_peer_that_resets_before_the_handshake_leaves_one_line_at_most(
    sent: bytes, new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with next_to_another_client(new_loop) as port, BlockingPeer(port) as peer:
        peer.raw(sent)
        peer.reset()
    lost = "handshake failed: the connection was lost during the opening handshake"
    if caplog.records:
        assert one_line(caplog).endswith(lost)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"\x81\x05hello", 1002, id="not masked"),
        pytest.param(b"\xf1\x80" + bytes(4), 1002, id="reserved bits"),
        pytest.param(b"\x83\x80" + bytes(4), 1002, id="reserved opcode"),
        pytest.param(b"\x80\x80" + bytes(4), 1002, id="nothing to continue"),
        pytest.param(b"\x09\x80" + bytes(4), 1002, id="a fragmented ping"),
        pytest.param(b"\x88\x81" + bytes(5), 1002, id="half a close code"),
        pytest.param(b"\x88\x82" + bytes(4) + b"\x03\xed", 1002, id="a code never sent"),
        pytest.param(b"\x81\x81" + bytes(4) + b"\xff", 1007, id="bad UTF-8"),
        pytest.param(
            b"\x82\xff" + bytes(5) + b"\x10\x00\x01" + bytes(4), 1009, id="1 MiB and more"
        ),
        pytest.param(b"\x82\xff\x7f" + b"\xff" * 7, 1009, id="8 EiB"),
        pytest.param(b"\x82\xff\xff" + b"\xff" * 7, 1002, id="63 bits are the most"),
        pytest.param(b"\xff" * 200 * KiB, 1002, id="200 KiB of garbage"),
    ],
)
@BOTH_LOOPS
def test_frames_that_break_the_rules(
    sent: bytes, code: int, new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with next_to_another_client(new_loop) as port, connected(port) as peer:
        peer.answers_close = False
        peer.raw(sent)
        received, reason = peer.close_frame()
        assert received == code
        assert reason
        peer.end()
    assert one_line(caplog) == f"{peer}: failed with {code}, {reason}"


@BOTH_LOOPS
def test_what_came_before_the_fault_is_answered_before_it(
    new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with next_to_another_client(new_loop) as port, connected(port) as peer:
        peer.raw(b"\x82\x81" + bytes(4) + b"1" + b"\x82\x81" + bytes(4) + b"2" + b"\xff\xff")
        assert peer.frame() == Frame(FIN | BINARY, b"1")
        assert peer.frame() == Frame(FIN | BINARY, b"2")
        assert peer.frame().opcode == CLOSE
        peer.end()
    assert one_line(caplog).startswith(f"{peer}: failed with 1002, ")
