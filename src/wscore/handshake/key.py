"""Sec-WebSocket-Key, and the Sec-WebSocket-Accept that answers it (RFC 6455 section 1.3)."""

import re
from binascii import b2a_base64
from hashlib import sha1
from os import urandom

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Base64 of 16 bytes. The last digit's four unused bits may be set: RFC 6455's own example in
# section 4.1 sets one of them ("...EC==").
_KEY = re.compile("[A-Za-z0-9+/]{22}==")


def new_key() -> str:
    """A Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455 section 4.1, item 7)."""
    return b2a_base64(urandom(16), newline=False).decode()


def is_key(text: str) -> bool:
    """Whether `text` is base64 of 16 bytes (RFC 6455 section 4.2.1, item 5)."""
    return _KEY.fullmatch(text) is not None


def accept_value(key: str) -> str:
    """The Sec-WebSocket-Accept for a key (RFC 6455 section 4.2.2, item 5.4)."""
    return b2a_base64(sha1(key.encode() + _GUID).digest(), newline=False).decode()
