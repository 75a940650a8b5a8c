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
from .scenarios import ON_ASYNCIO, SCENARIOS

SAVED = BUILT / "profile.json"

# One message is under way on each connection.
SCENARIO = SCENARIOS["16x256"]

# Two runs differ by so many messages: what a server does but once is in both.
FEW, MANY = 500, 2000

# Seconds after which it is given up.
LIMIT = 200

# "1,234 ( 5.67%)  file:function [object]", where `file` may be unknown.
_LINE = re.compile(r"^\s*([\d,]+) \([\s\d.]+%\)\s+\S*:(\S+)", re.MULTILINE)


@dataclass(slots=True)
class Profile:
    """Instructions for a message: of each contestant, and of ours by C function."""

    instructions: dict[str, float] = field(default_factory=dict)
    functions: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """What was saved; nothing where nothing was."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()


def measure(contestant: Contestant) -> dict[str, float]:
    """Instructions for a message, by C function."""
    few, many = (_counted(contestant, messages) for messages in (FEW, MANY))
    return {name: (many[name] - few[name]) / (MANY - FEW) for name in many}


def _counted(contestant: Contestant, messages: int) -> "Counter[str]":
    out = BUILT / "callgrind.out"
    out.unlink(missing_ok=True)
    under = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    with serving(replace(contestant, under=under), "echo", SCENARIO.deflate) as server:
        bounds = [f"--messages={messages}", f"--limit={LIMIT}", "--warm-up=500"]
        with server.load("echo", *SCENARIO.load(), *bounds) as load:
            load.turn(LIMIT)
        server.terminate()
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted: Counter[str] = Counter()
    for count, name in _LINE.findall(table):
        counted[name.partition("'")[0]] += int(count.replace(",", ""))
    return counted


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
    SAVED.write_text(json.dumps(asdict(profile), indent=1) + "\n")


if __name__ == "__main__":
    main()
