"""The server's side of the opening handshake (RFC 6455 section 4.2)."""

import re
from collections.abc import Callable, Iterable, Sequence

import h11

from ..errors import LocalProtocolError
from ..events import HandshakeFailed, RequestReceived
from ..extensions import Extension, NegotiatedExtension
from ..extensions.base import by_name
from ..extensions.negotiated import NO_EXTENSIONS, NegotiatedExtensions, negotiated_extensions
from ..headers import (
    HeaderFields,
    Headers,
    MalformedHeader,
    checked_tokens,
    extension_list,
    format_extension,
)
from ..reasons import printable
from ..request import Request
from ..response import Response
from .head import (
    MAX_HEAD_FIELDS,
    MAX_HEAD_SIZE,
    HeadBuffer,
    HeadLimits,
    InvalidHead,
    added_headers,
    check_controls,
    check_fields,
    malformed,
    parsed_headers,
)
from .key import accept_value
from .origins import checked_origins
from .plain import plain_head
from .refusal import Refusal, ResponseSender, checked_final, explained, render
from .upgrade import check_request, checked_key

# In bytes: how much a client may send before the caller has answered its request. RFC 6455
# section 4.1 allows it none.
MAX_EARLY = 64 * 1024

_GARBAGE = "this is not an HTTP/1.1 request"
_HTTP_VERSION = re.compile(rb"1\.[0-9]")
_NOT_IN_REQUEST_LINE = re.compile(rb"[^\x20-\x7e\r]")
_TLS_HANDSHAKE = b"\x16"


