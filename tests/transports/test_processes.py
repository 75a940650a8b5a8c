"""The supervisor's process: what it starts, tells and hears, its signals, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from kit.background import background
from kit.log import Log
from wstransports import WebSocketServer
from wstransports.acceptor import CLOSING_TIME
from wstransports.address import Address
from wstransports.server import RUNNER_TIME
from wstransports.workers.messages import ACCEPTS_NO_MORE, DRAIN, SERVES, STOP_ACCEPTING, VARIABLE
from wstransports.workers.processes import Process, Processes, start_again
from wstransports.workers.signals import TAKEN, Signals
from wstransports.workers.supervise import supervise
from wstransports.workers.supervisor import Supervisor

HERE = Address("127.0.0.1", 0)


def handlers() -> list[Any]:
    """What the process does on the signals that a supervisor takes."""
    return [signal.getsignal(number) for number in TAKEN]


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = handlers()
    yield
    assert handlers() == before


@pytest.fixture
def signals() -> Iterator[Signals]:
    """The signals, taken."""
    with Signals() as signals:
        yield signals


def test_what_signals_woke_before_is_put_back() -> None:
    read, written = socket.socketpair()
    with read, written:
        written.setblocking(False)
        before = signal.set_wakeup_fd(written.fileno())
        try:
            with Signals():
                pass
        finally:
            woken = signal.set_wakeup_fd(before)
        assert woken == written.fileno()


class Puppet:
    """A worker's process that does only what the test says."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection.dup()
        self.status: int | None = None
        self.killed = False

    def say(self, message: bytes) -> None:
        """Tell the supervisor."""
        self.connection.send(message)

    def heard(self) -> bytes:
        """What the supervisor has said."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(100)
        except BlockingIOError:
            return b""

    def end(self, status: int) -> None:
        """End."""
        self.status = status
        self.connection.close()

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        self.killed = True


class Office:
    """A supervisor of puppets; the test turns its loop."""

    def __init__(self, signals: Signals, count: int) -> None:
        self.lines: list[str] = []
        self.puppets: list[Puppet] = []
        self.now = 0.0
        self.supervisor = Supervisor(count, 10, lambda level, text: self.lines.append(text))
        self._signals = signals
        self.processes = Processes(self.supervisor, self._spawn, lambda: self.now)
        self.supervisor.start()
        self.processes.obey()

    def _spawn(self, connection: socket.socket) -> Process:
        self.puppets.append(Puppet(connection))
        return self.puppets[-1]

    def turn(self) -> list[int]:
        """Wait for what has happened, and do what is ordered; returns the signals that came."""
        came = self.processes.wait(self._signals)
        self.processes.obey()
        return came

    def close(self) -> None:
        """Let go of all."""
        self.processes.close()
        for puppet in self.puppets:
            puppet.connection.close()


@pytest.fixture
def office(signals: Signals) -> Iterator[Office]:
    """A supervisor of two puppets that serve."""
    office = Office(signals, 2)
    for puppet in office.puppets:
        puppet.say(SERVES)
    office.turn()
    assert office.lines == ["worker 1 serves", "worker 2 serves"]
    office.lines.clear()
    yield office
    office.close()


def test_one_that_ends_just_after_a_look_at_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal of its end comes then, and nothing else would wake the supervisor."""
    [ending, _] = office.puppets

    def look() -> int | None:
        if ending.status is None:
            ending.status = 0
            os.kill(os.getpid(), signal.SIGCHLD)
            return None
        return ending.status

    monkeypatch.setattr(ending, "poll", look)
    ending.connection.close()  # which is heard before it has ended
    office.turn()
    assert office.lines == []
    office.turn()
    assert office.lines[0] == "worker 1 ended: status 0"


def test_workers_are_told_and_heard(office: Office) -> None:
    office.supervisor.replace_all(office.now)
    office.processes.obey()
    old, new = office.puppets[:2], office.puppets[2:]
    for puppet in new:
        puppet.say(SERVES)
    office.turn()
    assert [puppet.heard() for puppet in old] == [STOP_ACCEPTING] * 2
    old[0].say(ACCEPTS_NO_MORE + b"?")  # what it does not know it ignores
    old[1].say(ACCEPTS_NO_MORE)
    office.turn()
    assert [puppet.heard() for puppet in old] == [DRAIN] * 2
    for puppet in old:
        puppet.end(0)
    office.turn()
    assert office.lines[-2:] == ["worker 1 ended: status 0", "worker 2 ended: status 0"]


def test_one_that_does_not_leave_in_time_is_killed(office: Office) -> None:
    office.supervisor.stop(office.now)
    office.processes.obey()
    office.now = 10
    office.turn()
    assert [puppet.killed for puppet in office.puppets] == [True, True]
    for puppet in office.puppets:
        puppet.end(-signal.SIGKILL)
    office.turn()
    assert office.lines[-1] == "worker 2 ended: SIGKILL"
    assert office.supervisor.over


