"""One message to many clients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wscore import PreparedMessage, Reasons
from wscore.frames import LARGE
from wscore.sending import Data

from .batch import Batch
from .client import Client
from .clients import Clients
from .errors import ConnectionClosed
from .runtime import checkpoint, running
from .sending.delivery import Delivery
from .sending.outbox import Outbox


@dataclass(slots=True)
class BroadcastReport:
    """The outcome of a broadcast, client by client."""

    sent: list[Client] = field(default_factory=list)
    """The message is queued for these."""
    dropped: list[Client] = field(default_factory=list)
    """These were too slow, and do not get it."""
    closed: list[Client] = field(default_factory=list)
    """These were too slow, and were closed with 1013."""
    failed: dict[Client, ConnectionClosed] = field(default_factory=dict)
    """The connections to these were over."""


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
    """Send one message to many clients: framed once, compressed once for all that can share it.

    `clients` is `server.clients`, or any iterable of clients. All that have room get it at once;
    `slow` decides about the others. "wait": they get it too, and this returns when all have room
    again. "drop": they do not get it. "close": they get it too, unless more than `max_waiting`
    bytes wait for them, or no broadcast of the last `max_seconds` seconds found room with them:
    then they are closed with 1013. Only "wait" ever waits. A client has no room while a
    fragmented message is on its way to it. `compress` is as for `send`.

    Returns the outcome for each client. Only a mistake of the caller's raises, before anything is
    sent: TypeError for other data or for what is not a client, ValueError for another policy,
    RuntimeError inside a fragmented message of this task's own.
    """
    policy = _Policy(slow, max_waiting, max_seconds)
    message = PreparedMessage(data, compress)
    report = BroadcastReport()
    late = _send(_checked(clients), message, policy, report)
    if slow == "wait":
        await _wait_for_room(late, report)
    await checkpoint(running())
    return report


@dataclass(slots=True)
class _Policy:
    """How long a client may be slow, and what happens then."""

    slow: Slow
    max_waiting: int
    max_seconds: float

    def __post_init__(self) -> None:
        if self.slow not in ("wait", "drop", "close"):
            raise ValueError(f'slow is "wait", "drop" or "close", not {self.slow!r}')
        bounds = (self.max_waiting, self.max_seconds)
        if not all(isinstance(bound, int | float) and bound >= 0 for bound in bounds):
            raise ValueError("max_waiting is a number of bytes, max_seconds one of seconds, from 0")


def _checked(clients: Iterable[Client] | Mapping[Any, Client]) -> Iterable[tuple[Client, Outbox]]:
    """Each client once, as long as all of them are clients that we may send to."""
    if not isinstance(clients, Iterable):
        raise TypeError(
            f"broadcast() takes server.clients or an iterable of clients, not {clients!r}"
        )
    if isinstance(clients, Clients):
        given = clients._snapshot()
    else:
        given = [*dict.fromkeys(clients.values() if isinstance(clients, Mapping) else clients)]
        for client in given:
            if not isinstance(client, Client):
                raise TypeError(f"broadcast() sends to clients, and {client!r} is not one")
    outboxes = [client._session.outbox for client in given]
    for client, outbox in zip(given, outboxes, strict=True):
        holder = outbox.lock.holder
        if holder is not None and holder is outbox.runtime.current_task():
            raise RuntimeError(
                f"this task has a fragmented message open to {client!r}: leave its block before"
                " broadcasting"
            )
    return zip(given, outboxes, strict=True)


def _send(
    outboxes: Iterable[tuple[Client, Outbox]],
    message: PreparedMessage,
    policy: _Policy,
    report: BroadcastReport,
) -> dict[Client, Delivery]:
    """Send it to all that have room; returns the deliveries to those that have none (left)."""
    late: dict[Client, Delivery] = {}
    sent = report.sent
    most = policy.max_waiting if policy.slow == "close" else None
    batch: Batch | None = None
    at_once = False
    for client, outbox in outboxes:
        if outbox.batch is not batch:  # all of a loop share one
            batch = outbox.batch
            # With nothing gathered before it, it need not wait for the batch: 0.75 of the
            # instructions of a delivery. A second broadcast of the same read is gathered.
            at_once = len(message.payload) < LARGE and batch.empty()
            if at_once and batch.active:
                batch.at_end(outbox)
        if not outbox.try_send(message, at_once, most):
            _delay(client, outbox, message, policy, report, late)
            continue
        sent.append(client)
        if outbox.pipe.full:
            outbox.update_congestion()
            late[client] = Delivery(outbox, message)
    return late


def _delay(
    client: Client,
    outbox: Outbox,
    message: PreparedMessage,
    policy: _Policy,
    report: BroadcastReport,
    late: dict[Client, Delivery],
) -> None:
    """Do with a client that has no room what the policy says."""
    outbox.update_congestion()
    if not outbox.core.may_send:
        report.failed[client] = outbox.closed_error()
    elif policy.slow == "drop":
        report.dropped.append(client)
    elif policy.slow == "close" and outbox.is_too_slow(policy.max_waiting, policy.max_seconds):
        client._session.fail(Reasons.TRY_AGAIN_LATER, "too slow for what is sent to all")
        report.closed.append(client)
    else:
        report.sent.append(client)
        late[client] = Delivery(outbox, message)
        late[client].start()


async def _wait_for_room(late: dict[Client, Delivery], report: BroadcastReport) -> None:
    """Wait until all have room again; those that leave instead have failed."""
    try:
        for client, delivery in late.items():
            try:
                await delivery.wait()
            except ConnectionClosed as closed:
                report.failed[client] = closed
    finally:
        for delivery in late.values():
            delivery.cancel()
    failed = report.failed
    if failed:
        report.sent = [client for client in report.sent if client not in failed]
