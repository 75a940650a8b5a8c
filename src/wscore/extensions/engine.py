"""The interface of the module that compresses and decompresses: zlib, or one like it."""

from typing import Protocol, Self


class Compressor(Protocol):
    """What `zlib.compressobj` returns."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress data; returns the output that is ready."""

    def flush(self, mode: int, /) -> bytes:
        """Return the remaining output."""


class Decompressor(Protocol):
    """What `zlib.decompressobj` returns."""

    @property
    def eof(self) -> bool:
        """Whether the end of the final block was reached."""

    @property
    def unused_data(self) -> bytes:
        """The input after the final block."""

    @property
    def unconsumed_tail(self) -> bytes:
        """The input that was not consumed because the output reached its limit."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Decompress data to at most `max_length` bytes."""

    def copy(self) -> Self:
        """An independent copy in the same state."""


class Engine(Protocol):
    """A module like zlib, such as `zlib_ng.zlib_ng`."""

    @property
    def error(self) -> type[Exception]:
        """The exception raised for corrupt data."""

    def compressobj(self, level: int, method: int, bits: int, memory_level: int, /) -> Compressor:
        """A new compressor; `bits` are the window bits, negative for raw DEFLATE."""

    def decompressobj(self, bits: int, /) -> Decompressor:
        """A new decompressor; `bits` as for `compressobj`."""
