"""One message as it arrives: what `on_message` is given."""

import math
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, overload

from wscore import DataType, MessagePiece
from wscore.utf8 import decode

from ..errors import ConnectionClosed
from ..runtime import Signal
from .buffer import Buffer

# What get() gathers at most where the server sets no bound on messages.
GET_LIMIT = 2**20

_PIECE = 65536


class FlowControl(Protocol):
    """What a reader needs of its connection: what waits in it is counted there."""

    checkpoints: bool

    def count(self, reader: "WebSocketReader", size: int) -> None:
        """So many bytes more (fewer, where negative) wait unread in `reader`."""

    def release(self, reader: "WebSocketReader") -> None:
        """Nothing waits in `reader` any more."""

    def get_limit(self) -> int | None:
        """How much `get()` may gather, where its caller does not say."""

    def too_big(self, limit: int) -> ConnectionClosed:
        """A message is longer than `get()` may gather: fail the connection."""

    def checkpoint(self) -> Awaitable[None]:
        """Let others run once."""

    def signal(self) -> Signal:
        """A new Signal of the connection's loop."""


class WebSocketReader(Buffer):
    """A message of the peer's; never built by the user.

    `data_type` is DataType.TEXT or BINARY (RFC 6455 section 5.6). `get()` returns all of it;
    `async for` yields it piece by piece; the `Buffer` methods read its bytes. When the connection
    fails before the message ends, the next read raises ConnectionClosed. What is unread when the
    callback returns is discarded.
    """

    __slots__ = ("_counted", "_dropped", "_flow", "_parts", "_space_left", "_whole", "data_type")

    def __init__(self, flow: FlowControl, piece: MessagePiece) -> None:
        # Buffer.__init__ waits for the first low-level read (__getattr__): 0.2 us a message.
        self.data_type = piece.type
        self._flow = flow
        self._counted = 0  # bytes that are counted as waiting here
        self._whole: str | bytes | None  # the message, where it arrived in one piece
        if piece.last and len(piece.data) <= GET_LIMIT:
            text = piece.text
            self._whole = piece.data if text is None else text
            return
        self._whole = None
        # Until the first low-level read the pieces stay what they are: get() joins them, which
        # takes 0.03 ms for 1 MiB, and 1.7 by way of the Buffer.
        self._parts: list[MessagePiece] | None = [piece]
        self._space_left: float | None = None  # how many more bytes get() takes, while it waits for them
        self._dropped = False
        self._ended = piece.last
        self._error = None
        self._reader = None

    @overload
    async def get(self, kind: None = None, *, max_size: int | None = None) -> str | bytes: ...
    @overload
    async def get(
        self, kind: type[str] | Literal[DataType.TEXT], *, max_size: int | None = None
    ) -> str: ...
    @overload
    async def get(
        self, kind: type[bytes] | Literal[DataType.BINARY], *, max_size: int | None = None
    ) -> bytes: ...

    async def get(
        self, kind: type[str | bytes] | DataType | None = None, *, max_size: int | None = None
    ) -> str | bytes:
        """All the rest of the message: str for text, bytes for binary, or as `kind` says.

        `kind` is str or bytes (DataType.TEXT or BINARY). `max_size` is in bytes, by default
        1 MiB where the server's `max_message_size` is None; a longer rest closes the client
        with 1009. Raises ConnectionClosed where the message breaks off, UnicodeDecodeError
        where bytes asked for as str are none.
        """
        if self._flow.checkpoints:
            await self._flow.checkpoint()
        whole = self._whole
        if whole is not None and kind is None and max_size is None:
            self._whole = whole[:0]
            if self._counted:
                self._flow.release(self)
            return whole
        return await self._get(kind, max_size)

    async def _get(
        self, kind: type[str | bytes] | DataType | None, max_size: int | None
    ) -> str | bytes:
        as_text = self._wants_text(kind)
        limit = self._flow.get_limit() if max_size is None else max_size
        if self._whole is None and self._parts is not None:
            await self._gather(limit)
            if self._parts is not None:
                return self._joined(self._parts, as_text)
        taken = bytearray()
        try:
            while await self._readable():
                taken += self._take(len(self._data))
                if limit is not None and len(taken) > limit:
                    raise self._flow.too_big(limit)
            return taken.decode() if as_text else bytes(taken)
        except BaseException:
            self._put_back(taken)
            raise

    async def _gather(self, limit: int | None) -> None:
        """Wait until all parts are here, or somebody reads them by way of the Buffer."""
        if self._reader is not None:
            raise RuntimeError("another task reads here: let one task do it")
        self._space_left = math.inf if limit is None else limit - self._size()
        self._flow.release(self)
        try:
            while self._space_left is not None:
                if self._space_left < 0:
                    assert limit is not None
                    raise self._flow.too_big(limit)
                if self._ended:
                    return
                self._reader = self._signal()
                try:
                    await self._reader.wait()
                finally:
                    self._reader = None
        except BaseException:
            if self._space_left is not None:
                self._space_left = None
                self._flow.count(self, self._size())
            raise

    def _joined(self, parts: list[MessagePiece], as_text: bool) -> str | bytes:
        """The whole message; nothing of it is left then."""
        message: str | bytes
        if as_text and self.data_type is DataType.TEXT:
            message = "".join([part.text or "" for part in parts])
        else:
            message = b"".join([part.data for part in parts])
            if as_text:
                message = message.decode()
        self._parts = self._space_left = None
        self._whole = "" if self.data_type is DataType.TEXT else b""
        return message

    def _wants_text(self, kind: type[str | bytes] | DataType | None) -> bool:
        if kind is None:
            kind = self.data_type
        if kind is str or kind is DataType.TEXT:
            return True
        if kind is bytes or kind is DataType.BINARY:
            return False
        raise TypeError(f"kind is str or bytes, DataType.TEXT or BINARY, not {kind!r}")

    def __aiter__(self) -> Self:
        """Yield the rest of the message as it arrives: str for text, bytes for binary."""
        return self

    async def __anext__(self) -> str | bytes:
        await self._checkpoint()
        if not await self._readable():
            raise StopAsyncIteration
        if self.data_type is DataType.BINARY:
            return self._take(_PIECE)
        # What is here ends with a code point (the core sees to it); the cut at _PIECE may not.
        text, used = decode(bytes(self._data[:_PIECE]), False)
        self._take(used)
        return text

    # What the inbox does with us.

    def _feed(self, piece: MessagePiece) -> None:
        """More of the message is here."""
        if self._dropped:
            return
        size = len(piece.data)
        if self._parts is None:
            self._add(piece.data)
            self._flow.count(self, size)
            if piece.last:
                self.feed_eof()
            return
        self._parts.append(piece)
        self._ended = piece.last
        if self._space_left is None:
            self._flow.count(self, size)
        else:
            self._space_left -= size
            if piece.last or self._space_left < 0:
                self._wake_reader()

    def _size(self) -> int:
        """How many bytes are here."""
        if self._whole is not None:
            return len(self._whole)
        if self._parts is not None:
            return sum([len(part.data) for part in self._parts])
        return len(self._data)

    def _drop(self) -> None:
        """The callback has returned: nobody reads the rest."""
        lost = bool(self._data) or not self._ended
        self._dropped = True
        self._data.clear()
        self._flow.release(self)
        if lost and self._error is None:
            self.set_exception(
                RuntimeError("the callback has returned, and the rest was discarded")
            )

    def _taken(self, size: int) -> None:
        if size < 0:
            if not self._dropped:
                self._flow.count(self, -size)
        elif self._counted:
            # With all bytes its place in the line goes, too: the rest may be waited for.
            left = self._counted - size if self._data else 0
            self._flow.count(self, max(left, 0) - self._counted)
        super()._taken(size)

    async def _checkpoint(self) -> None:
        if self._flow.checkpoints:
            await self._flow.checkpoint()

    def _signal(self) -> Signal:
        return self._flow.signal()

    # Lazy state.

    def _move_to_buffer(self) -> None:
        """Lay out in the Buffer what is here as it came."""
        whole, self._whole = self._whole, None
        if whole is not None:
            super().__init__()
            self._dropped = False
            self._parts = self._space_left = None
            self._data += whole.encode() if isinstance(whole, str) else whole
            self._ended = True
            return
        parts, self._parts = self._parts, None
        state = self._ended, self._error, self._reader
        super().__init__()
        self._ended, self._error, self._reader = state
        for part in parts or ():
            self._data += part.data
        if self._space_left is not None:  # get() goes on by way of the Buffer
            self._space_left = None
            self._flow.count(self, len(self._data))
            self._wake_reader()

    if not TYPE_CHECKING:  # a type checker would take any attribute for one of a reader's

        def __getattr__(self, name: str) -> Any:
            """The first use of a low-level read: lay the message out in the Buffer."""
            if name not in _LAZY:
                raise AttributeError(f"a WebSocketReader has no attribute {name!r}")
            self._move_to_buffer()
            return getattr(self, name)


_LAZY = {*Buffer.__slots__, "_dropped"}
