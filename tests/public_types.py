"""Whether type checkers know the types that users see: a step of `make lint`, with pyright.

It counts the public names of each package whose types are known without a guess, and checks the
examples in pyright's strict mode. Exit status 1 if less than LEAST of the names are known, or an
example has a mistake. `--left-out=FILE` names a file that gets a line if pyright cannot run here,
for tests/left_out.py.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# Of the public names. The rest is mostly what adapters take over from untyped or foreign code.
LEAST = 0.95

PACKAGES = ("wscore", "wstransports")


class CannotRun(Exception):
    """pyright is not here, its Node does not start, or it does not know this Python."""


def runs() -> None:
    """Raise CannotRun unless pyright runs here."""
    command = [sys.executable, "-m", "pyright", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = (ran.stderr or ran.stdout).strip().splitlines()
        raise CannotRun(f"pyright did not run: {said[-1] if said else 'it said nothing'}")


def pyright(sources: Path, *arguments: str) -> dict[str, Any]:
    """Run pyright, which finds packages in the folder `sources`; returns its report."""
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    ran = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def known(package: str, sources: Path) -> tuple[float, list[str]]:
    """The part of a package's public names whose types are known, and what is wrong with others."""
    report = pyright(sources, "--verifytypes", package, "--ignoreexternal")
    found = report["typeCompleteness"]
    if not found["symbols"]:
        said = [one["message"] for one in report["generalDiagnostics"]]
        raise CannotRun(f"pyright found no {package}: {' '.join(said) or 'it said nothing'}")
    wrong = [
        f"{symbol['name']}: {' '.join(one['message'].split())}"
        for symbol in found["symbols"]
        if symbol["isExported"]
        for one in symbol["diagnostics"]
        if "partially unknown" not in one["message"]  # because of another one
        and "docstring" not in one["message"]
    ]
    return found["completenessScore"], wrong


def mistakes(folder: Path) -> list[str]:
    """What pyright's strict mode, which pyproject.toml chooses, says of programs."""
    report = pyright(ROOT / "src", str(folder))
    return [
        f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}"
        for one in report["generalDiagnostics"]
    ]


def check() -> bool:
    """Check everything, and say what is wrong; returns whether all is well."""
    passed = True
    for package in PACKAGES:
        part, wrong = known(package, ROOT / "src")
        print(f"{part:.1%} of the public names of {package} have a known type")
        if part < LEAST:
            passed = False
            print(f"At least {LEAST:.0%} must:", *wrong, sep="\n")
    in_examples = mistakes(ROOT / "examples")
    print(*in_examples, sep="\n", end="\n" * bool(in_examples))
    return passed and not in_examples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--left-out", type=Path, metavar="FILE")
    left_out: Path | None = parser.parse_args().left_out
    line = ""
    try:
        runs()
        status = 0 if check() else 1
    except CannotRun as error:
        line, status = f"the public types: {error}\n", 0
        print("Left out:", line, end="")
    if left_out is not None:
        left_out.write_text(line)
    return status


if __name__ == "__main__":
    sys.exit(main())
