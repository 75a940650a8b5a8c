"""The sections and the two plots of docs/performance.md: what a user wants to know first."""

from collections.abc import Callable, Iterator

from . import plot
from .contestants import CONTESTANTS, name_on
from .scenarios import SCENARIOS, SIZES, in_words
from .spread import Spread, rounded
from .summary import Summary
from .tables import colors_of, lines_of, machine_table
from .targets import Entry

# A few scenarios that stand for the others, with their unit.
SHOWN = {
    "16x256": ("Small messages, one in flight", "µs"),
    "1x64": ("Small messages, many in flight", "µs"),
    "4x1M": ("Large messages", "µs"),
    "tls-16x256": ("Small messages over TLS", "µs"),
    "deflate-1K": ("Compressed messages", "µs"),
    "handshake": ("Connections", "µs"),
    "idle": ("Memory", "KiB"),
    "tls-idle": ("Memory, over TLS", "KiB"),
    "broadcast": ("Broadcast, each delivery", "µs"),
}
LOOPS = ("asyncio", "uvloop", "trio")
# The columns: families of contestants.
FAMILIES = ("ours", "websockets", "aiohttp", "picows.websockets", "trio-websocket")
# Those that the plots show, on asyncio.
PLOTTED = ("ours", "websockets", "aiohttp", "picows.websockets")
# The rows of the short description of the run.
DESCRIPTION = ("Date", "Commit", "Precision", "Processor", "Cores", "System", "Python", "Packages")


class Overview:
    """A run as a user wants to see it."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    def sections(self) -> dict[str, Callable[[], Iterator[str]]]:
        """The sections by name."""
        return {
            "overview": self.table,
            "slower-overview": self.slower,
            "measured": self.measured,
        }

    def plots(self) -> dict[str, str]:
        """The plots by file name; none where there is nothing to plot."""
        plots = {"relative": self._relative(), "sizes": self._sizes()}
        return {name: svg for name, svg in plots.items() if svg}

    def table(self) -> Iterator[str]:
        """A row for each scenario and loop; the lowest figure of a row is bold."""
        labels = [next(o.label for o in CONTESTANTS.values() if o.family == f) for f in FAMILIES]
        yield f"| | Event loop | {' | '.join(labels)} |"
        yield "|---" * (2 + len(labels)) + "|"
        for scenario, (label, unit) in SHOWN.items():
            head = f"**{label}**: {SCENARIOS[scenario].title}, {unit}"
            for loop in LOOPS:
                entries = [Entry(scenario, name_on(family, loop)) for family in FAMILIES]
                spreads = [self._summary.compared(entry) for entry in entries]
                if spreads[0] is None:
                    continue
                lowest = min(spread.median for spread in spreads if spread)
                cells = [_cell(spread, lowest) for spread in spreads]
                yield f"| {head} | {loop} | {' | '.join(cells)} |"
                head = ""

    def slower(self) -> Iterator[str]:
        """Every peer that takes less in every round, in the scenarios of the table."""
        yield "| | Peer | ours / theirs |"
        yield "|---|---|---|"
        for scenario in SHOWN:
            ratios: dict[str, list[str]] = {}
            for name in self._summary.figures.get(scenario, {}):
                contestant = CONTESTANTS[name]
                if contestant.counterpart is None or contestant.floor:
                    continue
                ours = Entry(scenario, contestant.counterpart)
                ratio = self._summary.ratio(ours, Entry(scenario, name))
                if contestant.loop in LOOPS and ratio and ratio.least > 1:
                    on = f"{contestant.loop}: {ratio}"
                    ratios.setdefault(contestant.label, []).append(on)
            for label, found in ratios.items():
                yield f"| {SCENARIOS[scenario].title} | {label} | {'<br>'.join(found)} |"

    def measured(self) -> Iterator[str]:
        """Where and when it was measured, without the details."""
        machine = self._summary.machine
        yield from machine_table({name: machine[name] for name in DESCRIPTION if name in machine})

    def _relative(self) -> str | None:
        """What we take, divided by what the peers take."""
        colors = colors_of(list(PLOTTED))
        groups = []
        for scenario, (label, _) in SHOWN.items():
            bars = [
                plot.Bar(CONTESTANTS[name].label, ratio, colors[name])
                for name in PLOTTED
                if (ratio := self._summary.ratio(Entry(scenario, "ours"), Entry(scenario, name)))
            ]
            if bars:
                groups.append(plot.Group(label, SCENARIOS[scenario].title, bars))
        title = (
            "CPU time (idle connections: memory) of wstransports, relative to a peer, on asyncio"
        )
        axis = "1: the same as the peer; bars to the left: wstransports takes less"
        return plot.ratios(title, axis, groups) if groups else None

    def _sizes(self) -> str | None:
        """CPU time over the size of the message."""
        places = {one.size: one.name for one in SIZES if one.name in self._summary.figures}
        series = lines_of(self._summary, list(PLOTTED), places)
        series = [line for line in series if line.points]
        title = "Server CPU per message, one connection, asyncio"
        if not series:
            return None
        return plot.lines(title, "size of the message", "µs", series, in_words)


def _cell(spread: Spread | None, lowest: float) -> str:
    if spread is None:
        return "–"
    text = rounded(spread.median)
    return f"**{text}**" if spread.median == lowest else text
