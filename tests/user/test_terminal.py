"""The terminal program as a process of its own: it needs nothing but the package."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kit.blocking_peer import connected
from wscore import build_frame

PATIENCE = 20

PROGRAM = [sys.executable, "-W", "error", "-m", "wstransports"]
HELLO = build_frame(1, "Hello")
EXPLAINED = b'     0 frame: FIN=1 RSV=000 opcode=1(text) MASK=0 length=5 text="Hello"\n'


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """Run the program to its end: its exit status, and what it wrote."""
    ended = subprocess.run(
        [*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=PATIENCE, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr.decode()


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run `serve` during the block: the port, and the process."""
    process = subprocess.Popen(
        [*PROGRAM, "serve", "--port", "0", *arguments], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process:
        try:
            yield int(process.stderr.readline().rstrip("/\n").rpartition(":")[2]), process
        finally:
            process.kill()


@pytest.mark.slow
def test_explain_reads_stdin() -> None:
    assert run("explain", stdin=HELLO) == (0, EXPLAINED, "")
    assert run("explain", "--sender", "client", stdin=HELLO)[0] == 1


@pytest.mark.slow
def test_a_pipe_through_a_server() -> None:
    with serving() as (port, _):
        status, out, err = run("connect", f"ws://127.0.0.1:{port}/", stdin=b"one\ntwo\n")
        assert (status, out) == (0, b"one\ntwo\n")
        assert err == f"* connected to 127.0.0.1:{port}/\n* closed: 1000 (normal closure)\n"
        data = os.urandom(500_000)
        status, out, _ = run("connect", f"ws://127.0.0.1:{port}/", "--binary", stdin=data)
        assert (status, out) == (0, data)
    assert run("connect", f"ws://127.0.0.1:{port}/")[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(number: signal.Signals) -> None:
    with serving("--hub") as (port, process), connected(port) as peer:
        process.send_signal(number)
        assert peer.closed() == (1001, "")
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_ctrl_c_ends_connect_at_once() -> None:
    """Though a thread still waits for stdin."""
    with serving() as (port, _):
        process = subprocess.Popen(
            [*PROGRAM, "connect", f"ws://127.0.0.1:{port}/"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"Hello\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"Hello\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 130
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_a_reader_that_leaves_early() -> None:
    """As `head` does."""
    with serving() as (port, _):
        process = subprocess.Popen(
            [*PROGRAM, "connect", f"ws://127.0.0.1:{port}/"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"1\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"1\n"
            process.stdout.close()
            process.stdin.write(b"2\n")
            process.stdin.flush()
            assert process.wait(PATIENCE) == 141
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_the_console_script() -> None:
    script = Path(sys.executable).with_name("wstransports")
    if not script.exists():
        pytest.skip("the package was installed before it had a console script")
    ended = subprocess.run([script, "explain"], input=HELLO, capture_output=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (0, EXPLAINED)
