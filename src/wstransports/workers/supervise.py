"""Running a supervisor, in the process that the user started."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ..address import Address, bound_to
from ..listening_sockets import ListeningSockets
from ..log import log
from .processes import Process, Processes, can_start_again, start_again
from .signals import Signals
from .supervisor import Supervisor

_POSIX = os.name == "posix"

# How a worker is started: with the sockets that listen, and its end of the connection to us.
Spawn = Callable[[Sequence[socket.socket], socket.socket], Process]


def supervise(where: Address, count: int, leave_time: float, spawn: Spawn = start_again) -> None:
    """Listen at `where`, and keep `count` workers until SIGINT or SIGTERM.

    SIGHUP replaces them. Raises OSError if it cannot listen, RuntimeError if the program cannot be
    started again, outside the main thread, elsewhere than on POSIX, or if no worker ever serves.
    """
    if not _POSIX:
        raise RuntimeError(
            "run(workers=...) needs a POSIX system: leave workers out, and start several programs"
        )
    if not can_start_again():
        raise RuntimeError(
            "run(workers=...) starts the program again for each worker, which cannot be done with"
            " one that was typed or piped into Python: run it from a file, with -m or with -c"
        )

    def report(level: int, text: str) -> None:
        log(where.logger, level, text)

    with Signals() as signals, closing(_listen(where)) as listening:
        supervisor = Supervisor(count, leave_time, report)
        report(logging.INFO, f"listening on {_names(listening)}, workers: {count}")
        with closing(Processes(supervisor, partial(spawn, listening.sockets))) as processes:
            interrupted = _run(supervisor, processes, signals, listening)
    if supervisor.failed:
        raise RuntimeError(
            f"no worker serves: the first {count} ended before that, and their own messages say why"
        )
    if interrupted is not None:
        signal.raise_signal(interrupted)


def _run(
    supervisor: Supervisor, processes: Processes, signals: Signals, listening: ListeningSockets
) -> int | None:
    """Run until no worker is left; returns the second signal to end, if one came."""
    interrupted: int | None = None
    supervisor.start()
    processes.obey()
    while not supervisor.over:
        for number in processes.wait(signals):
            if number == signal.SIGHUP:
                supervisor.replace_all(time.monotonic())
            elif number in (signal.SIGINT, signal.SIGTERM):
                interrupted = number if supervisor.stopping else None
                supervisor.stop(time.monotonic())
                listening.close()
        processes.obey()
    return interrupted


def _listen(where: Address) -> ListeningSockets:
    """Listen without an event loop."""
    opening = ListeningSockets.open(where, _look_up)
    try:
        opening.send(None)
    except StopIteration as opened:
        listening: ListeningSockets = opened.value
    return listening


async def _look_up(*where: Any, **how: Any) -> list[Any]:
    return list(socket.getaddrinfo(*where, **how))


def _names(listening: ListeningSockets) -> str:
    names = map(bound_to, listening.sockets)
    return ", ".join(f"{host}:{port}" if port else host for host, port in names)
