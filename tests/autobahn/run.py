"""Run the Autobahn TestSuite against servers and clients of ours: `make autobahn`.

Prints how often each verdict was given, in each direction. Exit status 0 only if every case that
was to be run was run and passed: the suite's own exit status is 0 even with nobody there.
"""

import argparse
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from directions import run
from python2 import find_python2, install_suite
from selection import DIRECTIONS, EVERYTHING, LOOPS, SHORT, Direction
from verdicts import Judgement

CACHE = Path(__file__).resolve().parent.parent.parent / ".autobahn"

# How many directions are run at once.
WORKERS = 2

# Seconds that a direction may take. On two idle cores it is a third of that.
LIMIT = 60 * 60
SHORT_LIMIT = 5 * 60


def main() -> int:
    """Set up, run, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="leave out what takes long")
    parser.add_argument(
        "--left-out", type=Path, metavar="FILE", help="without Python 2.7: note it in FILE and pass"
    )
    parser.add_argument("--loop", choices=LOOPS, help="on this event loop alone")
    parser.add_argument("--tls", action="store_true", help="over TLS")
    arguments = parser.parse_args()

    python2 = find_python2()
    note = (
        "" if python2 else "the Autobahn TestSuite: no Python 2.7 on PATH or in ~/.pyenv/versions\n"
    )
    if arguments.left_out is not None:
        arguments.left_out.write_text(note)
    if python2 is None:
        print(f"Not run: {note}", end="")
        return 1 if arguments.left_out is None else 0

    suite = install_suite(python2, CACHE / "python2.7")
    chosen = [one for one in DIRECTIONS if arguments.loop in (None, one.loop)]
    selections = SHORT if arguments.short else dict.fromkeys(DIRECTIONS, EVERYTHING)
    selections = {one._replace(tls=arguments.tls): selections[one] for one in chosen}
    limit = SHORT_LIMIT if arguments.short else LIMIT
    minutes = "a minute" if arguments.short else "20 minutes"
    print(f"Running the Autobahn TestSuite, {minutes} or so for each event loop", flush=True)

    def run_one(direction: Direction) -> tuple[Judgement, Path]:
        name = f"{direction.end}-{direction.loop}{'-tls' if direction.tls else ''}"
        folder = CACHE / f"{name}-{platform.python_version()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return run(direction, suite, selections[direction], folder, limit), folder

    passed = True
    with ThreadPoolExecutor(WORKERS) as pool:
        for direction, (judgement, folder) in zip(
            selections, pool.map(run_one, selections), strict=True
        ):
            selection = selections[direction]
            print(f"Autobahn, {direction}: {selection.total()} of {EVERYTHING.total()} cases")
            for verdict, count in judgement.counts.most_common():
                print(f"{count:5} {verdict}")
            for fault in judgement.faults:
                print(f"FAULT {fault}")
            if selection.left_out():
                print(f"Not run (`make autobahn` runs all): {selection.left_out()}")
            print(f"{'Failed' if judgement.faults else 'Passed'}; report: {folder}/index.html")
            passed = passed and not judgement.faults
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