def test_a_worker_that_hangs_up_before_it_ends(office: Office) -> None:
    first, second = office.puppets
    first.connection.close()
    office.turn()
    assert office.lines == []
    office.supervisor.stop(office.now)
    office.processes.obey()  # it gets no order
    assert second.heard() == DRAIN
    first.end(-50)
    signal.raise_signal(signal.SIGCHLD)
    office.turn()
    assert office.lines[-1] == "worker 1 ended: signal 50"


def test_a_worker_that_ends_without_having_read_its_orders(office: Office) -> None:
    office.supervisor.stop(office.now)
    office.processes.obey()
    office.puppets[0].end(3)  # the connection is reset
    office.turn()
    assert office.lines[-1] == "worker 1 ended: status 3"


def test_a_worker_that_ends_when_it_is_to_stop_accepting(office: Office) -> None:
    office.supervisor.replace_all(office.now)
    office.processes.obey()
    for puppet in office.puppets[2:]:
        puppet.say(SERVES)
    office.puppets[0].end(1)
    office.turn()
    assert office.puppets[1].heard() == STOP_ACCEPTING
    office.puppets[1].say(ACCEPTS_NO_MORE)
    office.turn()
    assert office.puppets[1].heard() == DRAIN


def test_signals_come_in_order(office: Office) -> None:
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.raise_signal(number)
    assert office.turn() == [signal.SIGHUP, signal.SIGTERM]


# --- The whole


