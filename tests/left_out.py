"""Say plainly what a run of the tests left out, and why: the last step of `make test`.

Arguments: pytest's JUnit reports (*.xml), and files with a line for each other thing left out.
Exit status 1 if something was left out and REQUIRE_ALL=1 is in the environment.
"""

import os
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def skipped_tests(report: Path) -> Counter[str]:
    """Why tests were skipped, each reason with its number of tests; an expected failure counts."""
    return Counter(
        skipped.get("message") or "no reason given"
        for skipped in ElementTree.parse(report).iter("skipped")
    )


def main(paths: list[Path]) -> int:
    """Print what was left out; return the exit status."""
    reasons: Counter[str] = Counter()
    lines: list[str] = []
    for path in paths:
        if path.suffix == ".xml":
            reasons += skipped_tests(path)
        else:
            lines += path.read_text().splitlines()
    lines += [f"{count} skipped: {reason}" for reason, count in reasons.items()]
    print("Left out:" if lines else "Everything was run, nothing was left out.")
    for line in lines:
        print(f"  {line}")
    if lines and os.environ.get("REQUIRE_ALL") == "1":
        print("REQUIRE_ALL=1 makes that a failure.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
