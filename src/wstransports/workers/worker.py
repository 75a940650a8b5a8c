"""One worker: what it has from its supervisor, and how it serves until it is to leave."""

import os
import signal
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from ..acceptor import Acceptor
from ..address import Address
from ..identity import Identity
from ..listening_server import ListeningServer
from ..log import LoggerLike
from ..runtime import Pipe, running
from .messages import ACCEPTS_NO_MORE, SERVES, STOP_ACCEPTING, VARIABLE


@dataclass(frozen=True)
class Inheritance:
    """What a worker has from its supervisor."""

    listens: Address
    """Where it listens: at the supervisor's sockets."""
    supervisor: Address
    """The connection to the supervisor."""


def inherited(where: Address) -> Inheritance | None:
    """What the supervisor of this process left to it, for a server at `where`; None without one.

    Raises RuntimeError if another process was meant, or the supervisor has ended.
    """
    value = os.environ.pop(VARIABLE, None)
    if value is None:
        return None
    parent, control, *descriptors = map(int, value.split())
    if parent != os.getppid():
        raise RuntimeError(
            f"{VARIABLE} says that process {parent} started this one as its worker, but process"
            f" {os.getppid()} did: unset the variable, unless that supervisor has just ended"
        )
    listening = []
    if where.sock is not None and where.sock.fileno() in descriptors:
        listening.append(where.sock)  # the program has wrapped the descriptor itself
        descriptors.remove(where.sock.fileno())
    listening += [socket.socket(fileno=descriptor) for descriptor in descriptors]
    supervisor = socket.socket(fileno=control)
    for sock in (*listening, supervisor):
        sock.set_inheritable(False)  # a command that the worker starts may outlive it
    return Inheritance(
        replace(where, sock=None, unix_path=None, notsent_lowat=None, listening=tuple(listening)),
        Address("the supervisor", 0, sock=supervisor, logger=where.logger),
    )


class Orders:
    """The supervisor's orders: the Sink of the connection to it."""

    def __init__(self, logger: LoggerLike | None) -> None:
        runtime = running()
        self.identity: Identity = Identity(logger)
        self.leave = runtime.signal()
        """Set when the worker is to stop accepting."""
        self.drain = runtime.signal()
        """Set when its clients are to leave."""
        self.replaced: bool = False
        """Other workers accept: the handshakes that have begun should succeed here."""
        self._pipe: Pipe

    def say(self, message: bytes) -> None:
        """Tell the supervisor something."""
        self._pipe.write(message)

    def end(self) -> None:
        """Let the worker drain and end: by an order, a signal, or the end of the supervisor."""
        self.leave.set()
        self.drain.set()

    def hang_up(self) -> None:
        """End the connection."""
        self._pipe.abort()

    # What the event loop calls.

    def connected(self, pipe: Pipe) -> None:
        """Messages to the supervisor can be sent."""
        self._pipe = pipe

    def data_received(self, data: bytes | memoryview) -> None:
        """Orders came."""
        for order in memoryview(data).cast("c"):
            if order == STOP_ACCEPTING:
                self.replaced = True
                self.leave.set()
            else:
                self.end()

    def eof_received(self) -> None:
        """The supervisor has ended."""
        self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The supervisor has ended, or we hung up."""
        self.end()


async def work(
    server: AbstractAsyncContextManager[ListeningServer],
    acceptor: Acceptor,
    supervisor: Address,
    seconds: float,
) -> None:
    """Serve until the supervisor, its end, or SIGTERM says otherwise; then drain for `seconds`."""
    runtime = running()
    orders = Orders(supervisor.logger)
    await runtime.connect(supervisor, orders)
    try:
        with runtime.stop_signals(orders.end):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # sent to all processes of the program
            async with server as listener:
                orders.say(SERVES)
                await orders.leave.wait()
                if orders.replaced:
                    listener.stop_accepting()
                    orders.say(ACCEPTS_NO_MORE)
                    await orders.drain.wait()
                    await acceptor.handshakes_over(runtime)
                await acceptor.drain(listener, runtime, seconds)
    finally:
        orders.hang_up()
