"""What a run measured, and what follows from it: medians, ratios with their spread, verdicts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from .targets import Comparison, Quantity

Verdict = Literal["met", "missed", "open"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of these."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Reached:
    """Where we stand: the figure or the ratio, and beside whom."""

    spread: Spread
    peer: Quantity | None

    def verdict(self, bound: float) -> Verdict:
        """Missed only where the whole spread lies above the bound, and met only where the median
        does not; between the two this run does not tell."""
        if self.spread.median <= bound:
            return "met"
        return "missed" if self.spread.least > bound else "open"


@dataclass(slots=True)
class Results:
    """A run: the machine, and by scenario, contestant and quantity what each round gave.

    `left_out` says who or what cannot be measured here, and why; `failures` who was measured,
    and failed.
    """

    machine: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)

    def add(self, scenario: str, contestant: str, measured: dict[str, float]) -> None:
        """Another round."""
        quantities = self.rounds.setdefault(scenario, {}).setdefault(contestant, {})
        for name, value in measured.items():
            quantities.setdefault(name, []).append(value)

    def failed(self, scenario: str, contestant: str, reason: str) -> None:
        """A round failed: with that, none of the contestant's in this scenario counts."""
        self.rounds.get(scenario, {}).pop(contestant, None)
        self.failures[f"{contestant}, {scenario}"] = reason

    def values(self, quantity: Quantity) -> list[float] | None:
        """What each round gave; None where nobody measured it."""
        contestants = self.rounds.get(quantity.scenario, {})
        return contestants.get(quantity.contestant, {}).get(quantity.name)

    def ratio(self, ours: Quantity, theirs: Quantity) -> Spread | None:
        """One divided by the other, round by round; None where one of them was not measured, or
        theirs is nothing."""
        above, below = self.values(ours), self.values(theirs)
        if above is None or below is None or 0 in below:
            return None
        return Spread.of([one / other for one, other in zip(above, below, strict=True)])

    def reached(self, comparison: Comparison) -> Reached | None:
        """Where we stand; None where that was not measured."""
        ours = self.values(comparison.ours)
        if ours is None:
            return None
        if not comparison.peers:
            return Reached(Spread.of(ours), None)
        medians = {
            peer: median(values) for peer in comparison.peers if (values := self.values(peer))
        }
        if not medians:
            return None
        best = min(medians, key=lambda peer: medians[peer])
        ratio = self.ratio(comparison.ours, best)
        return None if ratio is None else Reached(ratio, best)

    def save(self, path: Path) -> None:
        """Write it down."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read it again."""
        content: dict[str, Any] = json.loads(path.read_text())
        return cls(**content)
