"""The processes of workers: starting them, telling them, and noticing their end."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from .messages import ACCEPTS_NO_MORE, DRAIN, SERVES, STOP_ACCEPTING, VARIABLE
from .signals import Signals
from .supervisor import Act, Order, Supervisor

# What the supervisor says to a worker, by what it orders.
_SAYS = {Act.STOP_ACCEPTING: STOP_ACCEPTING, Act.DRAIN: DRAIN}


class Process(Protocol):
    """A process, as subprocess.Popen is one."""

    def poll(self) -> int | None:
        """Its status if it has ended: below 0 the signal that ended it."""

    def kill(self) -> None:
        """Kill it."""


def can_start_again() -> bool:
    """Whether the command line of this process starts the same program again."""
    return bool(sys.executable) and sys.argv[:1] not in ([], [""], ["-"])


def start_again(listening: Sequence[socket.socket], theirs: socket.socket) -> Process:
    """Start this program again, as a worker.

    No fork: it has the code and the certificates of today, and neither threads, locks nor loops of
    ours, and its callbacks need no name to import them by.
    """
    descriptors = [theirs.fileno(), *(sock.fileno() for sock in listening)]
    value = " ".join(map(str, [os.getpid(), *descriptors]))
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        stdin=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: value},
        pass_fds=descriptors,
        process_group=0,  # Ctrl-C is for the supervisor alone
    )


class Processes:
    """Does what a Supervisor orders, and tells it what happens; the selector waits for both."""

    def __init__(
        self,
        supervisor: Supervisor,
        spawn: Callable[[socket.socket], Process],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisor = supervisor
        self._spawn = spawn
        self._now = now
        self._selector = selectors.DefaultSelector()
        self._processes: dict[int, Process] = {}
        self._connections: dict[int, socket.socket] = {}

    def obey(self) -> None:
        """Do all that is ordered."""
        while orders := self._supervisor.orders():
            for order in orders:
                self._do(order)

    def wait(self, signals: Signals) -> list[int]:
        """Wait for whatever is next, and report it; returns the signals that came."""
        if signals.woken not in self._selector.get_map():
            self._selector.register(signals.woken, selectors.EVENT_READ)
        wait = max(self._supervisor.deadline() - self._now(), 0)
        ready = self._selector.select(None if wait == float("inf") else wait)
        for key, _ in ready:
            if key.data is not None:
                self._hear(key.data)
        came = signals.take()  # before the processes: the end of one later wakes the next call
        for number, process in list(self._processes.items()):
            status = process.poll()
            if status is not None:
                self._ended(number, _in_words(status))
        self._supervisor.wake(self._now())
        return came

    def close(self) -> None:
        """Let go of all."""
        self._selector.close()
        for connection in self._connections.values():
            connection.close()

    def _do(self, order: Order) -> None:
        number = order.worker
        if order.act is Act.START:
            self._start(number)
        elif number not in self._processes:
            pass  # it has ended meanwhile
        elif order.act is Act.KILL:
            self._processes[number].kill()
        else:
            with suppress(OSError):  # it has ended, or it reads nothing
                self._connections[number].send(_SAYS[order.act])

    def _start(self, number: int) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # no descriptor is left
            self._cannot_start(number, error)
            return
        ours.setblocking(False)
        with theirs:
            try:
                self._processes[number] = self._spawn(theirs)
            except OSError as error:
                ours.close()
                self._cannot_start(number, error)
                return
        self._connections[number] = ours
        self._selector.register(ours, selectors.EVENT_READ, number)

    def _cannot_start(self, number: int, error: OSError) -> None:
        self._supervisor.ended(number, f"it cannot start: {error}", self._now())

    def _hear(self, number: int) -> None:
        """Read what a worker says."""
        connection = self._connections[number]
        try:
            said = connection.recv(4096)
        except OSError:
            said = b""
        if not said:
            self._selector.unregister(connection)
            return
        for byte in (said[i : i + 1] for i in range(len(said))):
            if byte == SERVES:
                self._supervisor.serves(number, self._now())
            elif byte == ACCEPTS_NO_MORE:
                self._supervisor.accepts_no_more(number, self._now())

    def _ended(self, number: int, how: str) -> None:
        del self._processes[number]
        connection = self._connections.pop(number)
        with suppress(KeyError):  # its end was heard before
            self._selector.unregister(connection)
        connection.close()
        self._supervisor.ended(number, how, self._now())


def _in_words(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal
        return f"signal {-status}"
