"""What process_request returns to accept a request with more than the handshake needs."""

from wscore.handshake.head import added_headers
from wscore.headers import HeaderFields, Headers, checked_tokens, shown_pairs


class Accept:
    """Accept a request, with these headers in the 101 and this subprotocol.

    Arguments: `headers`, a mapping or (name, value) pairs of str, such as Set-Cookie;
    `subprotocol`, one of `request.subprotocols`, or None for the server's choice
    (RFC 6455 section 4.2.2). Raises ValueError for a header that the handshake writes itself,
    TypeError or ValueError for values that HTTP does not allow.
    """

    __slots__ = ("headers", "subprotocol")

    def __init__(self, headers: HeaderFields = (), subprotocol: str | None = None) -> None:
        fields = Headers(headers)
        if "Sec-WebSocket-Protocol" in fields:
            raise ValueError(
                "the handshake writes the Sec-WebSocket-Protocol header itself: pass subprotocol="
            )
        self.headers: Headers = added_headers(fields)
        if subprotocol is not None:
            checked_tokens("subprotocols", [subprotocol])
        self.subprotocol: str | None = subprotocol

    def __repr__(self) -> str:
        return f"Accept({shown_pairs(self.headers)!r}, {self.subprotocol!r})"
