"""A client's request."""

from types import SimpleNamespace

from .headers import HeaderFields, Headers, shown_pairs, subprotocol_list, upgrade_list

# The Upgrade header as clients write it: parsing it takes 6k instructions.
_WEBSOCKET = ["websocket"]


class Request:
    """The head of an HTTP request: an opening handshake, or an ordinary request.

    Arguments: `method`; `target`, in origin-form ("/chat?room=1") or absolute-form
    ("http://host/chat"), RFC 9112 section 3.2; `headers`, a mapping or pairs of str. Raises
    MalformedHeader, a ValueError, if Upgrade or Sec-WebSocket-Protocol is not a list of tokens.

    `is_upgrade` says whether the client asks for a WebSocket; `subprotocols` are those that it
    offers, preferred first.
    """

    # A connection keeps its request: to save memory, the header fields are one bytes object.
    __slots__ = ("_fields", "_state", "is_upgrade", "method", "subprotocols", "target")

    def __init__(self, method: str, target: str, headers: HeaderFields = ()) -> None:
        fields = headers if isinstance(headers, Headers) else Headers(headers)
        self.method: str = method
        self.target: str = target
        upgrade = fields._values.get("upgrade")
        self.is_upgrade: bool = upgrade == _WEBSOCKET or "websocket" in upgrade_list(fields)
        self.subprotocols: tuple[str, ...] = tuple(subprotocol_list(fields))
        self._fields = fields.encode()
        self._state: SimpleNamespace | None = None

    @property
    def headers(self) -> Headers:
        """The header fields, decoded at each access: keep the result to look up several."""
        return Headers.decode(self._fields)

    @property
    def path(self) -> str:
        """The target's path as received, still percent-encoded, without the query."""
        return self._origin_form().partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query as received, without the "?"; "" if there is none."""
        return self._origin_form().partition("?")[2]

    @property
    def origin(self) -> str | None:
        """The Origin header, which browsers send; None if it is missing (RFC 6455 10.2)."""
        return self.headers.get("Origin")

    @property
    def state(self) -> SimpleNamespace:
        """A namespace for data that the application attaches to the request."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    def _origin_form(self) -> str:
        if self.target.startswith("/"):
            return self.target
        after_scheme = self.target.partition("://")[2]
        authority = after_scheme.partition("?")[0].partition("/")[0]
        rest = after_scheme[len(authority) :]
        return rest if rest.startswith("/") else "/" + rest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Request):
            return NotImplemented
        return (self.method, self.target, self.headers) == (
            other.method,
            other.target,
            other.headers,
        )

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.target!r}, {shown_pairs(self.headers)!r})"
