"""A message as it arrives: `WebSocketReader`, which `on_message` gets."""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from io import SEEK_END, BytesIO
from json import loads as json_loads
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, overload

from wscore import DataType, MessagePiece
from wscore.utf8 import decode

from ..errors import ConnectionClosed, closed_error
from ..runtime import Signal
from .buffer import Buffer
from .json_message import parsed
from .kind import Kind, wants_text

T = TypeVar("T")

# The default limit of get() for messages of unlimited size.
GET_LIMIT = 2**20

_PIECE = 65536

# Pieces of fewer bytes are joined as they arrive, because an object for each could take a hundred
# times the memory of its bytes.
_SMALL = 4096

# The latest messages of at least LONG bytes stay until others come: 0.5 to 0.9 of the CPU time.
# Otherwise glibc gives the memory of each to the system, and gets it again page by page.
LONG = 128 * 1024
latest: deque[str | bytes] = deque(maxlen=2)

_DISCARDED = (
    "the callback has returned, and what was unread of its message was discarded: read it before,"
    " and hand the result to other tasks"
)


class FlowControl(Protocol):
    """What a reader needs of its connection, which counts the unread bytes."""

    checkpoints: bool

    def count(self, reader: "WebSocketReader", size: int) -> None:
        """Add `size` (it may be negative) to the bytes that wait unread in `reader`."""

    def release(self, reader: "WebSocketReader") -> None:
        """Count nothing for `reader` any more."""

    def get_limit(self) -> int | None:
        """The default limit of `get()`, in bytes; None for no limit."""

    def too_big(self, limit: int) -> ConnectionClosed:
        """Fail the connection with 1009, because a message exceeds the limit of `get()`."""

    def checkpoint(self) -> Awaitable[None]:
        """Let other tasks run once."""

    def signal(self) -> Signal:
        """A new Signal of the connection's loop."""


