"""Protocols without I/O: what it costs to turn a client's bytes into text.

python -m benchmarks.sans_io CONTESTANT SIZE CHUNK SECONDS: text messages of SIZE bytes, one frame
each, arrive CHUNK bytes at a time. All contestants unmask, check UTF-8 and return `str`.
"""

import json
import random
import sys
import time
from collections.abc import Callable

# Returns the messages that a chunk completes, each as one str.
Receive = Callable[[bytes], list[str]]

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MESSAGES = 256  # different messages, if they are small
_ALPHABET = "abcdefghijklmnopqrstuvwxyz    éüß€語"


def wscore() -> Receive:
    """Our core."""
    from wscore import MessagePiece, ServerConnection

    connection = ServerConnection()
    connection.receive_data(_REQUEST)
    connection.accept()
    pieces: list[str] = []

    def receive(data: bytes) -> list[str]:
        texts = []
        events = connection.receive_data(data)
        for event in events:
            assert isinstance(event, MessagePiece) and event.text is not None
            if event.first and event.last:
                texts.append(event.text)
            else:
                pieces.append(event.text)
                if event.last:
                    texts.append("".join(pieces))
                    pieces.clear()
        return texts

    return receive


def websockets() -> Receive:
    """The sans-I/O layer of `websockets`, whose user decodes the text."""
    from websockets.frames import Frame
    from websockets.http11 import Request
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    protocol.receive_data(_REQUEST)
    [request] = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))

    def receive(data: bytes) -> list[str]:
        protocol.receive_data(data)
        texts = []
        for frame in protocol.events_received():
            assert isinstance(frame, Frame) and frame.fin
            texts.append(frame.data.decode())
        return texts

    return receive


def wsproto() -> Receive:
    """The `wsproto` package."""
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import AcceptConnection, TextMessage

    connection = WSConnection(ConnectionType.SERVER)
    connection.receive_data(_REQUEST)
    list(connection.events())
    connection.send(AcceptConnection())
    pieces: list[str] = []

    def receive(data: bytes) -> list[str]:
        connection.receive_data(data)
        texts = []
        for event in connection.events():
            assert isinstance(event, TextMessage)
            pieces.append(event.data)
            if event.message_finished:
                texts.append("".join(pieces))
                pieces.clear()
        return texts

    return receive


def some_text(size: int, source: random.Random) -> str:
    """Text of `size` bytes in UTF-8; a seventh of its characters is not ASCII."""
    text = "".join(source.choices(_ALPHABET, k=size))
    cut = text.encode()[:size].decode(errors="ignore")
    return cut + "." * (size - len(cut.encode()))


def masked(text: str, source: random.Random) -> bytes:
    """A client's frame."""
    payload, key = text.encode(), source.randbytes(4)
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xff" + size.to_bytes(8)
    pad = int.from_bytes((key * (size // 4 + 1))[:size])
    return b"\x81" + length + key + (int.from_bytes(payload) ^ pad).to_bytes(size)


def measure(receive: Receive, size: int, chunk: int, seconds: float) -> tuple[int, float]:
    """Count messages, and the seconds of CPU time that they take, after a check of all texts."""
    source = random.Random(6455)
    texts = [some_text(size, source) for _ in range(min(_MESSAGES, max(1, 2**22 // size)))]
    data = b"".join(masked(text, source) for text in texts)
    chunks = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    assert [text for part in chunks for text in receive(part)] == texts

    messages, start = 0, time.process_time()
    while (taken := time.process_time() - start) < seconds:
        for part in chunks:
            messages += len(receive(part))
    return messages, taken


if __name__ == "__main__":
    libraries = {
        "core": wscore,
        "core-pure": wscore,
        "websockets-core": websockets,
        "wsproto-core": wsproto,
    }
    name, size, chunk, seconds = sys.argv[1:]
    messages, taken = measure(libraries[name](), int(size), int(chunk), float(seconds))
    print(json.dumps({"messages": messages, "server_cpu": taken}))
