"""The sources of `writer.feed`: a Buffer or an iterable, as pieces of one message."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Protocol

from wscore import DataType
from wscore.frames import payload_bytes
from wscore.sending import Data
from wscore.utf8 import decode

from ..receiving.buffer import Buffer
from ..receiving.reader import WebSocketReader


class Source(Protocol):
    """Gives the pieces of one message."""

    async def next(self) -> tuple[Data, bool, DataType]:
        """The next piece, whether it is known to be the last, and the message's type."""

    def is_ready(self) -> bool:
        """Whether `next` would not wait, after a call of it that was cancelled."""

    async def close(self) -> None:
        """Release what it holds: no more pieces are needed."""


def open_source(
    source: Buffer | Iterable[Data] | AsyncIterable[Data],
    op_code: DataType | None,
    chunksize: int,
) -> Source:
    """Make the Source for `feed`'s argument. Raises TypeError for other types."""
    if op_code not in (None, DataType.TEXT, DataType.BINARY):
        raise TypeError(f"op_code must be DataType.TEXT, BINARY or None, not {op_code!r}")
    if isinstance(source, Buffer):
        return _BufferSource(source, op_code, chunksize)
    if isinstance(source, str | bytes | bytearray | memoryview):
        raise TypeError("feed() needs a Buffer or an iterable of pieces: use send() for one piece")
    if isinstance(source, AsyncIterable):
        return _AsyncSource(aiter(source), op_code)
    if isinstance(source, Iterable):
        return _IterableSource(iter(source), op_code)
    raise TypeError(
        f"feed() needs a Buffer or an iterable, async or not, not {type(source).__name__}"
    )


_END = object()  # follows the last piece


class _Typing:
    """Converts the pieces of a message to the type of the first, or to `op_code`."""

    def __init__(self, op_code: DataType | None) -> None:
        self._type = op_code
        self._carry = b""

    def typed(self, piece: object, last: bool) -> tuple[Data, bool, DataType]:
        """Convert a piece to the message's type. Raises ValueError for bytes that are not UTF-8 in
        a text message, TypeError for a piece that is neither str nor bytes-like."""
        is_text = isinstance(piece, str)
        if isinstance(piece, str):
            data = piece.encode()
        else:
            data = payload_bytes(piece, "a piece of a message is str (text) or bytes-like (binary)")
        if self._type is None:
            self._type = DataType.TEXT if is_text else DataType.BINARY
        if self._type is DataType.TEXT and not (is_text and not self._carry):
            self._check(data, last)
        return data, last, self._type

    def _check(self, piece: bytes, last: bool) -> None:
        data = self._carry + piece
        _, used = decode(data, last)
        self._carry = data[used:]


class _Passive:
    async def close(self) -> None:
        """Nothing to release."""


class _Iterating:
    def is_ready(self) -> bool:
        """False: a generator that is cancelled ends."""
        return False


class _BufferSource(_Passive):
    """Reads a Buffer. A reader has its own type, and its text is known to be valid."""

    def __init__(self, buffer: Buffer, op_code: DataType | None, chunksize: int) -> None:
        self._buffer = buffer
        self._chunksize = chunksize
        own = buffer.data_type if isinstance(buffer, WebSocketReader) else DataType.BINARY
        self._type = op_code or own
        self._typing = None if self._type is own else _Typing(self._type)

    async def next(self) -> tuple[Data, bool, DataType]:
        piece = await self._buffer._read_piece(self._chunksize)
        last = self._buffer.at_eof()
        if self._typing is None:
            return piece, last, self._type
        return self._typing.typed(piece, last)

    def is_ready(self) -> bool:
        return self._buffer._is_readable()


class _IterableSource(_Passive, _Iterating):
    """Reads one piece ahead, in order to know which one is the last."""

    def __init__(self, pieces: Iterator[Data], op_code: DataType | None) -> None:
        self._pieces = pieces
        self._typing = _Typing(op_code)
        self._ahead: Data | object = next(pieces, _END)

    async def next(self) -> tuple[Data, bool, DataType]:
        piece, self._ahead = self._ahead, next(self._pieces, _END)
        return self._typing.typed(b"" if piece is _END else piece, self._ahead is _END)


class _AsyncSource(_Iterating):
    """Passes on each piece at once, without waiting for the next; so an empty frame ends it."""

    def __init__(self, pieces: AsyncIterator[Data], op_code: DataType | None) -> None:
        self._pieces = pieces
        self._typing = _Typing(op_code)

    async def next(self) -> tuple[Data, bool, DataType]:
        try:
            return self._typing.typed(await anext(self._pieces), False)
        except StopAsyncIteration:
            return self._typing.typed(b"", True)

    async def close(self) -> None:
        if isinstance(self._pieces, AsyncGenerator):
            await self._pieces.aclose()
