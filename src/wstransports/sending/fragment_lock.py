"""Whose turn it is to send data frames: fragments of two messages must not mix (RFC 6455 5.4)."""

from collections import deque
from typing import Protocol

from ..runtime import Runtime


class Waiting(Protocol):
    """Who waits for a turn: a Signal, or somebody who sends as soon as `set` is called."""

    def set(self) -> None:
        """It has come, or it never will."""


# Who waits where nobody does, for all: an empty deque takes 760 bytes.
_NOBODY: deque[tuple[Waiting, object]] = deque(maxlen=0)


class Turn:
    """Held for the length of a fragmented message; others wait in the order they came."""

    __slots__ = ("_over", "_waiting", "holder")

    def __init__(self) -> None:
        self.holder: object = None  # the task amid a message; None lets everybody send
        self._over = False
        self._waiting = _NOBODY

    async def take(self, runtime: Runtime) -> None:
        """Wait for the turn, in order; a cancelled wait leaves nothing behind.

        Raises RuntimeError at once where this very task holds it: it would wait for itself.
        """
        task = runtime.current_task()
        if self._over:
            return
        if self.holder is None:
            self.holder = task
            return
        if self.holder is task:
            raise RuntimeError(
                "this task is amid a fragmented message on this writer: send its parts with"
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

    def line_up(self, one: Waiting) -> None:
        """Have `one` called in its turn, which is over when it returns."""
        self._append((one, None))

    def step_out(self, one: Waiting) -> bool:
        """Have it called no more; False where it was called already."""
        if (one, None) not in self._waiting:
            return False
        self._waiting.remove((one, None))
        return True

    def release(self) -> None:
        """Hand the turn to who waits longest."""
        self.holder = None
        while self._waiting and self.holder is None:
            one, self.holder = self._waiting.popleft()
            one.set()

    def disband(self) -> None:
        """Nothing can be sent any more: nobody waits, and `take` returns at once."""
        self._over = True
        while self._waiting:
            self._waiting.popleft()[0].set()

    def _append(self, waiting: tuple[Waiting, object]) -> None:
        if self._waiting is _NOBODY:
            self._waiting = deque()
        self._waiting.append(waiting)
