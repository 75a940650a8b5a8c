"""The server: where it listens and how it is run."""

import math
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack, cast

from wscore import Reasons

from .acceptor import Acceptor
from .address import Address
from .certs import Certs, server_context
from .client import Client, checked_callback
from .clients import Clients
from .listening_server import ListeningServer
from .options import ServerKeywords, ServerOptions
from .parts import Part
from .runtime import (
    Listener,
    Runner,
    Runtime,
    block,
    check_none_runs,
    checkpoint,
    default_runner,
    running,
)
from .workers.supervise import supervise
from .workers.worker import inherited, work

# Seconds for what a worker's program does after it has served; then it is killed.
RUNNER_TIME = 10.0

_DOES_NOT_LISTEN = "this server does not listen: enter the block first"

ConnectionCallback = TypeVar("ConnectionCallback", bound=Callable[[Client], Awaitable[object]])


class WebSocketServer:
    """A WebSocket server (RFC 6455).

    Register `on_connection` with `@server.connection`. Then run the server: with `with server:`
    in a script, with `async with server:` or `await server.serve_forever()` inside a running
    loop, or with `server.run()`.

    Arguments:
        `addr`: the host name or address to listen on; None for every interface.
        `port`: the port to listen on; 0 for a free one.
        `certs`: (certfile, keyfile) or an ssl.SSLContext, for wss; None for ws.
        `loop`: the asyncio loop that the `with` form drives; it must not be running yet.
        `timeout`: seconds of silence after which a client is dropped; it gets a ping after half of
            them. A client that accepts none of the bytes waiting for it is dropped after the same
            time; 0 for never.
        `sock`: a stream socket to listen on instead of `addr` and `port`.
        `unix_path`: the path of a Unix socket to listen on instead of `addr` and `port`.
        `reuse_port`: whether other processes may listen on the same port (SO_REUSEPORT).
        `notsent_lowat`: the unsent bytes of one client that the kernel holds (TCP_NOTSENT_LOWAT);
            None for the kernel's own limit, which is megabytes.
        `backlog`: the most connections that wait to be accepted (4096); the system may allow fewer
            (on Linux net.core.somaxconn). A `sock` that listens already keeps its own.
        `runtime`: the adapter to run on; None for that of the running loop.
        `subprotocols`: the subprotocols supported, in order of preference; or a function, async or
            not, that takes the client's offers and the `Request`, and returns one offer or None.
        `compression`: "deflate", a `Deflate` with other settings (RFC 7692), or None.
        `origins`: the origins accepted, None for all; a None in the list accepts clients that
            send no Origin header (RFC 6455 section 10.2).
        `max_message_size`: the longest message accepted, in bytes (1 MiB); None for no limit.
        `read_limit`: the unread bytes of one client above which reading pauses (64 KiB).
        `write_limit`: the unsent bytes to one client above which senders wait (64 KiB).
        `open_timeout`: seconds that the opening handshake may take (10); 0 for no limit.
        `close_timeout`: seconds that each step of the closing handshake may take (10); 0 for no
            limit.
        `shutdown_timeout`: seconds that the end of the block gives clients and callbacks (5); 0
            for no limit.
        `max_connections`: the most connections at a time; others are answered with 503. None
            for no limit.
        `max_connections_per_address`: the most of one IPv4 address or IPv6 network (/64); others
            are answered with 503. None for no limit.
        `max_messages_per_second`, `max_pings_per_second`, `max_bytes_per_second`: what one client
            may send in a second, and at once; None for no limit.
        `rate_policy`: "pause" stops reading for a while from a client that sends more; "close"
            closes it with 1008.
        `max_head_size`: the longest head of a request, in bytes (32 KiB); a longer one is
            answered with 431.
        `max_head_fields`: the most header lines of a request (128).
        `process_request`: a function, async or not, called with each `Request`; it returns None
            or an `Accept` to accept the request, or the `Response` to reject it with.
        `basic_auth`: the credentials that may connect (RFC 7617): a pair (username, password), a
            list of pairs, or a function of both, async or not. Other requests get a 401.
        `realm`: what `basic_auth` protects, as browsers show it.
        `concurrent_messages`: how many on_message callbacks of one client may overlap (1).
        `instruments`: a list of `Instrument` objects, such as `Statistics`, which count or trace
            connections and messages.
        `logger`: the logging.Logger or LoggerAdapter that gets the log lines of this server; None
            for the logger `wstransports`.

    `clients` maps `(client.addr, client.port)` to each connected client. While a `with` block
    is active, `loop` is its loop.

    Raises TypeError, ValueError or FileNotFoundError for invalid arguments.
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
        backlog: int = 4096,
        notsent_lowat: int | None = None,
        runtime: Runtime | None = None,
        **options: Unpack[ServerKeywords],
    ) -> None:
        if loop is not None and not hasattr(loop, "run_until_complete"):
            raise TypeError(
                f"loop must be an event loop, not {loop!r}: pass asyncio.new_event_loop(), or leave"
                " it out"
            )
        self.addr: str | None = addr
        self.certs: Certs | None = certs
        self.loop: Any = loop
        self.timeout: float = timeout
        self.clients: Clients = Clients()
        self._options = ServerOptions(timeout=timeout, **options)
        self._address = Address(
            host=addr,
            port=port,
            tls=server_context(certs),
            sock=sock,
            unix_path=unix_path,
            reuse_port=reuse_port,
            backlog=backlog,
            notsent_lowat=notsent_lowat,
            handshake_timeout=self._options.open_timeout,
            logger=self._options.logger,
        )
        self._acceptor = Acceptor(self._options, self.clients, str(unix_path or ""))
        self._given_runtime = runtime
        self._runtime: Runtime | None = None
        self._group: AbstractAsyncContextManager[Any]  # runs the connections' tasks
        self._listener: Listener | None = None
        self._block: AbstractContextManager[Any] | None = None

    @property
    def port(self) -> int:
        """The port listened on; before and after that, `port` as it was passed."""
        listener = self._listener
        return (
            self._address.port
            if listener is None or not listener.is_serving()
            else listener.address()[1]
        )

    def connection(self, callback: ConnectionCallback) -> ConnectionCallback:
        """Register `async def on_connection(client)`, called for each new connection.

        Register the client's callbacks in it. Returns `callback`. Raises TypeError unless
        `callback` is `async def`.
        """
        self._acceptor.on_connection = checked_callback(callback, "on_connection")
        return callback

    async def disconnect_client(
        self, client: Client, code: int = Reasons.NORMAL, reason: str = ""
    ) -> None:
        """Close `client` as `Client.close` does; it raises the same errors."""
        await client.close(code, reason)

    async def drain(self, seconds: float) -> None:
        """Accept no more connections, end those that are open, and return when all are over.

        It stops listening at once. It closes idle clients with 1012 (service restart), one after
        another over `seconds`, and the others with 1001 after that, as the end of the block does. A
        client is idle while no callback or `receive()` loop handles one of its messages, and no
        fragmented message is being sent to it.

        Call it in the server's block, but not in a callback, because it waits for callbacks. If the
        block ends without an error meanwhile, its end waits for the drain. If the call is
        cancelled, the remaining clients stay connected. Of two calls at a time, the shorter time
        counts. Raises RuntimeError if the server does not listen, ValueError unless `seconds` is a
        duration.
        """
        _check_drain(seconds)
        if self._listener is None or self._runtime is None:
            raise RuntimeError(_DOES_NOT_LISTEN)
        runtime = self._runtime
        await self._acceptor.drain(self._listener, runtime, seconds)
        await checkpoint(runtime)

    def _attach(self, part: Part) -> None:
        """Open and close `part` with the server. Raises RuntimeError if the server listens."""
        if self._runtime is not None:
            raise RuntimeError("this server listens already: create its rooms before its block")
        self._acceptor.parts.add(part)

    # Inside a running loop.

    async def __aenter__(self) -> ListeningServer:
        """Start listening; returns the listener, which has the methods of asyncio.Server.

        Raises OSError if it cannot listen, or if its rooms cannot reach their broker; RuntimeError
        if it is listening already.
        """
        if self._runtime is not None:
            raise RuntimeError("this server listens already: create another one for another block")
        self._runtime = runtime = self._given_runtime or running()
        self._group = runtime.task_group()
        group = await self._group.__aenter__()
        parts = self._acceptor.parts
        try:
            await parts.open(runtime, group)
            make_session = self._acceptor.open(runtime)
            self._listener = await runtime.listen(self._address, make_session, group)
        except BaseException:
            self._runtime = None
            with runtime.shield():
                await parts.close()
            await self._group.__aexit__(None, None, None)
            raise
        return cast(ListeningServer, self._listener)  # all adapters of ours have its methods

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, close every client with 1001, and wait for them for a bounded time.

        After a block without an error, wait for a `drain` first.
        """
        listener, self._listener = self._listener, None
        runtime = self._runtime
        if listener is None or runtime is None:
            raise RuntimeError(_DOES_NOT_LISTEN)
        try:
            if kind is None:
                await self._acceptor.drained()
        finally:
            try:
                with runtime.shield():
                    try:
                        await self._acceptor.close(listener, runtime)
                    finally:
                        await self._acceptor.parts.close()
            finally:
                await self._group.__aexit__(None, None, None)
                self._runtime = None
        if kind is None:
            await checkpoint(runtime)

    async def serve_forever(self, *, signals: bool = False) -> None:
        """Serve until cancelled, then close every client with 1001.

        With `signals`, it also ends and returns at SIGINT and SIGTERM; a second signal interrupts
        at once. Raises OSError if it cannot listen, RuntimeError if it is listening already, or
        outside the main thread with `signals`.
        """
        await self.serve(signals=signals)

    async def serve(self, *, signals: bool = False, task_status: Any = None) -> None:
        """Serve as `serve_forever` does, for `await nursery.start(server.serve)`.

        Once it listens, it passes what `async with` returns to `task_status.started`. Raises
        OSError if it cannot listen.
        """
        loop = running()
        stop = (self._given_runtime or loop).signal()
        with loop.stop_signals(stop.set) if signals else nullcontext():
            async with self as listener:
                if task_status is not None:
                    task_status.started(listener)
                await stop.wait()

    # Outside a loop.

    def __enter__(self) -> ListeningServer:
        """Start listening on a loop that this block drives; returns the listener.

        Raises RuntimeError inside a running loop: use `async with` there.
        """
        entered = block(self)
        listener: ListeningServer = entered.__enter__()
        self._block = entered
        return listener

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Stop listening, close every client with 1001, and leave the loop."""
        left, self._block = self._block, None
        if left is None:
            raise RuntimeError(_DOES_NOT_LISTEN)
        return bool(left.__exit__(kind, error, traceback))

    def run(
        self, *, workers: int | None = None, drain: float = 0, runner: Runner | None = None
    ) -> None:
        """Serve until SIGINT or SIGTERM; a second one interrupts at once.

        Arguments:
            `workers`: how many processes serve at one address; None for this one alone. Each is
                this program, started again from its first line. SIGHUP replaces all of them.
            `drain`: the seconds over which clients leave before the end, as in `drain`; 0 to close
                them all at once.
            `runner`: what runs the event loop: a function, such as `trio.run`, that is called with
                an async function, which serves; None for asyncio. `uvloop.run` takes a coroutine:
                pass `lambda serve: uvloop.run(serve())`.

        Returns when all clients and workers have ended. Raises OSError if it cannot listen;
        RuntimeError inside a running loop, or if no worker comes to serve; with `workers` also
        outside the main thread, elsewhere than on POSIX, and if the program was typed or piped
        into Python. Raises ValueError or TypeError for invalid arguments, such as `workers` for a
        server with `loop` or `runtime`.
        """
        _check_drain(drain)
        own = self.loop is not None or self._given_runtime is not None
        if own and (workers is not None or runner is not None):
            raise ValueError("workers and runner make loops: leave loop and runtime out")
        if runner is not None and not callable(runner):
            raise TypeError(f"runner must be a function such as trio.run, or None, not {runner!r}")
        if workers is not None:
            self._run_workers(workers, drain, runner)
        elif runner is not None:
            runner(partial(self._serve_and_drain, drain))
        else:
            with self:
                self.loop.run_forever()
                if drain:
                    self.loop.run_until_complete(self.drain(drain))

    def _run_workers(self, workers: int, drain: float, runner: Runner | None) -> None:
        if not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers must be an int of at least 1 or None, not {workers!r}")
        check_none_runs()
        inheritance = inherited(self._address)
        if inheritance is None:
            leave_time = self._acceptor.leave_time(drain) + RUNNER_TIME
            supervise(self._address, workers, leave_time)
            return
        self._address = inheritance.listens
        supervisor = inheritance.supervisor
        runner = runner or default_runner()
        runner(partial(work, self, self._acceptor, supervisor, drain))

    async def _serve_and_drain(self, seconds: float) -> None:
        async with self as listener:
            await listener.serve_forever(signals=True)
            if seconds:
                await self.drain(seconds)


def _check_drain(seconds: float) -> None:
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ValueError(f"drain takes a number of seconds, 0 or more, not {seconds!r}")
