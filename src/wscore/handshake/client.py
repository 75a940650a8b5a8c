"""The client's side of the opening handshake (RFC 6455 section 4.1)."""

import re
from collections.abc import Sequence

import h11

from ..enums import DataType
from ..errors import LocalProtocolError
from ..events import Accepted, HandshakeFailed, Refused
from ..extensions import Extension, NegotiatedExtension, NegotiationError
from ..extensions.base import by_name
from ..extensions.negotiated import NO_EXTENSIONS, NegotiatedExtensions, negotiated_extensions
from ..frames import FIN, close_payload, encode_frame, truncated_reason
from ..headers import (
    HeaderFields,
    Headers,
    MalformedHeader,
    checked_tokens,
    extension_list,
    format_extension,
    token_list,
    upgrade_list,
)
from ..masking import MaskKeys
from ..reasons import Reasons, printable
from ..request import Request
from ..response import Response
from .body import Body
from .head import (
    MAX_HEAD_FIELDS,
    MAX_HEAD_SIZE,
    HeadBuffer,
    HeadLimits,
    InvalidHead,
    added_headers,
    check_controls,
    is_host,
    malformed,
    parsed_headers,
    raw_fields,
)
from .key import accept_value, new_key

# 1xx responses other than 101 that may come before the answer (RFC 9110 section 15.2).
MAX_INFORMATIONAL = 8

_START = b"HTTP/1."
_TLS_ALERT = b"\x15"  # the first byte of an alert record (RFC 8446 section 5.1)
_TARGET = re.compile(r"/[!-\"$-~]*")


