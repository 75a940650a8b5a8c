"""The connections of a server: accepting them, answering their requests, ending them."""

import itertools
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial

from wscore import (
    Event,
    HandshakeFailed,
    Reasons,
    RequestReceived,
    Response,
    ServerConnection,
    ServerHandshake,
    State,
    upgrade_required,
)
from wscore.metering import MeteredServerConnection

from .accept import Accept
from .admission import ADDRESS_FULL, FULL, LINGER, Admission
from .client import Client
from .clients import Clients
from .connection.instrumented import WatchedLimitedSession, WatchedSession
from .connection.limited_session import LimitedSession
from .connection.session import Session
from .connection.traced import traced
from .errors import Peer
from .hooks import Answer, Hooks
from .http_date import http_date
from .identity import Identity
from .options import ServerOptions
from .parts import Parts
from .request import Request
from .runtime import Listener, Runtime, Signal, Sink, wait_for

OnConnection = Callable[[Client], Awaitable[object]]

# When the server stops: seconds in which clients whose callbacks took too long may answer the
# Close.
CLOSING_TIME = 1.0

# Seconds for the handshakes in progress, before a server drains, if each has as long as it likes.
HANDSHAKE_TIME = 10.0

# While a server drains: seconds between two looks at who may leave, and how many it looks at.
LEAVING_PAUSE = 0.05
MOST_LEAVING = 500

_RETRY_LATER = {"Retry-After": "1"}

# By whether instruments watch, and whether rates are limited.
_SESSIONS = {
    (False, False): Session,
    (False, True): LimitedSession,
    (True, False): WatchedSession,
    (True, True): WatchedLimitedSession,
}

# What answers a request if the application decides nothing.
_ACCEPT = Accept()


