"""Run the benchmark: python -m benchmarks.run --help"""

import argparse
import json
import sys
import time
from pathlib import Path

from .contestants import BUILT, CONTESTANTS
from .measuring import Measured, measure
from .scenarios import SCENARIOS

# scenario -> contestant -> quantity -> what each round gave
Results = dict[str, dict[str, dict[str, list[float]]]]


def rotated(names: list[str], turn: int) -> list[str]:
    """The same order, begun by another one each round."""
    start = turn % len(names)
    return names[start:] + names[:start]


def run(names: list[str], who: list[str], rounds: int, seconds: float) -> Results:
    results: Results = {}
    for name in names:
        scenario = SCENARIOS[name]
        contestants = [one for one in scenario.who if one in who]
        print(scenario.title, flush=True)
        for turn in range(rounds):
            for one in rotated(contestants, turn):
                measured = measure(scenario, CONTESTANTS[one], seconds)
                quantities = results.setdefault(name, {}).setdefault(one, {})
                for quantity, value in measured.items():
                    quantities.setdefault(quantity, []).append(value)
        for one in contestants:
            quantities = results[name][one]
            print(f"  {one:24}", *(f"{k} {sorted(v)[len(v)//2]:.1f}" for k, v in quantities.items()), flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--who", nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--results", type=Path, default=BUILT / "results.json")
    settings = parser.parse_args()
    left_out = {name: reason for name in settings.who if (reason := CONTESTANTS[name].missing())}
    for name, reason in left_out.items():
        print(f"{name} is left out: {reason}")
    who = [name for name in settings.who if name not in left_out]
    results = run(settings.scenarios, who, settings.rounds, settings.seconds)
    settings.results.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
