"""Pages of history: a bounded number of them is in memory at once."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..runtime import Runtime, Signal

# The most pages, each of at most a megabyte and one more message. A client that resumes needs one.
MOST = 32


class Pages:
    """Gives out places for pages, to those that came first."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._free = MOST
        self._waiting: deque[Signal] = deque()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a page in the block, which must not wait for a client."""
        if self._free:
            self._free -= 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self._leave()

    async def _wait(self) -> None:
        turn = self._runtime.signal()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # its turn came just then
                self._leave()
            raise

    def _leave(self) -> None:
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1
