"""Who deflates and inflates: zlib, or a module like it."""

from typing import Protocol, Self


class Compressor(Protocol):
    """As `zlib.compressobj` makes it."""

    def compress(self, data: bytes, /) -> bytes:
        """Take data; returns what is ready of its output."""

    def flush(self, mode: int, /) -> bytes:
        """Return the rest of it."""


class Decompressor(Protocol):
    """As `zlib.decompressobj` makes it."""

    @property
    def eof(self) -> bool:
        """The final block has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came behind that."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that was not taken for want of room."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take data; returns so many bytes of its output at most."""

    def copy(self) -> Self:
        """Another one that stands where this one does."""


class Engine(Protocol):
    """A module like zlib, such as `zlib_ng.zlib_ng`."""

    @property
    def error(self) -> type[Exception]:
        """What is raised on corrupt data."""

    def compressobj(self, level: int, method: int, bits: int, memory_level: int, /) -> Compressor:
        """A new compressor; `bits` are those of the window, negative for no header."""

    def decompressobj(self, bits: int, /) -> Decompressor:
        """A new decompressor; `bits` as above."""
