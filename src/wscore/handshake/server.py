"""The server's side of the opening handshake (RFC 6455 section 4.2)."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import h11

from ..errors import LocalProtocolError
from ..events import HandshakeFailed, RequestReceived
from ..extensions import Extension, NegotiatedExtension
from ..extensions.base import by_name
from ..extensions.negotiated import NO_EXTENSIONS, negotiated_extensions
from ..headers import (
    HeaderFields,
    Headers,
    MalformedHeader,
    checked_tokens,
    extension_list,
    format_extension,
    token_list,
)
from ..reasons import printable
from ..request import Request
from ..response import Response
from .head import (
    MAX_FIELDS,
    MAX_HEAD,
    HeadBuffer,
    InvalidHead,
    added_headers,
    is_host,
    malformed,
    parsed_headers,
    raw_fields,
)
from .key import accept_value, is_key

# In bytes: how much a client may send before the caller has answered its request. RFC 6455
# section 4.1 allows it none.
MAX_EARLY = 64 * 1024

_NOT_IN_REQUEST_LINE = re.compile(rb"[^\x20-\x7e\r]")
_TLS_HANDSHAKE = b"\x16"
# RFC 9112 section 3.2: origin-form or absolute-form, without a fragment (RFC 6455 section 3).
_TARGET = re.compile(r"/[^#]*|[A-Za-z][A-Za-z0-9+.-]*+://[^/?#]++(?:[/?][^#]*)?")

_FRAMING = ("connection", "content-length", "transfer-encoding")
_UPGRADE_TO = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]


def upgrade_required() -> Response:
    """The 426 response to a request that is not an upgrade (RFC 9110 section 15.5.22)."""
    return _explained(426, "this is a WebSocket: open it with a WebSocket client", _UPGRADE_TO)


class ServerHandshake:
    """Reads a client's request and writes the response.

    Arguments: `subprotocols` that the server supports, preferred first; `origins` that it serves,
    None for any (None in the list stands for a missing Origin, as from clients outside browsers);
    `extensions` that it supports. Messages pass through them in the order of the client's offers.
    Raises TypeError or ValueError for an invalid list.

    Call `receive_data` until it returns an event. After RequestReceived call `accept` or
    `reject`; after HandshakeFailed send `refusal`, which contains the reason, and close.
    """

    __slots__ = (
        "_buffer",
        "_chosen",
        "_ended_by",
        "_extensions",
        "_key",
        "_line_scanned",
        "_line_seen",
        "_method",
        "_origins",
        "_subprotocols",
        "negotiated",
        "refusal",
        "request",
        "subprotocol",
        "trailing_data",
    )

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = (),
        origins: Sequence[str | None] | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._extensions = by_name(extensions)
        self._subprotocols = checked_tokens("subprotocols", subprotocols)
        self._origins = None if origins is None else _checked_origins(origins)
        self._begin()

    def fresh_copy(self) -> "ServerHandshake":
        """A new handshake with the same arguments, which are not checked again."""
        other = ServerHandshake.__new__(ServerHandshake)
        other._extensions = self._extensions
        other._subprotocols = self._subprotocols
        other._origins = self._origins
        other._begin()
        return other

    def _begin(self) -> None:
        self.negotiated = NO_EXTENSIONS
        """The negotiated extensions, once RequestReceived was returned."""
        self._chosen: list[str] = []  # the same as elements of the response's header
        self.request: Request | None = None
        """The request, once RequestReceived was returned."""
        self.subprotocol: str | None = None
        """The first supported subprotocol that the client offered, from RequestReceived on."""
        self.trailing_data = b""
        """The bytes after the head: frames, if the client did not wait for the response."""
        self.refusal = b""
        """The 4xx or 5xx response to send after HandshakeFailed."""
        self._buffer = HeadBuffer()
        self._line_scanned = 0
        self._line_seen = False
        self._method: str | None = None
        self._key: str | None = None
        self._ended_by: str | None = None  # the call that ended the handshake

    def receive_data(
        self, data: bytes | bytearray | memoryview
    ) -> RequestReceived | HandshakeFailed | None:
        """Receive bytes from the client; returns the event that they complete, or None.

        Between RequestReceived and the response, at most 64 KiB are kept in `trailing_data`. After
        a rejection further input is ignored. Raises LocalProtocolError after `accept`, because the
        bytes are frames then.
        """
        if self._ended_by is not None:
            if self._ended_by == "accept":
                raise LocalProtocolError(
                    "the handshake is complete: the bytes are frames, pass them to the parser"
                )
            return None
        if self.request is not None:
            self.trailing_data += data
            if len(self.trailing_data) > MAX_EARLY:
                return self._fail(400, "data was sent before the response to the handshake")
            return None
        self._buffer.data += data
        try:
            if not self._line_seen:
                self._scan_request_line()
            head = self._buffer.take()
        except (_Refusal, InvalidHead) as refusal:
            return self._fail(*refusal.args)
        if head is None:
            return None
        http = h11.Connection(h11.SERVER)
        http.receive_data(head)
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            return self._fail(400, malformed("request", error))
        assert isinstance(event, h11.Request)  # a complete head is a request or an error
        return self._judge(event, bytes(self._buffer.data))

    def receive_head(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        trailing_data: bytes = b"",
    ) -> RequestReceived | HandshakeFailed:
        """Start with the head of an HTTP/1.1 request that another parser has read and limited.

        Arguments: `method` and `target` of the request line; `headers`, the fields in order;
        `trailing_data`, the bytes after the head. Call it instead of `receive_data`. Raises
        LocalProtocolError if bytes were received already.
        """
        if self._buffer.data or self.request is not None or self._ended_by is not None:
            raise LocalProtocolError("a request was received already: use a new ServerHandshake")
        fields = list(headers)
        if len(fields) > MAX_FIELDS:
            return self._fail(431, f"the head has more than {MAX_FIELDS} header lines")
        try:
            request = h11.Request(method=method, target=target, headers=fields)
        except h11.LocalProtocolError as error:
            return self._fail(400, malformed("request", error))
        return self._judge(request, trailing_data)

    def receive_eof(self) -> HandshakeFailed | None:
        """The client ended its stream: a failure unless its request is complete.

        After a complete request the client may still read the response.
        """
        if self._ended_by is not None or self.request is not None:
            return None
        return self._fail(400, "the client closed the connection before its request was complete")

    def timeout(self) -> HandshakeFailed:
        """The handshake took too long: 408 if the request is incomplete, else 503.

        Raises LocalProtocolError once the handshake is over.
        """
        self._check_unanswered()
        if self.request is not None:
            return self._fail(503, "the server did not respond to the request in time")
        return self._fail(408, "the request did not arrive in time")

    def accept(self, subprotocol: str | None = None, headers: HeaderFields = ()) -> bytes:
        """Switch protocols: returns the 101 response to send (RFC 6455 section 4.2.2, item 5).

        `subprotocol` overrides the server's choice and must be one that the client offered;
        `headers` are added. Frames follow; the first of them may already be in `trailing_data`.

        Raises LocalProtocolError if no upgrade is waiting for a response, ValueError for a
        subprotocol that was not offered or a header that the handshake writes itself, TypeError
        for an invalid header.
        """
        self._check_unanswered()
        if self.request is None:
            raise LocalProtocolError("no request was received: wait for RequestReceived")
        if self._key is None:
            raise LocalProtocolError(
                "the request is not an upgrade: respond with reject(Response(...))"
            )
        if subprotocol is not None and subprotocol not in self.request.subprotocols:
            raise ValueError(
                f"the client did not offer the subprotocol {subprotocol!r}: choose from "
                f"{list(self.request.subprotocols)} or None"
            )
        added = added_headers(headers).encode() if headers else b""
        self._ended_by = "accept"
        if subprotocol is not None:
            self.subprotocol = subprotocol
        chosen = ""
        if self.subprotocol is not None:
            chosen = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n"
        if self._chosen:
            chosen += f"Sec-WebSocket-Extensions: {', '.join(self._chosen)}\r\n"
        return b"%b%b\r\n" % (
            (
                "HTTP/1.1 101 Switching Protocols\r\n"
                "Upgrade: websocket\r\n"
                "Connection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept_value(self._key)}\r\n"
                f"{chosen}"
            ).encode(),
            added,
        )

    def reject(self, response: Response) -> bytes:
        """Respond with anything but a 101: returns the bytes to send. Then close the connection.

        The handshake writes Connection, Content-Length and Transfer-Encoding itself, and omits the
        body where HTTP has none (HEAD, 204, 304). May be called before a request was received, for
        example with a 503.

        Raises LocalProtocolError once the handshake is over, ValueError for a 1xx.
        """
        self._check_unanswered()
        if response.status < 200:
            raise ValueError(
                f"{response.status} is not a final status: use accept() to switch protocols, or "
                "reject() with a status from 200"
            )
        self._ended_by = "reject"
        return _render(response, self._method)

    def _check_unanswered(self) -> None:
        if self._ended_by is not None:
            raise LocalProtocolError(f"the handshake is over: {self._ended_by} ended it")

    def _fail(
        self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()
    ) -> HandshakeFailed:
        reason = printable(reason)
        self._ended_by = "a failure"
        self._buffer = HeadBuffer()
        self.trailing_data = b""
        self.refusal = _render(_explained(status, reason, headers), self._method)
        return HandshakeFailed(status, reason)

    def _scan_request_line(self) -> None:
        """Reject input that is not an HTTP/1.x request at the first byte that shows it."""
        data = self._buffer.data
        end = data.find(b"\n", self._line_scanned, MAX_HEAD)
        stop = min(len(data), MAX_HEAD) if end < 0 else end
        if data.startswith(_TLS_HANDSHAKE):
            raise _Refusal(400, "this is a TLS handshake, but the server expects plain HTTP")
        if _NOT_IN_REQUEST_LINE.search(data, self._line_scanned, stop):
            raise _Refusal(400, "this is not an HTTP/1.1 request")
        if end < 0:
            self._line_scanned = stop
            return
        # h11 checks the rest of the line when the head is complete.
        if data[:end].removesuffix(b"\r")[-9:-1] != b" HTTP/1.":
            raise _Refusal(400, "this is not an HTTP/1.1 request")
        self._line_seen = True

    def _judge(self, http: h11.Request, trailing_data: bytes) -> RequestReceived | HandshakeFailed:
        """Decide whether this valid HTTP request can be accepted."""
        headers = parsed_headers(http)
        self._method = http.method.decode()
        self._buffer.data.clear()
        try:
            request = Request(self._method, http.target.decode(), headers)
            if http.http_version > b"1.1" and "Host" not in headers:  # h11 asks for it in 1.1 only
                raise _Refusal(400, "malformed HTTP request: the Host header is missing")
            _check_request(request, headers)
            if request.is_upgrade:
                self._key = _checked_key(headers, http.http_version)
                self._check_origin(headers)
                self._negotiate(headers)
        except MalformedHeader as error:
            return self._fail(400, str(error))
        except _Refusal as refusal:
            return self._fail(*refusal.args)
        self.request = request
        self.trailing_data = trailing_data
        for name in self._subprotocols:
            if name in request.subprotocols:
                self.subprotocol = name
                break
        return RequestReceived(request)

    def _negotiate(self, headers: Headers) -> None:
        """Accept the first suitable offer for each extension (RFC 6455 section 9.1)."""
        if not self._extensions:
            return
        used = 0
        accepted: list[NegotiatedExtension] = []
        left = dict(self._extensions)
        for name, parameters in extension_list(headers, skip_malformed=True):
            extension = left.get(name)
            answer = None if extension is None else extension.answer(parameters)
            if answer is None:
                continue
            chosen, negotiated = answer
            if negotiated.bits & used:  # by another extension (RFC 7692 section 5)
                continue
            del left[name]
            used |= negotiated.bits
            accepted.append(negotiated)
            self._chosen.append(format_extension(name, chosen))
        self.negotiated = negotiated_extensions(accepted)

    def _check_origin(self, headers: Headers) -> None:
        """RFC 6455 sections 4.2.2, item 4, and 10.2."""
        origins = headers.get_all("Origin")
        if len(origins) > 1:
            raise _Refusal(400, "the Origin header is repeated")
        origin = origins[0] if origins else None
        if self._origins is not None and origin not in self._origins:
            raise _Refusal(403, "this origin is not allowed")


class _Refusal(Exception):
    """A request to reject; its arguments are status, reason and headers of the response."""


def _checked_origins(origins: Sequence[str | None]) -> tuple[str | None, ...]:
    if isinstance(origins, (str, bytes)):
        raise TypeError(f"origins must be a list, not {origins!r}: write [{origins!r}]")
    for origin in origins:
        if origin is not None and not isinstance(origin, str):
            raise TypeError(f"origins must be a list of str or None, but {origin!r} is neither")
    return tuple(origins)


def _check_request(request: Request, headers: Headers) -> None:
    """Check what holds for every request, upgrade or not."""
    if request.is_upgrade and request.method != "GET":
        # RFC 6455 section 4.2.1, item 1.
        raise _Refusal(405, "a WebSocket must be opened with GET", [("Allow", "GET")])
    if request.method not in ("GET", "HEAD"):
        raise _Refusal(405, "only GET and HEAD are supported", [("Allow", "GET, HEAD")])
    if not _TARGET.fullmatch(request.target):
        raise _Refusal(400, "the request target is neither a path nor an absolute URI")
    # h11 has checked that there is one Host header (HTTP/1.0 may have none).
    if "Host" in headers and not is_host(headers["Host"]):
        raise _Refusal(400, "the Host header is malformed")
    body = "Content-Length" in headers and headers["Content-Length"].strip("0")
    if body or "Transfer-Encoding" in headers:
        raise _Refusal(400, "request bodies are not supported")
    if "Sec-WebSocket-Key" in headers and not request.is_upgrade:
        # Usually a proxy has dropped Upgrade: say so, instead of answering with a web page.
        raise _Refusal(400, "the Upgrade header does not name websocket")


def _checked_key(headers: Headers, http_version: bytes) -> str:
    """The key of a valid opening handshake; the numbers are the items of RFC 6455 section 4.2.1."""
    if http_version < b"1.1":  # 1
        raise _Refusal(400, "a WebSocket needs HTTP/1.1")
    if "upgrade" not in [token.lower() for token in token_list(headers, "Connection")]:  # 4
        raise _Refusal(400, "the Connection header does not name upgrade")
    key = _only(headers, "Sec-WebSocket-Key")
    if not is_key(key):  # 5
        raise _Refusal(400, "the Sec-WebSocket-Key header is not base64 of 16 bytes")
    if _only(headers, "Sec-WebSocket-Version") != "13":  # 6
        raise _Refusal(426, "only WebSocket version 13 is supported", _UPGRADE_TO)
    return key


def _only(headers: Headers, name: str) -> str:
    values = headers.get_all(name)
    if len(values) != 1:
        raise _Refusal(400, f"the {name} header is {'repeated' if values else 'missing'}")
    return values[0]


def _explained(status: int, reason: str, headers: Sequence[tuple[str, str]]) -> Response:
    """A response whose body is the reason, as one line of text."""
    return Response(
        status, [("Content-Type", "text/plain; charset=utf-8"), *headers], f"{reason}\n"
    )


def _render(response: Response, method: str | None) -> bytes:
    """The response as bytes, framed for the request's method."""
    headers = [pair for pair in response.headers.pairs if pair[0].lower() not in _FRAMING]
    # RFC 9110 section 7.8: a sender of Upgrade also lists it in Connection.
    upgrade = "Upgrade" in response.headers
    headers.append(("Connection", "close, Upgrade" if upgrade else "close"))
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(response.body))))
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    http = h11.Connection(h11.SERVER)
    head = http.send(
        h11.Response(
            status_code=response.status,
            headers=raw_fields(Headers(headers)),
            reason=phrase,
        )
    )
    if method == "HEAD" or response.status in (204, 304):
        return head
    return head + http.send(h11.Data(data=response.body))
