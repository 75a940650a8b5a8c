"""The sections of results.md and targets.md: every figure of a run, in tables and plots."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from . import plot
from .contestants import CONTESTANTS
from .scenarios import CONNECTIONS, GROUPS, SCENARIOS, SIZES, Kind, Scenario, in_words
from .spread import Spread, rounded
from .summary import Reached, Summary
from .targets import NO_LOOP, TARGETS, Comparison, Entry, Target

# The columns of the tables. The first one is the quantity that is compared.
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "echo": ("cpu", "rate", "p50", "p99", "faults", "load"),
    "handshake": ("cpu", "opening", "rate"),
    "idle": ("resident", "proportional"),
    "broadcast": ("cpu", "rate", "p50", "p99", "faults", "load"),
    "rooms": ("cpu", "redis", "rate", "p50", "p99", "faults", "load"),
    "stream": ("peak", "cpu"),
    "sans-io": ("cpu",),
}
HEADINGS = {
    "cpu": "CPU, µs",
    "opening": "CPU until open, µs",
    "redis": "CPU of Redis, µs",
    "rate": "per second",
    "p50": "p50, µs",
    "p99": "p99, µs",
    "faults": "page faults",
    "load": "load generator's CPU, µs",
    "resident": "RSS, KiB",
    "proportional": "PSS, KiB",
    "peak": "peak above idle, MiB",
}
UNITS = {"cpu": "µs of CPU", "resident": "KiB for each connection", "peak": "MiB above idle"}
# Lines of one color on different loops.
DASHES = {"asyncio": "none", "uvloop": "7 3", "aiofastnet": "2 3"}
PURE_DASH = "10 3 2 3"


class Tables:
    """The tables of a run, and the plots that they show, by file name."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary
        self.plots: dict[str, str] = {}

    def sections(self) -> dict[str, Callable[[], Iterator[str]]]:
        """The sections by name."""
        return {
            "machine": self.machine,
            "left-out": self.left_out,
            "slower": self.slower,
            "targets": self.targets,
            **{name: partial(self.group, name) for name in GROUPS},
            "connections": partial(self.growth, "connections", "connections", CONNECTIONS),
            "sizes": partial(self.growth, "sizes", "size of the message", SIZES),
        }

    def machine(self) -> Iterator[str]:
        """The machine and the versions."""
        yield from machine_table(self._summary.machine)

    def left_out(self) -> Iterator[str]:
        """What the tables lack, and why."""
        reasons = {**self._summary.left_out, **self._summary.failures}
        for name, reason in reasons.items():
            yield f"- {name}: {reason.splitlines()[0]}"
        if not reasons:
            yield "Nothing."

    def targets(self) -> Iterator[str]:
        """Each target, with its verdict on each loop."""
        yield from judged(TARGETS, self._summary.reached)

    def slower(self) -> Iterator[str]:
        """Every peer that takes less than ours in every round, on the same event loop."""
        yield "| | Peer | ours / theirs |"
        yield "|---|---|---|"
        for name, contestants in self._summary.figures.items():
            for theirs in contestants:
                ratio = self._ratio(name, theirs)
                if ratio and ratio.least > 1 and not CONTESTANTS[theirs].floor:
                    yield f"| {SCENARIOS[name].title} | {CONTESTANTS[theirs].title} | {ratio} |"

    def group(self, group: str) -> Iterator[str]:
        """A table and a plot for each scenario of a group."""
        for scenario in GROUPS[group]:
            contestants = self._summary.figures.get(scenario.name)
            if not contestants:
                continue
            columns = COLUMNS[scenario.kind]
            yield f"\n### {scenario.title}\n"
            yield f"![{scenario.title}]({self._bars(scenario)})\n"
            headings = [HEADINGS[column] for column in columns]
            yield f"| | {' | '.join(headings)} | ours / theirs |"
            yield "|---" * (len(columns) + 2) + "|"
            for name in contestants:
                entry = Entry(scenario.name, name)
                cells = [str(self._summary.compared(entry))]
                cells += [rounded(self._summary.median(entry, column)) for column in columns[1:]]
                cells.append(str(self._ratio(scenario.name, name) or ""))
                yield f"| {CONTESTANTS[name].title} | {' | '.join(cells)} |"

    def growth(self, name: str, axis: str, scenarios: Sequence[Scenario]) -> Iterator[str]:
        """A plot and a table of the cost over a number of connections, or over sizes."""
        places = {
            scenario.size if name == "sizes" else scenario.connections: scenario.name
            for scenario in scenarios
            if scenario.name in self._summary.figures
        }
        if not places:
            return
        title = "Server CPU per message"
        tick = in_words if name == "sizes" else str
        measured = [self._summary.figures[scenario] for scenario in places.values()]
        names = [one for one in CONTESTANTS if any(one in found for found in measured)]
        series = lines_of(self._summary, names, places)
        self.plots[name] = plot.lines(title, axis, "µs", series, tick)
        yield f"![{title}]({_path(name)})\n"
        yield "| µs | " + " | ".join(tick(place) for place in places) + " |"
        yield "|---" * (len(places) + 1) + "|"
        for line in series:
            cells = [rounded(line.points[at].median) if at in line.points else "–" for at in places]
            yield f"| {line.label} | {' | '.join(cells)} |"

    def _ratio(self, scenario: str, theirs: str) -> Spread | None:
        ours = CONTESTANTS[theirs].counterpart
        if ours is None:
            return None
        return self._summary.ratio(Entry(scenario, ours), Entry(scenario, theirs))

    def _bars(self, scenario: Scenario) -> str:
        names = list(self._summary.figures[scenario.name])
        colors = colors_of(names)
        rows = [
            plot.Bar(CONTESTANTS[name].title, spread, colors[name])
            for name in names
            if (spread := self._summary.compared(Entry(scenario.name, name)))
        ]
        unit = UNITS[scenario.quantity]
        self.plots[scenario.name] = plot.bars(scenario.title, unit, rows)
        return _path(scenario.name)


