"""One connection: the byte stream, the protocol core and the client that the user sees."""

import itertools
import logging
from collections.abc import Callable
from typing import Protocol

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
    Response,
    ServerConnection,
)

from ..callbacks import Callbacks
from ..errors import ConnectionClosed, Peer
from ..options import ConnectionOptions
from ..receiving.inbox import Inbox
from ..receiving.intake import ANSWER, BACKLOG, Intake
from ..runtime import Pipe, Runtime, Signal, log_dropped, peer_name
from ..sending.outbox import Outbox
from .alarm import Alarm
from .control import Control

logger = logging.getLogger("wstransports")

# What may wait unread of a peer that is lost, in bytes: all that 256 KiB of the shortest messages
# count, but not all that one of compressed messages inflates to.
MAX_UNREAD_AFTER_LOSS = 2**24

_LAST = (CloseReceived, ConnectionFailed)

_ids = itertools.count(1)


class Owner(Protocol):
    """Made the connection: the server, or an attempt at connecting."""

    def connected(self, session: "Session") -> None:
        """The byte stream stands."""

    def handshake(self, session: "Session", event: Event) -> None:
        """The opening handshake has an outcome; `session.open` follows where it succeeded."""

    def client_ready(self, session: "Session") -> None:
        """The client is set up."""

    def client_left(self, session: "Session") -> None:
        """The client's state has left OPEN."""

    def finished(self, session: "Session") -> None:
        """The byte stream is gone, and nothing runs for it any more; may be called again."""


