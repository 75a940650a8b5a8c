"""Where the work goes: python -m benchmarks.profile

Counts the instructions that a server runs in user space for a message, a handshake or a delivery,
and the C functions that run them. valgrind counts them, so a busy machine does not change the
result. The work of the kernel is not included.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .contestants import BUILT, CONTESTANTS, ROOT, Contestant
from .machine import describe
from .process import Server, serving
from .scenarios import ASGI, CLIENTS, SCENARIOS, Scenario

# Part of the repository, so that the pages can be generated without counting again.
SAVED = ROOT / "benchmarks" / "profile.json"

# The functions that are kept.
MOST_FUNCTIONS = 15

# Nothing is counted before the server has warmed up: it starts five times as slowly, not fifty.
_CALLGRIND = ("--tool=callgrind", "--instr-atstart=no")

# What is counted, how much comes before, and how much is counted. There are few connections,
# because everything takes fifty times as long.
_UNDER_UVICORN = tuple(name for name in ASGI if CONTESTANTS[name].module == "uvicorn")
_CLIENTS = tuple(name for name in CLIENTS if name.startswith(("ours", "picows")))
COUNTED = (
    (SCENARIOS["16x256"], 500, 1000),
    (replace(SCENARIOS["client-16x256"], contestants=_CLIENTS), 500, 1000),
    (replace(SCENARIOS["handshake"], connections=20), 100, 200),
    (
        replace(SCENARIOS["broadcast"], connections=200, title="1 KiB text to 200 clients"),
        2000,
        4000,
    ),
    (
        replace(
            SCENARIOS["asgi-16x256"],
            contestants=_UNDER_UVICORN,
            title="Under uvicorn: 16 connections, 256 B text",
        ),
        500,
        1000,
    ),
)
COMPRESSED = tuple((SCENARIOS[name], 100, 200) for name in ("deflate-1K", "deflate-16K"))

# The load generator gives up after this many seconds.
LIMIT = 200

# Stands for all functions of zlib, which has no symbols.
ZLIB = "zlib"

# "1,234 ( 5.67%)  file:function [object]", where the file may be unknown and the object missing.
_LINE = re.compile(
    r"^ *([\d,]+) \([ \d.]+%\) +\S*:(\S+)(?: \(\d+x\))?(?: \[(\S+)\])?", re.MULTILINE
)


@dataclass(slots=True)
class Profile:
    """What was counted.

    `instructions` are those of a message, a handshake or a delivery, by scenario and contestant.
    `functions` are the C functions that run most of ours for an echo, in percent. `compressed`
    has the instructions of compressed messages, and how many of them are zlib's.
    """

    machine: dict[str, str] = field(default_factory=dict)
    instructions: dict[str, dict[str, float]] = field(default_factory=dict)
    functions: dict[str, float] = field(default_factory=dict)
    compressed: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Profile":
        """Read it from a file."""
        return cls(**json.loads(path.read_text()))


def measure(
    contestant: Contestant, scenario: Scenario, warm_up: int, count: int
) -> dict[str, float]:
    """The instructions of a message, a handshake or a delivery, by C function."""
    out = BUILT / f"{contestant.name}.callgrind"
    out.unlink(missing_ok=True)
    under = ("valgrind", *_CALLGRIND, f"--callgrind-out-file={out}")
    with serving(replace(contestant, under=under), scenario) as server:
        bounds = [f"--messages={count}", f"--limit={LIMIT}", f"--warm-up={warm_up}"]
        with server.load(scenario.kind, *scenario.load(), *bounds) as load:
            _switch("on", server)
            measured = load.turn(LIMIT)
            _switch("off", server)
        server.terminate()
    return {
        function: counted / measured["messages"] for function, counted in _by_function(out).items()
    }


def _switch(state: str, server: Server) -> None:
    command = ["callgrind_control", "--instr=" + state, str(server.pid)]
    subprocess.run(command, capture_output=True, check=True)


def _by_function(out: Path) -> "Counter[str]":
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(out)]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counted: Counter[str] = Counter()
    for number, name, where in _LINE.findall(table):
        function = ZLIB if "/libz.so" in where else name.partition("'")[0]
        counted[function] += int(number.replace(",", ""))
    return counted


def _of_all(scenario: Scenario, few: int, many: int) -> dict[str, dict[str, float]]:
    """The instructions of all contestants that are installed, by C function."""
    counted: dict[str, dict[str, float]] = {}
    for name in scenario.contestants:
        contestant = CONTESTANTS[name]
        # Node.js compiles as it runs; on trio all targets are met; peers run the same code of
        # theirs on aiofastnet as on asyncio.
        elsewhere = contestant.loop == "trio" or (
            contestant.loop == "aiofastnet" and contestant.counterpart and not contestant.floor
        )
        if contestant.missing() or contestant.module == "node_ws" or elsewhere:
            continue
        if scenario.deflate and contestant.family not in ("ours", "websockets"):
            continue  # these compress with other settings, or without zlib
        counted[name] = measure(contestant, scenario, few, many)
        total = sum(counted[name].values())
        print(f"{scenario.name:12} {contestant.title:32} {total:10.0f}", flush=True)
    return counted


def most(counts: dict[str, float]) -> dict[str, float]:
    """The functions with the most instructions, in percent of all instructions."""
    total = sum(counts.values())
    names = sorted(counts, key=lambda name: -counts[name])[:MOST_FUNCTIONS]
    return {name: 100 * counts[name] / total for name in names}


def main() -> None:
    """Count the instructions of all contestants that are installed, and save them."""
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: no instructions are counted")
        return
    profile = Profile(describe())
    for scenario, few, many in COUNTED:
        counted = _of_all(scenario, few, many)
        profile.instructions[scenario.name] = {
            name: sum(functions.values()) for name, functions in counted.items()
        }
        if scenario is COUNTED[0][0]:
            profile.functions = most(counted["ours"])
    for scenario, few, many in COMPRESSED:
        profile.compressed[scenario.name] = {
            name: (sum(functions.values()), functions[ZLIB])
            for name, functions in _of_all(scenario, few, many).items()
            if ZLIB in functions  # not where zlib is linked into Python
        }
    SAVED.write_text(json.dumps(asdict(profile), indent=1) + "\n")


if __name__ == "__main__":
    main()
