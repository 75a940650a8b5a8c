"""Clients that do as they like: sockets, and the bytes of handshakes and frames."""

import socket
import struct
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress

from target import Target

from kit.frames import BINARY, FIN, RSV1, Frame
from kit.handshake import KEY

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

TCP_REPAIR = 19  # linux/tcp.h


def request(path: str, fields: bytes = b"") -> bytes:
    """An opening handshake."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    ).encode() + b"%b\r\n" % fields


def connect(
    target: Target, path: str, fields: bytes = b"", receive_buffer: int | None = None
) -> socket.socket:
    """A client past its handshake."""
    connection = target.dial(receive_buffer)
    if target.context is not None:
        connection = target.context.wrap_socket(connection, server_hostname="localhost")
    connection.sendall(request(path, fields))
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(1)
        assert more, f"refused: {head!r}"
        head += more
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def frame(first: int, payload: bytes = b"") -> bytes:
    """A client's frame."""
    return Frame(first, payload).encode(masked=True)


def compressed(data: bytes) -> bytes:
    """A compressed message."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return frame(FIN | RSV1 | BINARY, payload[:-4])


def flood(connections: Sequence[socket.socket], data: bytes, seconds: float, most: int) -> int:
    """Send `data` again and again on all connections, at most `most` bytes on each.

    Nothing is read. Returns how many bytes were sent in all; ends early when nobody takes any.
    """
    view = memoryview(data)
    sent = dict.fromkeys(connections, 0)
    for connection in connections:
        connection.setblocking(False)
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(size < most for size in sent.values()):
        before = sum(sent.values())
        for connection, size in sent.items():
            if size < most:
                with suppress(OSError):
                    sent[connection] += connection.send(view[size % len(data) :])
        if sum(sent.values()) == before:
            time.sleep(0.01)
    for connection in connections:
        connection.settimeout(30)
    return sum(sent.values())


def read_all(connections: Sequence[socket.socket]) -> None:
    """Read what has come, at most 64 KiB each; they never block again."""
    for connection in connections:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            connection.recv(65536)


def reset(connection: socket.socket) -> None:
    """Close the socket such that the server sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def vanish(connection: socket.socket) -> None:
    """Close the socket without a word, where the kernel lets us; else with a reset."""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except PermissionError:
        reset(connection)
    else:
        connection.close()


def echoed(connection: socket.socket, payload: bytes = b"still served?") -> bool:
    """Whether a client at /echo is served."""
    try:
        connection.sendall(frame(FIN | BINARY, payload))
        answer = b""
        while len(answer) < 2 + len(payload):
            more = connection.recv(65536)
            if not more:
                return False
            answer += more
    except OSError:
        return False
    return answer.endswith(payload)


def close_all(connections: Sequence[socket.socket]) -> None:
    """Close the sockets."""
    for connection in connections:
        with suppress(OSError):
            connection.close()