class Acceptor:
    """Accepts the connections of a server; it is the `Owner` of their sessions."""

    def __init__(self, options: ServerOptions, clients: Clients, local_name: str) -> None:
        self.on_connection: OnConnection | None = None
        self.parts: Parts = Parts()
        self._options = options
        self._clients = clients
        self._local_name = local_name  # `addr` of clients without an address
        self._handshake = ServerHandshake(
            subprotocols=() if callable(options.subprotocols) else options.subprotocols,
            origins=options.origins,
            extensions=options.extensions(),
            max_head_size=options.max_head_size,
            max_head_fields=options.max_head_fields,
            refusal_headers=_dated,
        )
        self._asks = bool(options.authentication or options.process_request) or callable(
            options.subprotocols
        )
        self._open = False
        self._sessions = Admission(options.max_connections, options.max_connections_per_address)
        self._instruments = options.instrumentation
        self._make_session = _SESSIONS[self._instruments.any, options.limits_rates()]
        self._make_core = (
            MeteredServerConnection if self._instruments.count_messages else ServerConnection
        )
        self._all_gone: Signal | None = None
        self._drains: list[Signal] = []  # each is set when that call of `drain` has ended
        self._numbers = itertools.count(1)

    def open(self, runtime: Runtime) -> Callable[[], Sink | None]:
        """Accept connections from now on; returns the function that makes a sink for each."""
        self._open = True
        return partial(self._accept_connection, runtime, copy_context())

    async def close(self, listener: Listener, runtime: Runtime) -> None:
        """Stop listening, close every client with 1001, and wait for them for a bounded time."""
        self._open = False
        try:
            listener.close()
            await self._end_all(runtime)
        except GeneratorExit:  # pragma: no cover - the interpreter ends, and its loop is closed
            raise
        except BaseException:
            self._abort()
            raise

    async def handshakes_over(self, runtime: Runtime) -> None:
        """Wait until no opening handshake goes on, for a bounded time."""
        until = runtime.now() + (self._options.open_timeout or HANDSHAKE_TIME)
        while runtime.now() < until and self._handshakes_go_on():
            await self._wait_for_all(runtime, LEAVING_PAUSE)

    def _handshakes_go_on(self) -> bool:
        return self._sessions.in_tls_handshake() or any(
            session.core.state is State.CONNECTING for session in self._sessions
        )

    def leave_time(self, seconds: float) -> float:
        """How long `handshakes_over` and a `drain` of so many seconds take at most."""
        options = self._options
        handshakes = options.open_timeout or HANDSHAKE_TIME
        ends = 2 * (options.shutdown_timeout or math.inf) + CLOSING_TIME
        return handshakes + seconds + ends

    async def drain(self, listener: Listener, runtime: Runtime, seconds: float) -> None:
        """Stop listening, let the clients leave within `seconds`, then close those left as `close`
        does."""
        self._open = False
        over = runtime.signal()
        self._drains.append(over)
        try:
            listener.close()
            for session in self._sessions:
                if session.core.state is State.CONNECTING:
                    self._go_away(session)
            await self._let_leave(runtime, seconds)
            await self._end_all(runtime)
        finally:
            self._drains.remove(over)
            over.set()

    async def drained(self) -> None:
        """Wait until each call of `drain` has ended."""
        while self._drains:
            await self._drains[-1].wait()

    def _accept_connection(self, runtime: Runtime, context: Context) -> Sink | None:
        """A connection is accepted, but not connected; None to close it at once."""
        admitted = self._open and self._sessions.may_admit()
        if not admitted and not self._sessions.may_refuse():
            self._rejected(Identity(self._options.logger, self._options.log_limit), 0)
            return None
        session = self._make_session(self._new_core(), runtime, self._options, self, context.copy())
        self._sessions.add(session, admitted)
        return traced(session)

    # The Owner of the sessions.

    def connected(self, session: Session) -> None:
        """A byte stream is connected: answer with 503 if it is refused."""
        reason = self._sessions.connected(session)
        if reason is None and self._open:
            return
        self._rejected(session.identity, 503, reason)
        session.identity.log(logging.WARNING, f"refused with 503: {reason or FULL}")
        session.core.shorten_close_timeout(LINGER)
        session.reject(Response(503, _RETRY_LATER, f"{reason or FULL}\n"))
        self._sessions.refused(session)

    def handshake(self, session: Session, event: Event) -> None:
        """A request arrived, or the handshake failed."""
        if isinstance(event, HandshakeFailed):
            # Port scans, health checks and preconnections are normal: no warning for them.
            core = session.core
            normal = core.input_ended or core.silent or event.status == 405
            _log_failed(session, event.reason, logging.INFO if normal else logging.WARNING)
            self._instruments.call(session.identity, "rejected", event.status, "handshake")
            session.callbacks.cancel()  # process_request, whose answer would be useless
            return
        assert isinstance(event, RequestReceived)
        request = Request._over(event.request, session.pipe, session.identity.id)
        if not self._asks:
            self._answer(session, request, _ACCEPT)
            return
        hooks = Hooks(self._options, request)
        try:
            awaited = hooks.resume(None, session.callbacks.context.run)
        except BaseException as error:  # noqa: BLE001  # a callback may raise anything
            session.callbacks.failed(hooks.name, error)
            return
        if awaited is None:
            self._answer(session, request, hooks.answer)
        else:
            session.pause_for_answer()
            session.callbacks.start(self._answer_later, session, request, hooks, awaited)

    def input_ended(self, session: Session) -> None:
        """Nothing to do: a client that has asked still gets its answer."""

    def client_ready(self, session: Session) -> None:
        """The client is set up: list it."""
        self._clients._add(_client_of(session))

    def client_left(self, session: Session) -> None:
        """The client's state is no longer OPEN: take it off the list."""
        client = _client_of(session)
        self._clients._remove(client)
        self.parts.client_left(client)

    def is_client(self, peer: Peer | None) -> bool:
        """Whether `peer` is a client of this server."""
        return isinstance(peer, Client) and peer._session.options is self._options

    def finished(self, session: Session) -> None:
        """The connection and its tasks have ended."""
        self._sessions.remove(session)
        if self._all_gone is not None and not self._sessions:
            self._all_gone.set()
            self._all_gone = None

    # The opening handshake.

    def _rejected(self, identity: Identity, status: int, reason: str | None = None) -> None:
        """A connection is refused before its request."""
        word = "address" if reason is ADDRESS_FULL else "full" if self._open else "shutdown"
        self._instruments.call(identity, "rejected", status, word)

    def _new_core(self) -> ServerConnection:
        options = self._options
        return self._make_core(
            handshake=self._handshake.fresh_copy(),  # saves checking the options again
            max_message_size=options.max_message_size,
            open_timeout=options.open_timeout,
            close_timeout=options.close_timeout,
            timeout=options.timeout,
        )

    async def _answer_later(
        self, session: Session, request: Request, hooks: Hooks, awaited: Awaitable[object] | None
    ) -> None:
        try:
            while awaited is not None:
                awaited = hooks.resume(await awaited, _call)
        except BaseException as error:  # noqa: BLE001  # a callback may raise anything
            session.callbacks.failed(hooks.name, error)
            return
        self._answer(session, request, hooks.answer)

    def _answer(self, session: Session, request: Request, answer: Answer) -> None:
        if session.core.state is not State.CONNECTING:
            return  # the handshake failed meanwhile
        if isinstance(answer, Response):
            authentication = self._options.authentication
            reason = "application"
            if authentication is not None and answer is authentication.challenge:
                reason = "unauthorized"
                _log_failed(session, "basic authentication failed, answered with 401")
            self._reject(session, answer, reason)
        elif request.is_upgrade:
            self._accept(session, request, answer)
        else:
            _log_failed(session, "not a WebSocket request, answered with 426")
            self._reject(session, upgrade_required(), "plain")

    def _reject(self, session: Session, response: Response, reason: str) -> None:
        self._instruments.call(session.identity, "rejected", response.status, reason)
        session.reject(response)

    def _accept(self, session: Session, request: Request, answer: Accept) -> None:
        core = session.core
        assert isinstance(core, ServerConnection)
        now = session.runtime.now()
        subprotocol = core.accept(answer.subprotocol, answer.headers, now)
        addr, port = session.identity.peer or (self._local_name, next(self._numbers))
        client = Client(session, request, subprotocol, addr, port)
        session.open(client)
        session.callbacks.begin(self._set_up(session, client))

    async def _set_up(self, session: Session, client: Client) -> None:
        """Run on_connection."""
        callbacks = session.callbacks
        try:
            if self.on_connection is not None:
                await callbacks.call("on_connection", self.on_connection, client)
        finally:
            try:
                session.inbox.setup_done()
            finally:
                callbacks.end()  # Callbacks.start would: 1 % of a handshake's instructions

    # The end.

    async def _let_leave(self, runtime: Runtime, seconds: float) -> None:
        """Close each client with 1012 when it is idle, one after another over so many seconds."""
        until = runtime.now() + seconds
        staying = deque(one for one in self._sessions if one.core.state is State.OPEN)
        due = 1.0  # how many should have left by now
        while staying and (left := until - runtime.now()) > 0:
            for _ in range(min(len(staying), MOST_LEAVING)):
                if due < 1:
                    break
                session = staying.popleft()
                if session.core.state is State.OPEN and not _is_idle(session):
                    staying.append(session)
                    continue
                due -= 1
                if session.core.state is State.OPEN:
                    session.go_away(Reasons.SERVICE_RESTART)
            pause = min(left, LEAVING_PAUSE)
            due += pause * (len(staying) + 1) / left
            await self._wait_for_all(runtime, pause)

    async def _end_all(self, runtime: Runtime) -> None:
        """Close every client with 1001, and wait for them for a bounded time."""
        for session in self._sessions:
            self._go_away(session)
        await self._wait_for_all(runtime, self._options.shutdown_timeout)
        if self._give_up_callbacks():
            await self._wait_for_all(runtime, CLOSING_TIME)
        self._abort()
        await self._wait_for_all(runtime, self._options.shutdown_timeout)

    def _abort(self) -> None:
        """Drop every connection and cancel its tasks."""
        for session in self._sessions:
            session.abort()

    def _go_away(self, session: Session) -> None:
        """Close a connection in any state, because the server stops."""
        if session.core.state is State.CONNECTING:
            session.callbacks.cancel()  # process_request may still run
            if session.core.silent:  # browsers preconnect
                session.pipe.abort()
            else:
                self._rejected(session.identity, 503)
                session.reject(Response(503, _RETRY_LATER, "the server is shutting down\n"))
        elif session.core.state is State.OPEN:
            session.go_away(Reasons.GOING_AWAY)

    def _give_up_callbacks(self) -> bool:
        """Close with 1001 where callbacks still handle messages, and cancel them; returns whether
        there were any."""
        late = [session for session in self._sessions if session.core.state is State.OPEN]
        for session in late:
            session.fail(Reasons.GOING_AWAY, "")
            session.callbacks.cancel()
        return bool(late)

    async def _wait_for_all(self, runtime: Runtime, seconds: float) -> None:
        """Wait until no connection is left, for at most so many seconds."""
        if self._sessions:
            if self._all_gone is None:
                self._all_gone = runtime.signal()
            await wait_for(runtime, self._all_gone, seconds)


def _log_failed(session: Session, reason: str, level: int = logging.INFO) -> None:
    session.identity.log(level, f"handshake failed: {reason}")


def _is_idle(session: Session) -> bool:
    """Whether no callback handles a message, and no fragmented message is being sent."""
    return session.inbox.is_idle() and session.outbox.lock.holder is None


def _call(hook: Callable[[], object]) -> object:
    return hook()


def _dated() -> list[tuple[str, str]]:
    return [("Date", http_date())]


def _client_of(session: Session) -> Client:
    assert isinstance(session.client, Client)
    return session.client
