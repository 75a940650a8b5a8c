"""A buffer of bytes between tasks: `Buffer`, with the low-level reads."""

from ..errors import IncompleteReadError
from ..runtime import Signal, checkpoint, running

WritableBuffer = bytearray | memoryview


class Buffer:
    """A bounded stream of bytes between tasks: one reads, any number write.

    `write` waits while more than `limit` bytes are unread. Call `feed_eof` at the end. Raises
    ValueError for a limit below 1.
    """

    __slots__ = ("_data", "_ended", "_error", "_limit", "_reader", "_writers")

    def __init__(self, limit: int = 65536) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1 byte, not {limit}")
        self._limit = limit
        self._data = bytearray()
        self._ended = False
        self._error: BaseException | None = None
        self._reader: Signal | None = None  # waits for data
        self._writers: list[Signal] = []  # wait for buffer space

    # Reading.

    async def read(self, n: int = -1) -> bytes:
        """Read `n` bytes, or everything for -1; returns fewer bytes only at the end.

        `n` may exceed the limit. A cancelled read loses no data. Raises the exception given to
        `set_exception`, RuntimeError if another task is reading.
        """
        await self._checkpoint()
        if n == 0:
            return b""
        taken = bytearray()
        try:
            while n < 0 or len(taken) < n:
                if not await self._readable():
                    break
                taken += self._take(n - len(taken) if n >= 0 else len(self._data))
        except BaseException:
            self._put_back(taken)
            raise
        return bytes(taken)

    async def read_into(self, buffer: WritableBuffer, n: int, offset: int = 0) -> int:
        """Read `n` bytes into `buffer` at `offset`; returns their number, less only at the end.

        Raises ValueError if they do not fit into `buffer`, else as `read`.
        """
        if n < 0 or offset < 0 or offset + n > len(buffer):
            raise ValueError(
                f"{n} bytes at offset {offset} do not fit into a buffer of {len(buffer)}"
            )
        data = await self.read(n)
        buffer[offset : offset + len(data)] = data
        return len(data)

    async def read_into_exactly(self, buffer: WritableBuffer, n: int, offset: int = 0) -> None:
        """Read exactly `n` bytes into `buffer` at `offset`.

        Raises IncompleteReadError if the data ends before, ValueError if they do not fit.
        """
        got = await self.read_into(buffer, n, offset)
        if got < n:
            raise IncompleteReadError(got, n)

    async def _read_piece(self, n: int) -> bytes:
        """Read at most `n` bytes as soon as there are any; b"" at the end."""
        if not await self._readable():
            return b""
        return self._take(n)

    def empty(self) -> bool:
        """Whether there is nothing to read now."""
        return not self._data

    def at_eof(self) -> bool:
        """Whether `feed_eof` was called and everything is read."""
        return self._ended and not self._data

    # Writing.

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add `data`, and wait until no more bytes than the limit are unread.

        Raises RuntimeError after `feed_eof`.
        """
        if self._ended:
            raise RuntimeError("feed_eof() was called already: write before it")
        await self._checkpoint()
        self._add(data)
        while len(self._data) > self._limit and self._error is None:
            signal = self._signal()
            self._writers.append(signal)
            await signal.wait()

    def feed_eof(self) -> None:
        """Mark the end of the data."""
        self._ended = True
        self._wake_reader()

    def set_exception(self, exc: BaseException) -> None:
        """Raise `exc` from all further reads."""
        self._error = exc
        self._wake_reader()
        self._wake_writers()

    # Inside.

    async def _checkpoint(self) -> None:
        await checkpoint(running())

    def _signal(self) -> Signal:
        return running().signal()

    def _is_readable(self) -> bool:
        """Whether a read would not wait: for data, the end, or an error."""
        return bool(self._data) or self._ended or self._error is not None

    async def _readable(self) -> bool:
        """Wait for data; returns False at the end."""
        while True:
            if self._error is not None:
                raise self._error_to_raise(self._error)
            if self._data:
                return True
            if self._ended:
                return False
            if self._reader is not None:
                raise RuntimeError("another task is reading this buffer: use one task only")
            self._reader = self._signal()
            try:
                await self._reader.wait()
            finally:
                self._reader = None

    def _error_to_raise(self, error: BaseException) -> BaseException:
        return error

    def _add(self, data: bytes | bytearray | memoryview) -> None:
        self._data += data
        self._wake_reader()

    def _take(self, n: int) -> bytes:
        data = bytes(self._data[:n])
        del self._data[:n]
        self._taken(len(data))
        return data

    def _put_back(self, data: bytes | bytearray) -> None:
        self._data[:0] = data
        self._taken(-len(data))

    def _taken(self, size: int) -> None:
        """`size` bytes were read (put back, if negative)."""
        if self._writers and len(self._data) <= self._limit:
            self._wake_writers()

    def _wake_reader(self) -> None:
        if self._reader is not None:
            self._reader.set()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for signal in writers:
            signal.set()
