"""Fuzz the library with atheris: `make fuzz MINUTES=5 TARGET=frames`.

Each target takes its share of the time, in a process of its own, on the core's Python code: the C
extension shows the fuzzer no coverage. What was found of new inputs stays in .fuzz, and is then
replayed with the extension. Exit status 0 only if no target failed. `--save` takes a smallest set
of inputs with the same coverage into the corpus.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import corpus

HERE = Path(__file__).resolve().parent
FOUND = HERE.parents[1] / ".fuzz"

TARGETS = ("requests", "responses", "extensions", "frames", "pairs", "api")

# What the processes import the kit from.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parent)}

# The longest inputs that are tried, in bytes.
MAX_LENGTH = 2048

# What `--save` takes into the corpus: larger inputs do not belong in a repository.
LONGEST_KEPT = 300
MOST_KEPT = 60

# Seconds that a single input may take. Those that take longer are a finding.
SLOWEST = 10

# MiB that the process may use: what a peer sends must not take more.
MEMORY = 2048


def main() -> int:
    """Fuzz, replay, report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=6, help="in all")
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("--save", action="store_true", help="take new inputs into the corpus")
    arguments = parser.parse_args()
    if find_spec("atheris") is None:
        print("Not run: atheris is not installed; there is none for this Python or platform")
        return 1
    targets = (arguments.target,) if arguments.target else TARGETS
    seconds = max(1, round(60 * arguments.minutes / len(targets)))
    passed = True
    for target in targets:
        print(f"Fuzzing {target} for {seconds} s", flush=True)
        passed = _fuzz(target, seconds) and _replay(target) and passed
        if arguments.save and passed:
            _save(target)
    print("Passed" if passed else "Failed: the inputs are in .fuzz; replay them with a test")
    return 0 if passed else 1


def _fuzz(target: str, seconds: int) -> bool:
    """Fuzz a target from the corpus on; returns whether it passed."""
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(corpus.load(target)):
        (found / f"seed-{number}").write_bytes(seed)
    return _atheris(target, [f"-max_total_time={seconds}", str(found)], f"{target}.log")


def _atheris(target: str, options: list[str], log: str) -> bool:
    """Run libFuzzer, its output in a log; returns whether it ended well."""
    # libFuzzer starts itself again to merge, and takes its first argument for a program.
    program = FOUND / f"{target}.sh"
    start = [sys.executable, str(HERE / "instrumented.py"), target, str(program)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(start)} "$@"\n')
    program.chmod(0o700)
    limits = [f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"]
    command = [str(program), f"-max_len={MAX_LENGTH}", *limits]
    command += [f"-artifact_prefix={FOUND}/failed-{target}-", *options]
    with (FOUND / log).open("w") as output:
        ended = subprocess.run(
            command,
            check=False,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**ENVIRONMENT, "WSCORE_PURE": "1"},
        )
    lines = (FOUND / log).read_text(errors="replace").splitlines()
    if ended.returncode:
        print("\n".join(lines[-60:]))
        return False
    for line in lines:
        if "number_of_executed_units" in line or "Done " in line:
            print(f"  {line}")
    return True


def _replay(target: str) -> bool:
    """Replay what was found with the C extension; returns whether it passed."""
    files = [str(file) for file in sorted((FOUND / target).iterdir())]
    command = [sys.executable, str(HERE / "replay.py"), target, *files]
    ended = subprocess.run(command, check=False, env={**ENVIRONMENT, "WSCORE_PURE": ""})
    print(f"  replayed {len(files)} inputs with the C extension", flush=True)
    return ended.returncode == 0


def _save(target: str) -> None:
    """Take the fewest inputs with all coverage into the corpus."""
    fewest = FOUND / f"{target}-fewest"
    shutil.rmtree(fewest, ignore_errors=True)
    fewest.mkdir()
    if _atheris(target, ["-merge=1", str(fewest), str(FOUND / target)], f"{target}-merge.log"):
        inputs = sorted([file.read_bytes() for file in fewest.iterdir()], key=len)
        kept = [one for one in inputs if len(one) <= LONGEST_KEPT][:MOST_KEPT]
        corpus.save(target, [*corpus.load(target), *kept])


if __name__ == "__main__":
    sys.exit(main())
