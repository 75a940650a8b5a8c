"""The program run in this process: with pipes, or on a pseudo-terminal that a test types at."""

import os
import pty
import re
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from wstransports.terminal.program import main


def run(arguments: list[str], stdin: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the program with `stdin` in a pipe; returns its exit status."""
    reading, writing = os.pipe()
    writer = threading.Thread(target=_write, args=(writing, stdin))
    writer.start()
    with os.fdopen(reading) as file, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", file)
        status = main(arguments)
    writer.join()
    return status


def _write(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as file:
        file.write(data)


# Printed after the program has ended.
_END = "\0end\0"


class Terminal:
    """A pseudo-terminal, as who sits in front of it sees it."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._seen = ""
        self._news = threading.Condition()

    def watch(self) -> None:
        """Read what is printed until the program has ended."""
        while _END not in self._seen:
            data = os.read(self._master, 65536)
            if b"\x1b[6n" in data:  # where is the cursor?
                os.write(self._master, b"\x1b[1;1R")
            with self._news:
                self._seen += data.decode(errors="replace")
                self._news.notify_all()

    def until(self, pattern: str) -> str:
        """Wait until what was printed matches; returns all of it up to there, and forgets it."""
        with self._news:
            while (match := re.search(pattern, self._seen)) is None:
                assert _END not in self._seen, self._seen
                assert self._news.wait(20), self._seen
            before, self._seen = self._seen[: match.end()], self._seen[match.end() :]
            return before

    def rest(self) -> str:
        """What was printed since, when the program has ended."""
        return self._seen.removesuffix(_END)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())


def run_on_terminal(
    arguments: list[str], typist: Callable[[Terminal], Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Run the program on a pseudo-terminal; returns its exit status, and what is left on it."""
    master, slave = pty.openpty()
    settings = termios.tcgetattr(slave)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    terminal = Terminal(master)
    failures: list[BaseException] = []

    def type_all() -> None:
        try:
            typist(terminal)
        except BaseException as error:  # noqa: BLE001  # raised below, in the test's thread
            failures.append(error)
            terminal.type("\x04")

    watcher = threading.Thread(target=terminal.watch, daemon=True)
    person = threading.Thread(target=type_all, daemon=True)
    watcher.start()
    with ExitStack() as stack, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
            file = stack.enter_context(open(os.dup(slave), mode, encoding="utf-8"))
            patch.setattr(sys, name, file)
        person.start()
        status = main(arguments)
        terminal.type("\n")  # lets go of a thread that still reads a line
    os.write(slave, _END.encode())
    watcher.join(20)
    person.join(20)
    os.close(slave)
    os.close(master)
    if failures:
        raise failures[0]
    return status, terminal.rest()
