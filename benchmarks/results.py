"""The rounds of a run: what each of them measured."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .contestants import CONTESTANTS
from .scenarios import SCENARIOS
from .spread import Spread
from .summary import Summary
from .targets import TARGETS, Entry


@dataclass(slots=True)
class Results:
    """A run: the machine, and by scenario, contestant and quantity the value of each round.

    `left_out` says which contestants and scenarios cannot be measured on this machine, and why;
    `failures` which were measured and failed. `took` has the seconds that a contestant's round took
    besides its turns, by scenario.
    """

    machine: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def add(self, scenario: str, contestant: str, measured: dict[str, float]) -> None:
        """Add a round."""
        quantities = self.rounds.setdefault(scenario, {}).setdefault(contestant, {})
        for name, value in measured.items():
            quantities.setdefault(name, []).append(value)

    def failed(self, scenario: str, contestant: str, reason: str) -> None:
        """Record a failure, and drop all rounds of this contestant in this scenario."""
        self.rounds.get(scenario, {}).pop(contestant, None)
        self.failures[f"{contestant}, {scenario}"] = reason

    def ratio(self, ours: Entry, theirs: Entry) -> Spread | None:
        """Ours divided by theirs, round by round.

        None where one of them was not measured, or theirs is 0.
        """
        above, below = self._compared(ours), self._compared(theirs)
        if above is None or below is None or 0 in below:
            return None
        return Spread.of([one / other for one, other in zip(above, below, strict=True)])

    def summary(self) -> Summary:
        """The figures and ratios that the pages print."""
        summary = Summary(self.machine, self.left_out, self.failures, took=self.took)
        for scenario, contestants in self.rounds.items():
            compared = SCENARIOS[scenario].quantity
            for contestant, quantities in contestants.items():
                for name, values in quantities.items():
                    spread = Spread.of(values)
                    entry = Entry(scenario, contestant)
                    summary.add(entry, name, spread, with_spread=name == compared)
        for ours, theirs in self._pairs():
            if ratio := self.ratio(ours, theirs):
                summary.add_ratio(ours, theirs, ratio)
        return summary

    def save(self, path: Path) -> None:
        """Write every round into a file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def _compared(self, entry: Entry) -> list[float] | None:
        quantities = self.rounds.get(entry.scenario, {}).get(entry.contestant, {})
        return quantities.get(SCENARIOS[entry.scenario].quantity)

    def _pairs(self) -> set[tuple[Entry, Entry]]:
        """Every pair of entries whose ratio a page prints."""
        pairs = {
            (Entry(scenario, ours), Entry(scenario, theirs))
            for scenario, contestants in self.rounds.items()
            for theirs in contestants
            if (ours := CONTESTANTS[theirs].counterpart)
        }
        for target in TARGETS:
            for comparison in target.comparisons():
                pairs |= {(comparison.ours, peer) for peer in comparison.peers}
        return pairs
