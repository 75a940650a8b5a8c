"""One connection: it links the byte stream, the core and the user's client."""

import logging
from collections.abc import Callable
from contextvars import Context
from ssl import SSLError
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
    State,
)

from ..batch import GATHER_SECONDS
from ..callbacks import Callbacks
from ..errors import ConnectionClosed, Peer
from ..identity import Identity
from ..options import ConnectionOptions
from ..receiving.inbox import Inbox
from ..receiving.intake import ANSWER, BACKLOG, LONG_READ, Intake
from ..runtime import Pipe, Runtime, Signal, log_dropped, peer_name
from ..sending.outbox import Outbox
from ..speedups import accelerated_method
from ..tls import tls_cause
from .alarm import Alarm
from .control import Control
from .ended import Ended, code_and_reason, how_it_closed
from .linger import Linger, awaits_end, close_stream

_PLAIN = {"Content-Type": "text/plain"}
_LAST = (CloseReceived, ConnectionFailed)


class Owner(Protocol):
    """What made the connection: a server's acceptor, or an attempt at connecting."""

    def connected(self, session: "Session") -> None:
        """The byte stream is connected."""

    def handshake(self, session: "Session", event: Event) -> None:
        """A request or response arrived, or the handshake failed; call `session.open` to accept."""

    def input_ended(self, session: "Session") -> None:
        """The peer has ended its half; what came before may still be unhandled."""

    def client_ready(self, session: "Session") -> None:
        """The client is set up, and open."""

    def client_left(self, session: "Session") -> None:
        """The client's state is no longer OPEN."""

    def is_client(self, peer: Peer | None) -> bool:
        """Whether `peer` is a client of this server."""

    def finished(self, session: "Session") -> None:
        """The stream is lost, and all its tasks have ended."""


