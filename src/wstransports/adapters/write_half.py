"""The write half of a Pipe: its buffer, on loops that have none, and who waits for space in it."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from ..runtime import WRITE_LIMIT, Signal

# Waiting senders go on once only 1/LOW of the limit waits.
LOW = 4


class BufferSpace:
    """Whether there is buffer space, and the senders that wait for it.

    A pipe inherits from it, sets `full`, and calls `_make_space` when there is space again, or when
    the stream is lost.
    """

    __slots__ = ("_new_signal", "_space", "full")

    def __init__(self, new_signal: Callable[[], Signal]) -> None:
        self.full: bool = False
        self._new_signal = new_signal
        self._space: Signal | None = None  # made when somebody waits

    async def drain(self) -> None:
        """Return when `full` is False, or when the connection is lost. Any number may wait."""
        while self.full:
            if self._space is None:
                self._space = self._new_signal()
            await self._space.wait()

    def _make_space(self) -> None:
        self.full = False
        space, self._space = self._space, None
        if space is not None:
            space.set()


class WriteHalf(BufferSpace, ABC):
    """Holds the bytes that the peer has not taken.

    A pipe inherits from it and implements `write`, which gives `_hold` the bytes that cannot be
    sent at once. It calls `_sent` when the stream took some of them.
    """

    def __init__(self, new_signal: Callable[[], Signal]) -> None:
        super().__init__(new_signal)
        self._unsent = bytearray()
        self._limit = WRITE_LIMIT

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data`; never blocks, ignored once the stream is closed or lost."""

    def writelines(self, parts: list[bytes]) -> None:
        """Send `parts` one after the other."""
        for part in parts:
            self.write(part)

    def set_write_limit(self, size: int) -> None:
        """Set the high-water mark, in bytes."""
        self._limit = size

    def waiting(self) -> int:
        """How many written bytes the stream has not taken yet."""
        return len(self._unsent)

    def _hold(self, data: bytes) -> None:
        self._unsent += data
        self.full = self.full or len(self._unsent) > self._limit

    def _sent(self, size: int) -> None:
        del self._unsent[:size]
        if self.full and len(self._unsent) <= self._limit // LOW:
            self._make_space()
