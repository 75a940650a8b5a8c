"""Outgoing connections: `async with connect("wss://...") as client`."""

import inspect
import os
import socket
import ssl as tls
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from types import TracebackType
from typing import Any, Unpack

from wscore import ClientConnection, Headers, Response
from wscore.headers import HeaderFields

from .address import Address
from .client import Client
from .connecting.attempt import Attempt
from .connecting.backoff import Delays, backoff, checked_delays
from .connecting.proxy import checked_proxy, environment_proxy
from .connecting.reconnection import Connections, Reconnection, worth_retrying
from .connecting.uri import URI
from .connecting.user_agent import USER_AGENT
from .errors import HandshakeError
from .options import ConnectionKeywords, ConnectionOptions
from .runtime import Runtime, running
from .tls import default_context, kept_default_context

# Browsers follow 20 redirects, but WebSocket servers rarely need more than one.
MAX_REDIRECTS = 5

_REDIRECTS = (301, 302, 303, 307, 308)

# Headers that other origins must not get.
_SECRET = ("authorization", "cookie", "proxy-authorization")

RequestHeaders = Callable[[int], HeaderFields | Awaitable[HeaderFields]]


class connect:  # lower case: it is used like a function
    """Connect to a WebSocket server (RFC 6455): `async with connect("wss://host/path") as client`.

    `async with` connects, and gives the `Client`. Its end closes the connection with 1000 and
    waits for that, for a bounded time.

    `async for client in connect(...)` connects again and again. It closes a connection when the
    loop asks for the next one, or ends. Between connections, and after each failure that `retry`
    accepts, it waits: longer each time, until a connection has lasted, and at least as long as a
    Retry-After of the server asks for. It raises any other failure.

    Arguments:
        `uri`: a ws: or wss: address (RFC 6455 section 3). A user and password in it are sent in
            an Authorization header.
        `headers`: more header fields of the request, such as a Cookie; or a function, which may be
            `async def`, that returns them for each attempt, such as one with a fresh token. Its
            argument counts the attempts from 1.
        `origin`: the value of the Origin header; None for no header.
        `user_agent_header`: the value of the User-Agent header, unless `headers` has one; None for
            no header.
        `ssl`: the ssl.SSLContext for wss; None for one that verifies the server.
        `server_hostname`: the host name that the server's certificate must match; None for the
            host of `uri`.
        `sock`: a connected stream socket to use. The connection owns and closes it.
        `unix_path`: the path of a Unix socket to connect to instead of the host of `uri`.
        `proxy`: a proxy's URL (http, socks4 or socks5; needs the extra `proxy`); True for the
            environment's proxy, which is never used for loopback; None for no proxy.
        `max_redirects`: how many redirects to follow, never from wss to ws. Credentials and
            cookies are sent to the origin of `uri` only.
        `retry`: a function that decides whether `async for` tries again after an exception.
        `delays`: how many seconds `async for` waits before each attempt: a list, or a function that
            returns an iterable, such as `backoff`. They start over once a connection has lasted
            10 s. When they end, the last failure is raised.
        `runtime`: the adapter to run on; None for that of the running loop.
        `subprotocols`: the subprotocols offered, in order of preference.
        `timeout`, `compression`, `max_message_size`, `read_limit`, `open_timeout`,
            `close_timeout`, `concurrent_messages`, `max_head_size`, `max_head_fields`: as for
            `WebSocketServer`. The seconds of `open_timeout` include redirects.

    Raises TypeError or ValueError for invalid arguments.

    Connecting raises OSError if there is no connection (TimeoutError after `open_timeout`
    seconds) and HandshakeError if the server refuses; both name the host and the cause. It
    raises ImportError if a proxy is needed and python-socks is not installed, and ValueError
    if the environment's proxy is not a valid URL.
    """

    def __init__(
        self,
        uri: str,
        *,
        headers: HeaderFields | RequestHeaders = (),
        origin: str | None = None,
        user_agent_header: str | None = USER_AGENT,
        ssl: tls.SSLContext | None = None,
        server_hostname: str | None = None,
        sock: socket.socket | None = None,
        unix_path: str | os.PathLike[str] | None = None,
        proxy: str | bool | None = True,
        max_redirects: int = MAX_REDIRECTS,
        retry: Callable[[Exception], bool] = worth_retrying,
        delays: Delays = backoff,
        runtime: Runtime | None = None,
        **options: Unpack[ConnectionKeywords],
    ) -> None:
        self._uri = URI.parse(uri)
        self._headers = headers if callable(headers) else Headers(headers)
        self._origin = origin
        self._user_agent = user_agent_header
        self._ssl = ssl
        self._server_hostname = server_hostname
        self._sock = sock
        self._unix_path = unix_path
        self._proxy = proxy if isinstance(proxy, bool | None) else checked_proxy(proxy)
        self._max_redirects = max_redirects
        self._retry = retry
        self._delays = checked_delays(delays)
        self._runtime = runtime
        self._options = ConnectionOptions(**options)
        self._entered = False
        self._attempt: Attempt | None = None
        self._group: AbstractAsyncContextManager[Any]  # runs the connection's tasks
        self._check()

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
        if self._sock is not None:
            raise ValueError("a socket serves one connection only: leave sock out of `async for`")
        runtime = self._runtime or running()
        return Reconnection(
            Connections(
                self._uri,
                lambda number: self._open(runtime, None, number),
                self._retry,
                self._delays,
                runtime,
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
                context = await self._context_of(uri, runtime, until)
                attempt = Attempt(uri, self._address(uri, context), runtime, self._options)
                if headers is None:
                    headers = await self._headers_of(number, runtime, until)
                client = await attempt.open(self._new_core(uri, headers), until, group)
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
        except ValueError as error:
            raise HandshakeError(f"{uri}: {error}", response) from None
        if self._sock is not None or (self._unix_path is not None and target.origin != uri.origin):
            raise HandshakeError(
                f"{uri} redirects to {target}, and the given socket does not lead there", response
            )
        return target

    async def _headers_of(self, number: int, runtime: Runtime, until: float | None) -> Headers:
        """The header fields of an attempt, within the time of `open_timeout`."""
        if not callable(self._headers):
            return self._complete(self._headers)
        async with nullcontext() if until is None else runtime.timeout_at(until):
            fields = self._headers(number)
            return self._complete(await fields if isinstance(fields, Awaitable) else fields)

    def _complete(self, fields: HeaderFields) -> Headers:
        """The caller's header fields and ours. Raises ValueError if credentials are given twice."""
        headers = Headers(fields)
        if self._uri.user is not None and "Authorization" in headers:
            raise ValueError("the address has a user, headers an Authorization: remove one")
        if self._user_agent is None or "User-Agent" in headers:
            return headers
        return Headers([("User-Agent", self._user_agent), *headers.pairs])

    def _new_core(self, uri: URI, given: Headers) -> ClientConnection:
        options = self._options
        headers = list(given.pairs)
        authorization = uri.authorization
        if uri.origin != self._uri.origin:
            headers = _without(headers, *_SECRET)
        elif authorization is None:
            authorization = self._uri.authorization
        if authorization is not None:
            headers = [*_without(headers, "authorization"), ("Authorization", authorization)]
        return ClientConnection(
            uri.authority,
            uri.target,
            subprotocols=options.subprotocols,
            origin=self._origin,
            headers=headers,
            extensions=options.extensions(),
            max_head_size=options.max_head_size,
            max_head_fields=options.max_head_fields,
            max_message_size=options.max_message_size,
            close_timeout=options.close_timeout,
            timeout=options.timeout,
        )

    async def _context_of(
        self, uri: URI, runtime: Runtime, until: float | None
    ) -> tls.SSLContext | None:
        """The SSLContext for an address, made next to the loop the first time."""
        if not uri.secure:
            return None
        context = self._ssl or kept_default_context()
        if context is None:
            async with nullcontext() if until is None else runtime.timeout_at(until):
                return await runtime.in_thread(default_context)
        return context

    def _address(self, uri: URI, context: tls.SSLContext | None) -> Address:
        server_hostname = None
        if uri.secure:
            server_hostname = uri.host.certified
            if uri.origin == self._uri.origin:
                server_hostname = self._server_hostname or server_hostname
        proxy = self._proxy
        if proxy is True and self._sock is None and self._unix_path is None:
            proxy = environment_proxy(uri) or False
        return Address(
            host=uri.host.dialled,
            port=uri.port,
            tls=context,
            sock=self._sock,
            unix_path=self._unix_path,
            handshake_timeout=self._options.open_timeout,
            server_hostname=server_hostname,
            proxy=proxy if isinstance(proxy, str) else None,
        )

    def _check(self) -> None:
        """Raise TypeError or ValueError for invalid arguments, before anything connects."""
        if self._ssl is not None:
            if not isinstance(self._ssl, tls.SSLContext):
                raise TypeError(f"ssl must be an ssl.SSLContext, not {self._ssl!r}")
            if self._ssl.protocol is tls.PROTOCOL_TLS_SERVER:
                raise ValueError("ssl is an SSLContext for servers: use ssl.PROTOCOL_TLS_CLIENT")
        if (self._ssl or self._server_hostname) and not self._uri.secure:
            raise ValueError("ssl and server_hostname need a wss:// address; this one is ws://")
        # Address and ClientConnection check their arguments themselves.
        Address(self._uri.host.dialled, self._uri.port, sock=self._sock, unix_path=self._unix_path)
        if self._sock is not None:
            try:
                self._sock.getpeername()
            except OSError as error:
                raise ValueError(f"sock is not connected ({error.strerror})") from None
        ways = (self._sock, self._unix_path, self._proxy if isinstance(self._proxy, str) else None)
        if sum(way is not None for way in ways) > 1:
            raise ValueError("sock, unix_path and proxy exclude each other: pass one of them")
        if not isinstance(self._max_redirects, int) or self._max_redirects < 0:
            raise ValueError(f"max_redirects must be 0 or more, not {self._max_redirects!r}")
        if not callable(self._retry) or inspect.iscoroutinefunction(self._retry):
            raise TypeError(f"retry must be a plain function, not {self._retry!r}")
        self._new_core(self._uri, self._complete(() if callable(self._headers) else self._headers))


def _without(headers: list[tuple[str, str]], *names: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]


def _status(response: Response) -> str:
    """A status code with its phrase."""
    try:
        return f"{response.status} {HTTPStatus(response.status).phrase}"
    except ValueError:
        return f"{response.status}"
