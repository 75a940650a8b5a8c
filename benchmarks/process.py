"""Processes: a server on one core, the load generator on another, and their memory."""

import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen

import trustme

from .contestants import BUILT, ROOT, Contestant
from .scenarios import Scenario

# A server ends after this many seconds.
LONGEST = 300


class BenchmarkError(Exception):
    """A server or the load generator failed, and nothing was measured."""


def cores() -> tuple[list[int], list[int]]:
    """The cores of the server and of the load generator: one each, if there are two."""
    available = sorted(os.sched_getaffinity(0))
    return (available[:1], available[1:2]) if len(available) > 1 else (available, available)


def raise_file_limit() -> int:
    """Raise the limit of open files to the hard limit, here and in child processes; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Server:
    """A running server; or clients, which connect to the load generator at `listener`."""

    def __init__(
        self, contestant: Contestant, pid: int, port: int, listener: socket.socket | None = None
    ) -> None:
        self._name = contestant.name
        self._raw = contestant.raw
        self.pid = pid
        self._port = port
        self._listener = listener

    @contextmanager
    def load(self, mode: str, *arguments: str, others: Sequence["Server"] = ()) -> Iterator["Load"]:
        """Run the load generator against it, ready for its first turn.

        If there are others, this one publishes and they have the members: their work is measured.
        """
        inherited = [self._listener.fileno()] if self._listener else []
        target = [f"--listener={fd}" for fd in inherited] or [
            f"--port={server._port}" for server in (self, *others)
        ]
        target += [f"--pid={server.pid}" for server in others or (self,)]
        target += ["--raw"] * self._raw
        command = [str(BUILT / "load"), mode, *target, *arguments]
        complaints = BUILT / f"{self._name}.load.log"
        with (
            complaints.open("w") as errors,
            Popen(
                command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True, pass_fds=inherited
            ) as process,
        ):
            os.sched_setaffinity(process.pid, cores()[1])
            try:
                load = Load(process, complaints)
                load.await_ready()
                yield load
                process.communicate()
            except BenchmarkError as error:
                raise BenchmarkError(f"{' '.join(command)}: {error}") from error
            finally:
                process.kill()

    def memory(self) -> dict[str, float]:
        """Its memory in KiB, "Rss" and "Pss", once that has stopped changing."""
        held = self._memory()
        for _ in range(50):
            time.sleep(0.1)
            before, held = held, self._memory()
            if held["Rss"] == before["Rss"]:  # other processes change Pss
                return held
        raise BenchmarkError("the memory of the server did not stop changing within 5 s")

    def terminate(self) -> None:
        """Terminate it, and wait until it has ended."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def _memory(self) -> dict[str, float]:
        return _sizes(Path(f"/proc/{self.pid}/smaps_rollup"), "Rss", "Pss")

    def step_aside(self) -> None:
        """Leave the servers' core to others."""
        os.sched_setaffinity(self.pid, cores()[1])

    def forget_peak(self) -> None:
        """Reset `peak`."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> float:
        """The peak of its resident memory since the reset, in KiB."""
        return _sizes(Path(f"/proc/{self.pid}/status"), "VmHWM")["VmHWM"]


def _sizes(file: Path, *names: str) -> dict[str, float]:
    lines = re.findall(rf"^({'|'.join(names)}):\s+(\d+) kB", file.read_text(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


class Load:
    """The load generator, which works only when its turn comes."""

    def __init__(self, process: Popen[str], complaints: Path) -> None:
        self._process = process
        self._complaints = complaints

    def await_ready(self) -> None:
        """Wait until its connections are open and its warm-up is over."""
        self._answer()

    def turn(self, seconds: float) -> dict[str, float]:
        """Have it work for `seconds`; returns what it measured in all turns so far."""
        measured: dict[str, float] = json.loads(self._ask(seconds))
        return measured

    def open(self, count: int) -> None:
        """Have it open connections until it holds `count` of them."""
        self._ask(count)

    def _ask(self, number: float) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            with suppress(BrokenPipeError):  # else Popen raises it again, and hides the reason
                self._process.stdin.close()
            return self._answer()  # raises the reason why it has ended
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer:
            return answer
        took_too_long = self._process.wait() == -signal.SIGALRM
        raise BenchmarkError("took too long" if took_too_long else _read(self._complaints))


@contextmanager
def serving(contestant: Contestant, scenario: Scenario, redis: str = "") -> Iterator[Server]:
    """Run a server, or clients; rooms pass messages on through the Redis server at the URL `redis`.

    A BenchmarkError raised in the block gets their standard error appended.
    """
    settings = ["--task", scenario.task, *["--deflate"] * scenario.deflate]
    settings += [f"--redis={redis}"] * bool(redis)
    with ExitStack() as stack:
        listener = None
        if contestant.client:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
            settings += [f"--port={listener.getsockname()[1]}"]
            settings += [f"--connections={scenario.connections}"]
        if scenario.tls:
            issued = trustme.CA().issue_cert("127.0.0.1")
            certificate = issued.private_key_and_cert_chain_pem.tempfile()
            settings += ["--tls", stack.enter_context(certificate)]
        process = stack.enter_context(_running(contestant, settings))
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise BenchmarkError("the server did not start")
        yield Server(contestant, process.pid, int(port), listener)


def run_alone(contestant: Contestant, *arguments: str) -> dict[str, float]:
    """Run a contestant that is not a server; returns what it measured."""
    with _running(contestant, arguments) as process:
        answer, _ = process.communicate()
        if process.returncode != 0:
            raise BenchmarkError(f"the process ended with status {process.returncode}")
    measured: dict[str, float] = json.loads(answer)
    return measured


def _read(log: Path) -> str:
    return log.read_text(errors="backslashreplace")  # a wrong answer may be any bytes


@contextmanager
def _running(contestant: Contestant, arguments: Sequence[str]) -> Iterator[Popen[str]]:
    log = BUILT / f"{contestant.name}.log"
    with (
        log.open("w") as errors,
        Popen(
            [*contestant.command(), *arguments],
            stdout=PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=contestant.environment(),
            preexec_fn=_prepare,
        ) as process,
    ):
        try:
            yield process
        except BenchmarkError as error:
            raise BenchmarkError(f"{error}\n{_read(log)}") from error
        finally:
            process.kill()


def _prepare() -> None:
    # Set in the new process itself, so that its threads inherit it.
    os.sched_setaffinity(0, cores()[0])
    # The alarm survives exec: the server ends by itself even if we are killed.
    signal.alarm(LONGEST)
