"""Output gathered while input is being handled: one write for each connection."""

from typing import Protocol

# When this many bytes are gathered for one connection they leave at once.
GATHER_LIMIT = 65536


class Gathering(Protocol):
    """Has gathered output, or has something else to do after the callbacks."""

    def flush(self) -> None:
        """Write it, or do that."""


class Batch:
    """Gathers what the callbacks of one read send, to any client, until they have run.

    One system call then carries many answers: with 64 messages in flight that is most of the
    cost of a send. There is one for each event loop. `with batch:` surrounds the handling of
    input, and the outermost block writes. An adapter whose callbacks suspend for a moment only
    may keep what they gathered: `suspend` takes it out, `resume` puts it back.
    """

    __slots__ = ("_waiting", "active")

    def __init__(self) -> None:
        self.active = 0
        """How many blocks are open: not 0 while input is being handled."""
        self._waiting: list[Gathering] = []

    def __enter__(self) -> None:
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1
        if not self.active:
            self.end()

    def at_end(self, one: Gathering) -> None:
        """Call `one.flush()` when the input is handled; only while `active`."""
        self._waiting.append(one)

    def empty(self) -> bool:
        """Whether nothing is gathered."""
        return not self._waiting

    def end(self) -> None:
        """Input is handled: write what was gathered."""
        self.active = 0
        waiting = self._waiting
        if waiting:
            self._waiting = []
            for one in waiting:
                one.flush()

    def suspend(self) -> list[Gathering]:
        """Stop gathering without writing; returns what was gathered, for `resume`."""
        self.active = 0
        waiting, self._waiting = self._waiting, []
        return waiting

    def resume(self, gathered: list[Gathering]) -> None:
        """Gather again, on top of what `suspend` returned; `end` or `suspend` must follow."""
        self.active = 1
        self._waiting = gathered
