"""Who may send data frames: fragments of two messages must not mix (RFC 6455 section 5.4)."""

from collections import deque
from typing import Protocol

from ..runtime import Runtime


class Waiter(Protocol):
    """Waits for the lock: a Signal, or something that sends as soon as `set` is called."""

    def set(self) -> None:
        """The lock is free for it, or never will be."""


# What waits where nothing does, for all: an empty deque takes 760 bytes.
_NOTHING: deque[tuple[Waiter, object]] = deque(maxlen=0)


class FragmentLock:
    """Held for the length of a fragmented message; others wait in the order they came."""

    __slots__ = ("_closed", "_waiting", "holder")

    def __init__(self) -> None:
        self.holder: object = None
        """The task that sends a fragmented message; None lets all others send."""
        self._closed = False
        self._waiting = _NOTHING

    async def acquire(self, runtime: Runtime) -> None:
        """Wait for the lock, in order; a cancelled wait leaves nothing behind.

        Raises RuntimeError at once where this very task holds it: it would wait for itself.
        """
        task = runtime.current_task()
        if self._closed:
            return
        if self.holder is None:
            self.holder = task
            return
        if self.holder is task:
            raise RuntimeError(
                "this task has a fragmented message open on this writer: send its parts with"
                " stream.send(...), and leave the block before sending anything else"
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
                self.release()  # it had just become ours
            raise

    def enqueue(self, one: Waiter) -> None:
        """Have `one.set()` called in its turn, which is over when that returns."""
        self._append((one, None))

    def remove(self, one: Waiter) -> bool:
        """Take it out of the queue; False where it was called already."""
        if (one, None) not in self._waiting:
            return False
        self._waiting.remove((one, None))
        return True

    def release(self) -> None:
        """Hand the lock to the one that waits longest."""
        self.holder = None
        while self._waiting and self.holder is None:
            one, self.holder = self._waiting.popleft()
            one.set()

    def close(self) -> None:
        """Nothing can be sent any more: wake all that wait, and let `acquire` return at once."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft()[0].set()

    def _append(self, waiting: tuple[Waiter, object]) -> None:
        if self._waiting is _NOTHING:
            self._waiting = deque()
        self._waiting.append(waiting)
