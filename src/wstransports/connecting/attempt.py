"""One attempt at connecting to one address: it ends with a client or an error."""

import os
import socket
import ssl as tls
from collections.abc import AsyncGenerator
from contextlib import nullcontext, suppress
from contextvars import copy_context
from errno import ECONNRESET
from functools import partial
from typing import Any

from wscore import Accepted, ClientConnection, Event, HandshakeFailed, Reasons, Refused, Response

from ..address import Address
from ..client import Client
from ..connection.instrumented import WatchedSession
from ..connection.session import Session
from ..connection.traced import traced
from ..errors import ConnectionClosed, HandshakeError, Peer
from ..options import ConnectionOptions
from ..request import Request
from ..runtime import Runtime, Signal, Timer, peer_name, read_arrived, wait_for
from ..tls import tls_cause
from .tunnel import Tunnel, is_http_proxy, proxy_address
from .uri import URI, shown

# Turns of the loop in which a stream takes a Close, unless the peer reads nothing.
TURNS = 20


class Attempt:
    """An attempt at `uri`, connecting to `address`; it is the `Owner` of its session."""

    def __init__(
        self,
        uri: URI,
        address: Address,
        runtime: Runtime,
        options: ConnectionOptions,
        proxy_tls: tls.SSLContext | None = None,
    ) -> None:
        self.runtime = runtime
        self.refusal: Response | None = None
        """The server's response, after `open` returned None."""
        self._uri = uri
        self._address = address
        self._options = options
        self._proxy_tls = proxy_tls  # for an https proxy
        self._tunnel: Tunnel | None = None
        self._failure: Exception | None = None
        self._close_pending = False  # a Close follows an invalid 101 (RFC 7692 section 7)
        # While somebody waits: an idle connection would keep 1.5 KB of signals on asyncio.
        self._answered: Signal | None = runtime.signal()
        self._gone: Signal | None = None
        self._session: Session | None = None  # set once the byte stream is connected
        self._client: Client | None = None
        self._opened_at = 0.0
        self._ended_at: float | None = None
        self._timers: list[Timer] = []
        self._guard: AsyncGenerator[None, None] | None = None

    async def open(self, core: ClientConnection, until: float | None, group: Any) -> Client | None:
        """Connect, until the loop's time `until`; returns None if the server refused.

        Raises OSError (TimeoutError at `until`) or HandshakeError.
        """
        session = self._new_session(core)
        rejected = partial(self._options.instrumentation.call, session.identity, "rejected")
        try:
            client = await self._open(session, until, group)
        except Exception:
            rejected(0, "unreachable")
            raise
        if self.refusal is not None:
            rejected(self.refusal.status, "response")
        return client

    async def _open(self, session: Session, until: float | None, group: Any) -> Client | None:
        try:
            await self._wait_for_answer(session, until, group)
        except TimeoutError:
            if self._session is not None:
                self._session.eof_received()  # a refusal may lack the rest of its body
            self.abort()
            if self.refusal is None:
                raise
        except BaseException:
            self.abort()
            raise
        if self._client is None:
            try:
                await self._send_pending_close()
            finally:
                self.abort()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:  # its traceback refers to this frame
                del failure
        self._answered = None
        return self._client

    def send_close(self) -> None:
        """Send our Close, unless it is sent."""
        self._started_session().close_now(Reasons.NORMAL, "")

    async def close(self) -> None:
        """Close, and wait until the connection and its callbacks have ended, for a bounded time."""
        self.send_close()
        self._gone = self.runtime.signal()
        if self._ended_at is not None:
            self._gone.set()
        for _ in range(2):  # for the peer, and then for the callbacks
            try:
                await wait_for(self.runtime, self._gone, self._options.close_timeout)
            finally:
                self.abort()

    def close_in_background(self) -> None:
        """Close as `close` does, but without a task: a loop that ends now would complain about a
        new one."""
        if self._ended_at is None:
            self.send_close()
            now, seconds = self.runtime.now(), self._options.close_timeout
            pipe = self._started_session().pipe
            for times in (1, 2) if seconds else ():
                self._timers.append(pipe.call_at(now + times * seconds, self.abort))

    async def end_with_loop(self) -> None:
        """Drop the connection at the end of the event loop, which closes async generators."""
        self._guard = self._at_end_of_loop()
        await anext(self._guard)

    def lasted(self) -> float:
        """How many seconds the connection, which has ended, was open."""
        assert self._ended_at is not None
        return self._ended_at - self._opened_at

    def closed_error(self) -> ConnectionClosed:
        """How the connection ended."""
        return self._started_session().closed_error()

    def abort(self) -> None:
        """Drop the connection and cancel its tasks."""
        if self._tunnel is not None and self._session is None:
            self._tunnel.abort()
        if self._session is not None:
            self._session.abort()

    # The Owner of the session.

    def connected(self, session: Session) -> None:
        """The byte stream is connected: send the request."""
        self._session = session
        session.outbox.put()

    def handshake(self, session: Session, event: Event) -> None:
        """The server answered, or the handshake failed."""
        if isinstance(event, Accepted):
            core = session.core
            assert isinstance(core, ClientConnection)
            name = session.pipe.info("peername")  # bytes for an abstract Unix address
            addr, port = peer_name(session.pipe) or (os.fsdecode(name or ""), 0)
            request = Request._over(core.request, session.pipe, session.identity.id, True)
            client = Client(session, request, event.subprotocol, addr, port)
            client.response = event.response
            self._client = client
            self._opened_at = self.runtime.now()
            session.open(client)
        elif isinstance(event, Refused):
            self.refusal = event.response
        else:
            assert isinstance(event, HandshakeFailed)
            self._close_pending = session.core.unsent > 0
            text = f"{self._uri}: the opening handshake failed: {event.reason}"
            # With TLS 1.3 the server may refuse our certificate after the TLS handshake.
            if isinstance(session.loss, tls.SSLError):
                self._failure = self._with_address(session.loss)
                self._failure.__cause__ = session.loss
            elif session.core.input_ended or session.lost:
                self._failure = ConnectionResetError(ECONNRESET, text)
            else:
                self._failure = HandshakeError(text)
        self._answer()

    def input_ended(self, session: Session) -> None:
        """Nothing to do: a response that is not complete has failed."""

    def client_ready(self, session: Session) -> None:
        """Nothing to do: there is no list of clients."""

    def client_left(self, session: Session) -> None:
        """Nothing to do: there is no list of clients."""

    def is_client(self, peer: Peer | None) -> bool:
        """False: an attempt at connecting has no other clients."""
        return False

    def finished(self, session: Session) -> None:
        """The connection and its tasks have ended."""
        self._ended_at = self.runtime.now()
        for timer in self._timers:
            timer.cancel()
        if self._guard is not None:
            _finish(self._guard)
            self._guard = None
        if self._gone is not None:
            self._gone.set()

    # Inside.

    def _new_session(self, core: ClientConnection) -> Session:
        make = WatchedSession if self._options.instrumentation.any else Session
        return make(core, self.runtime, self._options, self, copy_context())

    async def _wait_for_answer(self, session: Session, until: float | None, group: Any) -> None:
        """Connect, and wait until the server has answered. Raises TimeoutError at `until`."""
        try:
            async with nullcontext() if until is None else self.runtime.timeout_at(until):
                await self._ask(session, group)
        except TimeoutError:
            if self._session is not None:
                await read_arrived(self.runtime)
            if self._client is None and self.refusal is None and self._failure is None:
                raise

    async def _ask(self, session: Session, group: Any) -> None:
        address, sink = self._address, traced(session)
        if is_http_proxy(address):
            sink = self._tunnel = Tunnel(address, sink, self._tunnel_failed)
            address = proxy_address(address, self._proxy_tls)
        try:
            await self.runtime.connect(address, sink, group)
        except OSError as error:
            session.finish()  # it is not connected, and never will be
            raise self._with_address(error) from error
        assert self._answered is not None
        await self._answered.wait()

    async def _at_end_of_loop(self) -> AsyncGenerator[None, None]:
        # Not a task: a loop that is closed without being run to its end complains about those.
        try:
            yield
        finally:
            if self._ended_at is None:
                self.send_close()
                self.abort()

    async def _send_pending_close(self) -> None:
        """Let the stream take the Close that follows an invalid 101, without waiting for the peer.

        A loop may write at its next turn only, and an anyio stream in a task of its own.
        """
        left = TURNS if self._close_pending else 0
        while left:
            await self.runtime.checkpoint()
            left = left - 1 if self._started_session().pipe.waiting() else 0

    def _tunnel_failed(self, error: OSError) -> None:
        self._failure = self._with_address(error)
        self._failure.__cause__ = error
        self._answer()

    def _answer(self) -> None:
        assert self._answered is not None
        self._answered.set()

    def _started_session(self) -> Session:
        assert self._session is not None
        return self._session

    def _with_address(self, error: OSError) -> OSError:
        """The same error with the address in its message."""
        where = str(self._uri)
        if self._address.unix_path is not None:
            where += f" at {os.fspath(self._address.unix_path)}"
        elif self._address.proxy is not None:
            where += f" through {shown(self._address.proxy)}"
        if isinstance(error, tls.SSLError):
            cause = tls_cause(error)
            if not ("alert" in cause or isinstance(error, tls.SSLCertVerificationError)):
                cause += " (does the server speak TLS?)"
            return ConnectionError(f"cannot connect to {where}: TLS failed: {cause}")
        text = f"cannot connect to {where}: {error.strerror or error}"
        if error.errno is None:
            return ConnectionError(text)
        kind = socket.gaierror if isinstance(error, socket.gaierror) else OSError
        return kind(error.errno, text)


def _finish(generator: AsyncGenerator[None, None]) -> None:
    """Close a generator that awaits nothing."""
    with suppress(StopIteration, RuntimeError):  # the latter: it is running, and ends by itself
        generator.aclose().send(None)
