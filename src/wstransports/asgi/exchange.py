"""One connection and the ASGI application that serves it: `Exchange`."""

import logging
import reprlib
from collections.abc import Mapping
from contextvars import copy_context
from typing import Any

from wscore import (
    Event,
    HandshakeFailed,
    LocalProtocolError,
    Reasons,
    RequestReceived,
    Response,
    ServerConnection,
    State,
    upgrade_required,
)
from wscore.frames import cut_reason, payload_bytes
from wscore.handshake.refusal import checked_final

from ..connection.session import Session
from ..errors import ConnectionClosed, Peer
from ..runtime import Runtime, Signal, Timer, checkpoint, peer_name
from .application import Message, Settings
from .fields import field
from .headers import decoded
from .scope import Scope, websocket_scope
from .stage import EXPECTED, Stage

_PLAIN = [("Content-Type", "text/plain; charset=utf-8")]

_GONE = "the client has left: nothing can be sent to it"

# Seconds that the application has to answer earlier messages: once the client has sent its Close,
# and once the server stops.
ANSWER_TIME = 2.0
ANSWER_TIME_AT_SHUTDOWN = 0.5

# Seconds that the client has to answer the Close of a server that stops.
SHUTDOWN_TIME = 2.0


class ClientDisconnected(OSError):
    """The client has left: nothing can be sent to it."""


_OPEN = Stage.OPEN