class ClientHandshake:
    """Writes the client's request and reads the response.

    Arguments: `host`, the Host header's value ("example.com:8080"); `target`, the path with its
    query ("/chat?room=1"); `subprotocols` to offer, preferred first; `origin`, the Origin header's
    value; `headers` to add, such as Authorization; `extensions` to offer; `max_head_size` in bytes
    and `max_head_fields` in lines, the limits of the response's head. Raises TypeError or
    ValueError for a value that is not allowed in a request, and for a header that the handshake
    writes itself.

    Send `request_bytes()`, then call `receive_data` until it returns an event.
    """

    __slots__ = (
        "_accept",
        "_accepted",
        "_buffer",
        "_extensions",
        "_http",
        "_informational",
        "_limits",
        "_refusing",
        "_request",
        "_subprotocols",
        "negotiated",
        "refusal",
        "request",
        "trailing_data",
    )

    def __init__(
        self,
        host: str,
        target: str,
        *,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        headers: HeaderFields = (),
        extensions: Sequence[Extension] = (),
        max_head_size: int = MAX_HEAD_SIZE,
        max_head_fields: int = MAX_HEAD_FIELDS,
    ) -> None:
        self._limits = HeadLimits(max_head_size, max_head_fields)
        if not is_host(host):
            raise ValueError(f"{host!r} is not a host: write it like example.com or [::1]:8080")
        if not _TARGET.fullmatch(target):
            raise ValueError(
                f"{target!r} is not a request target: write an absolute path, percent-encoded and "
                "without a fragment, like /chat?room=1"
            )
        self.negotiated: NegotiatedExtensions = NO_EXTENSIONS
        """The negotiated extensions, once Accepted was returned."""
        self._extensions = by_name(extensions)
        self.trailing_data: bytes = b""
        """The bytes after the 101 response: the first frames."""
        self.refusal: bytes = b""
        """The Close to send after a HandshakeFailed: only for an invalid choice of extensions."""
        self._subprotocols = checked_tokens("subprotocols", subprotocols)
        key = new_key()
        fields = [
            ("Host", host),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", key),
            ("Sec-WebSocket-Version", "13"),
        ]
        if self._subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        offers = [
            format_extension(extension.name, parameters)
            for extension in extensions
            for parameters in extension.offer()
        ]
        if offers:
            fields.append(("Sec-WebSocket-Extensions", ", ".join(offers)))
        if origin is not None:
            fields.append(("Origin", origin))
        fields += added_headers(headers, "host", "origin").pairs
        self.request: Request = Request("GET", target, fields)
        """The request that is sent."""
        self._accept = accept_value(key)
        http = h11.Connection(h11.CLIENT)
        self._request = http.send(
            h11.Request(method=b"GET", target=target.encode(), headers=raw_fields(Headers(fields)))
        )
        http.send(h11.EndOfMessage())
        self._http: h11.Connection | None = http  # None after the last event
        self._accepted = False
        self._buffer = HeadBuffer()
        self._informational = 0
        self._refusing: tuple[int, Headers, Body] | None = None

    def request_bytes(self) -> bytes:
        """The request to send; every call returns the same bytes."""
        return self._request

    def receive_data(
        self, data: bytes | bytearray | memoryview
    ) -> Accepted | Refused | HandshakeFailed | None:
        """Receive bytes from the server; returns the event that they complete, or None.

        After Accepted, frames follow; the first of them may already be in `trailing_data`. Refused
        has the response, with at most 64 KiB of its body. After Refused and HandshakeFailed close
        the connection: further input is ignored. Raises LocalProtocolError after Accepted, because
        the bytes are frames then.
        """
        http = self._http
        if http is None:
            if self._accepted:
                raise LocalProtocolError(
                    "the handshake is complete: the bytes are frames, pass them to the parser"
                )
            return None
        if self._refusing is not None:
            return self._receive_body(bytes(data))
        self._buffer.data += data
        try:
            return self._receive_heads(http)
        except InvalidHead as error:
            return self._fail(f"malformed HTTP response: {error.args[1]}")
        except h11.RemoteProtocolError as error:
            return self._fail(malformed("response", error))
        except (MalformedHeader, _Failure) as error:
            return self._fail(str(error))

    def receive_eof(self) -> Refused | HandshakeFailed | None:
        """The server ended its stream: the end of a response's body, or a failure."""
        if self._http is None:
            return None
        return self._cut_short("the server closed the connection before its response was complete")

    def timeout(self) -> Refused | HandshakeFailed:
        """The handshake took too long: Refused if only the rest of a body is missing.

        Raises LocalProtocolError once the handshake is over.
        """
        if self._http is None:
            raise LocalProtocolError("the handshake is over: it cannot time out")
        return self._cut_short("the server did not respond in time")

    def _cut_short(self, reason: str) -> Refused | HandshakeFailed:
        return self._fail(reason) if self._refusing is None else self._refused(*self._refusing)

    def _fail(self, reason: str) -> HandshakeFailed:
        self._let_go()
        return HandshakeFailed(0, printable(reason))

    def _refused(self, status: int, headers: Headers, body: Body) -> Refused:
        self._let_go()
        return Refused(Response(status, headers, body.content))

    def _let_go(self) -> None:
        self._http = self._refusing = None
        self._buffer = HeadBuffer()

    def _receive_heads(self, http: h11.Connection) -> Accepted | Refused | None:
        """Read responses up to the final one, skipping informational ones."""
        while True:
            start = self._buffer.data[: len(_START)]
            if not _START.startswith(start):
                in_tls = " but with TLS" if start[:1] == _TLS_ALERT else ""
                raise _Failure(f"the server does not respond with HTTP/1.1{in_tls}")
            head = self._buffer.take(self._limits)
            if head is None:
                return None
            check_controls(head)
            http.receive_data(head)
            event = http.next_event()
            if isinstance(event, h11.Response):
                headers = parsed_headers(event)
                body = Body(event.status_code, headers)
                self._refusing = event.status_code, headers, body
                return self._receive_body(bytes(self._buffer.data))
            assert isinstance(event, h11.InformationalResponse)  # h11 knows no third kind
            if event.status_code == 101:
                return self._switch(event)
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise _Failure(f"more than {MAX_INFORMATIONAL} informational responses")

    def _receive_body(self, data: bytes) -> Refused | None:
        assert self._refusing is not None
        return self._refused(*self._refusing) if self._refusing[2].receive(data) else None

    def _switch(self, http: h11.InformationalResponse) -> Accepted:
        """Validate a 101; the numbers are the items of RFC 6455 section 4.1, second list."""
        headers = parsed_headers(http)
        if http.http_version < b"1.1":
            raise _Failure("the server switches protocols with HTTP/1.0")
        if upgrade_list(headers) != ["websocket"]:  # 2
            raise _Failure("the Upgrade header of the response is not websocket")
        if "upgrade" not in [token.lower() for token in token_list(headers, "Connection")]:  # 3
            raise _Failure("the Connection header of the response does not name upgrade")
        if headers.get_all("Sec-WebSocket-Accept") != [self._accept]:  # 4
            raise _Failure("the Sec-WebSocket-Accept header does not match the key")
        self.negotiated = self._agree(headers)  # 5
        subprotocols = headers.get_all("Sec-WebSocket-Protocol")
        if len(subprotocols) > 1:
            raise _Failure("the server chose more than one subprotocol")
        for name in subprotocols:  # 6
            if name not in self._subprotocols:
                raise _Failure(
                    f"the server chose the subprotocol {name[:40]!r}, which was not offered"
                )
        self._accepted = True
        self.trailing_data = bytes(self._buffer.data)
        self._let_go()
        return Accepted(Response(101, headers), subprotocols[0] if subprotocols else None)

    def _agree(self, headers: Headers) -> NegotiatedExtensions:
        """The extensions that the server chose; a Close with 1010 if the choice is invalid."""
        chosen: dict[str, NegotiatedExtension] = {}
        used = 0
        try:
            for name, parameters in extension_list(headers):
                extension = self._extensions.get(name)
                if extension is None:
                    raise NegotiationError(
                        f"the server chose the extension {name[:40]!r}, which was not offered"
                    )
                if name in chosen:
                    raise NegotiationError(f"the server chose the extension {name!r} twice")
                chosen[name] = negotiated = extension.agree(parameters)
                if negotiated.bits & used:  # RFC 7692 section 5
                    raise NegotiationError(
                        f"the server chose the extension {name!r} and another for the same"
                        " reserved bits"
                    )
                used |= negotiated.bits
        except (NegotiationError, MalformedHeader) as error:
            # RFC 6455 section 7.4.1, RFC 7692 section 7.1: for the server the connection is open.
            body = close_payload(Reasons.EXTENSION_NOT_PRESENT, truncated_reason(str(error)))
            self.refusal = b"".join(encode_frame(FIN | DataType.CLOSE, body, next(MaskKeys())))
            raise _Failure(str(error)) from None
        return negotiated_extensions([*chosen.values()])


class _Failure(Exception):
    """A response that does not complete the handshake; the message is the reason."""
