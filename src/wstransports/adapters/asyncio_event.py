"""What tasks wait for on asyncio: `AsyncioEvent`."""

import asyncio


class AsyncioEvent:
    """A Signal. It holds no queue, and its `wait` is not a coroutine: an `asyncio.Event` would take
    800 bytes more, and each client keeps two; with a task that waits, 1.1 KB more."""

    __slots__ = ("_is_set", "_more", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: asyncio.Future[None] | None = None
        self._more: dict[asyncio.Future[None], None] | None = None  # a set that keeps the order

    def set(self) -> None:
        """Let `wait` return."""
        self._is_set = True
        for future in (self._waiting, *(self._more or ())):
            if future is not None and not future.done():  # done: its task was cancelled
                future.set_result(None)
        self._waiting = self._more = None

    def wait(self) -> asyncio.Future[None]:
        """Return what ends when `set` is called: a future for each call, as tasks cancel theirs."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._is_set:
            future.set_result(None)
        elif self._waiting is None or self._waiting.done():
            self._waiting = future
        else:
            if self._more is None:
                self._more = {}
            self._more[future] = None
            future.add_done_callback(self._more.pop)  # also if its task gives up
        return future
