"""A program that misbehaves is a fault, and none keeps running."""

import os
import sys
from pathlib import Path

import pytest
from program import Fault, Program

pytestmark = pytest.mark.slow

WAIT_FOR_SIGTERM = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(4321, flush=True)
signal.sigwait([signal.SIGTERM])
sys.exit(STATUS)
"""


def start(folder: Path, code: str) -> Program:
    return Program("the program", [sys.executable, "-c", code], folder / "log")


def test_one_that_behaves(tmp_path: Path) -> None:
    with start(tmp_path, WAIT_FOR_SIGTERM.replace("STATUS", "0")) as program:
        assert program.port() == 4321
        program.end()
        program.check_log()


@pytest.mark.parametrize("code", ["", "print('no number')", "raise SystemExit(1)"])
def test_no_port(tmp_path: Path, code: str) -> None:
    with start(tmp_path, code) as program, pytest.raises(Fault, match="^the program did not start"):
        program.port()


def test_it_ends_before_its_time(tmp_path: Path) -> None:
    with start(tmp_path, "") as program:
        program.wait(20)
        with pytest.raises(Fault, match=r"^the program ended before its time, exit status 0"):
            program.end()


def test_it_ends_uncleanly_on_request(tmp_path: Path) -> None:
    with start(tmp_path, WAIT_FOR_SIGTERM.replace("STATUS", "3")) as program:
        program.port()
        with pytest.raises(Fault, match=r"^the program ended with exit status 3"):
            program.end()


def test_it_ends_uncleanly_by_itself(tmp_path: Path) -> None:
    code = "import sys; sys.exit('what was wrong')"
    with start(tmp_path, code) as program, pytest.raises(Fault) as caught:
        program.wait(20)
    assert str(caught.value) == (
        f"the program ended with exit status 1; the end of {tmp_path / 'log'}:\nwhat was wrong\n"
    )


def test_it_is_late_and_killed(tmp_path: Path) -> None:
    with start(tmp_path, "import os, signal; print(os.getpid(), flush=True); signal.pause()") as it:
        pid = it.port()  # any number will do
        with pytest.raises(Fault, match=r"^the program did not end within 0.1 s"):
            it.wait(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_logs_a_traceback_and_goes_on(tmp_path: Path) -> None:
    code = "import logging\ntry: 1 / 0\nexcept ZeroDivisionError: logging.exception('oh')"
    with start(tmp_path, code) as program:
        program.wait(20)
        with pytest.raises(Fault, match="^the program logged a traceback"):
            program.check_log()
