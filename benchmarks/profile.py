"""Where the work goes: python -m benchmarks.profile

Counted by valgrind, not timed, so it comes out alike however busy the machine is: the instructions
that a server runs in user space for a message or a handshake, and in which C functions. What the
kernel does for it is not in there.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .contestants import BUILT, CONTESTANTS, Contestant
from .process import serving
from .scenarios import SCENARIOS, Scenario

SAVED = BUILT / "profile.json"

# What is counted, with as few connections as will do, for everything takes fifty times as long; and
# how much of it in either of two runs: what a server does but once is in both.
COUNTED = (
    (SCENARIOS["16x256"], 500, 2000),
    (replace(SCENARIOS["handshake"], connections=20), 100, 400),
    (
        replace(SCENARIOS["broadcast"], connections=200, title="1 KiB text to 200 clients"),
        2000,
        6000,
    ),
)
COMPRESSED = tuple((SCENARIOS[name], 100, 400) for name in ("deflate-1K", "deflate-16K"))

# Seconds after which it is given up.
LIMIT = 200

# All that is in zlib, which has no names of its functions.
ZLIB = "zlib"

# "1,234 ( 5.67%)  file:function [object]", where `file` may be unknown, and the object missing.
_LINE = re.compile(
    r"^ *([\d,]+) \([ \d.]+%\) +\S*:(\S+)(?: \(\d+x\))?(?: \[(\S+)\])?", re.MULTILINE
)


@dataclass(slots=True)
class Profile:
    """Instructions for a message or a handshake, by scenario and contestant; of an echo of ours by C
    function; and where messages are compressed, with those of zlib."""

    instructions: dict[str, dict[str, float]] = field(default_factory=dict)
    functions: dict[str, float] = field(default_factory=dict)
    compressed: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """What was saved; nothing where nothing was."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


def measure(contestant: Contestant, scenario: Scenario, few: int, many: int) -> dict[str, float]:
    """Instructions for a message or a handshake, by C function."""
    with serving(contestant, scenario.task, scenario.deflate):
        pass  # a first start, in which Python compiles modules: 425 M instructions
    less, more = (_counted(contestant, scenario, few, count) for count in (few, many))
    return {name: (more[name] - less[name]) / (many - few) for name in more}


def _counted(
    contestant: Contestant, scenario: Scenario, warm_up: int, count: int
) -> "Counter[str]":
    out = BUILT / "callgrind.out"
    out.unlink(missing_ok=True)
    under = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    with serving(replace(contestant, under=under), scenario.task, scenario.deflate) as server:
        bounds = [f"--messages={count}", f"--limit={LIMIT}", f"--warm-up={warm_up}"]
        with server.load(scenario.kind, *scenario.load(), *bounds) as load:
            load.turn(LIMIT)
        server.terminate()
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted: Counter[str] = Counter()
    for number, name, where in _LINE.findall(table):
        function = ZLIB if "/libz.so" in where else name.partition("'")[0]
        counted[function] += int(number.replace(",", ""))
    return counted


def _of_all(scenario: Scenario, few: int, many: int) -> dict[str, dict[str, float]]:
    """What everybody runs who is here, by C function."""
    counted: dict[str, dict[str, float]] = {}
    for who in scenario.who:
        contestant = CONTESTANTS[who]
        # Node compiles as it runs, and on trio no target is missed.
        if contestant.missing() or contestant.module == "node_ws" or contestant.loop == "trio":
            continue
        if scenario.deflate and contestant.family not in ("ours", "websockets"):
            continue  # they compress by other settings, or not with zlib
        counted[who] = measure(contestant, scenario, few, many)
        total = sum(counted[who].values())
        print(f"{scenario.name:12} {contestant.title:32} {total:10.0f}", flush=True)
    return counted


def main() -> None:
    """Measure everybody who is here, and save it."""
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: no instructions are counted")
        return
    profile = Profile()
    for scenario, few, many in COUNTED:
        counted = _of_all(scenario, few, many)
        profile.instructions[scenario.name] = {
            who: sum(functions.values()) for who, functions in counted.items()
        }
        if scenario is COUNTED[0][0]:
            profile.functions = counted["ours"]
    for scenario, few, many in COMPRESSED:
        profile.compressed[scenario.name] = {
            who: (sum(functions.values()), functions[ZLIB])
            for who, functions in _of_all(scenario, few, many).items()
            if ZLIB in functions  # or it is part of Python there
        }
    SAVED.write_text(json.dumps(asdict(profile), indent=1) + "\n")


if __name__ == "__main__":
    main()
