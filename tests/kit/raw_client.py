"""A client that does only what a test says: what it sends and receives, without its byte stream."""

import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, TEXT, Frame, parse
from wscore import (
    Accepted,
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    Refused,
    Response,
)


class RawClient(ABC):
    """The client's end of a connection. What it sends leaves at once.

    The core writes for it, and parses the handshake; the frames that come are parsed without the
    core. By itself it does nothing but answer a Close, which can be switched off.
    """

    def __init__(self, core: ClientConnection) -> None:
        self.core = core
        self.answers_close = True
        self.frames: deque[Frame] = deque()
        """The frames that have come and were not taken yet."""
        self.answered: Accepted | Refused | None = None
        """How the core understood the response to the handshake."""
        self.at_eof = False
        """The server ended its half, or the connection is lost."""
        self.head = b""
        """The head of the 101 response; all bytes that came if the response is not a 101."""
        self._fault: ConnectionFailed | None = None
        self._switched = False
        self._unread = bytearray()
        self._inflater = zlib.decompressobj(-15)
        self._gathering = False
        self._request = core.data_to_send()
        self._unsent = b""

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Write to the byte stream."""

    # Sending.

    def handshake(self) -> None:
        """Send the opening request."""
        self._flush(self._request)

    def send(self, data: str | bytes) -> None:
        """Send a message in one frame."""
        self.core.send_message(data)
        self._flush()

    def part(self, data: str | bytes, last: bool = False) -> None:
        """Send a fragment."""
        self.core.send_fragment(data, last)
        self._flush()

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self.core.send_ping(payload)
        self._flush()

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong."""
        self.core.send_pong(payload)
        self._flush()

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a Close."""
        self.core.send_close(code, reason)
        self._flush()

    def acknowledge(self) -> None:
        """Answer the server's Close, or its violation of the protocol."""
        self.core.acknowledge_close()
        self._flush()

    def raw(self, data: bytes) -> None:
        """Send any bytes."""
        self._flush(data)

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """Write what is sent in the block at its end, so that it arrives in one read."""
        self._gathering = True
        try:
            yield
        finally:
            self._gathering = False
            self._flush()

    def _flush(self, data: bytes = b"") -> None:
        self._unsent += self.core.data_to_send() + data
        if self._unsent and not self._gathering:
            data, self._unsent = self._unsent, b""
            self._write(data)

    # Receiving.

    @property
    def response(self) -> Response | None:
        """The response to the handshake."""
        return None if self.answered is None else self.answered.response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        assert isinstance(self.answered, Accepted), self.answered
        return self.answered.subprotocol

    def take(self, data: bytes | memoryview) -> None:
        """Handle bytes from the server."""
        events = self.core.receive_data(data)
        while self.core.more:
            events += self.core.receive_data(b"")
        for event in events:
            if isinstance(event, Accepted | Refused):
                self.answered = event
            elif isinstance(event, ConnectionFailed):
                self._fault = event
            elif isinstance(event, CloseReceived) and self.answers_close and self.core.owes_close:
                self.acknowledge()
        if not self._switched:
            self.head += data
            head, blank, data = self.head.partition(b"\r\n\r\n")
            if blank and head.startswith(b"HTTP/1.1 101 "):
                self._switched = True
                self.head = head
        if self._switched:
            self._unread += data
            while (parsed := parse(self._unread)) is not None:
                assert not parsed.key, "a server must not mask"
                del self._unread[: parsed.size]
                self.frames.append(parsed.frame)

    def take_eof(self) -> None:
        """Handle the end of the server's half."""
        for event in self.core.receive_eof():
            if isinstance(event, Refused):
                self.answered = event
        self.at_eof = True

    def _message(self, frames: list[Frame]) -> str | bytes:
        """The message in these frames, which are all of it."""
        first, *others = frames
        assert first.opcode in (TEXT, BINARY), first
        assert all(frame.opcode == CONTINUATION for frame in others), frames
        assert not any(frame.first & 0x30 for frame in frames), frames
        payload = b"".join(frame.payload for frame in frames)
        if first.compressed:
            payload = self._inflater.decompress(payload + b"\x00\x00\xff\xff")
        return payload.decode() if first.opcode == TEXT else payload

    @staticmethod
    def _close(frame: Frame) -> tuple[int, str]:
        """The code and reason of a Close."""
        assert frame.first == FIN | CLOSE, frame
        if not frame.payload:
            return 1005, ""
        return int.from_bytes(frame.payload[:2]), frame.payload[2:].decode()
