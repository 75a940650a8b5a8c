"""A server's responses that refuse a request."""

from collections.abc import Sequence
from http import HTTPStatus

import h11

from ..headers import HeaderFields, Headers
from ..response import Response
from .head import raw_fields

UPGRADE_TO = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]

# What h11 sends in chunks, it sends only in answer to a request of HTTP/1.1.
_REQUEST = b"GET / HTTP/1.1\r\nHost: any\r\n\r\n"

_FRAMING = ("connection", "content-length", "transfer-encoding")


class Refusal(Exception):
    """A request to reject; its arguments are status, reason and headers of the response."""


def checked_final(response: Response) -> Response:
    """Return `response`. Raises ValueError for a 1xx."""
    if response.status < 200:
        raise ValueError(
            f"{response.status} is not a final status: use accept() to switch protocols, or "
            "reject() with a status from 200"
        )
    return response


def upgrade_required() -> Response:
    """The 426 response to a request that is not an upgrade (RFC 9110 section 15.5.22)."""
    return explained(426, "this is a WebSocket: open it with a WebSocket client", UPGRADE_TO)


def explained(status: int, reason: str, headers: Sequence[tuple[str, str]]) -> Response:
    """A response whose body is the reason, as one line of text."""
    return Response(
        status, [("Content-Type", "text/plain; charset=utf-8"), *headers], f"{reason}\n"
    )


def render(response: Response, method: str | None, more: HeaderFields) -> bytes:
    """The response as bytes, framed for the request's method.

    `more` are headers for a response that does not have them itself, such as Date.
    """
    sender = ResponseSender(response, method, more, len(response.body))
    return sender.head + sender.send(response.body, last=True)


class ResponseSender:
    """A response whose body is sent in pieces, in chunks unless its `length` is given.

    `head` comes first, then what `send` returns. `more` are as for `render`.
    """

    __slots__ = ("_has_body", "_http", "head")

    def __init__(
        self,
        response: Response,
        method: str | None,
        more: HeaderFields,
        length: int | None = None,
    ) -> None:
        added = [pair for pair in Headers(more).pairs if pair[0] not in response.headers]
        headers = [
            pair for pair in (*response.headers.pairs, *added) if pair[0].lower() not in _FRAMING
        ]
        # RFC 9110 section 7.8: a sender of Upgrade also lists it in Connection.
        upgrade = "Upgrade" in response.headers
        headers.append(("Connection", "close, Upgrade" if upgrade else "close"))
        if length is not None and response.status not in (204, 304):
            headers.append(("Content-Length", str(length)))
        try:
            phrase = HTTPStatus(response.status).phrase
        except ValueError:
            phrase = ""
        self._http = http = h11.Connection(h11.SERVER)
        if length is None:
            http.receive_data(_REQUEST)
            http.next_event()
        self._has_body = method != "HEAD" and response.status not in (204, 304)
        self.head: bytes = http.send(
            h11.Response(
                status_code=response.status,
                headers=raw_fields(Headers(headers)),
                reason=phrase,
            )
        )

    def send(self, data: bytes, last: bool) -> bytes:
        """The bytes of the next piece of the body; none where HTTP has no body."""
        if not self._has_body:
            return b""
        piece = self._http.send(h11.Data(data=data))
        return piece + self._http.send(h11.EndOfMessage()) if last else piece
