"""The sections of instructions.md: what a profile counted."""

from collections.abc import Callable, Iterator

from .contestants import CONTESTANTS
from .profile import COUNTED, Profile
from .scenarios import SCENARIOS
from .spread import Spread, rounded
from .summary import Reached
from .tables import judged, machine_table
from .targets import INSTRUCTION_TARGETS, Comparison


class Instructions:
    """The tables of a profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def sections(self) -> dict[str, Callable[[], Iterator[str]]]:
        """The sections by name."""
        return {
            "counted": self.counted,
            "instructions": self.instructions,
            "functions": self.functions,
            "zlib": self.zlib,
            "instruction-targets": self.targets,
        }

    def counted(self) -> Iterator[str]:
        """Where and when they were counted."""
        yield from machine_table(self._profile.machine)

    def instructions(self) -> Iterator[str]:
        """The instructions of each contestant, for each thing that is counted."""
        columns = [
            (scenario.title, counts)
            for scenario, _, _ in COUNTED
            if (counts := self._profile.instructions.get(scenario.name))
        ]
        yield f"| | {' | '.join(f'{title} | ours / theirs' for title, _ in columns)} |"
        yield "|---" * (1 + 2 * len(columns)) + "|"
        for name in dict.fromkeys(name for _, counts in columns for name in counts):
            ours = CONTESTANTS[name].counterpart
            cells = [CONTESTANTS[name].title]
            for _, counts in columns:
                count = counts.get(name)
                ratio = rounded(counts[ours] / count) if count and ours in counts else ""
                cells += [rounded(count) if count else "", ratio]
            yield f"| {' | '.join(cells)} |"

    def targets(self) -> Iterator[str]:
        """Each target of instructions, with its verdict."""
        yield from judged(INSTRUCTION_TARGETS, self._reached)

    def _reached(self, comparison: Comparison) -> Reached | None:
        ours, [peer] = comparison.ours, comparison.peers
        counts = self._profile.instructions.get(ours.scenario, {})
        if not {ours.contestant, peer.contestant} <= counts.keys():
            return None
        ratio = counts[ours.contestant] / counts[peer.contestant]
        return Reached(Spread.of([ratio]), peer)

    def functions(self) -> Iterator[str]:
        """The C functions that run most of our instructions."""
        yield "| | % |"
        yield "|---|---|"
        for name, share in self._profile.functions.items():
            yield f"| `{name}` | {share:.1f} |"

    def zlib(self) -> Iterator[str]:
        """How many of the instructions are zlib's, where messages are compressed."""
        yield "| | | instructions | in zlib, % | outside zlib | ours / theirs |"
        yield "|---|---|---|---|---|---|"
        for scenario, counts in self._profile.compressed.items():
            for name, (total, zlib) in counts.items():
                ours = CONTESTANTS[name].counterpart
                ratio = rounded(counts[ours][0] / total) if ours in counts else ""
                cells = [SCENARIOS[scenario].title, CONTESTANTS[name].title, rounded(total)]
                cells += [f"{100 * zlib / total:.1f}", rounded(total - zlib), ratio]
                yield f"| {' | '.join(cells)} |"
