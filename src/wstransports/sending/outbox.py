"""The sending half of a connection: framing, batching, back-pressure, and order."""

import logging
from collections.abc import Awaitable
from contextvars import Context
from os import urandom
from typing import Protocol

from wscore import ClientConnection, DataType, Pong, PreparedMessage, Reasons, ServerConnection
from wscore.frames import LARGE
from wscore.sending import Data
from wscore.states import MAY_RECEIVE

from ..batch import GATHER_LIMIT, GATHER_SECONDS, Batch
from ..errors import ConnectionClosed, closed_error
from ..identity import Identity
from ..runtime import Pipe, Runtime, checkpoint, read_arrived
from ..speedups import accelerated_method
from .fragment_lock import FREE, FragmentLock
from .kernel_buffer import has_ended, not_sent, unacknowledged, unsent
from .pongs import AwaitedPong, Pongs
from .source import Source

# A sender lets other tasks run after this many bytes even if there is buffer space: otherwise a
# loop of sends to a fast peer would block the event loop.
_YIELD_AFTER = 2**20

# Bytes of large messages count a quarter, because they take less than a tenth of the time. A yield
# after each message of 1 MiB took 1.2 iterations of the loop a message, instead of 0.8.
_LARGE_COUNT = 4

MESSAGE_ABORTED = Reasons.UNEXPECTED_CONDITION, "a message was broken off"


class Link(Protocol):
    """What the outbox needs of its connection."""

    lost: bool

    @property
    def identity(self) -> Identity:
        """What logs about the connection."""

    def arm(self) -> None:
        """Set the alarm again: a deadline may be nearer."""

    def fail(self, code: Reasons, reason: str) -> None:
        """Send a Close because of a failure at this end."""

    def close_now(self, code: Reasons, reason: str) -> None:
        """Send our Close now: the answer that the peer waits for, else one with `code`."""

    async def close(self, code: int, reason: str) -> None:
        """Send a Close, and wait until the connection is closed."""

    def closed_error(self) -> ConnectionClosed:
        """The error for sends on a closed connection."""

    def receiving(self) -> bool:
        """Whether a task is in receive()."""


