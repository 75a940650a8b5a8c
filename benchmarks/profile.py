"""Where the work of an echo goes: python -m benchmarks.profile

Counted by valgrind, not timed, so it comes out alike however busy the machine is: the instructions
that a server runs in user space for a message, and in which C functions. What the kernel does for
it is not in there.
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
from .scenarios import DEFLATING, ON_ASYNCIO, SCENARIOS, Scenario

SAVED = BUILT / "profile.json"

# One message is under way on each connection.
SCENARIO = SCENARIOS["16x256"]
COMPRESSED = ("deflate-1K", "deflate-16K")

# Two runs differ by so many messages: what a server does but once is in both.
FEW, MANY = 500, 2000
# Of the compressed, which take more by far.
FEW_COMPRESSED, MANY_COMPRESSED = 100, 400

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
    """Instructions for a message: of each contestant, and of ours by C function; where they are
    compressed, by scenario and contestant, with those of zlib."""

    instructions: dict[str, float] = field(default_factory=dict)
    functions: dict[str, float] = field(default_factory=dict)
    compressed: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """What was saved; nothing where nothing was."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


def measure(
    contestant: Contestant, scenario: Scenario = SCENARIO, few: int = FEW, many: int = MANY
) -> dict[str, float]:
    """Instructions for a message, by C function."""
    with serving(contestant, "echo", scenario.deflate):
        pass  # a first start, in which Python compiles modules: 425 M instructions
    less, more = (_counted(contestant, scenario, messages) for messages in (few, many))
    return {name: (more[name] - less[name]) / (many - few) for name in more}


def _counted(contestant: Contestant, scenario: Scenario, messages: int) -> "Counter[str]":
    out = BUILT / "callgrind.out"
    out.unlink(missing_ok=True)
    under = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    with serving(replace(contestant, under=under), "echo", scenario.deflate) as server:
        bounds = [f"--messages={messages}", f"--limit={LIMIT}", "--warm-up=500"]
        with server.load("echo", *scenario.load(), *bounds) as load:
            load.turn(LIMIT)
        server.terminate()
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted: Counter[str] = Counter()
    for count, name, where in _LINE.findall(table):
        function = ZLIB if "/libz.so" in where else name.partition("'")[0]
        counted[function] += int(count.replace(",", ""))
    return counted


def _compressed(name: str) -> dict[str, tuple[float, float]]:
    """What we and `websockets` run in a scenario, and how much of it is zlib."""
    counts: dict[str, tuple[float, float]] = {}
    for who in DEFLATING:
        contestant = CONTESTANTS[who]
        if contestant.family not in ("ours", "websockets") or contestant.missing():
            continue
        functions = measure(contestant, SCENARIOS[name], FEW_COMPRESSED, MANY_COMPRESSED)
        if ZLIB not in functions:  # it is part of Python there
            continue
        counts[who] = sum(functions.values()), functions[ZLIB]
        total, zlib = counts[who]
        print(f"{name:12} {contestant.title:32} {total:10.0f} {zlib:10.0f}", flush=True)
    return counts


def main() -> None:
    """Measure everybody who is here, and save it."""
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: no instructions are counted")
        return
    profile = Profile()
    for name in ON_ASYNCIO:
        contestant = CONTESTANTS[name]
        if contestant.missing() or contestant.module == "node_ws":  # who compiles as it runs
            continue
        functions = measure(contestant)
        profile.instructions[name] = sum(functions.values())
        print(f"{contestant.title:32} {profile.instructions[name]:10.0f}", flush=True)
        if name == "ours":
            profile.functions = functions
    profile.compressed = {name: _compressed(name) for name in COMPRESSED}
    SAVED.write_text(json.dumps(asdict(profile), indent=1) + "\n")


if __name__ == "__main__":
    main()