class WebSocketReader(Buffer):
    """A message from the peer, complete or still arriving.

    The library creates it and passes it to `on_message`. `get()` returns the whole message,
    `async for` yields it in pieces, and the methods of `Buffer` read its bytes. `data_type` is
    DataType.TEXT or BINARY (RFC 6455 section 5.6).

    If the connection fails before the message is complete, the next read raises
    ConnectionClosed. What is unread when the callback returns is discarded: reading it later, in
    another task, raises RuntimeError.
    """

    __slots__ = (
        "_counted",
        "_dropped",
        "_flow",
        "_held",
        "_parts",
        "_space_left",
        "_whole",
        "data_type",
    )

    def __init__(self, flow: FlowControl, piece: MessagePiece) -> None:
        # The first low-level read calls Buffer.__init__ (see __getattr__): most messages have none.
        self.data_type: DataType = piece.type
        self._flow = flow
        self._counted = 0  # bytes counted as unread
        self._whole: str | bytes | None  # the message, if it arrived in one piece
        if piece.last and len(piece.data) <= GET_LIMIT:
            text = piece.text
            self._whole = piece.data if text is None else text
            if len(piece.data) >= LONG:
                latest.append(self._whole)
            return
        self._whole = None
        # get() joins the parts, which takes 0.03 ms for 1 MiB, and 1.7 ms through the Buffer. They
        # move there with the first low-level read.
        self._parts: list[str | bytes | bytearray] | BytesIO | None = []
        self._held = 0  # bytes in them
        self._add_part(piece)
        self._space_left: float | None = None  # bytes that a waiting get() still accepts
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

    async def get(self, kind: Kind | None = None, *, max_size: int | None = None) -> str | bytes:
        """Read the rest of the message: str for text, bytes for binary, or `kind`.

        `kind` is str or bytes (or DataType.TEXT or BINARY). If the rest has more than `max_size`
        bytes, the connection is closed with 1009. None stands for `max_message_size`, or for 1 MiB
        if that is None too. Raises ConnectionClosed if the message is not completed,
        UnicodeDecodeError if bytes requested as str are not UTF-8.
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

    @overload
    async def json(self) -> Any: ...
    @overload
    async def json(self, *, loads: Callable[[str | bytes], T]) -> T: ...

    async def json(self, *, loads: Callable[[str | bytes], Any] = json_loads) -> Any:
        """Read the rest of the message, text or binary, and parse it as JSON (RFC 8259).

        `loads` gets str for text, bytes for binary. Raises ValueError if the message is not JSON,
        the exceptions of `loads`, and those of `get()`.
        """
        return parsed(await self.get(), loads)

    async def _get(self, kind: Kind | None, max_size: int | None) -> str | bytes:
        as_text = wants_text(self.data_type if kind is None else kind)
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
        """Wait until all parts have arrived, or a low-level read moves them to the Buffer."""
        if self._reader is not None:
            raise RuntimeError("another task is reading this message: use one task only")
        self._space_left = math.inf if limit is None else limit - self._held
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
                self._flow.count(self, self._held)
            raise

    def _joined(self, parts: list[str | bytes | bytearray] | BytesIO, as_text: bool) -> str | bytes:
        """The whole message; nothing is left to read afterwards."""
        message: str | bytes
        if isinstance(parts, BytesIO):
            message = parts.getvalue()
        elif as_text and self.data_type is DataType.TEXT:
            message = "".join([part if isinstance(part, str) else part.decode() for part in parts])
        else:
            message = b"".join(map(_encoded, parts))
        if as_text and isinstance(message, bytes):
            message = message.decode()
        self._parts = self._space_left = None
        self._whole = "" if self.data_type is DataType.TEXT else b""
        if LONG <= len(message) <= GET_LIMIT:
            latest.append(message)
        return message

    def __aiter__(self) -> Self:
        """Yield the rest of the message as it arrives: str for text, bytes for binary."""
        return self

    async def __anext__(self) -> str | bytes:
        await self._checkpoint()
        if not await self._readable():
            raise StopAsyncIteration
        if self.data_type is DataType.BINARY:
            return self._take(_PIECE)
        # The core delivers whole code points, but the cut at _PIECE may split one.
        text, used = decode(bytes(self._data[:_PIECE]), False)
        self._take(used)
        return text

    # For the inbox.

    @property
    def _is_complete(self) -> bool:
        """Whether the whole message has arrived, and none of it is read."""
        return self._whole is not None or self._ended

    def _feed(self, piece: MessagePiece) -> None:
        """Another piece of the message arrived."""
        if self._dropped:
            return
        size = len(piece.data)
        if self._parts is None:
            self._add(piece.data)
            self._flow.count(self, size)
            if piece.last:
                self.feed_eof()
            return
        self._add_part(piece)
        self._ended = piece.last
        if self._space_left is None:
            self._flow.count(self, size)
        else:
            self._space_left -= size
            if piece.last or self._space_left < 0:
                self._wake_reader()

    def _add_part(self, piece: MessagePiece) -> None:
        """Keep a piece for `get()`. It ends with a whole code point, so small ones can be joined
        and decoded later."""
        parts, data = self._parts, piece.data
        assert parts is not None
        self._held += len(data)
        if self._held > GET_LIMIT and self.data_type is DataType.BINARY:
            # Unlike join(), getvalue() makes no copy: with 16 MiB, 0.35 of the CPU time.
            if not isinstance(parts, BytesIO):
                self._parts = parts = BytesIO(b"".join(map(_encoded, parts)))
                parts.seek(0, SEEK_END)
            parts.write(data)
            return
        assert not isinstance(parts, BytesIO)
        if len(data) >= _SMALL:
            parts.append(data if piece.text is None else piece.text)
            return
        end = parts[-1] if parts else None
        if isinstance(end, bytearray):
            end += data
        else:
            parts.append(bytearray(data))

    def _size(self) -> int:
        """About how many bytes of memory wait unread."""
        whole = self._whole
        if whole is None:
            return self._held
        return len(whole) if isinstance(whole, bytes) or whole.isascii() else 4 * len(whole)

    def _drop(self, error: Exception | None = None) -> None:
        """Discard the rest, because the callback has returned or `error` ends the connection."""
        self._flow.release(self)
        whole, self._whole = self._whole, None
        if whole is not None:
            if not whole and error is None:
                self._whole = whole  # all is read
                return
            self._ended, self._error, self._reader = False, None, None
            self._parts = None
        elif self._parts is None:
            if self._data:
                self._ended = False  # some of it is lost
                self._data.clear()
            self._wake_writers()
        else:
            self._ended = False  # the core makes no empty part
        self._parts = self._space_left = None
        self._dropped = True
        if error is not None:
            self._error = error
        elif not self._ended and self._error is None:
            self._error = RuntimeError(_DISCARDED)
        self._wake_reader()

    def _error_to_raise(self, error: BaseException) -> BaseException:
        """A new one each time: the traceback of what is raised refers to this reader."""
        if isinstance(error, ConnectionClosed):
            return closed_error(error.code, error.reason, error.client, error.close_frames)
        return error

    def _taken(self, size: int) -> None:
        if size < 0:
            if not self._dropped:
                self._flow.count(self, -size)
        elif self._counted:
            # An empty reader does not count at all, so that its callback may wait for the rest.
            left = self._counted - size if self._data else 0
            self._flow.count(self, max(left, 0) - self._counted)
        super()._taken(size)

    async def _checkpoint(self) -> None:
        if self._flow.checkpoints:
            await self._flow.checkpoint()

    def _signal(self) -> Signal:
        return self._flow.signal()

    # The state of the Buffer, on demand.

    def _move_to_buffer(self) -> None:
        """Move what has arrived to the Buffer."""
        whole, self._whole = self._whole, None
        if whole is not None:
            super().__init__()
            self._dropped = False
            self._parts = self._space_left = None
            self._data += _encoded(whole)
            self._ended = True
            return
        parts, self._parts = self._parts, None
        state = self._ended, self._error, self._reader
        super().__init__()
        self._ended, self._error, self._reader = state
        if isinstance(parts, BytesIO):
            self._data += parts.getbuffer()
        else:
            for part in parts or ():
                self._data += _encoded(part)
        if self._space_left is not None:  # the waiting get() continues with the Buffer
            self._space_left = None
            self._flow.count(self, len(self._data))
            self._wake_reader()

    # A type checker would accept any attribute.
    if not TYPE_CHECKING:  # pragma: no branch - type checkers take the other one

        def __getattr__(self, name: str) -> Any:
            """On the first low-level read, move the message to the Buffer."""
            if name not in _LAZY:
                raise AttributeError(f"a WebSocketReader has no attribute {name!r}")
            self._move_to_buffer()
            return getattr(self, name)


_LAZY = {*Buffer.__slots__, "_dropped"}


def _encoded(part: str | bytes | bytearray) -> bytes | bytearray:
    return part.encode() if isinstance(part, str) else part
