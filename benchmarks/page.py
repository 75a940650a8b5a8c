"""Write the results into docs/performance.md: python -m benchmarks.page

What is drawn stands there between two comments, `<!-- drawn: NAME -->` and `<!-- end -->`; the
words around are written by hand, and hold no number that a run gave.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from . import plot
from .contestants import BUILT, CONTESTANTS, ROOT, name_on
from .plot import rounded
from .profile import COUNTED, SAVED, Profile
from .results import Results, Spread
from .scenarios import CONNECTIONS, GROUPS, SCENARIOS, SIZES, Scenario, in_words
from .targets import NO_LOOP, TARGETS, Quantity, Target

PAGE = ROOT / "docs" / "performance.md"

_DRAWING = re.compile(r"(<!-- drawn: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# The columns of each group's tables; the first one is what counts.
COLUMNS = {
    "messages": ("cpu", "rate", "p50", "p99", "faults", "load"),
    "compressed": ("cpu", "rate", "p50", "p99", "faults", "load"),
    "handshakes": ("cpu", "opening", "rate"),
    "idle": ("resident", "proportional"),
    "broadcasts": ("cpu", "rate", "p50", "p99", "faults", "load"),
    "streams": ("peak", "cpu"),
    "sans-io": ("cpu",),
}
HEADINGS = {
    "cpu": "CPU, µs",
    "opening": "of it until open, µs",
    "rate": "per second",
    "p50": "p50, µs",
    "p99": "p99, µs",
    "faults": "page faults",
    "load": "load's CPU, µs",
    "resident": "resident, KiB",
    "proportional": "proportional, KiB",
    "peak": "above idle, MiB",
}
# Of the profile.
MOST_FUNCTIONS = 15
# Lines of one color on different loops.
DASHES = {"asyncio": "none", "uvloop": "7 3", "aiofastnet": "2 3"}
UNITS = {"cpu": "µs of CPU", "resident": "KiB resident for each", "peak": "MiB above idle"}


class Page:
    """The drawings of one run."""

    def __init__(self, results: Results, profile: Profile, plots: Path) -> None:
        self._results = results
        self._profile = profile
        self._plots = plots

    def drawings(self) -> dict[str, Callable[[], Iterator[str]]]:
        """What can be drawn."""
        return {
            "machine": self.machine,
            "left-out": self.left_out,
            "targets": self.targets,
            "slower": self.slower,
            "instructions": self.instructions,
            "functions": self.functions,
            "zlib": self.zlib,
            **{name: partial(self.group, name) for name in COLUMNS},
            "connections": partial(self.growth, "connections", "connections", CONNECTIONS),
            "sizes": partial(self.growth, "sizes", "size of the message", SIZES),
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
        """Each target, and where we stand on each loop."""
        verdicts: Counter[str] = Counter()
        rows = ["| | Ours | At most | Of what | Seen |", "|---|---|---|---|---|"]
        for target in TARGETS:
            seen = []
            for comparison in target.comparisons():
                reached = self._results.reached(comparison)
                verdict = reached.verdict(target.bound) if reached else "not measured"
                verdicts[verdict] += 1
                ours = CONTESTANTS[comparison.ours.contestant]
                loop = f"{ours.loop}: " if target.loops != NO_LOOP else ""
                figure = f"{_spread(reached.spread)}, " if reached else ""
                beside = ""
                if reached and reached.peer and len(comparison.peers) > 1:
                    beside = f" (of {CONTESTANTS[reached.peer.contestant].label})"
                seen.append(f"{loop}{figure}**{verdict}**{beside}")
            rows.append(f"| {_terms(target)} | {'<br>'.join(seen)} |")
        yield ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) + ".\n"
        yield from rows

    def slower(self) -> Iterator[str]:
        """Where somebody else takes less in every round, on the same loop."""
        rows = []
        for name, contestants in self._results.rounds.items():
            for theirs in contestants:
                ours = _beside(theirs)
                if ours is None or CONTESTANTS[theirs].floor:
                    continue
                first = next(iter(contestants[theirs]))
                ratio = self._ratio(name, ours, theirs, first)
                if ratio and ratio.least > 1:
                    rows.append(
                        f"| {SCENARIOS[name].title} | {CONTESTANTS[theirs].title} |"
                        f" {_spread(ratio)} |"
                    )
        yield from ["| | Beside | Ours takes, times theirs |", "|---|---|---|", *rows]

    def instructions(self) -> Iterator[str]:
        """What everybody runs for a message, and for a handshake."""
        columns = [
            (scenario.title, counts)
            for scenario, _, _ in COUNTED
            if (counts := self._profile.instructions.get(scenario.name))
        ]
        yield f"| | {' | '.join(f'{title} | ours takes' for title, _ in columns)} |"
        yield "|---" * (1 + 2 * len(columns)) + "|"
        for name in dict.fromkeys(name for _, counts in columns for name in counts):
            ours = _beside(name)
            cells = [CONTESTANTS[name].title]
            for _, counts in columns:
                count = counts.get(name)
                ratio = f"{rounded(counts[ours] / count)} ×" if count and ours in counts else ""
                cells += [rounded(count) if count else "", ratio]
            yield f"| {' | '.join(cells)} |"

    def functions(self) -> Iterator[str]:
        """In which C functions most of ours are."""
        counts = self._profile.functions
        yield "| | of 100 |"
        yield "|---|---|"
        for name in sorted(counts, key=lambda name: -counts[name])[:MOST_FUNCTIONS]:
            yield f"| `{name}` | {100 * counts[name] / sum(counts.values()):.1f} |"

    def zlib(self) -> Iterator[str]:
        """How much of it is zlib, where messages are compressed."""
        yield "| | | instructions | zlib's, of 100 | beside zlib's | ours takes |"
        yield "|---|---|---|---|---|---|"
        for scenario, counts in self._profile.compressed.items():
            for name, (all_of_it, zlib) in counts.items():
                ours = _beside(name)
                ratio = f"{rounded(counts[ours][0] / all_of_it)} ×" if ours in counts else ""
                cells = [SCENARIOS[scenario].title, CONTESTANTS[name].title, rounded(all_of_it)]
                cells += [f"{100 * zlib / all_of_it:.1f}", rounded(all_of_it - zlib), ratio]
                yield f"| {' | '.join(cells)} |"

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
                ours = _beside(name)
                ratio = self._ratio(scenario.name, ours, name, columns[0]) if ours else None
                cells.append(f"{_spread(ratio)} ×" if ratio else "")
                yield f"| {CONTESTANTS[name].title} | {' | '.join(cells)} |"

    def growth(self, name: str, axis: str, scenarios: Sequence[Scenario]) -> Iterator[str]:
        """How the cost grows with connections, or with sizes: a plot and its table."""
        title = "Server CPU per message"
        measured = {
            scenario.size if name == "sizes" else scenario.connections: found
            for scenario in scenarios
            if (found := self._results.rounds.get(scenario.name))
        }
        if not measured:
            return
        who = [one for one in CONTESTANTS if any(one in found for found in measured.values())]
        colors = _colors(who)
        series = [
            plot.Line(
                CONTESTANTS[one].title,
                {
                    place: Spread.of(found[one]["cpu"])
                    for place, found in measured.items()
                    if one in found
                },
                colors[one],
                "10 3 2 3" if CONTESTANTS[one].pure else DASHES[CONTESTANTS[one].loop],
            )
            for one in who
        ]
        tick = in_words if name == "sizes" else str
        svg = plot.lines(title, axis, "µs", series, tick)
        yield f"![{title}]({self._save(name, svg)})\n"
        yield "| µs | " + " | ".join(tick(place) for place in measured) + " |"
        yield "|---" * (len(measured) + 1) + "|"
        for line in series:
            cells = [
                rounded(line.points[at].median) if at in line.points else "–" for at in measured
            ]
            yield f"| {line.label} | {' | '.join(cells)} |"

    def _ratio(self, scenario: str, ours: str, theirs: str, quantity: str) -> Spread | None:
        return self._results.ratio(
            Quantity(scenario, ours, quantity), Quantity(scenario, theirs, quantity)
        )

    def _plot(self, scenario: Scenario, quantity: str) -> str:
        contestants = self._results.rounds[scenario.name]
        colors = _colors(list(contestants))
        rows = [
            plot.Bar(CONTESTANTS[name].title, Spread.of(found[quantity]), colors[name])
            for name, found in contestants.items()
        ]
        return self._save(scenario.name, plot.bars(scenario.title, UNITS[quantity], rows))

    def _save(self, name: str, svg: str) -> str:
        self._plots.mkdir(parents=True, exist_ok=True)
        (self._plots / f"{name}.svg").write_text(svg)
        return f"{self._plots.name}/{name}.svg"


def _spread(spread: Spread) -> str:
    return f"{rounded(spread.median)} ({rounded(spread.least)} to {rounded(spread.most)})"


def _terms(target: Target) -> str:
    """What a target says, as the first cells of its row."""
    ours = CONTESTANTS[target.ours].label
    bound = f"{target.bound:g}" + (f", aim {target.aim:g}" if target.aim else "")
    if target.beside:
        what = f"the same, {SCENARIOS[target.beside].title}"
    elif target.peers:
        peers = [peer.contestant for peer in next(target.comparisons()).peers]
        what = " or ".join(CONTESTANTS[peer].label for peer in peers)
    else:
        what = HEADINGS[target.quantity]
    return f"{SCENARIOS[target.scenario].title} | {ours} | {bound} | {what}"


def _is_ours(name: str) -> bool:
    return CONTESTANTS[name].family.startswith(("ours", "core"))


def _beside(name: str) -> str | None:
    """Ours on the loop that somebody else runs on."""
    if _is_ours(name):
        return None
    contestant = CONTESTANTS[name]
    return "core" if contestant.module == "sans_io" else name_on("ours", contestant.loop)


def _colors(names: list[str]) -> dict[str, str]:
    """One for each family; ours and the floors stand out."""
    others: dict[str, str] = {}
    colors = {}
    for name in names:
        family = CONTESTANTS[name].family
        if _is_ours(name):
            colors[name] = plot.OURS
        elif CONTESTANTS[name].floor:
            colors[name] = plot.FLOOR
        else:
            new = plot.OTHERS[len(others) % len(plot.OTHERS)]
            colors[name] = others.setdefault(family, new)
    return colors


def write(results: Results, page: Path) -> None:
    """Write the page: the words of docs/performance.md, and what the run gave."""
    drawings = Page(results, Profile.load(SAVED), page.with_suffix("")).drawings()

    def draw(drawing: re.Match[str]) -> str:
        return drawing[1] + "".join(f"{line}\n" for line in drawings[drawing[2]]()) + drawing[3]

    page.write_text(_DRAWING.sub(draw, PAGE.read_text()))


if __name__ == "__main__":
    write(Results.load(BUILT / "results.json"), PAGE)
