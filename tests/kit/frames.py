"""Frames (RFC 6455 section 5), written and parsed without the library.

The tests hold the library against this file, so it must be as simple as the RFC.
"""

from typing import NamedTuple

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

KEY = b"\x37\xfa\x21\x3d"  # the masking key of the examples in section 5.7


def xor(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (section 5.3): octet i is combined with octet i modulo 4 of the key."""
    size = len(data)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(keys)).to_bytes(size)


class Frame(NamedTuple):
    """A frame, valid or not: its first byte, and its payload without the mask.

    `length` replaces the bytes of the payload length. A `misdirected` frame is masked if it must
    not be, and not masked if it must be.
    """

    first: int
    payload: bytes = b""
    length: bytes | None = None
    misdirected: bool = False

    @property
    def opcode(self) -> int:
        """The kind of frame."""
        return self.first & 0x0F

    @property
    def last(self) -> bool:
        """Whether it ends its message."""
        return self.first >= FIN

    @property
    def compressed(self) -> bool:
        """Whether it begins a compressed message (RFC 7692 section 6)."""
        return self.first & RSV1 != 0

    def encode(self, masked: bool) -> bytes:
        """Its bytes; a client's are `masked`."""
        size = len(self.payload)
        length = self.length
        if length is None:
            if size < 126:
                length = bytes([size])
            elif size < 65536:
                length = b"\x7e" + size.to_bytes(2)
            else:
                length = b"\x7f" + size.to_bytes(8)
        if masked is self.misdirected:
            return bytes([self.first]) + length + self.payload
        length = bytes([length[0] | 0x80]) + length[1:]
        return bytes([self.first]) + length + KEY + xor(self.payload, KEY)


def masked(first: int, payload: bytes = b"") -> bytes:
    """The bytes of a client's frame."""
    return Frame(first, payload).encode(masked=True)


class Parsed(NamedTuple):
    """A frame at the start of some bytes."""

    frame: Frame
    key: bytes
    """The masking key, b"" if the frame is not masked."""
    size: int
    """How many of the bytes belong to the frame."""


def parse(data: bytes | bytearray) -> Parsed | None:
    """The frame that `data` starts with, or None if there is only a part of it."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size > 125:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start])
    key = b""
    if data[1] & 0x80:
        key = bytes(data[start : start + 4])
        start += 4
    if len(data) < start + size:
        return None
    payload = bytes(data[start : start + size])
    return Parsed(Frame(data[0], xor(payload, key) if key else payload), key, start + size)
