"""Processes: a server on one core, the load on another, and what the system says of them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from .contestants import BUILT, ROOT, Contestant

KIB = 1024


class BenchmarkError(Exception):
    """A server or the load failed: nothing was measured."""


def cores() -> tuple[list[int], list[int]]:
    """The server's cores and the load's: one each, where there are two."""
    available = sorted(os.sched_getaffinity(0))
    return (available[:1], available[1:2]) if len(available) > 1 else (available, available)


class Server:
    """A server that runs."""

    def __init__(self, contestant: Contestant, process: subprocess.Popen[str], port: int) -> None:
        self.contestant = contestant
        self.pid = process.pid
        self.port = port

    def memory(self) -> dict[str, float]:
        """What it holds now, in KiB: resident, and its proportional share of that."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return {name.lower(): float(value) for name, value in _sizes(rollup, "Rss", "Pss")}

    def forget_peak(self) -> None:
        """Begin anew with `peak`."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> float:
        """The most it held since, in KiB."""
        [(_, value)] = _sizes(Path(f"/proc/{self.pid}/status").read_text(), "VmHWM")
        return float(value)

    def load_command(self, mode: str, *arguments: str) -> list[str]:
        """What starts the load on it."""
        raw = ["--raw"] if self.contestant.raw else []
        target = [f"--port={self.port}", f"--pid={self.pid}"]
        return [str(BUILT / "load"), mode, *target, *raw, *arguments]

    def load(self, mode: str, *arguments: str) -> dict[str, float]:
        """Put the load on it; returns what the load measured."""
        command = self.load_command(mode, *arguments)
        process = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True)
        os.sched_setaffinity(process.pid, cores()[1])
        answer, complaint = process.communicate()
        if process.returncode != 0:
            reason = complaint.strip() or f"status {process.returncode}"
            raise BenchmarkError(f"{' '.join(command)}: {reason}")
        measured: dict[str, float] = json.loads(answer)
        return measured


def _sizes(text: str, *names: str) -> list[tuple[str, str]]:
    return re.findall(rf"^({'|'.join(names)}):\s+(\d+) kB", text, re.MULTILINE)


@contextmanager
def serving(contestant: Contestant, task: str, deflate: bool) -> Iterator[Server]:
    """Run a server meanwhile; what it says on standard error is shown if something fails."""
    command = contestant.command(task, deflate)
    log = BUILT / f"{contestant.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            stdout=PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=contestant.environment(),
            preexec_fn=_on_server_core,
        )
    assert process.stdout is not None
    try:
        port = process.stdout.readline()
        if not port:
            raise BenchmarkError(f"{contestant.name} did not start:\n{log.read_text()}")
        yield Server(contestant, process, int(port))
    except BenchmarkError as error:
        raise BenchmarkError(f"{contestant.name}: {error}\n{log.read_text()[-2000:]}") from error
    finally:
        process.kill()
        process.communicate()


def _on_server_core() -> None:
    # In the new process itself, so that no thread of it starts elsewhere.
    os.sched_setaffinity(0, cores()[0])
