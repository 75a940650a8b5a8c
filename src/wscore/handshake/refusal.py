"""A server's responses that refuse a request."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus

import h11

from ..headers import Headers
from ..response import Response
from .head import raw_fields

UPGRADE_TO = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]

_FRAMING = ("connection", "content-length", "transfer-encoding")


class Refusal(Exception):
    """A request to reject; its arguments are status, reason and headers of the response."""


def upgrade_required() -> Response:
    """The 426 response to a request that is not an upgrade (RFC 9110 section 15.5.22)."""
    return explained(426, "this is a WebSocket: open it with a WebSocket client", UPGRADE_TO)


def explained(status: int, reason: str, headers: Sequence[tuple[str, str]]) -> Response:
    """A response whose body is the reason, as one line of text."""
    return Response(
        status, [("Content-Type", "text/plain; charset=utf-8"), *headers], f"{reason}\n"
    )


def render(response: Response, method: str | None, more: Iterable[tuple[str, str]]) -> bytes:
    """The response as bytes, framed for the request's method.

    `more` are headers for a response that does not have them itself, such as Date.
    """
    headers = [*response.headers.pairs, *(one for one in more if one[0] not in response.headers)]
    headers = [pair for pair in headers if pair[0].lower() not in _FRAMING]
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
