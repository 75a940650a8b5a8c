"""A user's program, which runs in a process of its own and is sent signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class Script:
    """A running script: `source`, kept in a `folder`.

    It runs with Python's default settings, the warning filter above all, not with those of the
    tests. Only the time limit of the test bounds how long its methods wait.
    """

    def __init__(self, source: str, folder: Path) -> None:
        path = folder / "script.py"
        path.write_text(source)
        self._complaints = folder / "stderr"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
        }
        with self._complaints.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-u", path],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert self._process.stdout is not None
        self._lines = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()
        print(self._complaints.read_text())  # for the report of a test that failed

    def line(self) -> str:
        """The next line it prints, "" at the end."""
        return self._lines.readline().rstrip("\n")

    def number(self) -> int:
        """The next line, a number: a port."""
        return int(self.line())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[list[str], str, int]:
        """Wait for its end: the lines not read yet, what it wrote to stderr, its exit status."""
        lines = self._lines.read().splitlines()
        return lines, self._complaints.read_text(), self._process.wait()
