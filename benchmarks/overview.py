"""The sections and the two plots of docs/performance.md: what a user wants to know first."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from . import plot
from .contestants import CONTESTANTS, name_on
from .profile import Profile
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
SERVERS = {name: SHOWN[name] for name in ("16x256", "1x64")}
CLIENTS = {f"client-{name}": label for name, label in SERVERS.items()}
UNDER_ASGI = {
    "asgi-16x256": SHOWN["16x256"],
    "asgi-1x64": SHOWN["1x64"],
    "asgi-16x4x16K": ("Larger messages", "µs"),
    "idle-asgi": SHOWN["idle"],
}
ON_ASYNCIO = ("asyncio", "uvloop")
LOOPS = (*ON_ASYNCIO, "trio")
# The columns: families of contestants.
FAMILIES = ("ours", "websockets", "aiohttp", "picows.websockets", "trio-websocket")
RECEIVING = ("ours", "ours-receive", "picows.websockets", "websockets", "aiohttp")
# The same libraries' clients.
CONNECTING = (
    *("ours-client", "ours-client-receive", "picows.websockets-client"),
    *("websockets-client", "aiohttp-client"),
)
# ASGI servers, with either application.
ASGI_SERVERS = ("ours", "websockets-sansio", "wsproto", "hypercorn", "granian")
APPLICATIONS = {"bare": "none", "fastapi": "FastAPI"}
# Those that the plots show, on asyncio.
PLOTTED = ("ours", "websockets", "aiohttp", "picows.websockets")
# The rows of the short description of the run.
DESCRIPTION = ("Date", "Commit", "Precision", "Processor", "Cores", "System", "Python", "Packages")


class Overview:
    """A run as a user wants to see it."""

    def __init__(self, summary: Summary, profile: Profile) -> None:
        self._summary = summary
        self._profile = profile

    def sections(self) -> dict[str, Callable[[], Iterator[str]]]:
        """The sections by name."""
        return {
            "overview": self.table,
            "receiving": self.receiving,
            "asgi-overview": self.asgi,
            "slower-overview": self.slower,
            "measured": self.measured,
        }

    def plots(self) -> dict[str, str]:
        """The plots by file name; none where there is nothing to plot."""
        plots = {"relative": self._relative(), "sizes": self._sizes()}
        return {name: svg for name, svg in plots.items() if svg}

    def table(self) -> Iterator[str]:
        """A row for each scenario and loop; the lowest figure of a row is bold."""
        yield from _head("Event loop", FAMILIES)
        yield from self._rows(SHOWN, FAMILIES, LOOPS)

    def receiving(self) -> Iterator[str]:
        """Servers and clients with a callback, and with a loop that receives."""
        yield from _head("Event loop", RECEIVING)
        yield from self._rows(SERVERS, RECEIVING, ON_ASYNCIO)
        yield from self._rows(CLIENTS, CONNECTING, ON_ASYNCIO)

    def asgi(self) -> Iterator[str]:
        """ASGI servers: a row for each scenario and application."""
        yield from _head("Framework", _on_asgi("bare"))
        for scenario, (label, unit) in UNDER_ASGI.items():
            head = f"**{label}**: {SCENARIOS[scenario].title}, {unit}"
            for application, framework in APPLICATIONS.items():
                row = self._row(scenario, _on_asgi(application), "uvloop")
                if row:
                    yield f"| {head} | {framework} | {row} |"
                    head = ""
        head = f"**Instructions**: {SCENARIOS['asgi-16x256'].title}, thousands"
        for application, framework in APPLICATIONS.items():
            counts = self._profile.instructions.get("asgi-16x256", {})
            found = [counts.get(name_on(one, "uvloop")) for one in _on_asgi(application)]
            if any(found):
                row = _cells([Spread.of([count / 1000]) if count else None for count in found])
                yield f"| {head} | {framework} | {row} |"
                head = ""

    def _rows(
        self,
        shown: Mapping[str, tuple[str, str]],
        families: tuple[str, ...],
        loops: tuple[str, ...],
    ) -> Iterator[str]:
        for scenario, (label, unit) in shown.items():
            head = f"**{label}**: {SCENARIOS[scenario].title}, {unit}"
            for loop in loops:
                row = self._row(scenario, families, loop)
                if row:
                    yield f"| {head} | {loop} | {row} |"
                    head = ""

    def _row(self, scenario: str, families: tuple[str, ...], loop: str) -> str | None:
        """The cells of these contestants; None where the first of them, ours, was not measured."""
        entries = [Entry(scenario, name_on(family, loop)) for family in families]
        spreads = [self._summary.compared(entry) for entry in entries]
        return None if spreads[0] is None else _cells(spreads)

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


def _head(second: str, families: tuple[str, ...]) -> Iterator[str]:
    labels = [next(o.label for o in CONTESTANTS.values() if o.family == f) for f in families]
    yield f"| | {second} | {' | '.join(labels)} |"
    yield "|---" * (2 + len(labels)) + "|"


def _on_asgi(application: str) -> tuple[str, ...]:
    """The families that serve this application, in the order of ASGI_SERVERS."""
    ours, *others = ASGI_SERVERS
    return (f"{ours}-{application}", *(f"{application}-{server}" for server in others))


def _cells(spreads: Sequence[Spread | None]) -> str:
    """The medians, the lowest of them bold."""
    lowest = min(spread.median for spread in spreads if spread)
    return " | ".join(_cell(spread, lowest) for spread in spreads)


def _cell(spread: Spread | None, lowest: float) -> str:
    if spread is None:
        return "–"
    text = rounded(spread.median)
    return f"**{text}**" if spread.median == lowest else text