class ServerHandshake:
    """Reads a client's request and writes the response.

    Arguments: `subprotocols` that the server supports, preferred first; `origins` that it serves,
    None for any (None in the list stands for a missing Origin, as from clients outside browsers);
    `extensions` that it supports. Messages pass through them in the order of the client's offers.
    `max_head_size` in bytes and `max_head_fields` in lines limit the request's head.
    `refusal_headers` returns headers for each response that refuses, unless it has them itself: a
    server with a clock sends Date (RFC 9110 section 6.6.1). Raises TypeError or ValueError for an
    invalid argument, such as an origin that no browser sends.

    Call `receive_data` until it returns an event. After RequestReceived call `accept` or
    `reject`; after HandshakeFailed send `refusal`, which contains the reason, and close.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chosen",
        "_ended_by",
        "_extensions",
        "_key",
        "_limits",
        "_line_scanned",
        "_line_seen",
        "_line_skipped",
        "_method",
        "_origins",
        "_refusal_headers",
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
        max_head_size: int = MAX_HEAD_SIZE,
        max_head_fields: int = MAX_HEAD_FIELDS,
        refusal_headers: Callable[[], HeaderFields] = tuple,
    ) -> None:
        self._limits = HeadLimits(max_head_size, max_head_fields)
        self._refusal_headers = refusal_headers
        self._extensions = by_name(extensions)
        self._subprotocols = checked_tokens("subprotocols", subprotocols)
        self._origins = None if origins is None else checked_origins(origins)
        self._begin()

    def fresh_copy(self) -> "ServerHandshake":
        """A new handshake with the same arguments, which are not checked again."""
        other = ServerHandshake.__new__(ServerHandshake)
        other._limits = self._limits
        other._refusal_headers = self._refusal_headers
        other._extensions = self._extensions
        other._subprotocols = self._subprotocols
        other._origins = self._origins
        other._begin()
        return other

    def _begin(self) -> None:
        self.negotiated: NegotiatedExtensions = NO_EXTENSIONS
        """The negotiated extensions, once RequestReceived was returned."""
        self._chosen: list[str] = []  # the same as elements of the response's header
        self.request: Request | None = None
        """The request, once RequestReceived was returned."""
        self.subprotocol: str | None = None
        """The first supported subprotocol that the client offered, from RequestReceived on."""
        self.trailing_data: bytes = b""
        """The bytes after the head: frames, if the client did not wait for the response."""
        self.refusal: bytes = b""
        """The 4xx or 5xx response to send after HandshakeFailed."""
        self._buffer = HeadBuffer()
        self._line_scanned = 0
        self._line_seen = False
        self._line_skipped = False
        self._method: str | None = None
        self._key: str | None = None
        self._body: ResponseSender | None = None  # of a response that is being sent
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
        if isinstance(data, bytes) and not self._buffer.data:
            # Most heads come at once, and are plain: 0.9 of the instructions of a request.
            found = plain_head(data) if self._limits.allow(data) else None
            if found is not None:
                return self._judge("GET", *found, b"1.1", b"")
        self._buffer.data += data
        try:
            if not self._line_seen:
                self._scan_request_line()
            head = self._buffer.take(self._limits)
            if head is None:
                return None
            plain = plain_head(head)
            if plain is None:
                return self._parse(head)
        except (Refusal, InvalidHead) as refusal:
            return self._fail(*refusal.args)
        return self._judge("GET", *plain, b"1.1", bytes(self._buffer.data))

    def receive_head(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        trailing_data: bytes | bytearray | memoryview = b"",
        http_version: bytes = b"1.1",
    ) -> RequestReceived | HandshakeFailed:
        """Start with the head of an HTTP/1.1 request that another parser has read.

        Arguments: `method`, `target` and `http_version` of the request line; `headers`, the fields
        in order; `trailing_data`, the bytes after the head. Call it instead of `receive_data`.
        Raises LocalProtocolError if bytes were received already.
        """
        begun = self._buffer.data or self._line_skipped or self.request is not None
        if begun or self._ended_by is not None:
            raise LocalProtocolError("a request was received already: use a new ServerHandshake")
        if not _HTTP_VERSION.fullmatch(http_version):
            return self._fail(400, _GARBAGE)
        fields = list(headers)
        try:
            check_fields(fields, len(method) + len(target), self._limits)
            request = h11.Request(
                method=method, target=target, headers=fields, http_version=http_version
            )
        except InvalidHead as error:
            return self._fail(*error.args)
        except h11.LocalProtocolError as error:
            return self._fail(400, malformed("request", error))
        return self._judge_parsed(request, bytes(trailing_data))

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

    def reject(self, response: Response, more_body: bool = False) -> bytes:
        """Respond with anything but a 101: returns the bytes to send. Then close the connection.

        The handshake writes Connection, Content-Length and Transfer-Encoding itself, and omits the
        body where HTTP has none (HEAD, 204, 304). May be called before a request was received, for
        example with a 503. With `more_body`, `send_body` must follow.

        Raises LocalProtocolError once the handshake is over, ValueError for a 1xx.
        """
        self._check_unanswered()
        checked_final(response)
        if more_body:
            headers = self._refusal_headers()
            self._body = body = ResponseSender(response, self._method, headers)
            rendered = body.head + body.send(response.body, last=False)
        else:
            rendered = self._render(response)
        self._ended_by = "reject"
        return rendered

    def send_body(self, data: bytes, last: bool) -> bytes:
        """The next piece of the body that `reject(..., more_body=True)` began: bytes to send.

        Raises LocalProtocolError if there is none, or after its `last` piece.
        """
        if self._body is None:
            raise LocalProtocolError(
                "no body is open: begin one with reject(Response(...), more_body=True)"
            )
        piece = self._body.send(data, last)
        if last:
            self._body = None
        return piece

    @property
    def ended_by(self) -> str | None:
        """What ended the handshake: "accept", "reject" or "a failure"; None before that."""
        return self._ended_by

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
        self.refusal = self._render(explained(status, reason, headers))
        return HandshakeFailed(status, reason)

    def _render(self, response: Response) -> bytes:
        return render(response, self._method, self._refusal_headers())

    def _scan_request_line(self) -> None:
        """Reject input that is not an HTTP/1.x request at the first byte that shows it."""
        data = self._buffer.data
        most = self._limits.size
        if not self._line_skipped and data.startswith((b"\n", b"\r\n")):
            # One empty line before the request is ignored (RFC 9112 section 2.2).
            del data[: data.index(b"\n") + 1]
            self._line_scanned = 0
            self._line_skipped = True
        end = data.find(b"\n", self._line_scanned, most)
        stop = min(len(data), most) if end < 0 else end
        if data.startswith(_TLS_HANDSHAKE):
            raise Refusal(400, "this is a TLS handshake, but the server expects plain HTTP")
        if _NOT_IN_REQUEST_LINE.search(data, self._line_scanned, stop):
            raise Refusal(400, _GARBAGE)
        if end < 0:
            self._line_scanned = stop
            return
        # h11 checks the rest of the line when the head is complete.
        if data[:end].removesuffix(b"\r")[-9:-1] != b" HTTP/1.":
            raise Refusal(400, _GARBAGE)
        self._line_seen = True

    def _parse(self, head: bytes) -> RequestReceived | HandshakeFailed:
        """Have h11 read a complete head. Raises InvalidHead."""
        check_controls(head)
        http = h11.Connection(h11.SERVER)
        http.receive_data(head)
        try:
            event = http.next_event()
        except h11.RemoteProtocolError as error:
            return self._fail(400, malformed("request", error))
        assert isinstance(event, h11.Request)  # a complete head is a request or an error
        return self._judge_parsed(event, bytes(self._buffer.data))

    def _judge_parsed(
        self, http: h11.Request, trailing_data: bytes
    ) -> RequestReceived | HandshakeFailed:
        method, target = http.method.decode(), http.target.decode()
        return self._judge(method, target, parsed_headers(http), http.http_version, trailing_data)

    def _judge(
        self, method: str, target: str, headers: Headers, http_version: bytes, trailing_data: bytes
    ) -> RequestReceived | HandshakeFailed:
        """Decide whether this valid HTTP request can be accepted."""
        self._method = method
        self._buffer.data.clear()
        try:
            request = Request(method, target, headers)
            check_request(request, headers, http_version)
            if request.is_upgrade:
                self._key = checked_key(headers, http_version)
                self._check_origin(headers)
                self._negotiate(headers)
        except MalformedHeader as error:
            return self._fail(400, str(error))
        except Refusal as refusal:
            return self._fail(*refusal.args)
        self.request = request
        self.trailing_data = trailing_data
        for name in self._subprotocols:
            if name in request.subprotocols:
                self.subprotocol = name
                break
        return RequestReceived(request)

    def _negotiate(self, headers: Headers) -> None:
        """Accept the first suitable offer for each extension (RFC 6455 section 9.1).

        Raises MalformedHeader also if no extension is supported.
        """
        offers = extension_list(headers)
        if not self._extensions:
            return
        used = 0
        accepted: list[NegotiatedExtension] = []
        left = dict(self._extensions)
        for name, parameters in offers:
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
        origins = headers._values.get("origin", ())
        if len(origins) > 1:
            raise Refusal(400, "the Origin header is repeated")
        origin = origins[0] if origins else None
        if self._origins is not None and origin not in self._origins:
            raise Refusal(403, "this origin is not allowed")