def machine_table(machine: dict[str, str]) -> Iterator[str]:
    """A table of a machine's description."""
    yield "| | |"
    yield "|---|---|"
    for name, value in machine.items():
        yield f"| {name} | {value} |"


def lines_of(summary: Summary, names: list[str], places: dict[int, str]) -> list[plot.Line]:
    """A line for each contestant, over the scenarios at each place of the axis."""
    colors = colors_of(names)
    return [
        plot.Line(
            CONTESTANTS[name].title,
            {
                place: spread
                for place, scenario in places.items()
                if (spread := summary.compared(Entry(scenario, name)))
            },
            colors[name],
            PURE_DASH if CONTESTANTS[name].pure else DASHES[CONTESTANTS[name].loop],
        )
        for name in names
    ]


def colors_of(names: list[str]) -> dict[str, str]:
    """One color for each family; ours and the floors have their own."""
    others: dict[str, str] = {}
    colors = {}
    for name in names:
        contestant = CONTESTANTS[name]
        if contestant.ours:
            colors[name] = plot.OURS
        elif contestant.floor:
            colors[name] = plot.FLOOR
        else:
            new = plot.OTHERS[len(others) % len(plot.OTHERS)]
            colors[name] = others.setdefault(contestant.family, new)
    return colors


def _path(name: str) -> str:
    return f"plots/{name}.svg"


def judged(
    targets: Sequence[Target], reached_by: Callable[[Comparison], Reached | None]
) -> Iterator[str]:
    """How many targets are met, and a table of them, each with its verdict on each loop."""
    verdicts: Counter[str] = Counter()
    rows = ["| | Ours | At most | Relative to | Measured |", "|---|---|---|---|---|"]
    for target in targets:
        cells = []
        for comparison in target.comparisons():
            reached = reached_by(comparison)
            verdict = reached.verdict(target.bound) if reached else "not measured"
            verdicts[verdict] += 1
            ours = CONTESTANTS[comparison.ours.contestant]
            loop = f"{ours.loop}: " if target.loops != NO_LOOP else ""
            figure = f"{reached.spread}, " if reached else ""
            best = ""
            if reached and reached.peer and len(comparison.peers) > 1:
                best = f" ({CONTESTANTS[reached.peer.contestant].label})"
            cells.append(f"{loop}{figure}**{verdict}**{best}")
        rows.append(f"| {_terms(target)} | {'<br>'.join(cells)} |")
    yield ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) + ".\n"
    yield from rows


def _terms(target: Target) -> str:
    """A target's terms: the first cells of its row."""
    first = next(target.comparisons())
    ours = CONTESTANTS[first.ours.contestant].label
    bound = f"{target.bound:g}" + (f", aim {target.aim:g}" if target.aim else "")
    if target.relative_to:
        relative_to = f"ours, {SCENARIOS[target.relative_to].title}"
    elif target.peers:
        peers = [peer.contestant for peer in first.peers]
        relative_to = " or ".join(CONTESTANTS[peer].label for peer in peers)
    else:
        relative_to = HEADINGS[SCENARIOS[target.scenario].quantity]
    return f"{SCENARIOS[target.scenario].title} | {ours} | {bound} | {relative_to}"
