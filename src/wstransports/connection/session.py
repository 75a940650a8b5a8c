"""One connection: the byte stream, the protocol core and the client that the user sees."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from wscore import (
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    Event,
    MessagePiece,
    Phase,
    Ping,
    Pong,
    Reasons,
    ServerConnection,
)
from wscore.states import MAY_RECEIVE

from ..client import Client
from ..errors import ConnectionClosed, closed_connections
from ..options import ConnectionOptions
from ..owner import Owner
from ..receiving.inbox import Inbox
from ..runtime import Pipe, Runtime, Signal, log_dropped
from ..sending.outbox import Outbox
from .alarm import Alarm
from .control import Control

logger = logging.getLogger("wstransports")

# How long input is handled in one go, in seconds, before others get their turn.
WORK_AT_ONCE = 0.005

# What may wait unread of a peer that is lost, in bytes: all that 256 KiB of the shortest messages
# count, but not all that one of compressed messages inflates to.
MOST_OF_THE_LOST = 2**24

# Why reading is paused.
BACKLOG = 1  # too much waits unread
ANSWER = 2  # the request's answer is being worked out
OUTPUT = 4  # a pong waits for room
SLICE = 8  # what was read is not parsed yet

_LAST = (CloseReceived, ConnectionFailed)


class Session:
    """The `Sink` of a byte stream: drives the core, runs the callbacks, writes the output."""

    __slots__ = (
        "_alarm",
        "_batch",
        "_close_owed",
        "_ending",
        "_now",
        "_over",
        "_owner",
        "_paused",
        "_tasks",
        "client",
        "control",
        "core",
        "inbox",
        "loss",
        "lost",
        "options",
        "outbox",
        "pipe",
        "runtime",
        "setting_up",
    )

    pipe: Pipe

    def __init__(
        self,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        options: ConnectionOptions,
        owner: Owner,
    ) -> None:
        self.core = core
        self.runtime = runtime
        self.options = options
        self.inbox = Inbox(self, options.read_limit, options.concurrent_messages)
        self.control = Control(self)
        self.outbox = Outbox(self, core)
        self.client: Client | None = None
        self.setting_up = False  # on_connection runs
        self._owner = owner
        self._batch = runtime.batch
        self._now = runtime.now
        self._paused = 0
        self._close_owed = False  # the core waits for acknowledge_close
        self._ending = False  # the pipe was told to close
        self.lost = False
        self.loss: Exception | None = None  # what the stream was lost by
        self._over: tuple[Signal, ...] = ()  # who wait for the end
        self._tasks = 0
        self._alarm = Alarm(self)

    def __str__(self) -> str:
        peer = self.pipe.info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a local client"

    # The Sink.

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self.pipe = self.outbox.pipe = self._alarm.pipe = pipe
        self.core.connection_made(self._now())
        self._arm()
        self._owner.connected(self)

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        batch = self._batch
        batch.active += 1
        try:
            now = self._now()
            self._handle(self.core.receive_data(data, now))
            if self.core.more:
                self._handle_more(now, self._now())
        except Exception as error:  # noqa: BLE001  # whatever an extension raises
            self._break(error)
        finally:
            batch.active -= 1
            if not batch.active:
                batch.end()

    def eof_received(self) -> None:
        """As a Sink."""
        self._gathering(lambda: self._handle(self.core.receive_eof(self._now())))

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self._paused = 0
        self.loss = exc
        self._gathering(self._handle_loss)

    # What arrives.

    def _gathering(self, handle: Callable[[], None]) -> None:
        """Handle input, and write in one go what it makes us send."""
        batch = self._batch
        batch.active += 1
        try:
            handle()
        except Exception as error:  # noqa: BLE001  # whatever an extension raises
            self._break(error)
        finally:
            batch.active -= 1
            if not batch.active:
                batch.end()

    def _handle(self, events: list[Event]) -> None:
        """All events first, callbacks after: those may call send or close at once."""
        inbox = self.inbox
        ended = False
        for event in events:
            if event.__class__ is MessagePiece:
                inbox.put(event)
            elif event.__class__ is Ping:
                self.control.ping(event.payload)
            elif event.__class__ is Pong:
                self.control.pong(event.payload)
            elif isinstance(event, _LAST):
                self._end(event)
                ended = True
            else:
                self._owner.handshake(self, event)
                ended = self.core.should_close
        inbox.run()
        if ended:
            self.settle()

    def _handle_more(self, since: float, now: float) -> None:
        """What the core kept back: at once for a while, then on the loop's next turn."""
        while self.core.more and not self._paused:
            if now > since + WORK_AT_ONCE:
                self._wait_a_turn()
            else:
                self._handle(self.core.receive_data(b"", now))
                now = self._now()

    def _wait_a_turn(self) -> None:
        self._pause(SLICE)
        self.later(self._go_on)

    def _go_on(self) -> None:
        if not self._paused & SLICE:
            return  # the stream is lost, and who handles that handles the rest
        self._paused &= ~SLICE
        if not self._paused and not self.lost:
            now = self._now()
            self._gathering(lambda: self._handle_more(now, now))
            if not self._paused:
                self._read_on()

    def _handle_loss(self) -> None:
        """The stream is gone: first what had arrived, then the end."""
        now = self._now()
        try:
            self._handle_more(now, now)
        except Exception as error:  # noqa: BLE001  # whatever an extension raises
            self._break(error)
        if self.core.more:
            if self.inbox.unread < max(MOST_OF_THE_LOST, self.options.read_limit):
                self._paused = 0
                self.later(lambda: self._gathering(self._handle_loss))
                return
            self.log("lost, and the rest of what it sent is dropped: too much waits")
        events = self.core.connection_lost()
        self.lost = True
        self._handle(events)
        self._alarm.stop()
        self.outbox.turn.disband()
        over, self._over = self._over, ()
        for signal in over:
            signal.set()
        if self.client is not None and self.control.on_closed is not None:
            closed = self.closed_error()
            self.control.closed(self.control.on_closed, closed.code, closed.reason)
        self._check_gone()

    def _break(self, error: Exception) -> None:
        """What came cannot be handled, for an error of an extension's or ours."""
        log_dropped(self, error)
        self.pipe.abort()

    def _end(self, event: CloseReceived | ConnectionFailed) -> None:
        """The last event: the peer's Close, a violation, a deadline, the end of the input."""
        if isinstance(event, ConnectionFailed) and event.code != Reasons.ABNORMAL_CLOSE:
            self.log(f"failed with {event.code:d}, {event.reason}")
        self._leave_open()
        self.inbox.break_off()

    def settle(self) -> None:
        """Answer the Close that is owed, once what came before it is handled; then leave."""
        core = self.core
        if core.owes_close and self.inbox.idle():
            core.acknowledge_close(self._now())
            self.outbox.turn.disband()
        self._close_owed = core.owes_close
        if self.lost or not core.should_close:
            self.outbox.put()
        elif core.phase is Phase.CLOSED:
            self.outbox.flush()
            self.pipe.abort()
        elif not self._ending:
            self._ending = True
            self.outbox.flush()
            if self._paused:  # to see the peer's end
                self._paused = 0
                self.pipe.resume_reading()
            self.pipe.close()
        self._arm()

    def _leave_open(self) -> None:
        if self.client is not None:
            self._owner.left(self.client)

    # The opening handshake.

    def hold_for_answer(self) -> None:
        """The answer takes its time: read no more until then."""
        self._pause(ANSWER)

    def answered(self) -> None:
        """It is given: frames may follow."""
        if self._paused & ANSWER:
            self._resume(ANSWER)

    def open(self, client: Client) -> None:
        """The handshake succeeded."""
        self.client = client
        self.setting_up = True
        if self.core.more:
            self._wait_a_turn()  # on_connection begins before what came along is looked at
        self.outbox.put()
        self._arm()

    def is_set_up(self) -> None:
        """on_connection has ended, or awaits messages itself."""
        if self.client is not None and self.core.phase is Phase.OPEN:
            self._owner.entered(self.client)

    def hand_out(self) -> None:
        """Messages wait for a callback that is here now."""
        self._gathering(self.inbox.run)

    # Reading.

    def backlog(self, full: bool) -> None:
        """Whether as much waits unread as may."""
        if full:
            if not self._paused & BACKLOG and self.core.phase is Phase.OPEN:
                self._pause(BACKLOG)
        elif self._paused & BACKLOG:
            self._resume(BACKLOG)

    def pause_for_output(self) -> None:
        """A pong waits until the peer takes what was sent before: read no more pings."""
        self._pause(OUTPUT)

    def resume_for_output(self) -> None:
        """It is sent."""
        self._resume(OUTPUT)

    def _pause(self, why: int) -> None:
        if not self._paused:
            self.pipe.pause_reading()
            self.core.pause_reading()
        self._paused |= why

    def _resume(self, why: int) -> None:
        self._paused &= ~why
        if self._paused or self.lost:
            return
        if self.core.more:
            self._paused = SLICE
            self.later(self._go_on)
        else:
            self._read_on()

    def _read_on(self) -> None:
        self.core.resume_reading(self._now())
        self.pipe.resume_reading()
        self._arm()

    # The closing handshake.

    async def close(self, code: int, reason: str) -> None:
        """See `Client.close`."""
        if self.core.may_send:
            self._send_close(code, reason)
        if not self.lost:
            over = self.runtime.signal()
            self._over += (over,)
            await over.wait()
        elif self.runtime.checkpoints:
            await self.runtime.checkpoint()

    def fail(self, code: Reasons, reason: str) -> None:
        """End the connection for a fault on our side, unless that is under way."""
        if self.core.may_send:
            self._send_close(code, reason)

    def answer_close(self) -> None:
        """Answer the Close that is owed, at once."""
        self.core.acknowledge_close(self._now())
        self.outbox.turn.disband()
        self.settle()

    def abandon(self) -> None:
        """The time is over: cancel what runs, drop what waits and the stream."""
        self.inbox.shut()
        self.pipe.cancel()
        if not self.lost:
            self.pipe.abort()

    def closed_error(self) -> ConnectionClosed:
        """What reads and sends raise from now on."""
        core = self.core
        code, reason = core.close_code, core.close_reason
        if code is None:
            for frame in core.close_frames:  # ours, not answered yet
                code, reason = frame.code, frame.reason
        if code is None:
            code = Reasons.ABNORMAL_CLOSE
        return ConnectionClosed(code, reason, self.client)

    def no_more_messages(self) -> bool:
        """Whether all that will ever arrive is here."""
        return self.core.phase not in MAY_RECEIVE

    def _send_close(self, code: int, reason: str) -> None:
        self.core.send_close(code, reason, self._now())
        self._leave_open()
        self.outbox.turn.disband()
        if self._paused & BACKLOG:  # to see the peer's answer
            self._resume(BACKLOG)
        self.settle()

    def closing_by_us(self) -> bool:
        """Whether we wait for the peer's Close: what comes before it may be dropped."""
        return self.core.phase is Phase.CLOSE_SENT

    # Tasks and time.

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that ends by calling `task_done`."""
        self._tasks += 1
        self.pipe.start(coroutine)

    def task_done(self) -> None:
        """What `start` began has come to its end."""
        self._tasks -= 1
        if self._close_owed:
            self.settle()
        if self.lost:
            self._check_gone()

    def _check_gone(self) -> None:
        if not self._tasks:
            self._owner.gone(self)

    def callback_failed(self, name: str, error: Exception) -> None:
        """A callback raised."""
        closed = closed_connections(error)
        if not closed:
            logger.error("%s: %s raised", self, name, exc_info=error)
            self.inbox.shut()
            self.fail(Reasons.UNEXPECTED_CONDITION, "")
        elif others := [one for one in closed if one.client is not self.client]:
            self.log(f"{name} ended because another client is gone: {others[0]}")

    def log(self, what: str) -> None:
        """One line about this connection."""
        logger.warning("%s: %s", self, what)

    def later(self, call: Callable[[], None]) -> None:
        """Call on the loop's next turn."""
        self.pipe.call_at(self._now(), call)

    def watch_output(self) -> None:
        """Output waits: count how long the peer takes none of it."""
        self.outbox.watch(self._now())
        self._arm()

    def _arm(self) -> None:
        """Look again when the core wants to, or before."""
        if not self.lost:
            self._alarm.set(self.core.next_deadline())

    def ring(self) -> None:
        """The alarm: a deadline may have passed."""
        self._gathering(self._handle_deadline)

    def _handle_deadline(self) -> None:
        if self.pipe.waiting():
            self.outbox.watch(self._now())
        self._handle(self.core.handle_timeout(self._now()))
        self.settle()
