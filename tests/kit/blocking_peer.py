"""A raw client on a plain socket, for servers in another thread or process."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from kit.frames import CONTINUATION, Frame
from kit.raw_client import RawClient
from wscore import Accepted, ClientConnection, Response

TIMEOUT = 20  # seconds that any of its calls may take


class BlockingPeer(RawClient):
    """A client that does only what the test says; it answers a Close, which can be switched off.

    `tls` wraps its socket, and does the TLS handshake at once. The other arguments are those of a
    ClientConnection.
    """

    def __init__(
        self, port: int, target: str = "/", *, tls: ssl.SSLContext | None = None, **request: Any
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.name: tuple[str, int] = self.socket.getsockname()
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        super().__init__(ClientConnection(f"localhost:{port}", target, **request))

    def __str__(self) -> str:
        return "{}:{}".format(*self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def _write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if data:
            self.take(data)
        else:
            self.take_eof()

    def connect(self) -> None:
        """Do the opening handshake, which must succeed."""
        self.handshake()
        response = self.answer()
        assert isinstance(self.answered, Accepted), response

    def answer(self) -> Response:
        """The response to the handshake."""
        while self.response is None:
            assert not self.at_eof, "the server left without a response"
            self._receive()
        return self.response

    def frame(self) -> Frame:
        """The next frame; AssertionError if the server has left."""
        while not self.frames:
            assert not self.at_eof, f"the server left, and no frame came: {self._fault}"
            self._receive()
        return self.frames.popleft()

    def message(self) -> str | bytes:
        """The next message, which must be what comes next."""
        frames = [self.frame()]
        while not frames[-1].last:
            frames.append(self.frame())
        return self._message(frames)

    def rest(self) -> bytes:
        """The payload of the frames that are left of a message."""
        frames = [self.frame()]
        while not frames[-1].last:
            frames.append(self.frame())
        assert all(frame.opcode == CONTINUATION for frame in frames), frames
        return b"".join(frame.payload for frame in frames)

    def close_frame(self) -> tuple[int, str]:
        """Code and reason of the server's Close, which must be the next frame."""
        return self._close(self.frame())

    def closed(self) -> tuple[int, str]:
        """Code and reason of the server's Close, which must be the next frame, and the last.

        The server then ends the stream first (RFC 6455 section 7.1.1).
        """
        close = self.close_frame()
        self.end()
        return close

    def finish(self, code: int = 1000, reason: str = "") -> None:
        """Do the closing handshake, begun here."""
        self.close(code, reason)
        assert self.closed() == (code, reason)

    def end(self) -> None:
        """See the server end the stream, and close the socket."""
        while not self.at_eof:
            self._receive()
        assert not self.frames, f"unexpected: {self.frames}"
        self.leave()

    def read_to_end(self) -> bytes:
        """All bytes that still come, whatever they are."""
        data = b""
        while more := self.socket.recv(65536):
            data += more
        return data

    def gone(self) -> bool:
        """Wait until the server has closed the stream, by a reset or not."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            pass
        return True

    def reset(self) -> None:
        """Close the socket such that the server sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.leave()

    def leave(self) -> None:
        """Close the socket."""
        self.socket.close()


@contextmanager
def connected(port: int, tls: ssl.SSLContext | None = None) -> Iterator[BlockingPeer]:
    """A peer that has done its opening handshake."""
    with BlockingPeer(port, tls=tls) as peer:
        peer.connect()
        yield peer
