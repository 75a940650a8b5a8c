"""The server side of a connection."""

from collections.abc import Sequence

from .connection import MAX_MESSAGE_SIZE, Connection
from .deadlines import Deadlines
from .extensions import Extension
from .handshake import ServerHandshake
from .headers import HeaderFields
from .parser import Parser
from .response import Response


class ServerConnection(Connection[ServerHandshake]):
    """The server side of a connection: respond to RequestReceived with `accept()` or `reject()`.

    `subprotocols` are those that the server supports, preferred first; `origins` those that it
    serves, None for all (None in the list stands for a missing Origin); `extensions` those that it
    supports, such as `[Deflate()]` (RFC 6455 section 9). `max_message_size` is in bytes, None for
    no limit. `open_timeout`, `close_timeout` and `timeout` (keepalive) are in seconds, 0 for
    never; they need calls of `connection_made` and `handle_timeout`. `handshake` replaces the
    three lists, for example with one that has received a parsed head.
    """

    __slots__ = ()

    def __init__(
        self,
        *,
        subprotocols: Sequence[str] = (),
        origins: Sequence[str | None] | None = None,
        extensions: Sequence[Extension] = (),
        max_message_size: int | None = MAX_MESSAGE_SIZE,
        open_timeout: float = 0,
        close_timeout: float = 0,
        timeout: float = 0,
        handshake: ServerHandshake | None = None,
    ) -> None:
        super().__init__(
            handshake
            or ServerHandshake(subprotocols=subprotocols, origins=origins, extensions=extensions),
            Parser(True, max_message_size),
            None,
            Deadlines(open_timeout, close_timeout, timeout),
        )

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

    def reject(self, response: Response, now: float = 0.0) -> None:
        """Respond with anything but a 101; also possible before RequestReceived.

        The connection is over: write `data_to_send()`, then close the byte stream, for which the
        peer has `close_timeout` seconds from `now`. Raises LocalProtocolError if the handshake is
        over, ValueError for a 1xx (RFC 6455 section 4.2.2).
        """
        handshake = self._waiting_handshake()
        self._put(handshake.reject(response))
        self._refused(handshake, now)
