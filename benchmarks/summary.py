"""What a run came to, as it is published in results.json: figures, ratios, and verdicts on them."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .contestants import ROOT
from .scenarios import SCENARIOS
from .spread import Spread
from .targets import Comparison, Entry

# Part of the repository, so that the pages can be generated without a run.
PUBLISHED = ROOT / "benchmarks" / "results.json"

Verdict = Literal["met", "missed", "open"]

# A contestant, or a ratio's left side: such a dictionary takes one line of the file.
_INNERMOST = re.compile(r'\{\s+"[^"]+": \[[^{}]*\}')


@dataclass(frozen=True, slots=True)
class Reached:
    """The figure or ratio that we reached, and the peer that it is a ratio to."""

    spread: Spread
    peer: Entry | None

    def verdict(self, bound: float) -> Verdict:
        """Met if the median is within the bound, missed if all rounds are above it, else open."""
        if self.spread.median <= bound:
            return "met"
        return "missed" if self.spread.least > bound else "open"


@dataclass(slots=True)
class Summary:
    """A run, in the figures that the pages print.

    `figures` are lists by scenario, contestant and quantity: median, lowest and highest round of
    the quantity that the scenario compares, and the median alone of the others. Ratios, such as
    those of "16x256/ours" to "16x256/picows", are lists of median, lowest and highest: they were
    taken round by round, and do not follow from the figures. `took` says how long the next run
    takes: see duration.py.
    """

    machine: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    ratios: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def add(self, entry: Entry, quantity: str, spread: Spread, with_spread: bool) -> None:
        """Add a figure."""
        contestants = self.figures.setdefault(entry.scenario, {})
        figures = contestants.setdefault(entry.contestant, {})
        figures[quantity] = _numbers(spread) if with_spread else _numbers(spread)[:1]

    def add_ratio(self, ours: Entry, theirs: Entry, ratio: Spread) -> None:
        """Add the ratio of the quantity that the scenario compares."""
        self.ratios.setdefault(str(ours), {})[str(theirs)] = _numbers(ratio)

    def median(self, entry: Entry, quantity: str) -> float:
        """The median of a quantity."""
        return self.figures[entry.scenario][entry.contestant][quantity][0]

    def compared(self, entry: Entry) -> Spread | None:
        """The quantity that the scenario compares; None where it was not measured."""
        figures = self.figures.get(entry.scenario, {}).get(entry.contestant)
        return Spread(*figures[SCENARIOS[entry.scenario].quantity]) if figures else None

    def ratio(self, ours: Entry, theirs: Entry) -> Spread | None:
        """Ours divided by theirs; None where the run did not give it."""
        numbers = self.ratios.get(str(ours), {}).get(str(theirs))
        return Spread(*numbers) if numbers else None

    def reached(self, comparison: Comparison) -> Reached | None:
        """What we reached, next to the best peer; None where that was not measured."""
        ours = self.compared(comparison.ours)
        if ours is None:
            return None
        if not comparison.peers:
            return Reached(ours, None)
        medians = {
            peer: spread.median for peer in comparison.peers if (spread := self.compared(peer))
        }
        if not medians:
            return None
        best = min(medians, key=lambda peer: medians[peer])
        ratio = self.ratio(comparison.ours, best)
        return None if ratio is None else Reached(ratio, best)

    def save(self, path: Path) -> None:
        """Write it into a file."""
        content = asdict(self)
        content["ratios"] = {
            ours: dict(sorted(ratios.items())) for ours, ratios in sorted(self.ratios.items())
        }
        text = json.dumps(content, indent=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_INNERMOST.sub(lambda found: " ".join(found[0].split()), text) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Summary":
        """Read it from a file."""
        content: dict[str, Any] = json.loads(path.read_text())
        return cls(**content)


def _numbers(spread: Spread) -> list[float]:
    """Seven digits each, which is more than the pages print."""
    return [float(f"{value:.7g}") for value in (spread.median, spread.least, spread.most)]
