"""The lock on data frames: fragments of two messages must not mix (RFC 6455 section 5.4)."""

from collections import deque
from typing import Protocol

from ..runtime import Runtime


class Waiter(Protocol):
    """Waits for the lock: a Signal, or something that sends as soon as `set` is called."""

    def set(self) -> None:
        """The lock is free for it, or closed."""


# The empty queue, shared because an empty deque takes 760 bytes.
_NOTHING: deque[tuple[Waiter, object]] = deque(maxlen=0)


class FragmentLock:
    """A fair lock that is held while a fragmented message is sent; the batch lists it meanwhile."""

    __slots__ = ("_waiting", "holder")

    def __init__(self) -> None:
        self.holder: object = None
        """The task that is sending a fragmented message, or None."""
        self._waiting = _NOTHING

    async def acquire(self, runtime: Runtime) -> None:
        """Wait for the lock, or for its `close`.

        Raises RuntimeError if this task holds the lock: it would wait for itself.
        """
        task = runtime.current_task()
        if self.holder is None:
            self.holder = task
            runtime.batch.held.add(self)
            return
        if self.holder is task:
            raise RuntimeError(
                "this task has a fragmented message open on this writer: send its parts with"
                " stream.send(...), and leave its block before you send anything else"
            )
        signal = runtime.signal()
        waiting = signal, task
        self._append(waiting)
        try:
            await signal.wait()
        except BaseException:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self.release(runtime)  # the lock was just handed to us
            raise

    def enqueue(self, one: Waiter) -> None:
        """Call `one.set()` when it gets the lock, which is released when that returns."""
        self._append((one, None))

    def remove(self, one: Waiter) -> bool:
        """Remove it from the queue; returns False if it was called already."""
        if (one, None) not in self._waiting:
            return False
        self._waiting.remove((one, None))
        return True

    def release(self, runtime: Runtime) -> None:
        """Hand the lock to the first in the queue."""
        self.holder = None
        while self._waiting and self.holder is None:
            one, self.holder = self._waiting.popleft()
            one.set()
        if self.holder is None:
            runtime.batch.held.discard(self)

    def close(self) -> None:
        """Nothing can be sent any more: wake all waiters."""
        while self._waiting:
            self._waiting.popleft()[0].set()

    def _append(self, waiting: tuple[Waiter, object]) -> None:
        if self._waiting is _NOTHING:
            self._waiting = deque()
        self._waiting.append(waiting)


FREE = FragmentLock()
"""The lock of all connections that have not sent a fragmented message yet; nobody acquires it. One
for each connection would be 48 bytes."""
