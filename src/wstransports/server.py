"""The server: where it listens, who is connected, what is called."""

import inspect
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, Unpack

from wscore import (
    Event,
    HandshakeFailed,
    Reasons,
    Request,
    RequestReceived,
    Response,
    ServerConnection,
    ServerHandshake,
    State,
    upgrade_required,
)

from .client import Client, checked_callback
from .clients import Clients
from .connection.session import Session
from .options import Address, Certs, ServerKeywords, ServerOptions, server_context
from .runtime import (
    Block,
    Listener,
    Runtime,
    Signal,
    block,
    peer_name,
    running,
    wait_for,
)

logger = logging.getLogger("wstransports")

ConnectionCallback = TypeVar("ConnectionCallback", bound=Callable[[Client], Awaitable[object]])


class WebSocketServer:
    """A WebSocket server (RFC 6455).

    Arguments: `addr` and `port` to listen at (None: every interface, 0: a free port); `certs`,
    (certfile, keyfile) or an ssl.SSLContext, for wss; `loop`, an asyncio loop that does not run
    yet, for the `with` form; `timeout`, seconds of silence after which a client that answers no
    ping is dropped (pings go out at half of it), or during which it takes none of the bytes that
    wait for it; 0 for never. `sock`, `unix_path`, `reuse_port` listen elsewhere or differently,
    `runtime` runs on another adapter than the running loop's.

    More keywords: `subprotocols` spoken, best first; `origins` served, None for all (a None in
    the list for who names none, RFC 6455 section 10.2); `max_message_size` in bytes (1 MiB) or
    None; `read_limit`, how many bytes may wait unread before reading stops (64 KiB);
    `open_timeout` and `close_timeout`, seconds that the opening handshake and each step of the
    closing one may take (10), 0 for any time; `max_connections` or None; `process_request`, a
    function of a Request that returns None or the Response to answer with;
    `concurrent_messages`, how many message callbacks of one client may overlap (1).

    Raises ValueError, TypeError or FileNotFoundError for what cannot be.

    `clients` are the connected clients by `(client.addr, client.port)`;
    `loop` is the loop while a `with` block lasts. Register `connection`, then use the server as
    `with` (a plain script), `async with` or `serve_forever()` (inside a running loop), or `run()`.
    """

    def __init__(
        self,
        addr: str | None,
        port: int,
        certs: Certs | None = None,
        loop: Any = None,
        timeout: float = 120,
        *,
        sock: socket.socket | None = None,
        unix_path: str | os.PathLike[str] | None = None,
        reuse_port: bool = False,
        runtime: Runtime | None = None,
        **options: Unpack[ServerKeywords],
    ) -> None:
        if loop is not None and not hasattr(loop, "run_until_complete"):
            raise TypeError(
                f"loop is an event loop that does not run yet, not {loop!r}: give it"
                " loop=asyncio.new_event_loop(), or none at all"
            )
        self.addr = addr
        self.certs = certs
        self.loop = loop
        self.timeout = timeout
        self.clients = Clients()
        self._options = ServerOptions(timeout=timeout, **options)
        self._address = Address(
            host=addr,
            port=port,
            tls=server_context(certs),
            sock=sock,
            unix_path=unix_path,
            reuse_port=reuse_port,
            handshake_timeout=self._options.open_timeout,
        )
        self._handshake = ServerHandshake(
            subprotocols=self._options.subprotocols,
            origins=self._options.origins,
            extensions=self._options.extensions(),
        )
        self._given_runtime = runtime
        self._runtime: Runtime | None = None
        self._group: AbstractAsyncContextManager[Any]  # where the connections' tasks live
        self._listener: Listener | None = None
        self._block: Block | None = None
        self._on_connection: Callable[[Client], Awaitable[object]] | None = None
        self._sessions: set[Session] = set()
        self._refused: set[Session] = set()  # told 503, not gone yet
        self._all_gone: Signal | None = None
        self._numbers = itertools.count(1)

    @property
    def port(self) -> int:
        """The port: while it listens the real one, else as it was given."""
        return self._address.port if self._listener is None else self._listener.address()[1]

    def connection(self, callback: ConnectionCallback) -> ConnectionCallback:
        """Register `async def on_connection(client)`, called for each new connection.

        Register the client's own callbacks in it. Returns the function. Raises TypeError for
        what is not `async def`.
        """
        self._on_connection = checked_callback(callback, "on_connection")
        return callback

    async def disconnect_client(
        self, client: Client, code: int = Reasons.NORMAL, reason: str = ""
    ) -> None:
        """Close a client and wait until that is done: as `Client.close`, errors included."""
        await client.close(code, reason)

    # Inside a running loop.

    async def __aenter__(self) -> Any:
        """Listen; gives what the loop calls a server (asyncio.Server). Raises OSError."""
        if self._runtime is not None:
            raise RuntimeError("this server listens already: make another for another block")
        self._runtime = runtime = self._given_runtime or running()
        self._group = runtime.task_group()
        group = await self._group.__aenter__()
        try:
            self._listener = await runtime.listen(
                self._address, lambda: self._make_session(runtime), group
            )
        except BaseException:
            self._runtime = None
            await self._group.__aexit__(None, None, None)
            raise
        return self._listener.server

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Accept no more, close every client with 1001, wait for them, for a bounded time."""
        listener, self._listener = self._listener, None
        runtime = self._runtime
        if listener is None or runtime is None:
            raise _does_not_listen()
        try:
            with runtime.shield():
                await self._close(listener)
        finally:
            for session in self._left():
                session.abandon()
            await self._group.__aexit__(None, None, None)
            self._runtime = None
        if kind is None and runtime.checkpoints:
            await runtime.checkpoint()

    async def serve_forever(self) -> None:
        """Listen until cancelled, then close every client with 1001. Raises OSError."""
        await self.serve()

    async def serve(self, *, task_status: Any = None) -> None:
        """Serve as `serve_forever` does; `await nursery.start(server.serve)` waits until it listens.

        It gives what `async with` gives, by way of `task_status`, a nursery's. Raises OSError.
        """
        async with self as listener:
            if task_status is not None:
                task_status.started(listener)
            await self._running_runtime().signal().wait()

    # From outside of a loop.

    def __enter__(self) -> Any:
        """Listen, on a loop that this block drives; gives the asyncio.Server.

        Raises RuntimeError inside a running loop: `async with` is the form there.
        """
        entered = block(self)
        listener = entered.enter()
        self._block = entered
        return listener

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close every client with 1001, then the server."""
        left, self._block = self._block, None
        if left is None:
            raise _does_not_listen()
        return left.exit(error)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM: all that a plain script needs.

        Raises OSError where it cannot listen, RuntimeError inside a running loop.
        """
        with self:
            assert self._block is not None
            self._block.run_forever()

    # As the owner of sessions.

    def connected(self, session: Session) -> None:
        """A byte stream stands."""
        most = self._options.max_connections
        if self._listener is not None and (most is None or len(self._sessions) < most):
            self._sessions.add(session)
        else:
            self._refused.add(session)
            session.log("refused with 503: the server is full or closing")
            self._reject(session, Response(503, _RETRY_LATER, "the server is full\n"))

    def handshake(self, session: Session, event: Event) -> None:
        """A request wants an answer, or what came is none."""
        if isinstance(event, HandshakeFailed):
            # A port scan, a health check, a connection held ready: that is no garbage.
            core = session.core
            level = logging.INFO if core.input_ended or core.silent else logging.WARNING
            logger.log(level, "%s: no handshake: %s", session, event.reason)
            session.pipe.cancel()  # a process_request that nobody waits for any more
            return
        assert isinstance(event, RequestReceived)
        request = event.request
        process = self._options.process_request
        if process is None:
            self._answer(session, request, None)
            return
        try:
            answer = process(request)
        except Exception as error:  # noqa: BLE001  # whatever a callback raises
            self._answer(session, request, _failure(session, error))
            return
        if inspect.isawaitable(answer):
            session.hold_for_answer()
            session.start(self._answer_later(session, request, answer))
        else:
            self._answer(session, request, answer)

    async def _set_up(self, session: Session, client: Client) -> None:
        """A client is connected: set it up."""
        try:
            if self._on_connection is not None:
                await self._on_connection(client)
        except Exception as error:  # noqa: BLE001  # whatever a callback raises
            session.callback_failed("on_connection", error)
        finally:
            session.setting_up = False
            session.is_set_up()
            session.inbox.set_up()
            session.task_done()

    def entered(self, client: Client) -> None:
        """A client's set-up is over."""
        self.clients.enter(client)

    def left(self, client: Client) -> None:
        """A client's state has left OPEN."""
        self.clients.leave(client)

    def gone(self, session: Session) -> None:
        """Nothing is left of a connection."""
        self._sessions.discard(session)
        self._refused.discard(session)
        if self._all_gone is not None and not self._left():
            self._all_gone.set()

    # Inside.

    def _left(self) -> tuple[Session, ...]:
        """All connections, in whichever state."""
        return (*self._sessions, *self._refused)

    def _running_runtime(self) -> Runtime:
        assert self._runtime is not None
        return self._runtime

    def _new_core(self) -> ServerConnection:
        options = self._options
        return ServerConnection(
            handshake=self._handshake.anew(),  # 3.5 us less than to check them again
            max_message_size=options.max_message_size,
            open_timeout=options.open_timeout,
            close_timeout=options.close_timeout,
            timeout=options.timeout,
        )

    def _make_session(self, runtime: Runtime) -> Session:
        return Session(self._new_core(), runtime, self._options, self)

    async def _answer_later(
        self, session: Session, request: Request, answer: Awaitable[Response | None]
    ) -> None:
        try:
            try:
                response = await answer
            except Exception as error:  # noqa: BLE001  # whatever a callback raises
                response = _failure(session, error)
            self._answer(session, request, response)
        finally:
            session.task_done()

    def _answer(self, session: Session, request: Request, response: Response | None) -> None:
        if response is not None and not isinstance(response, Response):
            response = _failure(
                session,
                TypeError(f"process_request returns None or a Response, not {response!r}"),
            )
        if session.core.state is not State.CONNECTING:
            return  # it was given up meanwhile
        if response is None and request.is_upgrade:
            self._accept(session, request)
            return
        if response is None:
            logger.info("%s: no handshake: no WebSocket is asked for, so it is a 426", session)
        try:
            self._reject(session, response or upgrade_required())
        except ValueError as error:  # a 1xx: the core refuses it, and nothing was sent
            self._reject(session, _failure(session, error))

    def _accept(self, session: Session, request: Request) -> None:
        subprotocol = _server_core(session).accept(now=session.runtime.now())
        peer = peer_name(session.pipe)
        addr, port = peer or (str(self._address.unix_path or ""), next(self._numbers))
        client = Client(session, request, subprotocol, addr, port)
        session.open(client)
        session.start(self._set_up(session, client))
        session.answered()

    def _reject(self, session: Session, response: Response) -> None:
        _server_core(session).reject(response, session.runtime.now())
        session.settle()
        session.answered()

    def _go_away(self, session: Session) -> None:
        """The server ends: so does the connection, whatever it is at."""
        if session.core.state is State.CONNECTING:
            session.pipe.cancel()  # a process_request that nobody waits for any more
            if session.core.silent:  # browsers hold connections ready that they never use
                session.pipe.abort()
            else:
                self._reject(session, Response(503, _RETRY_LATER, "the server is going away\n"))
        elif session.core.state is State.OPEN:
            session.fail(Reasons.GOING_AWAY, "")

    async def _close(self, listener: Listener) -> None:
        """Accept no more, close every client and wait for them: for a bounded time."""
        await listener.close()
        for session in self._left():
            self._go_away(session)
        try:
            await self._wait_for_all()
        finally:
            for session in self._left():
                session.abandon()
        await self._wait_for_all()

    async def _wait_for_all(self) -> None:
        """Wait until no connection is left, but not for longer than `close_timeout`."""
        if not self._left():
            return
        self._all_gone = self._running_runtime().signal()
        await wait_for(self._running_runtime(), self._all_gone, self._options.close_timeout)
        self._all_gone = None


_RETRY_LATER = {"Retry-After": "1"}


def _server_core(session: Session) -> ServerConnection:
    assert isinstance(session.core, ServerConnection)
    return session.core


def _does_not_listen() -> RuntimeError:
    return RuntimeError("this server does not listen: enter the block first")


def _failure(session: Session, error: Exception) -> Response:
    logger.error("%s: process_request raised", session, exc_info=error)
    return Response(500, {"Content-Type": "text/plain"}, "the server failed to answer\n")
