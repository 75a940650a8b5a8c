"""Masking of payloads (RFC 6455 section 5.3)."""

import sys
from collections.abc import Iterator
from os import urandom
from struct import iter_unpack
from typing import Self

from .speedups import accelerated

# From this size on, tables are used: one integer takes 1.4 times as long for 8 KiB, 1.6 times for
# 32 KiB, and more than twice for 64 KiB to 1 MiB.
_TABLES_FROM = 32768
_XOR = tuple(bytes(byte ^ key for byte in range(256)) for key in range(256))

# Bound once: to look it up twice takes 7 % of the instructions of a message of 32 bytes.
as_number = int.from_bytes

# The bytes of so many keys are read at once.
_BLOCK = 1024


@accelerated
def apply_mask(
    data: bytes | memoryview, key: bytes, start: int = 0, stop: int = sys.maxsize, /
) -> bytes:
    """XOR `data[start:stop]` with the four bytes of `key`, repeated, beginning with its first.

    Masking and unmasking are the same operation.
    """
    data = bytes(data[start:stop])
    size = len(data)
    if size < _TABLES_FROM:
        pad = (key * (size // 4 + 1))[:size]
        number = as_number(data, "little") ^ as_number(pad, "little")
        return number.to_bytes(size, "little")
    masked = bytearray(size)
    for index in range(4):
        masked[index::4] = data[index::4].translate(_XOR[key[index]])
    return bytes(masked)


class MaskKeys:
    """Masking keys from the operating system's random generator (RFC 6455 section 10.3).

    Read in blocks, because a system call for each frame would cost more than the frame. Not a
    generator: the garbage collector may end that before the connection sends its last frame.
    """

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: Iterator[tuple[bytes]] = iter(())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        for (key,) in self._keys:
            return key
        self._keys = iter_unpack("4s", urandom(_BLOCK))
        return next(self)
