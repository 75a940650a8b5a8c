"""`run(workers=...)` as users know it: a program, its processes, and the signals sent to them."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from kit.blocking_peer import BlockingPeer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

PROGRAM = """\
import os, signal, sys
import socket as socket_module
from wstransports import WebSocketServer

given = socket_module.socket(fileno=int(sys.argv[1]))
code = sys.argv[2]
with open(code) as file:
    answer = file.read()

socket = WebSocketServer(None, 0, sock=given, shutdown_timeout=2)


@socket.connection
async def on_connection(client):
    await client.writer.send(f"{os.getpid()} {answer}")
    async for message in client:
        if message == "crash":
            os._exit(7)
        if message == "hang":
            signal.pause()


socket.run(workers=2, drain=0.2, runner=RUNNER)
print("ended")
"""

ON_TRIO = "import trio\n" + PROGRAM.replace("RUNNER", "trio.run")
ON_ASYNCIO = PROGRAM.replace("RUNNER", "None")
ON_UVLOOP = "import uvloop\n" + PROGRAM.replace("RUNNER", "lambda serve: uvloop.run(serve())")


class Program:
    """A program with workers, at a socket that it inherits, as from systemd."""

    def __init__(self, source: str, folder: Path) -> None:
        (folder / "program.py").write_text(source)
        self.code = folder / "code"
        self.code.write_text("old")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._visitors = ExitStack()
        self.process = subprocess.Popen(
            [sys.executable, folder / "program.py", str(self._listening.fileno()), self.code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[self._listening.fileno()],
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._visitors.close()
        self._listening.close()
        with self.process:
            self.process.kill()  # its workers then drain

    def until_complaint(self, text: str) -> None:
        """Read what it writes to stderr, until a line has this text."""
        assert self.process.stderr is not None
        while text not in (line := self.process.stderr.readline()):
            assert line, f"it ended without {text!r}"

    def output(self) -> tuple[str, str]:
        """The rest of what it writes to stdout and stderr, until all its processes have ended."""
        return self.process.communicate()

    def visit(self) -> tuple[BlockingPeer, int, str]:
        """A new client, the process that serves it, and the code that this has."""
        peer = self._visitors.enter_context(BlockingPeer(self.port))
        peer.connect()
        greeting = peer.message()
        assert isinstance(greeting, str)
        process, _, code = greeting.partition(" ")
        return peer, int(process), code

    def visitor(self) -> int:
        """The process that serves a new client, which leaves."""
        peer, process, _ = self.visit()
        peer.finish()
        return process

    def end(self) -> int:
        """Stop it, and wait for its end; returns its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def gone(process: int) -> None:
    """Wait until a process has ended that is not our child."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    select.select([descriptor], [], [])
    os.close(descriptor)


needs_trio = pytest.mark.skipif(find_spec("trio") is None, reason="trio is not installed")


@pytest.fixture(params=["asyncio", "uvloop", pytest.param("trio", marks=needs_trio)])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    """A program that runs."""
    source = {"asyncio": ON_ASYNCIO, "uvloop": ON_UVLOOP, "trio": ON_TRIO}[request.param]
    with Program(source, tmp_path) as program:
        yield program


def test_sighup_replaces_the_workers_by_new_code(program: Program) -> None:
    peer, process, code = program.visit()
    assert code == "old"
    program.code.write_text("new")
    program.process.send_signal(signal.SIGHUP)
    assert peer.closed() == (1012, "")
    gone(process)
    other, process, code = program.visit()
    assert code == "new"
    assert program.end() == 0
    assert other.closed() == (1012, "")
    gone(process)
    assert program.output() == ("ended\n" * 5, "")


@pytest.fixture
def on_asyncio(tmp_path: Path) -> Iterator[Program]:
    """A program that runs on asyncio."""
    with Program(ON_ASYNCIO, tmp_path) as program:
        yield program


def test_code_that_fails_leaves_the_old_workers_alone(on_asyncio: Program) -> None:
    peer, process, _ = on_asyncio.visit()
    on_asyncio.code.unlink()
    on_asyncio.process.send_signal(signal.SIGHUP)
    on_asyncio.until_complaint("the old ones stay")
    peer.ping()
    peer.frame()
    other, _, code = on_asyncio.visit()
    assert code == "old"
    peer.leave()
    other.leave()
    assert on_asyncio.end() == 0


def test_a_worker_that_dies_is_replaced(on_asyncio: Program) -> None:
    with on_asyncio.visit()[0] as peer:
        peer.send("crash")
        assert peer.gone()
    on_asyncio.until_complaint("ended: status 7")
    seen = {on_asyncio.visitor()}
    while len(seen) < 2:
        seen.add(on_asyncio.visitor())
    assert on_asyncio.end() == 0


def test_a_worker_that_hangs_is_killed_by_a_second_signal(on_asyncio: Program) -> None:
    peer, process, _ = on_asyncio.visit()
    bystander, other, _ = on_asyncio.visit()
    while other == process:
        bystander.leave()
        bystander, other, _ = on_asyncio.visit()
    peer.send("hang")
    on_asyncio.process.send_signal(signal.SIGTERM)
    assert bystander.closed() == (1012, "")
    on_asyncio.process.send_signal(signal.SIGTERM)
    assert on_asyncio.process.wait() == -signal.SIGTERM
    gone(process)
    peer.leave()


def test_workers_end_when_their_supervisor_is_killed(on_asyncio: Program) -> None:
    peer, process, _ = on_asyncio.visit()
    on_asyncio.process.kill()
    assert peer.closed() == (1012, "")
    gone(process)


def test_a_program_whose_workers_cannot_start_ends(tmp_path: Path) -> None:
    fails = 'os.environ.get("WSTRANSPORTS_WORKER") and 1 / 0\ngiven ='
    with Program(ON_ASYNCIO.replace("given =", fails), tmp_path) as program:
        complaints = program.output()[1]
        assert program.process.returncode == 1
    assert "RuntimeError: no worker serves" in complaints
    assert complaints.count("ZeroDivisionError") == 2
