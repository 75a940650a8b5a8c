"""The server side of a connection."""

from collections.abc import Callable, Iterable, Sequence

from .connection import MAX_MESSAGE_SIZE, Connection
from .deadlines import Deadlines
from .events import Event
from .extensions import Extension
from .handshake import ServerHandshake
from .handshake.head import MAX_HEAD_FIELDS, MAX_HEAD_SIZE
from .headers import HeaderFields
from .parser import Parser
from .response import Response


class ServerConnection(Connection[ServerHandshake]):
    """The server side of a connection: respond to RequestReceived with `accept()` or `reject()`.

    `subprotocols` are those that the server supports, preferred first; `origins` those that it
    serves, None for all (None in the list stands for a missing Origin); `extensions` those that it
    supports, such as `[Deflate()]` (RFC 6455 section 9). `max_head_size` in bytes and
    `max_head_fields` in lines limit the request's head. `refusal_headers` returns headers for each
    response that refuses, such as Date. `max_message_size` is in bytes, None for no limit.
    `open_timeout`, `close_timeout` and `timeout` (keepalive) are in seconds, 0 for never; they
    need calls of `connection_made` and `handle_timeout`. A silent peer gets a ping after
    `ping_interval` seconds, None for half of `timeout`. `handshake` replaces the arguments that
    are about the handshake. Raises TypeError or ValueError for an invalid argument, such as a
    `handshake` that is over.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = (),
        origins: Sequence[str | None] | None = None,
        extensions: Sequence[Extension] = (),
        max_head_size: int = MAX_HEAD_SIZE,
        max_head_fields: int = MAX_HEAD_FIELDS,
        refusal_headers: Callable[[], HeaderFields] = tuple,
        max_message_size: int | None = MAX_MESSAGE_SIZE,
        open_timeout: float = 0,
        close_timeout: float = 0,
        timeout: float = 0,
        ping_interval: float | None = None,
        handshake: ServerHandshake | None = None,
    ) -> None:
        if handshake is None:
            handshake = ServerHandshake(
                subprotocols=subprotocols,
                origins=origins,
                extensions=extensions,
                max_head_size=max_head_size,
                max_head_fields=max_head_fields,
                refusal_headers=refusal_headers,
            )
        elif handshake.ended_by is not None:
            raise ValueError(
                f"the handshake is over: {handshake.ended_by} ended it; pass a new one, and what"
                " was received to receive_data() or receive_head() of the connection"
            )
        super().__init__(
            handshake,
            Parser(True, max_message_size),
            None,
            Deadlines(open_timeout, close_timeout, timeout, ping_interval),
        )

    def receive_head(
        self,
        method: bytes,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]],
        trailing_data: bytes | bytearray | memoryview = b"",
        http_version: bytes = b"1.1",
        now: float = 0.0,
    ) -> list[Event]:
        """Start with the head of an HTTP/1.1 request that another parser has read.

        `method`, `target` and `http_version` are those of the request line, `headers` the fields in
        order, and `trailing_data` the bytes that were read after the head; `now` is in seconds.
        Call it instead of `receive_data`, and pass that what arrives later. Returns
        RequestReceived or HandshakeFailed, for the same requests as `receive_data` does. Raises
        LocalProtocolError if a request was received.
        """
        handshake = self._waiting_handshake()
        event = handshake.receive_head(method, target, headers, trailing_data, http_version)
        self.silent = False
        return self._handshake_event(handshake, event, now)

    def accept(
        self, subprotocol: str | None = None, headers: HeaderFields = (), now: float = 0.0
    ) -> str | None:
        """Respond to RequestReceived with a 101: the connection is open (RFC 6455 section 4.2.2).

        `subprotocol` overrides the server's choice, which is the first of its own that the client
        offered. `headers` are added to the response. `now`, in seconds, starts the keepalive time.
        Returns the subprotocol. If `more` is set afterwards, the client has already sent frames:
        call `receive_data(b"")`.

        Raises LocalProtocolError if no upgrade is waiting for a response, ValueError for a
        subprotocol that was not offered or a header that the handshake writes itself, TypeError
        for an invalid header.
        """
        handshake = self._waiting_handshake()
        self._put(handshake.accept(subprotocol, headers))
        self._opened(handshake, now)
        return handshake.subprotocol

    def reject(self, response: Response, now: float = 0.0, more_body: bool = False) -> None:
        """Respond with anything but a 101; also possible before RequestReceived.

        The connection is over: write `data_to_send()`, then close the byte stream, for which the
        peer has `close_timeout` seconds from `now`. With `more_body`, the response's body goes on:
        call `send_body` until its last piece, and `output_progress` meanwhile: a peer that reads
        nothing for the keepalive time ends in HandshakeFailed. Raises LocalProtocolError if the
        handshake is over, ValueError for a 1xx (RFC 6455 section 4.2.2).
        """
        handshake = self._waiting_handshake()
        self._put(handshake.reject(response, more_body))
        if more_body:
            self._deadlines.answered()
        else:
            self._refused(handshake, now)

    def send_body(self, data: bytes, last: bool, now: float = 0.0) -> None:
        """Send a piece of the body of a response that `reject(..., more_body=True)` began.

        After the `last` one the connection is over, as after `reject`: the peer has `close_timeout`
        seconds from `now`. Raises LocalProtocolError if no such response was begun, or its last
        piece is sent.
        """
        handshake = self._waiting_handshake()
        self._put(handshake.send_body(data, last))
        if last:
            self._refused(handshake, now)
