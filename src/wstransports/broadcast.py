"""One message to many clients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wscore import PreparedMessage, Reasons
from wscore.frames import LARGE

from .batch import Batch
from .client import Client
from .clients import Clients
from .connection.session import Session
from .errors import ConnectionClosed
from .runtime import Runtime, Signal, running
from .sending.fragment import Data
from .sending.outbox import Outbox


@dataclass(slots=True)
class BroadcastReport:
    """What became of a message for many."""

    sent: list[Client] = field(default_factory=list)
    """Who it is queued for."""
    dropped: list[Client] = field(default_factory=list)
    """Who was too slow, and does not get it."""
    closed: list[Client] = field(default_factory=list)
    """Who was too slow, and was closed with 1013."""
    failed: dict[Client, ConnectionClosed] = field(default_factory=dict)
    """Whose connection was over."""


Slow = Literal["wait", "drop", "close"]


async def broadcast(
    clients: Iterable[Client] | Mapping[Any, Client],
    data: Data,
    *,
    slow: Slow = "wait",
    max_waiting: int = 2**20,
    max_seconds: float = 10,
    compress: bool | None = None,
) -> BroadcastReport:
    """Send one message to many clients: framed once, and compressed once for all alike.

    `clients` is `server.clients`, or any iterable of clients. All who have room get it at once;
    `slow` is what becomes of the others. "wait": they get it too, and this returns when all have
    room again. "drop": they do not get it. "close": they get it too, unless more than
    `max_waiting` bytes wait for them, or no broadcast of the last `max_seconds` seconds found
    room with them: then they are closed with 1013. Only "wait" ever waits. A client that is amid
    a fragmented message has no room. `compress` is as for `send`.

    Returns what became of it; only a mistake of the caller's raises, before anything is sent:
    TypeError for other data or what is no client, ValueError for another policy, RuntimeError
    amid a fragmented message of this task's own.
    """
    if slow not in ("wait", "drop", "close"):
        raise ValueError(f'slow is "wait", "drop" or "close", not {slow!r}')
    bounds = (max_waiting, max_seconds)
    if not all(isinstance(bound, int | float) and bound >= 0 for bound in bounds):
        raise ValueError("max_waiting is a number of bytes, max_seconds one of seconds, from 0")
    message = PreparedMessage(data, compress)
    report = BroadcastReport()
    queued: list[Client] = []
    behind: dict[Client, _Delivery] = {}  # who had no room before or has none now
    short = len(message.payload) < LARGE
    batch: Batch | None = None
    at_once = False
    for client, outbox in _checked(clients):
        core, pipe = outbox.core, outbox.pipe
        if outbox.batch is not batch:  # all of a loop share one
            batch = outbox.batch
            # Where nothing waits before it, it leaves at once: 0.75 of the instructions of a
            # delivery. A second broadcast of the same read is gathered.
            at_once = short and batch.empty()
            if at_once and batch.active:
                batch.at_end(outbox)
        if (
            core.may_send
            and not pipe.full
            and outbox.turn.holder is None
            and (slow != "close" or pipe.waiting() <= max_waiting)
        ):
            outbox.crowded_since = None
            queued.append(client)
            if at_once:
                outbox.write_prepared(message)
            else:
                core.send_prepared(message)
                outbox.put()
            if pipe.full:
                outbox.look()
                behind[client] = _Delivery(outbox, message)
            continue
        outbox.look()
        if not core.may_send:
            report.failed[client] = outbox.closed_error()
        elif slow == "drop":
            report.dropped.append(client)
        elif slow == "close" and _lags(client._session, max_waiting, max_seconds):
            client._session.fail(Reasons.TRY_AGAIN_LATER, "too slow for what is sent to all")
            report.closed.append(client)
        else:
            queued.append(client)
            behind[client] = _Delivery(outbox, message)
            behind[client].begin(client._session.runtime)
    if slow == "wait":
        try:
            for client, delivery in behind.items():
                try:
                    await delivery.room()
                except ConnectionClosed as closed:
                    report.failed[client] = closed
        finally:
            for delivery in behind.values():
                delivery.withdraw()
    if running().checkpoints:
        await running().checkpoint()
    failed = report.failed
    report.sent = [client for client in queued if client not in failed] if failed else queued
    return report


def _checked(clients: Iterable[Client] | Mapping[Any, Client]) -> Iterable[tuple[Client, Outbox]]:
    """Each client once, as long as all of them are clients that we may send to."""
    if not isinstance(clients, Iterable):
        raise TypeError(
            f"broadcast() takes server.clients or an iterable of clients, not {clients!r}"
        )
    if isinstance(clients, Clients):
        given = clients.now()
    else:
        given = [*dict.fromkeys(clients.values() if isinstance(clients, Mapping) else clients)]
        for client in given:
            if not isinstance(client, Client):
                raise TypeError(f"broadcast() sends to clients, and {client!r} is none")
    outboxes = [client._session.outbox for client in given]
    for client, outbox in zip(given, outboxes, strict=True):
        holder = outbox.turn.holder
        if holder is not None and holder is client._session.runtime.current_task():
            raise RuntimeError(
                f"this task is amid a fragmented message to {client!r}: leave its block before"
                " broadcasting"
            )
    return zip(given, outboxes, strict=True)


def _lags(session: Session, max_waiting: int, max_seconds: float) -> bool:
    outbox = session.outbox
    since = outbox.crowded_since
    too_long = since is not None and session.runtime.now() - since >= max_seconds
    return too_long or outbox.pipe.waiting() + outbox.held_back > max_waiting


class _Delivery:
    """The message on its way to a client without room for more: sent, or behind a fragmented one."""

    def __init__(self, outbox: Outbox, message: PreparedMessage) -> None:
        self._outbox = outbox
        self._message = message
        self._sent = False
        self._full = outbox.pipe.full  # there was no room behind it
        self._turn: Signal | None = None  # set when it is over

    def begin(self, runtime: Runtime) -> None:
        """Send it now, or in its turn."""
        if self._outbox.turn.holder is None:
            self._send()
        else:
            self._turn = runtime.signal()
            self._outbox.held_back += len(self._message.payload)
            self._outbox.turn.line_up(self)

    def set(self) -> None:
        """As who waits for a Turn: it has come, or never will."""
        self._outbox.held_back -= len(self._message.payload)
        if self._outbox.core.may_send:
            self._send()
        assert self._turn is not None
        self._turn.set()

    async def room(self) -> None:
        """Wait until it is sent and there is room again; raises ConnectionClosed."""
        outbox = self._outbox
        if self._turn is not None:
            await self._turn.wait()
            if not self._sent:
                raise outbox.closed_error()
        if self._full:
            await outbox.drain()

    def withdraw(self) -> None:
        """Whoever waited for it does no more: it is not sent where its turn has not come."""
        if self._turn is not None and self._outbox.turn.step_out(self):
            self._outbox.held_back -= len(self._message.payload)

    def _send(self) -> None:
        self._sent = True
        self._outbox.core.send_prepared(self._message)
        self._outbox.put()
        self._full = self._outbox.pipe.full
        self._outbox.look()
