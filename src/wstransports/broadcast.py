"""Sending one message to many clients."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from wscore import PreparedMessage, Reasons
from wscore.frames import LARGE
from wscore.prepared import prepared
from wscore.sending import Data

from .batch import Batch
from .client import Client
from .clients import Clients
from .errors import ConnectionClosed
from .options import ConnectionOptions
from .runtime import Runtime, checkpoint, running
from .sending.delivery import Delivery
from .sending.outbox import Outbox
from .speedups import accelerated_method


@dataclass(slots=True)
class BroadcastReport:
    """The outcome of a broadcast for each client."""

    sent: list[Client] = field(default_factory=list)
    """Clients for which the message was queued."""
    dropped: list[Client] = field(default_factory=list)
    """Clients that were too slow and do not get the message."""
    closed: list[Client] = field(default_factory=list)
    """Clients that were too slow and were closed with 1013."""
    failed: dict[Client, ConnectionClosed] = field(default_factory=dict)
    """Clients whose connection was closed, and the error that a send would have raised."""


Slow = Literal["wait", "drop", "close"]

# Seconds for which a broadcast sends before other tasks run.
SLICE = 0.0005

# The same while others are active, unless they take longer themselves.
_SHORT_SLICE = 0.0001

# Others count as active for so many seconds after input that came between two slices.
_ACTIVE = 1.0

# Between two slices the loop takes so many turns: some loops read input in the third only.
_QUIET_TURNS = 3

# After input it takes so many more, in which an echo is answered: on trio that takes three. If
# others are busy, the pause ends with the turn in which it is as long as a slice.
_TURNS = 4

# The most clients, and the most bytes to them, between two looks at the clock.
_STEP = 32
_STEP_BYTES = 2**18

# A delivery counts as at least so many seconds: a clock may show the same time after it.
_LEAST = 1e-6


async def broadcast(
    clients: Iterable[Client] | Mapping[Any, Client],
    data: Data | PreparedMessage,
    *,
    slow: Slow = "close",
    max_waiting: int = 2**20,
    max_seconds: float = 10,
    compress: bool | None = None,
) -> BroadcastReport:
    """Send one message to many clients; it is framed and compressed once where they can share it.

    Clients with buffer space get the message at once. `slow` decides about the others: by default
    none of them holds up the rest. A client to which a fragmented message is being sent counts as
    one without buffer space. With hundreds of clients, other tasks run after each half of a
    millisecond, or after a tenth of one while input comes in; messages of several calls reach each
    client in the order of the calls. If the call is cancelled, the remaining clients get the
    message at once. A client whose extension raises is closed with 1011, and is in `failed`.

    Arguments:
        `clients`: `server.clients`, or any iterable of clients.
        `data`: str for a text message, bytes-like for a binary one, or a PreparedMessage.
        `slow`: what happens with clients that have no buffer space.
            "close": they get the message. Those that exceed `max_waiting` or `max_seconds` are
            closed with 1013 instead.
            "drop": they do not get the message.
            "wait": they get the message, and this returns when all have buffer space again. A
            client that reads nothing delays that for up to the `timeout` of its server.
        `max_waiting`: for "close", the most bytes that may wait for a client.
        `max_seconds`: for "close", how many seconds broadcasts may find no buffer space.
        `compress`: as for `WebSocketWriter.send`; a PreparedMessage has its own.

    Returns a `BroadcastReport`. Raises, before anything is sent, TypeError for other data or for
    an object that is not a client, ValueError for other values of the arguments, and RuntimeError
    inside this task's own fragmented message to one of `clients`.
    """
    runtime = running()
    until = slice_end(runtime)  # the checks take time too
    policy = Policy(slow, max_waiting, max_seconds)
    given = _checked(clients, runtime)
    sending = Sending(given, prepared(data, compress), policy, runtime)
    if sending.begin(until):
        sending.pause()
        await sending.send_rest()
    report, late = sending.report, sending.late
    if slow == "wait":
        await _wait_for_room(late, report, runtime)
    elif late:
        await runtime.checkpoint()  # a loop of broadcasts must not keep its clients slow
        return report
    await checkpoint(runtime)
    return report


def broadcast_nowait(
    clients: Iterable[Client] | Mapping[Any, Client],
    data: Data | PreparedMessage,
    *,
    slow: Literal["drop", "close"] = "close",
    max_waiting: int = 2**20,
    max_seconds: float = 10,
    compress: bool | None = None,
) -> BroadcastReport:
    """Send one message to many clients as `broadcast` does, without waiting for anything.

    For code that is not async, such as a callback of the event loop. Call it in the loop's thread.
    It sends to all in one go, which takes some 50 ms for 4,000 clients, and nothing else runs
    meanwhile. In async code use `broadcast`. The arguments are those of `broadcast`, except that
    `slow` must not be "wait".

    Returns a `BroadcastReport`. Raises the same errors as `broadcast` (TypeError, ValueError,
    RuntimeError), and RuntimeError where no event loop is running.
    """
    runtime = running()
    if slow not in ("drop", "close"):
        raise ValueError(
            f'slow must be "drop" or "close", not {slow!r}: only `await broadcast(...)` can wait'
        )
    policy = Policy(slow, max_waiting, max_seconds)
    given = _checked(clients, runtime)
    sending = Sending(given, prepared(data, compress), policy, runtime)
    sending.send_all()
    return sending.report


@dataclass(slots=True)
class Policy:
    """How slow a client may be, and what happens if it is slower."""

    slow: Slow
    max_waiting: int
    max_seconds: float

    def __post_init__(self) -> None:
        if self.slow not in ("wait", "drop", "close"):
            raise ValueError(f'slow must be "wait", "drop" or "close", not {self.slow!r}')
        bounds = (self.max_waiting, self.max_seconds)
        if not all(isinstance(bound, int | float) and bound >= 0 for bound in bounds):
            raise ValueError("max_waiting (bytes) and max_seconds must be numbers of 0 or more")


def _checked(clients: Iterable[Client] | Mapping[Any, Client], runtime: Runtime) -> list[Client]:
    """Each client once. Raises TypeError or RuntimeError as `broadcast` says."""
    if not isinstance(clients, Iterable):
        raise TypeError(
            f"broadcast() needs server.clients or an iterable of clients, not {clients!r}"
        )
    if isinstance(clients, Clients):
        given = clients._snapshot()
    else:
        given = [*dict.fromkeys(clients.values() if isinstance(clients, Mapping) else clients)]
        for client in given:
            if not isinstance(client, Client):
                raise TypeError(f"broadcast() sends to clients, and {client!r} is not a Client")
    task = runtime.current_task() if runtime.batch.held else None
    mine = {id(lock) for lock in runtime.batch.held if lock.holder is task}
    for client in given if mine else ():  # to look into thousands of clients takes milliseconds
        if id(client._session.outbox.lock) in mine:
            raise RuntimeError(
                f"this task has a fragmented message open to {client!r}: leave its `async with`"
                " block before the broadcast"
            )
    return given


class Sending:
    """One message on its way to many clients.

    It is sent in slices, and between them the loop runs other tasks. Another broadcast may begin
    meanwhile: before that sends to a client, this message is sent to it, unless it was already. So
    each client gets the messages in the order of the calls.
    """

    __slots__ = (
        *("_at_once", "_batch", "_count", "_is_first", "_left", "_message", "_most", "_options"),
        *("_policy", "_runtime", "_seconds", "_step", "_unbegun", "late", "report"),
    )

    def __init__(
        self, clients: list[Client], message: PreparedMessage, policy: Policy, runtime: Runtime
    ) -> None:
        self.report = BroadcastReport()
        self.late: dict[Client, Delivery] = {}
        """Deliveries to clients without buffer space (left)."""
        self._count = len(clients)  # how many are left
        self._unbegun = iter(clients)  # those left, before the first `catch_up`
        self._left: dict[Client, None] = {}  # those left after it, the next one last
        self._message = message
        self._policy = policy
        self._runtime = runtime
        self._step = min(_STEP, _STEP_BYTES // (len(message.payload) + 1)) or 1
        self._seconds = 2 * SLICE / _STEP  # what a delivery takes: at first, rather too much
        # As they were for the last client: most often the next one's too.
        self._batch: Batch | None = None
        self._at_once = False
        self._options: ConnectionOptions | None = None
        self._most: int | None = None
        self._is_first = runtime.signal()  # set when all earlier broadcasts have ended

    def send_all(self) -> None:
        """Send to all clients left, in one go."""
        self._send_step(self._count)

    def begin(self, until: float) -> bool:
        """Send to the first clients, as `send_slice`.

        Few clients all get it at once: a pause may last until other broadcasts end. While these are
        unfinished, only one of many clients gets it: many broadcasts may begin in one turn.
        """
        if self._count <= self._step:
            self.send_all()
            return False
        return self.send_slice(0.0 if self._runtime.batch.unfinished else until)

    def send_slice(self, until: float) -> bool:
        """Send to clients up to a time of the clock; returns whether any are left."""
        now = self._runtime.now
        begin = now()
        most = self._fitting(until - begin) or 1
        while most and self._count:
            self._send_step(most)
            end = now()
            self._seconds = (end - begin) / most
            begin = end
            most = self._fitting(until - begin)
        return self._count > 0

    def _fitting(self, seconds: float) -> int:
        """How many deliveries take about so long, by the time of the last ones."""
        return max(0, min(round(seconds / max(self._seconds, _LEAST)), self._step))

    def pause(self) -> None:
        """Let other broadcasts send meanwhile; `send_rest` must follow."""
        self._runtime.batch.unfinished.append(self)

    async def send_rest(self) -> None:
        """Send to the clients left. Of several that pause, the first goes on first."""
        runtime = self._runtime
        unfinished = runtime.batch.unfinished
        try:
            if unfinished[0] is not self:
                await self._is_first.wait()
            while self._count:
                self.send_slice(await _pause(runtime))
        finally:
            try:
                self.send_all()  # cancelled: all get the message nevertheless
            finally:  # interrupted even there: the next one must not wait for this
                unfinished.remove(self)
                if unfinished:
                    unfinished[0]._is_first.set()

    def catch_up(self, clients: Iterable[Client]) -> None:
        """Send now to those of these clients that are left: a later message is about to be sent."""
        if not self._left:
            self._left = dict.fromkeys([*self._unbegun][::-1])
        left = self._left
        late = [client for client in clients if client in left]
        for client in late:
            del left[client]
        self._count -= len(late)
        self._send(late)

    def _send_step(self, most: int) -> None:
        """Send to at most so many clients."""
        most = min(most, self._count)
        self._count -= most
        if self._left:
            clients = [self._left.popitem()[0] for _ in range(most)]
        else:
            clients = [*islice(self._unbegun, most)]
        for earlier in self._runtime.batch.unfinished:
            if earlier is self:
                break
            earlier.catch_up(clients)
        self._send(clients)

    @accelerated_method
    def _send(self, clients: list[Client]) -> None:
        """Send to these clients."""
        for client in clients:
            self._send_to(client)

    def _send_to(self, client: Client) -> None:
        """Send to a client with buffer space, and apply the policy to any other."""
        message = self._message
        session = client._session
        outbox = session.outbox
        if session.options is not self._options:
            self._options = session.options
            # No more than `write_limit` waits where there is space.
            policy = self._policy
            bound = policy.max_waiting if policy.slow == "close" else math.inf
            self._most = None if bound >= session.options.write_limit else policy.max_waiting
        if outbox.batch is not self._batch:  # each loop has one
            self._batch = batch = outbox.batch
            # While nothing is gathered, a write without the batch keeps the order, and takes 25 %
            # fewer instructions. A second broadcast during the same input is gathered.
            self._at_once = len(message.payload) < LARGE and batch.empty()
            if self._at_once and batch.active:
                batch.at_end(outbox)
        try:
            if not outbox.try_send(message, self._at_once, self._most):
                self._delay(client, outbox)
                return
        except Exception as error:  # noqa: BLE001  # an extension may raise anything
            self._fail(client, error)
            return
        self.report.sent.append(client)
        if outbox.pipe.full:
            self._note_late(client)

    def _fail(self, client: Client, error: Exception) -> None:
        """Sending to a client raised."""
        outbox = client._session.outbox
        outbox.broadcast_failed(error)
        self.report.failed[client] = outbox.closed_error()

    def _note_late(self, client: Client) -> None:
        """A client that was sent the message has no buffer space left."""
        outbox = client._session.outbox
        outbox.update_congestion()
        self.late[client] = Delivery(outbox, self._message)

    def _delay(self, client: Client, outbox: Outbox) -> None:
        """Apply the policy to a client without buffer space."""
        policy, report, message = self._policy, self.report, self._message
        outbox.update_congestion()
        if not outbox.core.may_send:
            report.failed[client] = outbox.closed_error()
        elif policy.slow == "drop":
            report.dropped.append(client)
            outbox.leave_out(message)
        elif policy.slow == "close" and outbox.is_too_slow(policy.max_waiting, policy.max_seconds):
            client._session.fail(Reasons.TRY_AGAIN_LATER, "too slow for what is broadcast")
            report.closed.append(client)
        else:
            delivery = Delivery(outbox, message)
            delivery.start()
            report.sent.append(client)
            self.late[client] = delivery


def slice_end(runtime: Runtime) -> float:
    """When a slice that begins now must end: soon if others are active."""
    now = runtime.now()
    return now + (_SHORT_SLICE if now < runtime.batch.active_until else SLICE)


async def _pause(runtime: Runtime) -> float:
    """Let others that wait run: a few turns of the loop, or fewer if they take as long as a slice.

    Returns when the next slice must end. While others are active, it takes as long as they did.
    """
    batch, turns, quiet = runtime.batch, _QUIET_TURNS, True
    if batch.is_idle():
        return slice_end(runtime)
    begin = now = runtime.now()
    while turns:
        batch.quiet = True
        await runtime.checkpoint()
        now = runtime.now()
        turns -= 1
        if quiet and not batch.quiet:
            quiet, turns = False, _TURNS
            batch.active_until = now + _ACTIVE
        if now - begin >= SLICE:
            break
    return max(slice_end(runtime), now + min(now - begin, SLICE))


async def _wait_for_room(
    late: dict[Client, Delivery], report: BroadcastReport, runtime: Runtime
) -> None:
    """Wait until all have buffer space again; move those that close meanwhile to `failed`."""
    until = slice_end(runtime)
    try:
        for client, delivery in late.items():
            if runtime.now() >= until:
                until = await _pause(runtime)
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
