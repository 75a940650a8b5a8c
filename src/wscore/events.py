"""What a connection reports: the events that `receive_data` returns.

Events are plain classes with slots: one takes 230 ns to build, a frozen dataclass 660.
An event says what the peer did or what happened to the connection. The core sends nothing in
response on its own: each docstring names the call that must follow.
"""

from .enums import DataType
from .request import Request
from .response import Response


class Event:
    """The base class of all events; two are equal if their class and content are."""

    __slots__: tuple[str, ...] = ()

    def _content(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._content() == other._content()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class RequestReceived(Event):
    """A client sent a request (server side): an opening handshake, or an ordinary GET.

    `request.is_upgrade` says which of the two `request` is. Respond with `accept()` or `reject()`
    (RFC 6455 section 4.2).
    """

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request: Request = request


class HandshakeFailed(Event):
    """The opening handshake failed, and the connection is over (RFC 6455 4.1, 4.2.1).

    `reason` says why. On the server side `status` is the status of the response that is already in
    `data_to_send()`; on the client side it is 0. Write `data_to_send()`, then close the byte
    stream.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        self.status: int = status
        self.reason: str = reason


class Accepted(Event):
    """The server switched protocols (client side): the connection is open.

    `response` has the headers, `subprotocol` the server's choice or None (RFC 6455 section 4.1).
    """

    __slots__ = ("response", "subprotocol")

    def __init__(self, response: Response, subprotocol: str | None) -> None:
        self.response: Response = response
        self.subprotocol: str | None = subprotocol


class Refused(Event):
    """The server refused the handshake (client side): a redirect, a 401, an error.

    `response` has the status, the headers and at most 64 KiB of the body. The connection is over:
    close the byte stream (RFC 6455 section 4.1).
    """

    __slots__ = ("response",)

    def __init__(self, response: Response) -> None:
        self.response: Response = response


class MessagePiece(Event):
    """The next part of a message's payload.

    `type` is TEXT or BINARY. `first` and `last` say whether the piece begins and ends its message;
    a message that arrived at once is one piece that does both. `data` is the payload as bytes;
    `text` is the decoded text for TEXT, None for BINARY. A piece of TEXT never ends within a code
    point (RFC 6455 section 5.6, 8.1).
    """

    __slots__ = ("data", "first", "last", "text", "type")

    def __init__(
        self, type: DataType, data: bytes, text: str | None, first: bool, last: bool
    ) -> None:
        self.type: DataType = type
        self.data: bytes = data
        self.text: str | None = text
        self.first: bool = first
        self.last: bool = last


class Ping(Event):
    """The peer sent a Ping: if `may_pong`, respond with `send_pong(payload)` (RFC 6455 5.5.2).

    `may_pong` is reset once both sides have closed. `payload` has at most 125 bytes. Of several
    pings only the latest needs a response.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload: bytes = payload


class Pong(Event):
    """The peer responded to a ping, or sent an unsolicited pong (RFC 6455 5.5.3).

    `payload` is the ping's. If that is a keepalive ping of `handle_timeout`, `latency` is how many
    seconds ago it was sent, else None. A pong answers earlier pings too.
    """

    __slots__ = ("latency", "payload")

    def __init__(self, payload: bytes, latency: float | None = None) -> None:
        self.payload: bytes = payload
        self.latency: float | None = latency


class CloseReceived(Event):
    """The peer sent a Close frame: this is the last event.

    `code` is a `Reasons` member or an int from 3000 to 4999, 1005 if the frame had none; `reason`
    is the peer's text. Send what is still to be sent, then call `acknowledge_close()` if
    `owes_close` is set: it is not if our Close was sent first (RFC 6455 section 5.5.1).
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code: int = code
        self.reason: str = reason


class ConnectionFailed(Event):
    """The connection failed: the peer violated the protocol, timed out, or disconnected.

    `code` and `reason` are those of our Close; `code` is 1006 if none will be sent. Send what is
    still to be sent, then call `acknowledge_close()` if `owes_close` is set (RFC 6455 7.1.7).
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code: int = code
        self.reason: str = reason
