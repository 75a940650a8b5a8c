"""Run the benchmark: `make bench`, or python -m benchmarks.run --help"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import page
from .contestants import BUILT, CONTESTANTS
from .machine import describe
from .measuring import Measured, measure
from .process import BenchmarkError, raise_file_limit
from .results import Results, Spread
from .scenarios import SCENARIOS, Scenario, shortened

# Of each process: those that it opens beside its connections.
OTHER_FILES = 100

# So many connections are open at a time, to all who take turns: to open them takes a while, and
# 20 seconds after it servers begin to ping.
MOST_CONNECTIONS = 20_000


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The same order, but each time another one begins."""
    start = turn % len(names) if names else 0
    return [*names[start:], *names[:start]]


def run(results: Results, scenario: Scenario, who: list[str], rounds: int, seconds: float) -> None:
    """All rounds of a scenario; who fails in one is left out of it, with the reason."""
    together = max(1, MOST_CONNECTIONS // scenario.connections)
    for turn in range(rounds):
        order = rotated(who, turn)
        ended: dict[str, Measured | BenchmarkError] = {}
        for start in range(0, len(order), together):
            ended |= take_turns(scenario, order[start : start + together], seconds)
        for name in who:
            match ended[name]:
                case BenchmarkError() as error:
                    results.failed(scenario.name, name, str(error))
                case measured:
                    results.add(scenario.name, name, measured)
        who = [name for name in who if not isinstance(ended[name], BenchmarkError)]


def take_turns(
    scenario: Scenario, who: list[str], seconds: float
) -> dict[str, Measured | BenchmarkError]:
    """A round of these, who take turns at it: what each measured, or how it failed."""
    running = {name: measure(scenario, CONTESTANTS[name], seconds) for name in who}
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


def tell(results: Results, scenario: Scenario) -> None:
    """Print what a scenario gave: medians, and the least to the most."""
    print(f"\n{scenario.title}")
    for name, quantities in results.rounds.get(scenario.name, {}).items():
        cells = [
            f"{quantity} {spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"
            for quantity, values in quantities.items()
            for spread in [Spread.of(values)]
        ]
        print(f"  {name:26}", "  ".join(cells), flush=True)


def main() -> int:
    """The command line; returns the exit status, 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--smoke", action="store_true", help="short: does everything work?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one measurement")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="SCENARIO")
    parser.add_argument("--who", nargs="+", choices=CONTESTANTS, metavar="CONTESTANT")
    parser.add_argument("--page", type=Path, help="where the page goes; none without")
    settings = parser.parse_args()

    began = time.monotonic()
    files = raise_file_limit()
    results = Results(describe())
    for name in settings.who or CONTESTANTS:
        if reason := CONTESTANTS[name].missing():
            results.left_out[name] = reason
    for name in settings.only or SCENARIOS:
        scenario = shortened(SCENARIOS[name]) if settings.smoke else SCENARIOS[name]
        if scenario.connections + OTHER_FILES > files:
            results.left_out[name] = f"a process may open {files} files only"
            continue
        chosen = settings.who or scenario.who
        who = [one for one in scenario.who if one in chosen and one not in results.left_out]
        run(results, scenario, who, settings.rounds, settings.seconds)
        tell(results, scenario)
        results.save(BUILT / ("smoke.json" if settings.smoke else "results.json"))

    for name, reason in results.left_out.items():
        print(f"Left out: {name}: {reason}")
    for name, reason in results.failures.items():
        print(f"Failed: {name}: {reason}")
    if settings.page:
        page.write(results, settings.page)
    print(f"This took {time.monotonic() - began:.0f} seconds.")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
