"""Say plainly what a run of the tests left out, and why: the last step of `make test`.

Arguments: pytest's JUnit reports (*.xml), and files with a line for each other thing left out.
`--later=FILE` names a file with a line for each thing that `make test` leaves to `make test-all`,
or to what `--to` says.
Exit status 1 if something was left out and REQUIRE_ALL=1 is in the environment; what runs later
is not left out.

As a plugin of pytest (`-p left_out --later=FILE`), this module writes that file: how many tests
`-m "not slow"` deselected.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest


class Later:
    """Writes down how many tests of which folder a run deselected."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._folders: Counter[str] = Counter()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        # What `-k` deselects in a run by hand is not left to `make test-all`.
        slow_ones = [item for item in items if item.get_closest_marker("slow")]
        self._folders.update(item.path.parent.name for item in slow_ones)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        _, _, reason = slow(session.config).partition(": ")
        folders = ", ".join(f"{count} of {name}" for name, count in sorted(self._folders.items()))
        line = f"{self._folders.total()} slow tests, each of which {reason} ({folders})\n"
        self._file.write_text(line if folders else "")


def slow(config: pytest.Config) -> str:
    """What pyproject.toml says of the marker."""
    lines: list[str] = config.getini("markers")
    return next((line for line in lines if line.startswith("slow: ")), "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--later", type=Path, metavar="FILE", help="note deselected tests in FILE")


def pytest_configure(config: pytest.Config) -> None:
    file: Path | None = config.getoption("later")
    if file is not None:
        config.pluginmanager.register(Later(file))


def skipped_tests(report: Path) -> Counter[str]:
    """Why tests were skipped, each reason with its number of tests; an expected failure counts."""
    return Counter(
        skipped.get("message") or "no reason given"
        for skipped in ElementTree.parse(report).iter("skipped")
    )


def print_lines(title: str, lines: list[str]) -> None:
    """Print a list under its title, and nothing where it is empty."""
    if lines:
        print("\n  ".join([title, *lines]))


def main(arguments: list[str]) -> int:
    """Print what was left out; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--later", type=Path, action="append", default=[])
    parser.add_argument("--to", default="`make test-all`")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args(arguments)

    reasons: Counter[str] = Counter()
    lines: list[str] = []
    for path in options.paths:
        if path.suffix == ".xml":
            reasons += skipped_tests(path)
        else:
            lines += path.read_text().splitlines()
    lines += [f"{count} skipped: {reason}" for reason, count in reasons.items()]
    later = [line for path in options.later for line in path.read_text().splitlines()]

    print_lines(f"Left to {options.to}:", later)
    print_lines("Left out:", lines)
    if not lines:
        print("Nothing else was left out." if later else "Everything ran, nothing was left out.")
    if lines and os.environ.get("REQUIRE_ALL") == "1":
        print("REQUIRE_ALL=1 makes that a failure.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
