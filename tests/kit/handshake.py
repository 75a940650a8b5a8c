"""Opening handshakes (RFC 6455 section 4), written without the library."""

import re
from base64 import b64encode
from hashlib import sha1

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# The key of section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

REQUEST = (
    "GET /chat HTTP/1.1\r\n"
    "Host: localhost\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "\r\n"
).encode()


def accept_value(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return b64encode(sha1(key + GUID).digest())


def acceptance(head: bytes, headers: bytes = b"") -> bytes:
    """The response that accepts an opening handshake; `headers` are complete lines."""
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", head, re.IGNORECASE)
    assert found is not None, head
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept_value(found[1]), headers)
    )