class Worker(threading.Thread):
    """A worker's process, in a thread: it serves, and obeys at once."""

    def __init__(self, connection: socket.socket, on_order: Callable[[bytes], None]) -> None:
        super().__init__(daemon=True)
        self._connection = connection.dup()
        self._connection.settimeout(20)
        self._on_order = on_order
        self._status: int | None = None
        self.start()

    def run(self) -> None:
        """Its life."""
        self._connection.send(SERVES)
        while self._status is None:
            order = self._connection.recv(1)
            if order == STOP_ACCEPTING:
                self._connection.send(ACCEPTS_NO_MORE)
            self._on_order(order)

    def end(self, status: int) -> None:
        """End. The signal comes first, so that it is always handled."""
        signal.raise_signal(signal.SIGCHLD)
        self._status = status
        self._connection.close()

    def poll(self) -> int | None:
        return self._status

    def kill(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self.join()
        self.end(self._status or 0)


class Company:
    """What `supervise` starts its workers with."""

    def __init__(self, obey: Callable[["Company", int, bytes], None]) -> None:
        self.workers: list[Worker] = []
        self.listening: Sequence[socket.socket] = ()
        self._obey = obey

    def spawn(self, listening: Sequence[socket.socket], connection: socket.socket) -> Process:
        self.listening = listening
        number = len(self.workers)
        worker = Worker(connection, lambda order: self._obey(self, number, order))
        self.workers.append(worker)
        return worker


def test_it_replaces_its_workers_on_sighup_and_ends_on_sigterm(log: Log) -> None:
    def obey(company: Company, number: int, order: bytes) -> None:
        if order != DRAIN:
            return
        company.workers[number].end(0)
        if number == 0:
            signal.raise_signal(signal.SIGTERM)

    company = Company(obey)

    def spawn(listening: Sequence[socket.socket], connection: socket.socket) -> Process:
        worker = company.spawn(listening, connection)
        if len(company.workers) == 1:
            signal.raise_signal(signal.SIGHUP)
        return worker

    supervise(HERE, 1, 20, spawn)
    assert len(company.workers) == 2
    assert [sock.fileno() for sock in company.listening] == [-1]


def test_a_second_sigterm_kills_them_and_then_does_what_it_does_otherwise(log: Log) -> None:
    def obey(company: Company, number: int, order: bytes) -> None:
        if order == DRAIN:
            signal.raise_signal(signal.SIGTERM)  # and it goes on
        elif not order:
            company.workers[number]._status = -signal.SIGKILL

    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        company = Company(obey)

        def spawn(listening: Sequence[socket.socket], connection: socket.socket) -> Process:
            signal.raise_signal(signal.SIGTERM)
            return company.spawn(listening, connection)

        supervise(HERE, 1, 20, spawn)
        assert came == [signal.SIGTERM]
        assert [record.getMessage() for record in log.taken()] == ["worker 1 ended: SIGKILL"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_it_says_so_if_no_worker_ever_serves(log: Log) -> None:
    def spawn(listening: Sequence[socket.socket], connection: socket.socket) -> Process:
        raise OSError(11, "Resource temporarily unavailable")

    with pytest.raises(RuntimeError, match="no worker serves: the first 2 ended before that"):
        supervise(HERE, 2, 20, spawn)
    assert [record.getMessage() for record in log.taken()] == [
        f"worker {number} ended: it cannot start: [Errno 11] Resource temporarily unavailable"
        for number in (1, 2)
    ]


def test_a_supervisor_without_descriptors_does_not_fail_but_tries_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_pair() -> NoReturn:
        raise OSError(24, "Too many open files")

    reports: list[str] = []
    supervisor = Supervisor(1, 20, lambda level, text: reports.append(text))
    with closing(Processes(supervisor, lambda theirs: pytest.fail("it has none"))) as processes:
        supervisor.start()
        monkeypatch.setattr("socket.socketpair", no_pair)
        processes.obey()
    assert reports == ["worker 1 ended: it cannot start: [Errno 24] Too many open files"]


def test_it_listens_where_the_server_would(tmp_path: Path, log: Log) -> None:
    listened: list[Any] = []

    def spawn(listening: Sequence[socket.socket], connection: socket.socket) -> Process:
        listened.append([sock.getsockname() for sock in listening])
        raise OSError

    path = tmp_path / "socket"
    for where in (Address("localhost", 0), Address(None, 0, unix_path=path)):
        with pytest.raises(RuntimeError):
            supervise(where, 1, 20, spawn)
    log.taken()
    by_name, at_path = listened
    assert ("127.0.0.1", by_name[0][1]) in by_name
    assert at_path == [str(path)]
    assert not path.exists()


def test_it_raises_where_it_cannot_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            supervise(Address("127.0.0.1", port), 1, 20)


def test_it_needs_the_main_thread() -> None:
    with pytest.raises(RuntimeError, match="works in the main thread only"):
        background(lambda: supervise(HERE, 1, 20)).result()


@pytest.mark.parametrize("argv", [[""], ["-"], []])
def test_it_needs_a_program_that_can_be_started_again(
    argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(RuntimeError, match="run it from a file"):
        supervise(HERE, 1, 20)


def test_it_needs_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wstransports.workers.supervise._POSIX", False)
    with pytest.raises(RuntimeError, match="needs a POSIX system"):
        supervise(HERE, 1, 20)


@pytest.mark.slow
def test_a_worker_is_the_program_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import os, socket, sys\n"
        f"parent, control, listening = map(int, os.environ[{VARIABLE!r}].split())\n"
        f"assert parent == os.getppid() and os.getpgid(0) == os.getpid()\n"
        f"port = socket.socket(fileno=listening).getsockname()[1]\n"
        f"socket.socket(fileno=control).send(f'{{port}} {{sys.argv[1]}}'.encode())\n"
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "-u", str(program), "an argument"])
    ours, theirs = socket.socketpair()
    with ours, socket.create_server(("127.0.0.1", 0)) as listening:
        with theirs:
            process = start_again([listening], theirs)
        assert isinstance(process, subprocess.Popen)
        assert process.wait(20) == 0
        assert ours.recv(100).decode() == f"{listening.getsockname()[1]} an argument"
    assert VARIABLE not in os.environ


# --- run()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2"])
def test_the_number_of_workers_is_checked(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers must be an int of at least 1 or None, not "):
        WebSocketServer("127.0.0.1", 0).run(workers=workers)


@pytest.mark.parametrize("seconds", [-1, float("inf"), "30"])
def test_the_time_to_drain_is_checked(seconds: Any) -> None:
    with pytest.raises(ValueError, match="drain takes a number of seconds, 0 or more, not "):
        WebSocketServer("127.0.0.1", 0).run(workers=2, drain=seconds)


@pytest.mark.parametrize(
    ("shutdown_timeout", "leave_time"), [(5, 8 + 30 + 5 + 5 + CLOSING_TIME), (0, float("inf"))]
)
def test_run_supervises(
    shutdown_timeout: float, leave_time: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr("wstransports.server.supervise", lambda *given: called.append(given))
    server = WebSocketServer("::1", 80, open_timeout=8, shutdown_timeout=shutdown_timeout)
    server.run(workers=3, drain=30)
    assert called == [(server._address, 3, leave_time + RUNNER_TIME)]


@pytest.mark.parametrize("on_trio", [False, True])
def test_run_works_if_a_supervisor_started_it(
    monkeypatch: pytest.MonkeyPatch, on_trio: bool
) -> None:
    if on_trio:
        trio = pytest.importorskip("trio", reason="trio is not installed")
    ours, theirs = socket.socketpair()
    hang_up = signal.getsignal(signal.SIGHUP)
    with ours, socket.create_server(("127.0.0.1", 0)) as listening:
        given = listening.dup()
        monkeypatch.setenv(VARIABLE, f"{os.getppid()} {theirs.detach()} {given.fileno()}")
        ours.send(DRAIN)
        WebSocketServer(None, 0, sock=given).run(workers=1, runner=trio.run if on_trio else None)
        assert ours.recv(2) == SERVES
        assert given.fileno() == -1
    signal.signal(signal.SIGHUP, hang_up)


@pytest.mark.parametrize("workers", [None, 2])
def test_the_runner_is_checked(workers: int | None) -> None:
    with pytest.raises(TypeError, match="runner must be a function such as trio.run, or None, not"):
        WebSocketServer("127.0.0.1", 0).run(workers=workers, runner=cast(Any, 5))