class Outbox:
    """The sending half of a connection."""

    __slots__ = (
        "_congested_since",
        "_gathered",
        "_holding",
        "_in_checkpoint",
        "_message_aborted",
        "_now",
        "_old_at",
        "_releasing",
        "_timeout",
        "_watched",
        "_written",
        "_yield_at",
        "batch",
        "core",
        "held_back",
        "link",
        "lock",
        "pipe",
        "pongs",
        "runtime",
    )

    pipe: Pipe

    def __init__(
        self,
        link: Link,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        timeout: float,
    ) -> None:
        self.core: ServerConnection | ClientConnection = core
        self.runtime: Runtime = runtime
        self.batch: Batch = runtime.batch
        self._now = runtime.now
        self.lock: FragmentLock = FREE
        self.held_back: int = 0
        """Bytes of broadcast messages that are waiting for the lock."""
        self.pongs: Pongs | None = None
        """The pongs that answer our pings; None before the first ping."""
        self.link: Link = link
        self._timeout = timeout  # seconds for a source's next piece; 0 for no limit
        self._congested_since: float | None = None  # since when broadcasts found no buffer space
        self._gathered = False  # the batch will call flush
        self._holding = False  # what the caller of receive() sends is gathered
        self._releasing = False  # a task will call release
        self._old_at = 0.0  # when it will do so at the latest, or the next put
        self._in_checkpoint = 0  # how many senders are
        self._message_aborted = False  # and the connection closed because of it
        self._watched = False  # bytes wait, and each alarm looks whether the peer takes them
        self._written = 0  # bytes given to the pipe
        # Bytes written when a sender must let other tasks run.
        self._yield_at = 0 if runtime.checkpoints else _YIELD_AFTER

    # Writing.

    @accelerated_method
    def send(self, data: Data | PreparedMessage, compress: bool | None) -> bool:
        """Send a message with the core, and write it; raises the core's errors.

        Returns whether the sender should `drain`.
        """
        self.core.send_message(data, compress)
        return self.put()

    def put(self) -> bool:
        """Write the core's output, at once or with the batch.

        Returns whether the sender should `drain`.
        """
        batch = self.batch
        if batch.active and self.core.unsent < GATHER_LIMIT:
            nothing = batch.empty()  # none is old, so that the usual case needs no clock
            if not self._gathered:
                self._gathered = True
                batch.at_end(self)
            if not batch.old_at:
                batch.old_at = self._now() + GATHER_SECONDS
            elif not nothing and self._now() >= batch.old_at:
                batch.old_at = 0.0
                batch.end()  # and nothing more is gathered for this input
            return self.pipe.full
        if self._holding:
            self._hold()
        else:
            self.flush()
        return self.pipe.full or self._written >= self._yield_at

    def flush(self) -> None:
        """Write the core's output."""
        self._gathered = False
        core = self.core
        if core.unsent < LARGE:
            data = core.data_to_send()
            if data:
                self._written += len(data)
                self.pipe.write(data)
            return
        size = core.unsent
        self._written += size
        if not self.runtime.checkpoints:
            self._yield_at += size - size // _LARGE_COUNT
        self.pipe.writelines(core.parts_to_send())

    def drain(self) -> Awaitable[None]:
        """Wait for buffer space. Raises ConnectionClosed if the connection ends meanwhile."""
        if self.pipe.full or self._releasing or not self.runtime.checkpoints:
            return self._drain()
        # Only a checkpoint is due. An async function around it takes 2 % of an echo's instructions.
        return self.runtime.checkpoint()

    async def _drain(self) -> None:
        if self.pipe.full:
            self.flush()
            if not self._watched:
                self.report_progress(self.runtime.now())
                self.link.arm()
            await self.pipe.drain()
        if self._written >= self._yield_at:
            self._yield_at = self._written + (0 if self.runtime.checkpoints else _YIELD_AFTER)
            self._in_checkpoint += 1
            try:
                await self.runtime.checkpoint()
            finally:
                self._in_checkpoint -= 1
        if self.link.lost:
            raise self.closed_error()

    # For the caller of receive(), which no batch surrounds.

    def gather(self) -> None:
        """Gather what is sent, because more messages wait: until `release`, which follows when the
        caller waits for another, or in the loop's next turn."""
        self._holding = True

    def release(self) -> None:
        """Write what was gathered, and gather no more."""
        if self._holding:
            self._holding = False
            self.flush()

    def _hold(self) -> None:
        """Keep the output until `release`, unless it is large, old or the last."""
        now = self._now()
        old = self._releasing and now >= self._old_at
        if old or self.core.unsent >= GATHER_LIMIT or not self.core.may_send:
            self._old_at = now + GATHER_SECONDS
            self.flush()
        elif not self._releasing:
            self._releasing = True
            self._old_at = now + GATHER_SECONDS
            self.pipe.start(self._release_soon(), Context())

    async def _release_soon(self) -> None:
        """Release in the loop's next turn, as the sender may wait for anything. But one in a
        checkpoint of ours goes on at once, on loops where each call is one."""
        try:
            waits = False
            while self._holding and not waits:
                await self.runtime.checkpoint()
                inside = self._in_checkpoint or self.link.receiving()
                waits = not inside or self._now() >= self._old_at
        finally:
            self._releasing = False
            self.release()

    def report_progress(self, now: float, paused: bool = False) -> None:
        """Report to the core what the peer took; it drops one that takes nothing for too long.

        This asks the kernel: a slow peer takes from its buffer long before there is space for ours,
        and a ping waits there, too.
        While reading is `paused`, unacknowledged segments show that a peer is gone. With TLS the
        end of its half of TCP shows it, too: under uvicorn, asyncio's TLS silently drops what is
        written after that.
        """
        waiting = self.pipe.waiting()
        self._watched = waiting > 0
        sock = self.pipe.info("socket")
        if sock is None:
            self.core.output_progress(self._written - waiting, waiting, now)
        else:
            taken = self._written - waiting - unsent(sock)
            if paused and self.pipe.info("ssl_object") is not None and has_ended(sock):
                taken, waiting = 0, 1
            lost = unacknowledged(sock) if paused else 0
            self.core.output_progress(taken, waiting or lost, now, not_sent(sock))

    async def checkpoint(self) -> None:
        """Let other tasks run once, on a loop with `checkpoints`."""
        await checkpoint(self.runtime)

    # Control frames.

    def send_ping(self, payload: bytes | None) -> AwaitedPong:
        """See `WebSocketWriter.ping`."""
        self.check_sending()
        payload = urandom(4) if payload is None else payload
        self.core.send_ping(payload)
        self.put()
        pong = AwaitedPong(self, bytes(payload), self.core.phase in MAY_RECEIVE)
        if self.pongs is None:
            self.pongs = Pongs()
        self.pongs.add(pong)
        return pong

    def pong_came(self, pong: Pong) -> None:
        """The peer sent a pong."""
        if self.pongs is None:
            return
        if pong.latency is not None:
            self.pongs.keepalive_came(pong.latency, self._now())
            return
        latency = self.pongs.came(pong.payload, self._now())
        if latency is not None:
            self.core.latency = latency

    def send_pong(self, payload: bytes) -> None:
        """See `WebSocketWriter.pong`."""
        if not self.core.may_pong:
            raise self.closed_error()
        self.core.send_pong(payload)
        self.put()

    async def close(self, code: int, reason: str) -> None:
        """See `Client.close`."""
        await self.link.close(code, reason)

    def end_waits(self) -> None:
        """The connection is closing: wake those who wait for what will not come any more."""
        if not self.core.may_send:
            self.lock.close()
        if self.pongs is not None and self.core.phase not in MAY_RECEIVE:
            self.pongs.end()

    # The fragment lock, and fragmented messages.

    def check_sending(self) -> None:
        """Raise ConnectionClosed if nothing can be sent any more."""
        if not self.core.may_send:
            raise self.closed_error()

    async def begin_message(self) -> None:
        """Acquire the lock for a message; `lock.release` must follow."""
        self.check_sending()
        if self.lock is FREE:
            self.lock = FragmentLock()
        await self.lock.acquire(self.runtime)
        try:
            await self.checkpoint()
            self.check_sending()
        except BaseException:
            self.lock.release(self.runtime)
            raise

    async def send_after_fragments(
        self, data: Data | PreparedMessage, compress: bool | None
    ) -> None:
        """Send a message once the current fragmented message has ended."""
        await self.begin_message()
        try:
            self.core.send_message(data, compress)
        finally:
            self.lock.release(self.runtime)
        if self.put():
            await self.drain()

    async def send_fragment(
        self, data: bytes, last: bool, type: DataType, compress: bool | None
    ) -> None:
        """Send a part of the fragmented message."""
        self.check_sending()
        try:
            self.core.send_fragment(data, last, type, compress)
        except BaseException:  # an extension's
            self.abort_message()
            raise
        if self.put():
            await self.drain()

    async def feed(self, source: Source, drain_every: int, compress: bool | None) -> None:
        """See `WebSocketWriter.feed`."""
        await self.begin_message()
        begun = False
        undrained = 0
        try:
            last = False
            while not last:
                data, last, type = await self._next(source)
                self.check_sending()
                begun = begun or not last
                self.core.send_fragment(data, last, type, compress)
                begun = not last
                undrained += len(data)
                if self.put() and undrained >= drain_every:
                    undrained = 0
                    await self.drain()
        except BaseException:
            if begun:
                self.abort_message()
            await source.close()
            raise
        finally:
            self.lock.release(self.runtime)

    async def _next(self, source: Source) -> tuple[Data, bool, DataType]:
        """The source's next piece; fails the connection if it takes longer than `timeout`."""
        if not self._timeout:
            return await source.next()
        runtime = self.runtime
        until = runtime.now() + self._timeout
        try:
            async with runtime.timeout_at(until):
                return await source.next()
        except TimeoutError:
            if runtime.now() < until:
                raise  # the source's own
            await read_arrived(runtime)
            if source.is_ready():
                return await source.next()
            reason = f"the source of a message brought nothing for {self._timeout:g} s"
            self.link.fail(Reasons.POLICY_VIOLATION, reason)
            raise self.closed_error() from None

    def abort_message(self) -> None:
        """Close with 1011: the current message will never be complete."""
        if self.core.may_send and not self.core.owes_close:
            self._message_aborted = True
        self.link.close_now(*MESSAGE_ABORTED)

    def closed_error(self) -> ConnectionClosed:
        """The error for sends on a closed connection."""
        error = self.link.closed_error()
        if self._message_aborted:  # whether and whatever the peer answered
            return closed_error(*MESSAGE_ABORTED, error.client, error.close_frames)
        return error

    # Broadcasts.

    def try_send(self, message: PreparedMessage, at_once: bool, most: int | None) -> bool:
        """Send a broadcast's message if there is buffer space; returns whether it was sent.

        There is none if the pipe is full, more than `most` bytes are waiting, or a fragmented
        message is being sent. `at_once` writes without the batch: nothing may be gathered then,
        and the message must be shorter than LARGE.
        """
        core, pipe = self.core, self.pipe
        if (
            not core.may_send
            or pipe.full
            or self.lock.holder is not None
            or (most is not None and pipe.waiting() > most)
        ):
            return False
        self._congested_since = None
        if at_once:
            data = core.prepared_to_send(message)
            self._written += len(data)
            pipe.write(data)
        else:
            core.send_prepared(message)
            self.put()
        return True

    def broadcast_failed(self, error: Exception) -> None:
        """An extension raised for a broadcast's message: only this client is closed, with 1011."""
        self.link.identity.log(logging.ERROR, "an extension raised in a broadcast", error=error)
        self.link.fail(Reasons.UNEXPECTED_CONDITION, "")

    def leave_out(self, message: PreparedMessage) -> None:
        """A broadcast does not send its message, because the client is too slow."""

    def update_congestion(self) -> None:
        """Note since when messages must wait for buffer space or for the lock."""
        if not self.pipe.full and self.lock.holder is None:
            self._congested_since = None
        elif self._congested_since is None:
            self._congested_since = self.runtime.now()

    def is_too_slow(self, max_waiting: int, max_seconds: float) -> bool:
        """Whether more than `max_waiting` bytes wait, or messages wait for `max_seconds`."""
        since = self._congested_since
        too_long = since is not None and self.runtime.now() - since >= max_seconds
        return too_long or self.pipe.waiting() + self.held_back > max_waiting
