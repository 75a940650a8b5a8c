"""Write the results into docs/performance.md: python -m benchmarks.page

What is drawn stands there between two comments, `<!-- drawn: NAME -->` and `<!-- end -->`; the
words around are written by hand, and hold no number that a run gave.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from . import plot
from .contestants import BUILT, CONTESTANTS, ROOT
from .plot import rounded
from .results import Results, Spread
from .scenarios import CONNECTIONS, GROUPS, SCENARIOS, SIZES, Scenario, in_words
from .targets import TARGETS, Quantity

PAGE = ROOT / "docs" / "performance.md"

_DRAWING = re.compile(r"(<!-- drawn: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# The columns of each group's tables; the first one is what counts.
COLUMNS = {
    "messages": ("cpu", "rate", "p50", "p99"),
    "compressed": ("cpu", "rate", "p50", "p99"),
    "handshakes": ("cpu", "opening", "rate"),
    "idle": ("resident", "proportional"),
    "broadcasts": ("cpu", "rate", "p50", "p99"),
    "streams": ("peak", "cpu"),
    "sans-io": ("cpu",),
}
HEADINGS = {
    "cpu": "CPU, µs",
    "opening": "of it until open, µs",
    "rate": "per second",
    "p50": "p50, µs",
    "p99": "p99, µs",
    "resident": "resident, KiB",
    "proportional": "proportional, KiB",
    "peak": "above idle, MiB",
}
UNITS = {"cpu": "µs of CPU", "resident": "KiB resident for each", "peak": "MiB above idle"}


class Page:
    """The drawings of one run."""

    def __init__(self, results: Results, plots: Path) -> None:
        self._results = results
        self._plots = plots

    def drawings(self) -> dict[str, Callable[[], Iterator[str]]]:
        """What can be drawn."""
        return {
            "machine": self.machine,
            "left-out": self.left_out,
            "targets": self.targets,
            "slower": self.slower,
            **{name: partial(self.group, name) for name in COLUMNS},
            "connections": partial(self.growth, "connections", CONNECTIONS),
            "sizes": partial(self.growth, "sizes", SIZES),
        }

    def machine(self) -> Iterator[str]:
        """Where it was measured."""
        yield "| | |"
        yield "|---|---|"
        for name, value in self._results.machine.items():
            yield f"| {name} | {value} |"

    def left_out(self) -> Iterator[str]:
        """What is not in the tables, and why."""
        reasons = {**self._results.left_out, **self._results.failures}
        for name, reason in reasons.items():
            yield f"- {name}: {reason.splitlines()[0]}"
        if not reasons:
            yield "Nothing."

    def targets(self) -> Iterator[str]:
        """Each target, and where we stand."""
        yield "| What | Ours | At most | Beside | Seen | |"
        yield "|---|---|---|---|---|---|"
        for target in TARGETS:
            reached = self._results.reached(target)
            bound = f"{target.bound:g}" + (f" (aim {target.aim:g})" if target.aim else "")
            beside = " or ".join(_label(peer, target.ours) for peer in target.peers) or "–"
            seen = "–"
            if reached:
                spread, peer = reached
                seen = _spread(spread)
                if peer and len(target.peers) > 1:
                    beside = _label(peer, target.ours)
            unit = "" if target.peers else f" {HEADINGS[target.ours.name].rpartition(' ')[2]}"
            yield (
                f"| {SCENARIOS[target.ours.scenario].title} |"
                f" {CONTESTANTS[target.ours.contestant].label} | {bound}{unit} | {beside} |"
                f" {seen} | {self._results.verdict(target)} |"
            )

    def slower(self) -> Iterator[str]:
        """Where somebody else is faster, or smaller, beyond the spread; on the same loop."""
        found = False
        for name, contestants in self._results.rounds.items():
            for ours, theirs in _neighbours(list(contestants)):
                first = next(iter(contestants[ours]))
                ratio = self._results.ratio(
                    Quantity(name, ours, first), Quantity(name, theirs, first)
                )
                if ratio and ratio.least > 1:
                    found = True
                    yield (
                        f"- {SCENARIOS[name].title}: {CONTESTANTS[ours].label} takes"
                        f" {_spread(ratio)} times what {CONTESTANTS[theirs].label} takes"
                    )
        if not found:
            yield "Nothing."

    def group(self, group: str) -> Iterator[str]:
        """A table and a plot for each scenario of a group."""
        for scenario in GROUPS[group]:
            contestants = self._results.rounds.get(scenario.name)
            if not contestants:
                continue
            columns = COLUMNS[group]
            yield f"\n### {scenario.title}\n"
            yield f"![{scenario.title}]({self._plot(scenario, columns[0])})\n"
            headings = [HEADINGS[column] for column in columns]
            yield f"| | {' | '.join(headings)} | ours takes |"
            yield "|---" * (len(columns) + 2) + "|"
            for name, quantities in contestants.items():
                cells = [_spread(Spread.of(quantities[columns[0]]))]
                cells += [rounded(Spread.of(quantities[column]).median) for column in columns[1:]]
                cells.append(self._ours_over(scenario, name, columns[0]))
                yield f"| {CONTESTANTS[name].label} | {' | '.join(cells)} |"

    def growth(self, axis: str, scenarios: Sequence[Scenario]) -> Iterator[str]:
        """How the cost grows with connections, or with sizes: a plot and its table."""
        title = "Server CPU per message"
        measured = {
            scenario.size if axis == "sizes" else scenario.connections: found
            for scenario in scenarios
            if (found := self._results.rounds.get(scenario.name))
        }
        if not measured:
            return
        who = [one for one in CONTESTANTS if any(one in found for found in measured.values())]
        series = {
            CONTESTANTS[one].label: {
                place: Spread.of(found[one]["cpu"])
                for place, found in measured.items()
                if one in found
            }
            for one in who
        }
        colors = {CONTESTANTS[one].label: color for one, color in _colors(who).items()}
        tick = in_words if axis == "sizes" else str
        svg = plot.lines(title, axis, "µs", series, colors, tick)
        yield f"![{title}]({self._save(axis, svg)})\n"
        yield "| µs | " + " | ".join(tick(place) for place in measured) + " |"
        yield "|---" * (len(measured) + 1) + "|"
        for label, points in series.items():
            cells = [rounded(points[at].median) if at in points else "–" for at in measured]
            yield f"| {label} | {' | '.join(cells)} |"

    def _ours_over(self, scenario: Scenario, name: str, quantity: str) -> str:
        ours = "core" if scenario.kind == "sans-io" else _on_same_loop(name)
        ratio = self._results.ratio(
            Quantity(scenario.name, ours, quantity), Quantity(scenario.name, name, quantity)
        )
        return "" if ratio is None or ours == name else f"{_spread(ratio)} ×"

    def _plot(self, scenario: Scenario, quantity: str) -> str:
        contestants = self._results.rounds[scenario.name]
        colors = _colors(list(contestants))
        rows = [
            plot.Bar(CONTESTANTS[name].label, Spread.of(found[quantity]), colors[name])
            for name, found in contestants.items()
        ]
        return self._save(scenario.name, plot.bars(scenario.title, UNITS[quantity], rows))

    def _save(self, name: str, svg: str) -> str:
        self._plots.mkdir(parents=True, exist_ok=True)
        (self._plots / f"{name}.svg").write_text(svg)
        return f"{self._plots.name}/{name}.svg"


def _spread(spread: Spread) -> str:
    return f"{rounded(spread.median)} ({rounded(spread.least)} to {rounded(spread.most)})"


def _label(peer: Quantity, ours: Quantity) -> str:
    if peer.scenario != ours.scenario:
        return f"the same with {SCENARIOS[peer.scenario].title}"
    return CONTESTANTS[peer.contestant].label


def _is_ours(name: str) -> bool:
    return CONTESTANTS[name].module == "wstransports" or name.startswith("core")


def _on_same_loop(name: str) -> str:
    """Ours on the loop that somebody runs on."""
    loop = CONTESTANTS[name].loop
    return "ours" if loop == "asyncio" else f"ours-{loop}"


def _neighbours(names: list[str]) -> Iterator[tuple[str, str]]:
    """Ours, and each other that runs on the same loop and is no floor."""
    for name in names:
        if _is_ours(name) or CONTESTANTS[name].raw:
            continue
        ours = "core" if CONTESTANTS[name].module == "sans_io" else _on_same_loop(name)
        if ours in names:
            yield ours, name


def _colors(names: list[str]) -> dict[str, str]:
    others = [name for name in names if not _is_ours(name) and not CONTESTANTS[name].raw]
    return {
        name: plot.OURS
        if _is_ours(name)
        else plot.FLOOR
        if CONTESTANTS[name].raw
        else plot.OTHERS[others.index(name) % len(plot.OTHERS)]
        for name in names
    }


def write(results: Results, page: Path) -> None:
    """Write the page: the words of docs/performance.md, and what the run gave."""
    drawings = Page(results, page.with_suffix("")).drawings()

    def draw(drawing: re.Match[str]) -> str:
        return drawing[1] + "".join(f"{line}\n" for line in drawings[drawing[2]]()) + drawing[3]

    page.write_text(_DRAWING.sub(draw, PAGE.read_text()))


if __name__ == "__main__":
    write(Results.load(BUILT / "results.json"), PAGE)
