"""What a report of the Autobahn TestSuite is worth: pure functions, no files and no processes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

# Cases that are INFORMATIONAL for everybody: RFC 6455 leaves open what a peer does there.
INFORMATIONAL_CASES = frozenset({"7.1.6", "7.13.1", "7.13.2"})


@dataclass(frozen=True)
class Judgement:
    """How often each verdict was given, and every reason why the run did not pass."""

    counts: Counter[str]
    faults: list[str]


def judge(report: Mapping[str, Mapping[str, object]], groups: Mapping[int, int]) -> Judgement:
    """Hold a report against what must be in it.

    `report` maps each case ("6.4.1") to its `behavior` and `behaviorClose`, as one agent's part
    of index.json does; `groups` maps each group that was asked for to its number of cases.
    The run passed if the judgement has no faults.
    """
    counts: Counter[str] = Counter()
    found = Counter(_numbers(case)[0] for case in report)
    faults = [
        f"group {group}: {found[group]} cases, not {groups.get(group, 0)}"
        for group in sorted(groups.keys() | found.keys())
        if found[group] != groups.get(group, 0)
    ]
    for case in sorted(report, key=_numbers):
        behavior, close = report[case].get("behavior"), report[case].get("behaviorClose")
        verdict = f"{behavior}" if behavior == close else f"{behavior}, its close {close}"
        counts[verdict] += 1
        allowed = {"OK", "INFORMATIONAL"} if case in INFORMATIONAL_CASES else {"OK"}
        if not {behavior, close} <= allowed:
            faults.append(f"case {case}: {verdict}")
    return Judgement(counts, faults)


def _numbers(case: str) -> tuple[int, ...]:
    return tuple(int(number) for number in case.split("."))
