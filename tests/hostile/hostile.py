"""Attack servers on each event loop: `make hostile LOOP=trio ATTACK=tls`.

Prints what each attack did to memory, descriptors, the log, and other clients, next to
the bound that must hold. Exit status 0 only if all did.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

# They register their attacks.
import descriptor_attacks  # noqa: F401
import log_attacks  # noqa: F401
import memory_attacks  # noqa: F401
import time_attacks  # noqa: F401
from attack import ATTACKS, LOOPS, Attack, Figure

TESTS = str(Path(__file__).resolve().parents[1])


def main() -> int:
    """Attack, print, judge; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loop", choices=LOOPS, help="on this event loop alone")
    parser.add_argument("--attack", default="", help="only those with this in their name")
    arguments = parser.parse_args()
    attacks = [one for one in ATTACKS if arguments.attack in one.name]
    loops = (arguments.loop,) if arguments.loop else LOOPS
    os.environ["PYTHONPATH"] = TESTS  # for the programs that attacks start
    excesses = 0
    for one in attacks:
        print(one.name, flush=True)
        for loop in loops:
            figures = run(one, loop)
            for figure in figures:
                verdict = "OK" if figure.kept else "EXCESS"
                print(f"  {loop:8} {verdict:6} {figure}", flush=True)
                excesses += not figure.kept
    print(f"{len(attacks)} attacks on {', '.join(loops)}: {excesses or 'no'} excesses")
    return 1 if excesses or not attacks else 0


def run(attack: Attack, loop: str) -> list[Figure]:
    """Run an attack. One that fails is an excess too."""
    try:
        return attack.on(loop)
    except Exception:  # noqa: BLE001  # the others are run nevertheless
        traceback.print_exc(file=sys.stdout)
        return [Figure("attacks that failed", 1, 0)]


if __name__ == "__main__":
    sys.exit(main())