class Exchange:
    """Runs an ASGI application for one connection; it is the `Owner` of its session.

    `receive` and `send` are those that the application is called with. `state` is that of the
    application's lifespan, and `scope` what the application gets, once the request is complete.
    """

    __slots__ = (
        "__weakref__",
        "_connect_taken",
        "_denial",
        "_flowing",
        "_left",
        "_receiving",
        "_session",
        "_settings",
        "_stage",
        "_state",
        "_timer",
        "_waiting",
        "addr",
        "port",
        "scope",
    )

    disconnected: type[OSError] = ClientDisconnected
    """What `send` raises once the client has left."""

    scope: Scope

    def __init__(self, settings: Settings, state: Mapping[str, Any], runtime: Runtime) -> None:
        self.addr: str = ""
        self.port: int = 0
        self._settings = settings
        self._state = state
        self._stage = Stage.ASKED
        self._connect_taken = False
        self._flowing = False  # receive() returns messages
        self._receiving = False  # a task is waiting for one
        self._waiting: list[Signal] | None = None  # of the other calls of receive()
        self._left: Message | None = None  # the disconnect event, once it is known
        self._timer: Timer | None = None  # when to close, whatever the application does
        self._denial: Response | None = None  # before the first piece of its body
        self._session = Session(settings.core(), runtime, settings.options, self, copy_context())

    # For the application.

    async def receive(self) -> Message:
        """Wait for the next event; once the client has left, always return the disconnect event.

        Any number of tasks may wait: each event goes to one of them.
        """
        if not self._flowing:
            return await self._receive_without_messages()
        while self._receiving:
            await self._wait()
        self._receiving = True
        inbox = self._session.inbox
        try:
            while (arrival := inbox.arrival()) is not None:
                try:
                    await arrival.wait()
                finally:
                    inbox.arrived()
            message = await inbox.receive()
        except ConnectionClosed:
            return self._disconnect()
        finally:
            self._receiving = False
            if self._waiting:
                self._wake()
        if message.__class__ is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, message: Message) -> None:
        """Send an event, and wait for buffer space.

        Raises `disconnected` once the client has left, RuntimeError for an event that is not
        possible now, ValueError or TypeError for one that is wrong in itself.
        """
        try:
            is_data = message["type"] == "websocket.send" and self._stage is _OPEN
        except (KeyError, TypeError):
            is_data = False
        if not is_data:
            await self._send_other(message)
            return
        data = message.get("bytes")
        if data is None:
            data = message.get("text")
            if not isinstance(data, str):
                raise _wrong_data(data)
        elif data.__class__ is str:
            raise _wrong_data(data)
        try:
            is_full = self._session.outbox.send(data, None)
        except LocalProtocolError:
            raise self.disconnected(_GONE) from None
        if is_full:
            await self._drain()

    # For the server.

    def shutdown(self) -> None:
        """The server stops: answer the request with 503, or close with 1012, once the application
        has answered the message that it is handling."""
        session = self._session
        session.core.shorten_close_timeout(SHUTDOWN_TIME)
        if self._stage is Stage.ASKED and session.core.state is State.CONNECTING:
            self._end(Reasons.ABNORMAL_CLOSE)
            session.reject(Response(503, {"Retry-After": "1"}))
        elif self._stage is _OPEN and session.core.may_send:
            self._end(Reasons.SERVICE_RESTART)
            if session.inbox.is_idle():
                self._close_now()
            else:
                self._close_within(ANSWER_TIME_AT_SHUTDOWN)

    def answered(self, answer: str) -> None:
        """The application has answered the request: "[accepted]", or the status of a response."""

    def started(self) -> None:
        """The task that is running is the application's."""

    def ended(self) -> None:
        """The application has ended, and so does its task."""

    async def serve(self) -> None:
        """Run the application."""
        self.started()
        session = self._session
        try:
            result = await self._settings.app(self.scope, self.receive, self.send)
        except BaseException as error:
            if self._is_departure(error):
                self._give_up(Reasons.NORMAL)
            else:
                self._failed(error)
            if not isinstance(error, Exception):
                raise
        else:
            self._returned(result)
        finally:
            self.ended()
            session.inbox.setup_done()
            session.callbacks.end()

    # As an Owner.

    def connected(self, session: Session) -> None:
        """As an Owner."""
        self.addr, self.port = peer_name(session.pipe) or ("", 0)

    def handshake(self, session: Session, event: Event) -> None:
        """As an Owner: run the application for the request."""
        if not isinstance(event, RequestReceived):
            assert isinstance(event, HandshakeFailed)
            level = logging.WARNING if event.status else logging.INFO
            session.identity.log(level, f"handshake failed: {event.reason}")
            self._end(Reasons.ABNORMAL_CLOSE)
            return
        if not event.request.is_upgrade:
            session.reject(upgrade_required())
            return
        settings = self._settings
        self.scope = websocket_scope(
            event.request, session.pipe, settings.root_path, settings.asgi_version, self._state
        )
        session.callbacks.begin(self.serve())

    def input_ended(self, session: Session) -> None:
        """As an Owner: a client that cannot send a Close any more is not waited for."""
        if self._stage is Stage.ASKED:
            session.pipe.close()

    def client_ready(self, session: Session) -> None:
        """As an Owner."""

    def client_left(self, session: Session) -> None:
        """As an Owner: the connection closes, or has to."""
        if session.core.owes_close and not session.inbox.is_idle() and self._timer is None:
            self._close_within(ANSWER_TIME)

    def is_client(self, peer: Peer | None) -> bool:
        """As an Owner: it has no other."""
        return peer is self

    def finished(self, session: Session) -> None:
        """As an Owner."""
        if self._timer is not None:
            self._timer.cancel()

    # Receiving.

    async def _receive_without_messages(self) -> Message:
        if not self._connect_taken:
            self._connect_taken = True
            self._flowing = self._stage is _OPEN
            await self._checkpoint()
            return {"type": "websocket.connect"}
        while self._stage in (Stage.ASKED, Stage.DENYING) and self._left is None:
            await self._wait()
        if self._flowing:
            return await self.receive()
        await self._checkpoint()
        return self._disconnect()

    def _disconnect(self) -> Message:
        """The disconnect event. A stopping server closes now: all messages are answered."""
        if self._left is None:
            closed = self._session.closed_error()
            self._end(closed.code, closed.reason)
        assert self._left is not None
        if self._stage is _OPEN:
            self._close_now()
        return dict(self._left)

    def _end(self, code: int, reason: str | None = None) -> None:
        """No more messages: receive() returns the disconnect event from now on."""
        if self._left is None:
            self._left = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._left["reason"] = reason
        self._flowing = False
        self._wake()

    async def _wait(self) -> None:
        """Wait until another call of receive() ends, or the stage changes."""
        signal = self._session.runtime.signal()
        waiting = self._waiting = self._waiting or []
        waiting.append(signal)
        try:
            await signal.wait()
        finally:
            waiting.remove(signal)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        for signal in tuple(waiting or ()):
            signal.set()

    async def _checkpoint(self) -> None:
        await checkpoint(self._session.runtime)

    # Sending.

    async def _drain(self) -> None:
        """Wait for buffer space."""
        try:
            await self._session.outbox.drain()
        except ConnectionClosed:
            raise self.disconnected(_GONE) from None

    async def _send_other(self, message: Message) -> None:
        """Send what is not a message."""
        kind, stage, session = field(message, "type"), self._stage, self._session
        if session.lost or (self._left is not None and stage is not Stage.CLOSED):
            raise self.disconnected(_GONE)
        if kind == "websocket.accept" and stage is Stage.ASKED:
            self._accept(message)
        elif kind == "websocket.close" and stage is Stage.ASKED:
            self._deny(Response(403))
        elif kind == "websocket.close" and stage is Stage.OPEN:
            code, reason = message.get("code"), message.get("reason") or ""
            if code is None:
                code = Reasons.NORMAL
            if isinstance(reason, str):
                reason = cut_reason(reason)
            if session.core.may_send:
                session.fail(code, reason)
                self._end(code, reason)
                session.inbox.stop()
            self._stage = Stage.CLOSED
        elif kind == "websocket.http.response.start" and stage is Stage.ASKED:
            headers = decoded(message.get("headers", ()))
            self._denial = checked_final(Response(field(message, "status"), headers))
            self._stage = Stage.DENYING
        elif kind == "websocket.http.response.body" and stage is Stage.DENYING:
            body = payload_bytes(message.get("body", b""), f"the body of {kind} must be bytes")
            await self._send_body(body, message.get("more_body", False))
        else:
            after = f" after {stage.name}" if stage is Stage.CLOSED else ""
            raise RuntimeError(
                f"the application sent {kind!r}{after}, but expected is {EXPECTED[stage]}"
            )
        await self._checkpoint()

    def _accept(self, message: Message) -> None:
        session = self._session
        core = session.core
        assert isinstance(core, ServerConnection)
        subprotocol = message.get("subprotocol")
        headers = []
        given = decoded(message.get("headers", ()))
        for name, value in [*decoded(self._settings.headers()), *given]:
            if name.lower() == "sec-websocket-protocol":  # older applications choose it so
                subprotocol = subprotocol or value
            else:
                headers.append((name, value))
        core.accept(subprotocol, headers, session.runtime.now())
        self._stage = Stage.OPEN
        self._flowing = self._connect_taken
        session.open(self)
        self._wake()
        self.answered("[accepted]")

    def _close_within(self, seconds: float) -> None:
        """Close in so many seconds, if the application does not end or call receive() before."""
        if self._timer is not None:
            self._timer.cancel()
        session = self._session
        self._timer = session.pipe.call_at(session.runtime.now() + seconds, self._close_late)

    def _close_late(self) -> None:
        self._session.run_as_batch(self._close_now)

    def _close_now(self) -> None:
        """Send the Close that the client waits for, or that of a server that stops."""
        self._session.close_now(Reasons.SERVICE_RESTART, "")
        self._session.inbox.stop()

    def _deny(self, response: Response) -> None:
        """Answer with `response`, all of which is here."""
        self._stage = Stage.CLOSED
        self._session.reject(response)
        self._end(Reasons.ABNORMAL_CLOSE)
        self.answered(str(response.status))

    async def _send_body(self, data: bytes, more: bool) -> None:
        session = self._session
        core, now = session.core, session.runtime.now()
        assert isinstance(core, ServerConnection)
        if self._denial is not None:
            response = Response(self._denial.status, self._denial.headers, data)
            if not more:
                self._deny(response)
                return
            core.reject(response, now, more_body=True)
            self._denial = None
            self.answered(str(response.status))
        else:
            core.send_body(data, not more, now)
        if more:
            if session.outbox.put():
                await self._drain()
            return
        self._stage = Stage.CLOSED
        session.callbacks.closing = True
        session.advance_close()
        self._end(Reasons.ABNORMAL_CLOSE)

    # The end of the application.

    def _is_departure(self, error: BaseException) -> bool:
        """Whether `error` only says that the client has left."""
        if isinstance(error, BaseExceptionGroup):
            return error.split(self.disconnected)[1] is None
        return isinstance(error, self.disconnected)

    def _failed(self, error: BaseException) -> None:
        """The application raised: close with 1011, or answer with 500."""
        if isinstance(error, Exception | BaseExceptionGroup):
            self._log_error("Exception in ASGI application", error)
        self._give_up(Reasons.UNEXPECTED_CONDITION)

    def _returned(self, result: object) -> None:
        """The application returned: close with 1000, or answer with 500."""
        if self._left is None and self._stage in (Stage.ASKED, Stage.DENYING):
            self._log_error("ASGI callable returned without completing handshake.")
        elif result is not None:
            shown = reprlib.repr(result)  # raises nothing
            self._log_error(f"ASGI callable should return None, but returned '{shown}'.")
        self._give_up(Reasons.NORMAL)

    def _log_error(self, what: str, error: BaseException | None = None) -> None:
        self._session.identity.log(logging.ERROR, what, error=error)

    def _give_up(self, code: Reasons) -> None:
        session = self._session
        if self._stage is Stage.OPEN:
            session.fail(code if self._left is None else self._left["code"], "")
        elif self._left is None and self._stage is not Stage.CLOSED:
            if self._stage is Stage.ASKED or self._denial is not None:
                session.reject(Response(500, _PLAIN, "Internal Server Error"))
                self.answered("500")
            else:  # it has begun, and the client must not take it for complete
                session.pipe.abort()
        self._end(code)


def _wrong_data(data: object) -> TypeError:
    return TypeError(
        "websocket.send must have bytes as 'bytes' or a str as 'text', not"
        f" {type(data).__name__} or neither"
    )
