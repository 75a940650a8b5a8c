"""A program that takes part in a run: started, watched, and ended in any case."""

import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

# Seconds.
START_LIMIT = 20
STOP_LIMIT = 20


class Fault(Exception):
    """Why a run did not pass; the message is for the reader of its result."""


class Program:
    """A process whose standard error goes into the file `log`: `with Program(...) as program`.

    The block's end kills it where it still runs. `name` is what faults call it.
    """

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self._name = name
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        with self._process:  # closes the pipe and waits
            pass

    def port(self) -> int:
        """The port that it prints once it listens. Raises Fault where it prints none."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_LIMIT)
        line = self._process.stdout.readline().strip() if ready else ""
        if not line.isdigit():
            raise self._fault("did not start")
        return int(line)

    def wait(self, seconds: float) -> None:
        """Wait for its exit. Raises Fault if that is late or not clean."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._fault(f"did not end within {seconds:g} s") from None
        if status:
            raise self._fault(f"ended with exit status {status}")

    def end(self) -> None:
        """Ask it to end by SIGTERM. Raises Fault where it is gone already, and as `wait` does."""
        if self._process.poll() is not None:
            raise self._fault(f"ended before its time, exit status {self._process.returncode}")
        self._process.terminate()
        self.wait(STOP_LIMIT)

    def check_log(self) -> None:
        """Raise Fault if it logged a traceback."""
        if "Traceback" in self._log.read_text(errors="replace"):
            raise self._fault("logged a traceback")

    def _fault(self, what: str) -> Fault:
        log = self._log.read_text(errors="replace")[-2000:]
        return Fault(f"{self._name} {what}; the end of {self._log}:\n{log}")
