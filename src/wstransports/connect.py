"""Outgoing connections: `async with connect("wss://...") as client`."""

import inspect
import os
import socket
import ssl as tls
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from types import TracebackType
from typing import Any, Unpack

from wscore import Headers, Response
from wscore.headers import HeaderFields

from .client import Client
from .connecting.attempt import Attempt
from .connecting.backoff import Delays, backoff, checked_delays
from .connecting.reconnection import Connections, Reconnection, worth_retrying
from .connecting.request import RequestHeaders, Requests
from .connecting.route import Route
from .connecting.uri import URI
from .connecting.user_agent import USER_AGENT
from .errors import HandshakeError
from .options import ConnectionKeywords, ConnectionOptions
from .runtime import Runtime, running

# Browsers follow 20 redirects, but WebSocket servers rarely need more than one.
MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)


class connect:  # lower case: it is used like a function
    """Connect to a WebSocket server (RFC 6455): `async with connect("wss://host/path") as client`.

    `async with` connects, and returns the `Client`. The end of the block closes the connection with
    1000 and waits for that, for a limited time.

    `client = await connect(...)` has no block: call `client.close()`. On trio the connection runs
    in system tasks, which the end of `trio.run` cancels.

    `async for client in connect(...)` connects again and again. It closes a connection when the
    loop asks for the next one, or ends. It waits between connections, and after each failure that
    `retry` accepts. The waits grow until a connection has lasted, and are never shorter than the
    server's Retry-After. It raises any other failure.

    Arguments:
        `uri`: a ws: or wss: address (RFC 6455 section 3). A user and password in it are sent in
            an Authorization header.
        `host`, `port`: what to dial instead of the host and port of `uri`, which stay in the
            request and in the check of the certificate.
        `local_addr`: the IP address and port to connect from; port 0 for any.
        `headers`: more header fields of the request, such as a Cookie; or a function, which may be
            `async def`, that returns them for each attempt, such as one with a fresh token. Its
            argument counts the attempts from 1. A Host in it replaces that of `uri`.
        `origin`: the value of the Origin header; None for no header.
        `user_agent_header`: the value of the User-Agent header, unless `headers` has one; None for
            no header.
        `ssl`: the ssl.SSLContext for wss; None for one that verifies the server.
        `server_hostname`: the host name that the server's certificate must match; None for the
            host of `uri`.
        `sock`: a connected stream socket to use. The connection takes it over: this object is
            closed at once, the socket with the connection.
        `unix_path`: the path of a Unix socket to connect to instead of the host of `uri`.
        `proxy`: a proxy's URL (http, https, or socks4 and socks5, which need the extra `proxy`);
            True for the environment's proxy, which is never used for loopback; None for no proxy.
        `proxy_ssl`: the ssl.SSLContext for an https proxy; None for one that verifies it.
        `max_redirects`: how many redirects to follow, never from wss to ws. Credentials and
            cookies are sent to the origin of `uri` only.
        `retry`: a function that decides whether `async for` tries again after an exception.
        `delays`: how many seconds `async for` waits before each attempt: a list, or a function that
            returns an iterable, such as `backoff`. They start over once a connection has lasted
            10 s. When they end, the last failure is raised.
        `runtime`: the adapter to run on; None for that of the running loop.
        `subprotocols`: the subprotocols offered, in order of preference.
        `timeout`, `compression`, `max_message_size`, `read_limit`, `write_limit`, `open_timeout`,
            `close_timeout`, `concurrent_messages`, `max_head_size`, `max_head_fields`,
            `instruments`, `logger`: as for `WebSocketServer`. `open_timeout` includes redirects.
            These and `subprotocols` are the `ConnectionKeywords`.

    Raises TypeError or ValueError for invalid arguments.

    Connecting raises OSError if there is no connection (TimeoutError after `open_timeout`
    seconds) and HandshakeError if the server refuses; both name the host and the cause. It
    raises ImportError for a SOCKS proxy if python-socks is not installed, and ValueError if the
    environment's proxy is not a valid URL.
    """

    def __init__(
        self,
        uri: str,
        *,
        host: str | None = None,
        port: int | None = None,
        local_addr: tuple[str, int] | None = None,
        headers: HeaderFields | RequestHeaders = (),
        origin: str | None = None,
        user_agent_header: str | None = USER_AGENT,
        ssl: tls.SSLContext | None = None,
        server_hostname: str | None = None,
        sock: socket.socket | None = None,
        unix_path: str | os.PathLike[str] | None = None,
        proxy: str | bool | None = True,
        proxy_ssl: tls.SSLContext | None = None,
        max_redirects: int = MAX_REDIRECTS,
        retry: Callable[[Exception], bool] = worth_retrying,
        delays: Delays = backoff,
        runtime: Runtime | None = None,
        **options: Unpack[ConnectionKeywords],
    ) -> None:
        self._uri = URI.parse(uri)
        self._route = Route(
            self._uri,
            host,
            port,
            local_addr,
            sock,
            unix_path,
            proxy,
            ssl,
            server_hostname,
            proxy_ssl,
        )
        self._options = ConnectionOptions(**options)
        self._requests = Requests(self._uri, headers, origin, user_agent_header, self._options)
        self._max_redirects = max_redirects
        self._retry = retry
        self._delays = checked_delays(delays)
        self._runtime = runtime
        self._entered = False
        self._attempt: Attempt | None = None
        self._group: AbstractAsyncContextManager[Any]  # runs the connection's tasks
        if not isinstance(max_redirects, int) or max_redirects < 0:
            raise ValueError(f"max_redirects must be 0 or more, not {max_redirects!r}")
        if not callable(retry) or inspect.iscoroutinefunction(retry):
            raise TypeError(f"retry must be a plain function, not {retry!r}")

    def __await__(self) -> Generator[Any, Any, Client]:
        """Connect, without a block: the caller closes the client."""
        return self._open_unowned().__await__()

    async def _open_unowned(self) -> Client:
        attempt, client = await self._open(self._runtime or running(), None)
        await attempt.end_with_loop()
        return client

    async def __aenter__(self) -> Client:
        """Connect. Raises what the class says, and RuntimeError if it is entered already."""
        if self._entered:
            raise RuntimeError("this connect() is entered already: create another one")
        self._entered = True
        runtime = self._runtime or running()
        self._group = runtime.task_group()
        group = await self._group.__aenter__()
        try:
            self._attempt, client = await self._open(runtime, group)
        except BaseException:
            self._entered = False
            await self._group.__aexit__(None, None, None)
            raise
        return client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection and wait until it and its tasks have ended, for a bounded time."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            raise RuntimeError("this connect() is not entered: use `async with`")
        self._entered = False
        try:
            await attempt.close()
        finally:
            await self._group.__aexit__(None, None, None)

    def __aiter__(self) -> Reconnection:
        """Connect again and again. Raises ValueError if `sock` was given."""
        if self._route.sock is not None:
            raise ValueError("a socket serves one connection only: leave sock out of `async for`")
        runtime = self._runtime or running()
        return Reconnection(
            Connections(
                self._uri,
                lambda number: self._open(runtime, None, number),
                self._retry,
                self._delays,
                runtime,
                self._options.logger,
            )
        )

    async def _open(self, runtime: Runtime, group: Any, number: int = 1) -> tuple[Attempt, Client]:
        """Connect and follow redirects, within `open_timeout` seconds."""
        seconds = self._options.open_timeout
        until = runtime.now() + seconds if seconds else None
        uri, left = self._uri, self._max_redirects
        headers: Headers | None = None
        while True:
            try:
                async with nullcontext() if until is None else runtime.timeout_at(until):
                    headers = headers or await self._requests.headers(number)
                    address = await self._route.address(uri, runtime, seconds)
                    proxy_tls = await self._route.proxy_context(address, runtime)
                attempt = Attempt(uri, address, runtime, self._options, proxy_tls)
                client = await attempt.open(self._requests.core(uri, headers), until, group)
            except TimeoutError as error:
                if error.errno is not None:  # raised by the operating system
                    raise
                raise TimeoutError(f"opening {self._uri} took longer than {seconds:g} s") from None
            if client is not None:
                return attempt, client
            assert attempt.refusal is not None
            uri = self._redirected(uri, attempt.refusal, left)
            left -= 1

    def _redirected(self, uri: URI, response: Response, left: int) -> URI:
        """The address that a refusal redirects to. Raises HandshakeError for any other refusal."""
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or location is None:
            raise HandshakeError(f"{uri} refused with {_status(response)}", response)
        if not left:
            raise HandshakeError(
                f"{self._uri} redirects more than {self._max_redirects} times", response
            )
        try:
            target = uri.redirected(location)
            self._route.check_redirect(target)
        except ValueError as error:
            raise HandshakeError(f"{uri}: {error}", response) from None
        return target


def _status(response: Response) -> str:
    """A status code with its phrase."""
    try:
        return f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return f"{response.status}"
