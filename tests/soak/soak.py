"""Visit servers for a long time: `make soak MINUTES=60 LOOP=trio`.

Clients come, talk and vanish, in plain text and over TLS. Memory, descriptors and tasks of the
servers must stay flat, and every message is accounted for. Exit status 0 only if so.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from attack import LOOPS, Figure
from target import Target
from visitor import Account, visit

# Visitors of a server at a time.
CROWD = 12

# Seconds. The server drops silent clients well before a visitor's patience ends.
OPTIONS: dict[str, Any] = {"timeout": 4, "open_timeout": 3, "close_timeout": 2}
SETTLE = 10
SAMPLE_EVERY = 2

# Descriptors that a sample may show and another not.
PASSING = 1

MiB = 2**20

# Have glibc give back what is freed, so that a server's memory is what it holds.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

# What memory may grow by between the second quarter of the time and the last, in MiB.
GROWTH = 3


class Sample(NamedTuple):
    """A server at one moment."""

    memory: float
    descriptors: int
    tasks: int


def sample(target: Target) -> Sample:
    """Look at a server, after a collection: what is left is held."""
    tasks = target.stats(collect=True)["tasks"]
    return Sample(target.memory() / MiB, target.descriptors(), tasks)


def settled(target: Target, first: Sample) -> Sample:
    """Look at a server that nobody visits, when it is as it was at first, or after some time.

    What asks for a sample may show in it, or not: its descriptor, the task of its TLS handshake.
    What is left shows in each, so the least of the samples counts.
    """
    last = sample(target)
    for _ in range(SETTLE):
        if last.descriptors <= first.descriptors + PASSING and last.tasks <= first.tasks:
            break
        time.sleep(1)
        last = Sample._make(map(min, last, sample(target)))
    return last


async def soak(target: Target, seconds: float) -> tuple[Account, list[Sample]]:
    """Visit a server; returns what the visitors saw, and the samples: the last one afterwards."""
    account, samples, end = Account(), [sample(target)], time.monotonic() + seconds
    numbers = iter(range(10**9))

    async def keep_coming() -> None:
        while time.monotonic() < end:
            await visit(account, target.port, target.context, next(numbers))

    async def keep_watching() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(SAMPLE_EVERY)
            samples.append(await asyncio.to_thread(sample, target))

    async with asyncio.TaskGroup() as group:
        for _ in range(CROWD):
            group.create_task(keep_coming())
        group.create_task(keep_watching())
    samples.append(await asyncio.to_thread(settled, target, samples[0]))
    return account, samples


def judge(target: Target, account: Account, samples: list[Sample]) -> list[Figure]:
    """What must be flat, and what must add up."""
    first, *during, last = samples
    memory = [one.memory for one in during] or [first.memory]
    quarter = len(memory) // 4
    early, late = memory[quarter : 2 * quarter] or memory, memory[-quarter:]
    growth = statistics.median(late) - statistics.median(early)
    stats = target.stats()
    lines = target.log_lines()
    for fault in account.faults[:10]:
        print(f"    {fault}")
    start = next((number for number, line in enumerate(lines) if "Traceback" in line), len(lines))
    for line in lines[max(0, start - 3) : start + 60]:
        print(f"    {line}")
    return [
        Figure("MiB of growth", growth, GROWTH),
        Figure("descriptors left", last.descriptors - first.descriptors, PASSING),
        Figure("tasks left", last.tasks - first.tasks, 0),
        Figure("clients left", stats["clients"], 0),
        Figure("tracebacks", sum("Traceback" in line for line in lines), 0),
        Figure("faults that visitors saw", len(account.faults), 0),
        # The clients that stayed got every echo; no message was seen twice.
        Figure("messages lost", max(0, account.kept - stats["answered"]), 0),
        Figure("messages too many", max(0, stats["begun"] - account.sent), 0),
        Figure("echoes too many", max(0, account.echoed - stats["answered"]), 0),
    ]


def main() -> int:
    """Soak one loop after another; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="for each loop")
    parser.add_argument("--loop", choices=LOOPS, help="on this event loop alone")
    arguments = parser.parse_args()
    os.environ |= MALLOC | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    excesses = 0
    for loop in (arguments.loop,) if arguments.loop else LOOPS:
        excesses += run(loop, 60 * arguments.minutes)
    print(f"{excesses or 'No'} excesses")
    return 1 if excesses else 0


def run(loop: str, seconds: float) -> int:
    """Soak a server in plain text and one over TLS; returns how many bounds did not hold."""
    excesses = 0
    with tempfile.TemporaryDirectory() as plain, tempfile.TemporaryDirectory() as secured:
        with (
            Target(loop, Path(plain), **OPTIONS) as target,
            Target(loop, Path(secured), tls=True, **OPTIONS) as tls_target,
        ):
            targets = [target, tls_target]

            async def both() -> list[tuple[Account, list[Sample]]]:
                return await asyncio.gather(*[soak(one, seconds) for one in targets])

            for one, (account, samples) in zip(targets, asyncio.run(both()), strict=True):
                tls = " over TLS" if one.context else ""
                memory = [sample.memory for sample in samples]
                print(
                    f"{loop}{tls}, {seconds / 60:g} minutes: {account.visits} visits,"
                    f" {account.sent} messages, {account.echoed} echoes; {memory[0]:.1f} MiB at"
                    f" first, {max(memory):.1f} at most, {memory[-1]:.1f} at last"
                )
                for figure in judge(one, account, samples):
                    print(f"  {'OK' if figure.kept else 'EXCESS':6} {figure}", flush=True)
                    excesses += not figure.kept
    return excesses


if __name__ == "__main__":
    sys.exit(main())
