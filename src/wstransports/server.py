"""The server: where it listens, how it is run, who is connected."""

import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, Unpack

from wscore import Reasons

from .acceptor import Acceptor
from .client import Client, checked_callback
from .clients import Clients
from .options import Address, Certs, ServerKeywords, ServerOptions, server_context
from .runtime import Block, Listener, Runtime, block, checkpoint, running

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
        self._acceptor = Acceptor(self._options, self.clients, str(unix_path or ""))
        self._given_runtime = runtime
        self._runtime: Runtime | None = None
        self._group: AbstractAsyncContextManager[Any]  # where the connections' tasks live
        self._listener: Listener | None = None
        self._block: Block | None = None

    @property
    def port(self) -> int:
        """The port: while it listens the real one, else as it was given."""
        return self._address.port if self._listener is None else self._listener.address()[1]

    def connection(self, callback: ConnectionCallback) -> ConnectionCallback:
        """Register `async def on_connection(client)`, called for each new connection.

        Register the client's own callbacks in it. Returns the function. Raises TypeError for
        what is not `async def`.
        """
        self._acceptor.on_connection = checked_callback(callback, "on_connection")
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
            make_session = self._acceptor.open(runtime)
            self._listener = await runtime.listen(self._address, make_session, group)
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
                await self._acceptor.close(listener, runtime)
        finally:
            self._acceptor.abort()
            await self._group.__aexit__(None, None, None)
            self._runtime = None
        if kind is None:
            await checkpoint(runtime)

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
            assert self._runtime is not None
            await self._runtime.signal().wait()

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


def _does_not_listen() -> RuntimeError:
    return RuntimeError("this server does not listen: enter the block first")
