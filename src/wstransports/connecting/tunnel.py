"""A tunnel through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), then the rest."""

import re
from base64 import b64encode
from collections.abc import Callable
from errno import ECONNRESET
from ssl import SSLContext
from urllib.parse import unquote, urlsplit

from ..address import Address
from ..identity import Identity
from ..runtime import CredentialsRefused, Pipe, Sink
from ..tls_pipe import TlsPipe

Failed = Callable[[OSError], None]

# In bytes, of the proxy's response.
MAX_HEAD = 65536

_BEGINNING = b"HTTP/1."
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")


class Tunnel:
    """The `Sink` of a stream to a proxy, which it asks to lead to `where`; then `sink` has it.

    `failed` is called at most once, instead of `sink.connected`, if the proxy or TLS fails.
    """

    _pipe: Pipe

    def __init__(self, where: Address, sink: Sink, failed: Failed) -> None:
        assert where.proxy is not None
        self._sink: Sink = sink
        if where.tls is not None:
            self._sink = TlsPipe(sink, where.tls, where.server_hostname, self._tls_over)
        self._request = _request(where)
        self._failed: Failed | None = failed
        self._received = b""
        self._led = False  # the proxy has led us there

    @property
    def identity(self) -> Identity:
        """That of the sink."""
        return self._sink.identity

    def connected(self, pipe: Pipe) -> None:
        """The stream to the proxy is connected."""
        self._pipe = pipe
        pipe.write(self._request)

    def data_received(self, data: bytes | memoryview) -> None:
        """The proxy's response arrived, or what follows it."""
        if self._led:
            # TLS to the proxy decrypts into memory that TLS inside of the tunnel uses too.
            self._sink.data_received(bytes(data))
        elif self._failed is not None:
            self._received += data
            self._read_response()

    def eof_received(self) -> None:
        """The stream has ended."""
        if self._led:
            self._sink.eof_received()
        else:
            self._fail(_left())

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is lost."""
        if self._led:
            self._sink.connection_lost(exc)
        else:
            self._fail(exc if isinstance(exc, OSError) else _left())

    def abort(self) -> None:
        """Drop the stream, if there is one."""
        self._failed = None
        if hasattr(self, "_pipe"):
            self._pipe.abort()

    def _read_response(self) -> None:
        """Read up to the head of the response to CONNECT; informational ones may come first."""
        while end := _BLANK_LINE.search(self._received, 0, MAX_HEAD):
            head, self._received = self._received[: end.end()], self._received[end.end() :]
            status = _STATUS.match(head)
            if status is None:
                break
            code = int(status[1])
            if 200 <= code < 300:
                self._led = True
                rest, self._received = self._received, b""
                self._sink.connected(self._pipe)
                if rest:
                    self._sink.data_received(rest)
                return
            if code >= 300:
                words = f"{code} {(status[2] or b'').decode('latin-1')[:200]}"
                words = "".join([one if one.isprintable() else "?" for one in words])
                kind = CredentialsRefused if code == 407 else ConnectionError
                self._fail(kind(f"the proxy refused: {words}"))
                return
        else:
            if _BEGINNING.startswith(self._received[:7]) and len(self._received) < MAX_HEAD:
                return
        self._fail(ConnectionError("the proxy's response is not HTTP, or too long"))

    def _tls_over(self, error: OSError | None) -> None:
        if error is not None:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            failed(error)
            self._pipe.abort()


def is_http_proxy(where: Address) -> bool:
    """Whether an address is reached through a proxy for HTTP, with or without TLS."""
    return where.proxy is not None and where.proxy.startswith(("http:", "https:"))


def proxy_address(where: Address, context: SSLContext | None) -> Address:
    """Where the HTTP proxy of an address is; `context` for TLS to it."""
    parts = urlsplit(where.proxy)
    assert isinstance(parts.hostname, str)
    return Address(
        host=parts.hostname,
        port=parts.port or 0,
        local_addr=where.local_addr,
        tls=context,
        handshake_timeout=where.handshake_timeout,
        server_hostname=None if context is None else parts.hostname,
    )


def _request(where: Address) -> bytes:
    parts = urlsplit(where.proxy or "")
    host = where.host or ""
    target = f"[{host}]:{where.port}" if ":" in host else f"{host}:{where.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append("Proxy-Authorization: Basic " + b64encode(credentials.encode()).decode())
    return "\r\n".join([*lines, "", ""]).encode()


def _left() -> ConnectionResetError:
    return ConnectionResetError(ECONNRESET, "the proxy closed the connection")