class Session:
    """The `Sink` of a byte stream: drives the core, runs the callbacks, writes the output.

    Once it is closing (`callbacks.closing`), each entry of the sink and each task ends with
    `advance_close`, which takes the closing handshake as far as it goes (RFC 6455 section 7).
    """

    __slots__ = (
        "_alarm",
        "_batch",
        "_close_waiters",
        "_now",
        "_owner",
        "_stream_closed",
        "callbacks",
        "client",
        "control",
        "core",
        "id",
        "inbox",
        "intake",
        "loss",
        "lost",
        "options",
        "outbox",
        "pipe",
        "runtime",
    )

    pipe: Pipe

    def __init__(
        self,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        options: ConnectionOptions,
        owner: Owner,
    ) -> None:
        self.id = next(_ids)
        """The connection's number in this process, for the log."""
        self.core = core
        self.runtime = runtime
        self.options = options
        self.callbacks = callbacks = Callbacks(self)
        self.intake = intake = Intake(self, core, runtime)
        self.inbox = Inbox(self, core, runtime, callbacks, intake, options)
        self.outbox = Outbox(self, core, runtime, options.timeout)
        self.control = Control(core, callbacks, intake, self.inbox, self.outbox)
        self.client: Peer | None = None
        self.lost = False
        self.loss: Exception | None = None
        """The error by which the byte stream was lost."""
        self._owner = owner
        self._batch = runtime.batch
        self._now = runtime.now
        self._stream_closed = False  # our half of it
        self._close_waiters: tuple[Signal, ...] = ()  # wait for the end
        self._alarm = Alarm(self)

    def __str__(self) -> str:
        peer = peer_name(self.pipe)
        return f"#{self.id} {peer[0]}:{peer[1]}" if peer else f"#{self.id}"

    # The Sink.

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self.pipe = self.outbox.pipe = self.intake.pipe = self.callbacks.pipe = pipe
        self._alarm.pipe = pipe
        self.core.connection_made(self._now())
        self.arm()
        self._owner.connected(self)

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        # What `turn` does, written out: the calls take 1 % of the instructions of an echo.
        batch = self._batch
        outermost = not batch.active
        if outermost:
            batch.active = 1
        try:
            core = self.core
            now = self._now()
            self.handle(core.receive_data(data, now))
            if core.more:
                self.intake.handle_rest(now, self._now())
            if self.callbacks.closing:
                self.advance_close()
        except Exception as error:  # noqa: BLE001  # an extension may raise anything
            self._drop(error)
        finally:
            if outermost:
                batch.end()

    def eof_received(self) -> None:
        """As a Sink."""
        self.run_as_batch(self._handle_eof)

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self.intake.pause_reasons = 0
        self.loss = exc
        self.run_as_batch(self._handle_loss)

    # What arrives.

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Handle input by `call`, and write in one go what it makes us send."""
        with self._batch:
            try:
                call()
            except Exception as error:  # noqa: BLE001  # an extension may raise anything
                self._drop(error)
            if self.callbacks.closing:
                self.advance_close()

    def handle(self, events: list[Event]) -> None:
        """All events first, callbacks after: those may call send or close at once."""
        inbox = self.inbox
        for event in events:
            if event.__class__ is MessagePiece:
                inbox.put(event)
            elif event.__class__ is Ping:
                self.control.ping(event.payload)
            elif event.__class__ is Pong:
                self.control.pong(event.payload)
            elif isinstance(event, _LAST):
                self._end(event)
            else:
                self._owner.handshake(self, event)
                if self.core.should_close:
                    self.callbacks.closing = True
        inbox.run()

    def _end(self, event: CloseReceived | ConnectionFailed) -> None:
        """The last event: the peer's Close, a violation, a deadline, the end of the input."""
        if isinstance(event, ConnectionFailed) and event.code != Reasons.ABNORMAL_CLOSE:
            self.log(f"failed with {event.code:d}, {event.reason}")
        self._begin_closing()
        self.inbox.end_of_input()

    def _handle_eof(self) -> None:
        self.handle(self.core.receive_eof(self._now()))

    def _handle_loss(self) -> None:
        """The stream is gone: first what had arrived, then the end."""
        now = self._now()
        try:
            self.intake.handle_rest(now, now)
        except Exception as error:  # noqa: BLE001  # an extension may raise anything
            self._drop(error)
        if self.core.more:
            if self.inbox.unread < max(MAX_UNREAD_AFTER_LOSS, self.options.read_limit):
                self.intake.pause_reasons = 0
                self.intake.call_soon(self._handle_loss)
                return
            self.log("lost, and the rest of what it sent is dropped: too much waits")
        events = self.core.connection_lost()
        self.lost = self.intake.stopped = self.callbacks.closing = True
        self.handle(events)
        self._alarm.stop()
        waiters, self._close_waiters = self._close_waiters, ()
        for signal in waiters:
            signal.set()
        if self.client is not None:
            closed = self.closed_error()
            self.control.closed(closed.code, closed.reason)

    def _drop(self, error: Exception) -> None:
        """Input cannot be handled, for an error of an extension or of ours."""
        log_dropped(self, error)
        self.pipe.abort()

    # The opening handshake.

    def pause_for_answer(self) -> None:
        """The answer takes its time: read no more until then."""
        self.intake.pause(ANSWER)

    def open(self, client: Peer) -> None:
        """The handshake succeeded: write our answer, if any, and let frames follow."""
        self.client = client
        if self.core.more:
            self.intake.yield_to_loop()  # on_connection begins before what came along is looked at
        self.outbox.put()
        self.arm()
        self.intake.resume(ANSWER)

    def reject(self, response: Response) -> None:
        """Answer the request with anything but 101; ValueError for a 1xx."""
        assert isinstance(self.core, ServerConnection)
        self.core.reject(response, self._now())
        self.callbacks.closing = True
        self.advance_close()
        self.intake.resume(ANSWER)

    def ready(self) -> None:
        """The application is set up and takes messages."""
        if self.client is not None and self.core.phase is Phase.OPEN:
            self._owner.client_ready(self)

    # The closing handshake.

    def advance_close(self) -> None:
        """Answer the Close that is owed, once what came before it is handled; end the stream when
        all is said; report when nothing is left."""
        core = self.core
        if core.owes_close and self.inbox.is_idle():
            core.acknowledge_close(self._now())
        if not core.may_send:
            self.outbox.lock.close()
        if self.lost:
            if not self.callbacks.running:
                self._owner.finished(self)
            return
        if not core.should_close:
            self.outbox.put()
            if not core.may_send:
                self.intake.resume(BACKLOG)  # to see the peer's answer
        elif core.phase is Phase.CLOSED:
            self.outbox.flush()
            self.pipe.abort()
        elif not self._stream_closed:
            self._stream_closed = True
            self.outbox.flush()
            self.intake.resume_for_eof()
            self.pipe.close()
        self.arm()

    async def close(self, code: int, reason: str) -> None:
        """See `Client.close`."""
        if self.core.may_send:
            self._send_close(code, reason)
        if not self.lost:
            over = self.runtime.signal()
            self._close_waiters += (over,)
            await over.wait()

    def fail(self, code: Reasons, reason: str) -> None:
        """Close the connection for a fault on our side, unless our Close is sent."""
        if self.core.may_send:
            self._send_close(code, reason)

    def close_now(self, code: Reasons, reason: str) -> None:
        """Answer the Close that is owed, at once; else send one, unless that is done."""
        if self.core.owes_close:
            self.core.acknowledge_close(self._now())
            self.advance_close()
        else:
            self.fail(code, reason)

    def abort(self) -> None:
        """The time is over: cancel what runs, drop what waits and the stream."""
        self.inbox.stop()
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

    def _send_close(self, code: int, reason: str) -> None:
        self.core.send_close(code, reason, self._now())
        self._begin_closing()
        self.advance_close()

    def _begin_closing(self) -> None:
        self.callbacks.closing = True
        if self.client is not None:
            self._owner.client_left(self)

    # Callbacks.

    def callback_failed(self) -> None:
        """As a Caller: a callback raised."""
        self.inbox.stop()
        self.fail(Reasons.UNEXPECTED_CONDITION, "")

    def log(self, what: str) -> None:
        """One line about this connection."""
        logger.warning("%s: %s", self, what)

    # Time.

    def arm(self) -> None:
        """Look again when the core wants to, or before."""
        if not self.lost:
            self._alarm.set(self.core.next_deadline())

    def on_alarm(self) -> None:
        """The alarm: a deadline may have passed."""
        self.run_as_batch(self._handle_deadline)

    def _handle_deadline(self) -> None:
        if self.pipe.waiting():
            self.outbox.report_progress(self._now())
        self.handle(self.core.handle_timeout(self._now()))
        self.outbox.put()
        self.arm()
