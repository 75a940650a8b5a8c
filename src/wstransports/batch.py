"""Output gathered while input is being handled: one write for each connection."""

from typing import Protocol

# When this many bytes are gathered for one connection they leave at once.
GATHER_LIMIT = 65536


class Gathering(Protocol):
    """Who has gathered output, or has something else to do when the callbacks have run."""

    def flush(self) -> None:
        """Write it, or do that."""


class Batch:
    """What the callbacks of one read send, to whomever, leaves when they have run.

    One system call then carries many answers: with 64 messages in flight that is most of the
    cost of a send. `active` while input is being handled; nothing outlives that.
    """

    __slots__ = ("active", "waiting")

    def __init__(self) -> None:
        self.active = False
        self.waiting: list[Gathering] = []

    def announce(self, to: Gathering) -> bool:
        """Whether a broadcast leaves at once: where nothing waits before it. Mostly nothing follows
        either, and a delivery takes 0.75 of the instructions."""
        if self.waiting:
            return False
        if self.active:
            self.waiting.append(to)  # so that another one is gathered
        return True

    def end(self) -> None:
        """Input is handled: write what was gathered."""
        self.active = False
        waiting = self.waiting
        if waiting:
            self.waiting = []
            for one in waiting:
                one.flush()
