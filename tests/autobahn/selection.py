"""What is tested, and with which cases of the suite: all, or those that take no long time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

# Each group with its number of cases.
GROUPS = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}

# The groups of compression with their number of subgroups. The cases of each subgroup differ in
# the messages' length: 1 to 10 from 16 bytes to 128 KiB, 11 to 18 the longer ones in fragments.
COMPRESSION = {12: 5, 13: 7}
LENGTHS = tuple(range(1, 19))


class Direction(NamedTuple):
    """What is tested: an end of ours, "server" or "client", on an event loop, over TLS or not."""

    end: str
    loop: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.end} on {self.loop}{' over TLS' if self.tls else ''}"


LOOPS = ("asyncio", "trio")
DIRECTIONS = tuple(Direction(end, loop) for loop in LOOPS for end in ("server", "client"))


@dataclass(frozen=True)
class Selection:
    """Groups that are run whole, and the cases of each subgroup of compression."""

    groups: tuple[int, ...]
    lengths: tuple[int, ...] = LENGTHS

    def patterns(self) -> list[str]:
        """The cases, as the suite's specification names them."""
        return [f"{group}.*" for group in self.groups] + [
            # Not "12.*.1": the suite takes that for 12.1.10 too.
            f"{group}.{subgroup}.{length}"
            for group, subgroups in COMPRESSION.items()
            for subgroup in range(1, subgroups + 1)
            for length in self.lengths
        ]

    def counts(self) -> Mapping[int, int]:
        """Each group that is run, with the number of its cases that are."""
        compression = {group: many * len(self.lengths) for group, many in COMPRESSION.items()}
        return {group: GROUPS[group] for group in self.groups} | compression

    def total(self) -> int:
        """How many cases that is."""
        return sum(self.counts().values())

    def left_out(self) -> str:
        """What of the suite is not among them; "" for nothing."""
        groups = [
            f"group {group}"
            for group in GROUPS
            if group not in self.groups and group not in COMPRESSION
        ]
        lengths = [f"{length}" for length in LENGTHS if length not in self.lengths]
        if lengths:
            groups.append(f"12.x.y and 13.x.y with y = {', '.join(lengths)}")
        return "; ".join(groups)


EVERYTHING = Selection(tuple(group for group in GROUPS if group not in COMPRESSION))

# For every day: what takes about half a minute in each direction. Group 9 is about long messages
# and many fragments, which the server's direction tries already; and how messages are compressed
# is the same on every loop.
SHORT_LENGTHS = (1, 3, 5, 11)
SHORT_GROUPS = (1, 2, 3, 4, 5, 6, 7, 10)
SHORT = {
    Direction("server", "asyncio"): Selection(EVERYTHING.groups, SHORT_LENGTHS),
    Direction("client", "asyncio"): Selection(SHORT_GROUPS, SHORT_LENGTHS),
    Direction("server", "trio"): Selection(SHORT_GROUPS, (1,)),
    Direction("client", "trio"): Selection(SHORT_GROUPS, (1,)),
}
