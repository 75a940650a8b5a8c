"""Masking of payloads (RFC 6455 section 5.3)."""

import sys
from os import urandom

from .speedups import accelerated

# Integers of this size stay in the processor's cache: 1 MiB at once takes 1.9 times as long.
_BLOCK = 2**15


@accelerated
def apply_mask(
    data: bytes | memoryview, key: bytes, start: int = 0, stop: int = sys.maxsize, /
) -> bytes:
    """XOR `data[start:stop]` with the four bytes of `key`, repeated, beginning with its first.

    Masking and unmasking are the same operation.
    """
    data = bytes(data[start:stop])
    size = len(data)
    if size > _BLOCK:
        return b"".join([apply_mask(data, key, i, i + _BLOCK) for i in range(0, size, _BLOCK)])
    pad = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")
    return masked.to_bytes(size, "little")


class MaskKeys:
    """Masking keys from the operating system's random generator (RFC 6455 section 10.3).

    Read in blocks, because a system call for each frame would cost more than the frame.
    """

    __slots__ = ("_block", "_used")

    _BLOCK = 1024

    def __init__(self) -> None:
        self._block = b""
        self._used = 0

    def next(self) -> bytes:
        """The four bytes of a new key."""
        used = self._used
        if used == len(self._block):
            self._block = urandom(self._BLOCK)
            used = 0
        self._used = used + 4
        return self._block[used : used + 4]
