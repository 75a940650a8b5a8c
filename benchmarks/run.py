"""Run the benchmark: `make bench`, or python -m benchmarks.run --help"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import page
from .contestants import BUILT, CONTESTANTS, ROOT
from .duration import besides_turns, expected
from .machine import describe
from .measuring import Measured, measure
from .process import BenchmarkError, raise_file_limit
from .results import Results
from .scenarios import SCENARIOS, Scenario, shortened
from .spread import Spread
from .summary import PUBLISHED, Summary

# Files that a process opens besides its connections.
OTHER_FILES = 100

# Open connections of all contestants that take turns. Opening more takes so long that servers begin
# to send pings, 20 seconds after a connection was opened.
MOST_CONNECTIONS = 20_000


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The same order, with another name first at each turn."""
    start = turn % len(names) if names else 0
    return [*names[start:], *names[:start]]


def run(
    results: Results, scenario: Scenario, names: list[str], rounds: int, seconds: float
) -> None:
    """All rounds of a scenario. A contestant that fails is left out, with the reason."""
    together = max(1, MOST_CONNECTIONS // scenario.connections)
    began, done = time.monotonic(), 0
    for turn in range(rounds):
        order = rotated(names, turn)
        ended: dict[str, Measured | BenchmarkError] = {}
        for start in range(0, len(order), together):
            ended |= take_turns(scenario, order[start : start + together], seconds)
        for name in names:
            match ended[name]:
                case BenchmarkError() as error:
                    results.failed(scenario.name, name, str(error))
                case measured:
                    results.add(scenario.name, name, measured)
        done += len(names)
        names = [name for name in names if not isinstance(ended[name], BenchmarkError)]
    if done:
        elapsed = time.monotonic() - began
        results.took[scenario.name] = round(besides_turns(scenario, seconds, elapsed, done), 2)


def take_turns(
    scenario: Scenario, names: list[str], seconds: float
) -> dict[str, Measured | BenchmarkError]:
    """A round of contestants that take turns: the quantities of each, or its failure."""
    running = {name: measure(scenario, CONTESTANTS[name], seconds) for name in names}
    ended: dict[str, Measured | BenchmarkError] = {}
    turn = 0
    while running:
        for name in rotated([*running], turn):
            try:
                next(running[name])
            except StopIteration as end:
                ended[name] = end.value
            except BenchmarkError as error:
                ended[name] = error
            if name in ended:
                del running[name]
        turn += 1
    return ended


def announce(plan: list[tuple[Scenario, list[str], int]], seconds: float) -> None:
    """Print how much there is to measure, and how long it is going to take."""
    planned = [(scenario, rounds * len(names)) for scenario, names, rounds in plan]
    pairs, rounds = sum(len(names) for _, names, _ in plan), sum(count for _, count in planned)
    took = expected(planned, seconds, Summary.load(PUBLISHED).took)
    minutes = "an unknown time" if took is None else f"about {took / 60:.0f} minutes"
    print(f"{pairs} pairs of scenario and contestant, {rounds} rounds: {minutes}.", flush=True)


def report(results: Results, scenario: Scenario) -> None:
    """Print the medians of a scenario, with the lowest and the highest round."""
    print(f"\n{scenario.title}")
    for name, quantities in results.rounds.get(scenario.name, {}).items():
        cells = [
            f"{quantity} {spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"
            for quantity, values in quantities.items()
            for spread in [Spread.of(values)]
        ]
        print(f"  {name:26}", "  ".join(cells), flush=True)


def main() -> int:
    """The command line; returns the exit status, 1 if a contestant failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument(
        "--smoke", action="store_true", help="short runs, to see that everything works"
    )
    parser.add_argument("--rounds", type=int, help="of each scenario, in place of its own number")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, metavar="CONTESTANT")
    parser.add_argument("--publish", type=Path, help="write results.json and the pages below this")
    settings = parser.parse_args()
    whole = not (settings.smoke or settings.only or settings.contestants)
    if settings.publish and settings.publish.resolve() == ROOT and not whole:
        parser.error("--publish . takes a whole run: leave out --smoke, --only and --contestants")

    began = time.monotonic()
    files = raise_file_limit()
    results = Results(describe())
    for name in settings.contestants or CONTESTANTS:
        if reason := CONTESTANTS[name].missing():
            results.left_out[name] = reason
    plan: list[tuple[Scenario, list[str], int]] = []
    for name in settings.only or SCENARIOS:
        scenario = shortened(SCENARIOS[name]) if settings.smoke else SCENARIOS[name]
        if scenario.connections + OTHER_FILES > files:
            results.left_out[name] = f"a process may open only {files} files"
            continue
        chosen = settings.contestants or scenario.contestants
        names = [
            one for one in scenario.contestants if one in chosen and one not in results.left_out
        ]
        plan.append((scenario, names, settings.rounds or scenario.rounds))
    announce(plan, settings.seconds)

    for scenario, names, rounds in plan:
        run(results, scenario, names, rounds, settings.seconds)
        report(results, scenario)
        results.save(BUILT / ("smoke.json" if settings.smoke else "results.json"))

    for name, reason in results.left_out.items():
        print(f"Left out: {name}: {reason}")
    for name, reason in results.failures.items():
        print(f"Failed: {name}: {reason}")
    if settings.publish:
        summary = results.summary()
        summary.save(settings.publish / PUBLISHED.relative_to(ROOT))
        page.write(summary, settings.publish)
    print(f"This took {time.monotonic() - began:.0f} seconds.")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
