"""Bytes that one side writes and the other reads: the low-level reads."""

from ..errors import IncompleteReadError
from ..runtime import Signal, checkpoint, running

WritableBuffer = bytearray | memoryview


class Buffer:
    """A bounded stream of bytes inside the process.

    Arguments: `limit`, in bytes: `write` waits while more than that is unread. One task reads,
    any number write; the writer says the end with `feed_eof`. Raises ValueError for a limit
    below 1.
    """

    __slots__ = ("_data", "_ended", "_error", "_limit", "_reader", "_writers")

    def __init__(self, limit: int = 65536) -> None:
        if limit < 1:
            raise ValueError(f"limit is a number of bytes from 1, not {limit}")
        self._limit = limit
        self._data = bytearray()
        self._ended = False
        self._error: BaseException | None = None
        self._reader: Signal | None = None  # who waits for data
        self._writers: list[Signal] = []  # who wait for room

    # Reading.

    async def read(self, n: int = -1) -> bytes:
        """Read `n` bytes, or to the end for -1; fewer only at the end, b"" there.

        `n` may exceed the limit. Raises what `set_exception` was given. A cancelled read puts
        back what it took.
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
        """Read `n` bytes into `buffer` at `offset`; returns how many, fewer only at the end.

        Raises ValueError where `buffer` has no room for them.
        """
        if n < 0 or offset < 0 or offset + n > len(buffer):
            raise ValueError(
                f"{n} bytes at offset {offset} do not fit into a buffer of {len(buffer)}"
            )
        data = await self.read(n)
        buffer[offset : offset + len(data)] = data
        return len(data)

    async def read_into_exactly(self, buffer: WritableBuffer, n: int, offset: int = 0) -> None:
        """Read `n` bytes into `buffer` at `offset`.

        Raises IncompleteReadError where the data ends before, ValueError as `read_into` does.
        """
        got = await self.read_into(buffer, n, offset)
        if got < n:
            raise IncompleteReadError(got, n)

    async def _read_piece(self, n: int) -> bytes:
        """Read what is there, `n` bytes at most: at least one, or b"" at the end."""
        if not await self._readable():
            return b""
        return self._take(n)

    def empty(self) -> bool:
        """Whether nothing is there to be read now."""
        return not self._data

    def at_eof(self) -> bool:
        """Whether the end was fed and all before it was read."""
        return self._ended and not self._data

    # Writing.

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add `data`, and return when no more than the limit is unread.

        Raises RuntimeError after `feed_eof`.
        """
        if self._ended:
            raise RuntimeError("the end was fed already: write before feed_eof()")
        await self._checkpoint()
        self._add(data)
        while len(self._data) > self._limit and self._error is None:
            signal = self._signal()
            self._writers.append(signal)
            await signal.wait()

    def feed_eof(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._wake_reader()

    def set_exception(self, exc: BaseException) -> None:
        """Raise `exc` from the next read, and from every one after it."""
        self._error = exc
        self._wake_reader()
        self._wake_writers()

    # Inside.

    async def _checkpoint(self) -> None:
        await checkpoint(running())

    def _signal(self) -> Signal:
        return running().signal()

    async def _readable(self) -> bool:
        """Wait for something to read; False where the end is all there is."""
        while True:
            if self._error is not None:
                raise self._error
            if self._data:
                return True
            if self._ended:
                return False
            if self._reader is not None:
                raise RuntimeError("another task reads here: let one task do it")
            self._reader = self._signal()
            try:
                await self._reader.wait()
            finally:
                self._reader = None

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
        """So much left the buffer (came back, where negative)."""
        if self._writers and len(self._data) <= self._limit:
            self._wake_writers()

    def _wake_reader(self) -> None:
        if self._reader is not None:
            self._reader.set()

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for signal in writers:
            signal.set()
