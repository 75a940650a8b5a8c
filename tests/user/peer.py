"""The other end of a connection, made by hand: a plain socket, a handshake, masked frames."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88  # first bytes, FIN included

TIMEOUT = 10  # seconds that any of our calls may take

# The key of RFC 6455 section 1.3, and what it must be answered with.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = (
    "GET /chat HTTP/1.1\r\n"
    "Host: localhost\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "\r\n"
).encode()

MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """A frame that the server sent."""

    first: int
    payload: bytes


class Peer:
    """A client. `tls` wraps its socket, and shakes hands at once."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.name: tuple[str, int] = self.socket.getsockname()
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._input = self.socket.makefile("rb")

    def __str__(self) -> str:
        return "{}:{}".format(*self.name)

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end only."""
        return self._input.read(size)

    def read_to_end(self) -> bytes:
        """All that still comes."""
        return self._input.read()

    def shake_hands(self) -> None:
        """Become a WebSocket."""
        self.send(REQUEST)
        assert self._input.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        head = []
        while (line := self._input.readline()) != b"\r\n":
            head.append(line.decode().rstrip())
        assert f"Sec-WebSocket-Accept: {ACCEPT}" in head

    def send_frame(self, first: int, payload: bytes) -> None:
        """A frame, masked as a client's must be."""
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 65536:
            length = struct.pack("!BH", 0x80 | 126, size)
        else:
            length = struct.pack("!BQ", 0x80 | 127, size)
        keys = (MASK * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload) ^ int.from_bytes(keys)).to_bytes(size)
        self.send(bytes([first]) + length + MASK + masked)

    def send_text(self, text: str) -> None:
        """A text message."""
        self.send_frame(TEXT, text.encode())

    def receive(self) -> Frame:
        """The next frame."""
        first, size = self.read(2)
        if size == 126:
            [size] = struct.unpack("!H", self.read(2))
        elif size == 127:
            [size] = struct.unpack("!Q", self.read(8))
        assert size < 2**62, "a server's frame is not masked"
        payload = self.read(size)
        assert len(payload) == size
        return Frame(first, payload)

    def receive_close(self) -> tuple[int, str]:
        """The server's Close: code and reason."""
        first, payload = self.receive()
        assert first == CLOSE, f"{payload!r} came before the Close"
        return int.from_bytes(payload[:2]), payload[2:].decode()

    def close(self, code: int = 1000) -> None:
        """The closing handshake, begun here."""
        self.send_frame(CLOSE, code.to_bytes(2))
        assert self.receive_close() == (code, "")
        self.end()

    def closed_by_server(self) -> int:
        """The closing handshake, begun there; returns the code."""
        code, _ = self.receive_close()
        self.send_frame(CLOSE, code.to_bytes(2))
        self.end()
        return code

    def end(self) -> None:
        """The server ends the stream (RFC 6455 section 7.1.1), and so do we."""
        assert self.read_to_end() == b""
        self.leave()

    def reset(self) -> None:
        """Leave without a word: the other side sees a connection reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()

    def gone(self) -> bool:
        """Wait for the server to let go of the stream, whatever it says before."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            pass
        return True

    def leave(self) -> None:
        """Let go of the socket."""
        self._input.close()
        self.socket.close()


@contextmanager
def dialled(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A peer whose byte stream stands."""
    peer = Peer(port, tls)
    try:
        yield peer
    finally:
        peer.leave()


@contextmanager
def connected(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """A peer past its opening handshake."""
    with dialled(port, tls) as peer:
        peer.shake_hands()
        yield peer
