"""What a connection reports: the events that `receive_data` returns.

Plain classes with slots, because a frozen dataclass takes 660 ns to build and these 230.
An event says what the peer did or what became of the connection; nothing is written in
answer until the caller says so, and each docstring names the call that must follow.
"""

from .enums import DataType
from .request import Request
from .response import Response


class Event:
    """The base of all events; two are equal where class and content are."""

    __slots__: tuple[str, ...] = ()

    def _content(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]  # events are values that nobody keys by

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


class RequestReceived(Event):
    """A client asks (server side): an opening handshake, or an ordinary GET.

    `request` is what it asks for; its `is_upgrade` says which of the two. Answer with `accept()`
    or `reject()` (RFC 6455 section 4.2).
    """

    __slots__ = ("request",)

    def __init__(self, request: Request) -> None:
        self.request = request


class HandshakeFailed(Event):
    """The peer's handshake is no handshake; the connection is over (RFC 6455 4.1, 4.2.1).

    `reason` says why. On the server side the 4xx that tells the peer waits in `data_to_send()`
    already, and `status` is its number; on the client side there is nobody to tell, and `status`
    is 0. Write what is to be sent, then end the byte stream.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason


class Accepted(Event):
    """The server switched protocols (client side): the connection is open.

    `response` has its headers, `subprotocol` its choice (RFC 6455 section 4.1).
    """

    __slots__ = ("response", "subprotocol")

    def __init__(self, response: Response, subprotocol: str | None) -> None:
        self.response = response
        self.subprotocol = subprotocol


class Refused(Event):
    """The server answered with something else (client side): a redirect, a 401, an error.

    `response` has status, headers and as much of the body as the bound allows. The connection
    is over: end the byte stream (RFC 6455 section 4.1).
    """

    __slots__ = ("response",)

    def __init__(self, response: Response) -> None:
        self.response = response


class MessagePiece(Event):
    """Some of a message's payload, in the order of arrival.

    `type` is TEXT or BINARY, `first` and `last` say where in its message the piece stands; a
    message that arrived whole is one piece that is both. `data` is the payload's bytes; `text`
    is the same decoded, for TEXT, and None for BINARY. A piece of TEXT never ends inside a code
    point (RFC 6455 section 5.6, 8.1).
    """

    __slots__ = ("data", "first", "last", "text", "type")

    def __init__(
        self, type: DataType, data: bytes, text: str | None, first: bool, last: bool
    ) -> None:
        self.type = type
        self.data = data
        self.text = text
        self.first = first
        self.last = last


class Ping(Event):
    """The peer asks for a sign of life; answer with `send_pong(payload)` (RFC 6455 5.5.2).

    `payload` is at most 125 bytes. Where several wait, the latest alone needs an answer.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Pong(Event):
    """The peer answered a ping, or sent a pong unasked (RFC 6455 5.5.3).

    `payload` is the ping's. Pongs for the pings of `handle_timeout` are not told.
    """

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class CloseReceived(Event):
    """The peer's Close frame: nothing more comes.

    `code` is a `Reasons` member or an int of the private range, 1005 where the frame had none;
    `reason` is what it said beside. Send what is still owed, then call `acknowledge_close()`
    where `owes_close` asks for it: not where our Close went first (RFC 6455 section 5.5.1).
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason


class ConnectionFailed(Event):
    """The connection cannot go on: the peer broke a rule, fell silent, or is gone.

    `code` is what our Close will say, or 1006 where there is nobody to say it to; `reason` is
    the same in words. Send what is still owed, then call `acknowledge_close()` where `owes_close`
    asks for it (RFC 6455 section 7.1.7).
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