class Session:
    """The `Sink` of a byte stream: it drives the core, runs the callbacks, writes the output.

    While it is closing (`callbacks.closing`), each call of the sink and each task ends with
    `advance_close`, which continues the closing handshake (RFC 6455 section 7).
    """

    __slots__ = (
        *("_alarm", "_client", "_ended", "_going_away", "_linger", "_now", "_over"),
        *("_stream_closed", "callbacks", "control", "core", "identity", "inbox", "intake"),
        *("loss", "lost", "options", "outbox", "owner", "pipe", "runtime"),
    )

    callbacks: Callbacks
    control: Control
    intake: Intake
    outbox: Outbox
    pipe: Pipe
    outbox_class = Outbox
    control_class = Control

    def __init__(
        self,
        core: ServerConnection | ClientConnection,
        runtime: Runtime,
        options: ConnectionOptions,
        owner: Owner,
        context: Context,
    ) -> None:
        self.identity: Identity = Identity(options.logger, options.log_limit)
        self.core: ServerConnection | ClientConnection = core
        self.runtime: Runtime = runtime
        self.options: ConnectionOptions = options
        self.callbacks = callbacks = Callbacks(self, runtime, context)
        self.intake = intake = Intake(self, core, runtime)
        self.inbox: Inbox = Inbox(self, core, runtime, callbacks, intake, options)
        self.outbox = self.outbox_class(self, core, runtime, options.timeout)
        self.control = self.control_class(callbacks, intake, self.inbox, self.outbox)
        self._client: Peer | None = None
        self._ended: Ended | None = None  # once all is over
        self.lost: bool = False
        self.loss: Exception | None = None
        """The error that ended the byte stream, if any."""
        self.owner: Owner = owner
        self._now = runtime.now
        self._going_away: Reasons | None = None  # the code for that, once the server stops
        self._stream_closed = False  # our half
        self._linger: Linger | None = None
        self._over: Signal | None = None  # set when the stream is lost
        self._alarm = Alarm(self)

    @property
    def client(self) -> Peer | None:
        """The user's client, once the handshake is complete, and as long as anyone holds it."""
        return self._client if self._ended is None else self._ended.client

    # The Sink.

    def connected(self, pipe: Pipe) -> None:
        """As a Sink."""
        self.use_pipe(pipe)
        pipe.set_write_limit(self.options.write_limit)
        self.identity.peer = peer_name(pipe)
        self.core.connection_made(self._now())
        self.arm()
        self.owner.connected(self)

    def use_pipe(self, pipe: Pipe) -> None:
        """Control the byte stream by `pipe` from now on."""
        self.pipe = self.outbox.pipe = self.intake.pipe = self.callbacks.pipe = pipe

    @accelerated_method
    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""
        # `run_as_batch` inlined: its calls would take 1 % of an echo's instructions.
        batch = self.outbox.batch
        outermost = not batch.active
        batch.active = batch.active or 1
        try:
            now = self._now()
            batch.old_at, batch.quiet = now + GATHER_SECONDS, False
            self.handle(self.core.receive_data(data, now))
            if self.core.more:  # no more of it now than others have time for
                self.intake.handle_rest(now, self._now())
            elif len(data) >= LONG_READ:
                self.intake.take_turns(now)
            if self.callbacks.closing:
                self.advance_close()
        except BaseException as error:  # noqa: BLE001  # an extension may raise anything
            return self._input_failed(error, outermost)
        if outermost:
            batch.end()

    def _input_failed(self, error: BaseException, outermost: bool = True) -> None:
        """Handling input raised `error`: drop the stream, but for what ends the program."""
        try:
            if not isinstance(error, Exception):
                raise error
            self._drop(error)
        finally:
            if outermost:
                self.outbox.batch.end()

    def eof_received(self) -> None:
        """As a Sink."""
        if self._stream_closed:  # all is done but the loss of the stream
            self.core.receive_eof(self._now())
        else:
            self.run_as_batch(self._handle_eof)

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        if not hasattr(self, "pipe"):  # it was never connected
            self.finish()
            return
        self.intake.pause_reasons = 0
        self.loss = exc
        if isinstance(exc, SSLError) and self.client is not None and not self.callbacks.closing:
            self.identity.log(logging.WARNING, f"dropped, TLS failed: {tls_cause(exc)}")
        self.run_as_batch(self._handle_loss)

    # Input.

    def run_as_batch(self, call: Callable[[], None]) -> None:
        """Run `call` as the handling of input: what it sends leaves in one write."""
        with self.outbox.batch:
            try:
                call()
            except Exception as error:  # noqa: BLE001  # an extension may raise anything
                self._drop(error)
            if self.callbacks.closing:
                self.advance_close()

    def handle(self, events: list[Event]) -> None:
        """Handle all events before any callback runs: a callback may send or close at once."""
        inbox = self.inbox
        for event in events:
            if event.__class__ is MessagePiece:
                inbox.put(event)
            elif event.__class__ is Ping:
                self.control.ping(event.payload)
            elif event.__class__ is Pong:
                self.control.pong(event)
            elif isinstance(event, _LAST):
                self._end(event)
            else:
                self.owner.handshake(self, event)
                if self.core.should_close:
                    self.callbacks.closing = True
        inbox.run()

    def _end(self, event: CloseReceived | ConnectionFailed) -> None:
        """The last event: a Close, a violation, a passed deadline, or the end of the input."""
        if isinstance(event, ConnectionFailed):
            if event.code != Reasons.ABNORMAL_CLOSE:
                self.identity.log(logging.WARNING, f"failed with {event.code:d}, {event.reason}")
            elif not (self.callbacks.closing or self.core.input_ended or self.lost):
                self.identity.log(logging.WARNING, f"dropped, {event.reason}")  # by the keepalive
        self._begin_closing()
        self.inbox.end_of_input()

    def _handle_eof(self) -> None:
        self.handle(self.core.receive_eof(self._now()))
        self.owner.input_ended(self)

    def _handle_loss(self) -> None:
        """The stream is lost: handle what had arrived, if the application keeps up with it, then
        end the connection."""
        core = self.core
        if core.more and self.inbox.unread <= self.options.read_limit:
            try:
                self.handle(core.receive_data(b"", self._now()))
            except Exception as error:  # noqa: BLE001  # an extension may raise anything
                self._drop(error)
            else:
                self.intake.pause_reasons = 0
                self.intake.call_in_turn(self._handle_loss)
                return
        elif core.more:
            what = "connection lost, input beyond read_limit is dropped"
            self.identity.log(logging.INFO, what)
        events = self.core.connection_lost()
        self.lost = self.intake.stopped = self.callbacks.closing = True
        self.handle(events)
        self._alarm.stop()
        if self._linger is not None:
            self._linger.stop()
        if self._over is not None:
            self._over.set()
        if self.client is not None:
            self.control.closed(*code_and_reason(self.core))

    def _drop(self, error: Exception) -> None:
        """An extension, or our own code, raised `error` in handling input: drop the stream."""
        log_dropped(self, error)
        self.pipe.abort()

    # The opening handshake.

    def pause_for_answer(self) -> None:
        """Pause reading until `open` or `reject`."""
        self.intake.pause(ANSWER)

    def open(self, client: Peer) -> None:
        """Finish the opening handshake: write a server's response, and read frames."""
        self._client = client
        if self.core.more:
            self.intake.yield_to_loop()  # on_connection starts before the first frames are handled
        self.outbox.flush()  # before on_connection, which may take its time
        self.arm()
        self.intake.resume(ANSWER)

    def reject(self, response: Response) -> None:
        """Answer the request with `response`. Raises ValueError for a 1xx status."""
        assert isinstance(self.core, ServerConnection)
        self.core.reject(response, self._now())
        self.callbacks.closing = True
        self.advance_close()
        self.intake.resume(ANSWER)

    def gather(self) -> None:
        """More messages wait for the caller of receive(): gather what it sends."""
        self.outbox.gather()

    def release(self) -> None:
        """The caller of receive() waits: write what was gathered."""
        self.outbox.release()

    def receiving(self) -> bool:
        """Whether a task is in receive()."""
        return self.inbox.receiving()

    def ready(self) -> None:
        """The application is set up and ready for messages."""
        if self.client is not None and self.core.phase is Phase.OPEN:
            self.owner.client_ready(self)

    # The closing handshake.

    def advance_close(self) -> None:
        """Continue the closing handshake: answer the peer's Close once the messages before it are
        handled, then close the stream; once that is lost and all tasks have ended, report it."""
        core = self.core
        if core.owes_close and self.inbox.is_idle():
            core.acknowledge_close(self._now())
        if self._going_away and core.phase is Phase.OPEN and self.inbox.is_idle():
            self._send_close(self._going_away, "")
            return
        self.outbox.end_waits()
        if self.lost:
            if not self.callbacks.running and self._ended is None:
                self.finish()
            return
        if not core.should_close:
            self.outbox.put()
            if not core.may_send:
                self.intake.resume(BACKLOG)  # the peer's Close must be read
        elif core.phase is Phase.CLOSED:
            self.outbox.flush()
            self.pipe.abort()
        elif not self._stream_closed:
            self.outbox.flush()
            self.intake.resume_for_eof()
            if not awaits_end(core):
                self._stream_closed = True
                self._linger = close_stream(core, self.pipe, self._now)
        self.arm()

    def go_away(self, code: Reasons) -> None:
        """Take no more messages, and close once those that callbacks have taken are handled."""
        self._going_away, self.callbacks.closing = code, True
        self.inbox.take_no_more()
        self.advance_close()

    async def close(self, code: int, reason: str) -> None:
        """See `Client.close`."""
        self.fail(code, reason)
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """See `Client.wait_closed`."""
        if not self.lost:
            self._over = self.runtime.signal() if self._over is None else self._over
            await self._over.wait()

    def fail(self, code: int, reason: str) -> None:
        """Send a Close, unless ours is sent, and do not wait for the peer's."""
        if self.core.may_send:
            self._send_close(code, reason)

    def close_now(self, code: Reasons, reason: str) -> None:
        """Send our Close now: the answer that the peer waits for, else one with `code`."""
        if self.core.owes_close:
            self.core.acknowledge_close(self._now())
            self.advance_close()
        else:
            self.fail(code, reason)

    def abort(self) -> None:
        """Cancel all tasks, discard unread messages, and drop the stream."""
        self.inbox.stop()
        self.callbacks.cancel()
        if not self.lost:
            self.outbox.flush()
            self.pipe.abort()

    def closed_error(self) -> ConnectionClosed:
        """The error for reads and sends of a closed connection."""
        return how_it_closed(self.core, self.client)

    def finish(self) -> None:
        """Report the end, and leave no cycle: what nobody holds is freed at once."""
        owner = self.owner
        self._ended = ended = Ended(self.core, self.client, self.identity)
        self._client = None
        del self.owner
        self.loss = self._linger = None
        # Not in a loop, in which type checkers would not compare it with what each part needs.
        self.callbacks.link = self.intake.link = self.inbox.link = self.outbox.link = ended
        del self._alarm.handler  # it is stopped
        self.callbacks.context = Context()
        self.inbox.callback = None
        self.control.forget_callbacks()
        owner.finished(self)

    def _send_close(self, code: int, reason: str) -> None:
        self.core.send_close(code, reason, self._now())
        self._begin_closing()
        self.advance_close()

    def _begin_closing(self) -> None:
        self.callbacks.closing = True
        self.owner.client_left(self)

    # Callbacks.

    def callback_failed(self) -> None:
        """As a Link: a callback raised, so close with 1011, or answer with 500."""
        if self.core.state is State.CONNECTING:
            self.reject(Response(500, _PLAIN, "the server failed to answer\n"))
        self.fail(Reasons.UNEXPECTED_CONDITION, "")  # first: a receive() raises with its code
        self.inbox.stop()

    def stop_messages(self) -> None:
        """As a Link: deliver no more messages."""
        self.inbox.stop()

    def is_ending(self) -> bool:
        """As a Link: whether the connection is closing or closed."""
        return self.core.state not in (State.CONNECTING, State.OPEN)

    def is_neighbour(self, peer: Peer | None) -> bool:
        """As a Link: whether `peer` is a client of the same server."""
        return self.owner.is_client(peer)

    # Time.

    def arm(self) -> None:
        """Set the alarm to the core's next deadline."""
        self._alarm.set(self.core.next_deadline())

    def is_overdue(self) -> bool:
        """As an AlarmHandler: the peer seems to have missed a deadline."""
        return self.core.is_overdue(self._now())

    def on_alarm(self) -> None:
        """As an AlarmHandler: a deadline may have passed."""
        self.run_as_batch(self._handle_deadline)

    def _handle_deadline(self) -> None:
        self.outbox.report_progress(self._now(), paused=self.intake.pause_reasons != 0)
        self.handle(self.core.handle_timeout(self._now()))
        self.outbox.put()
        self.arm()
