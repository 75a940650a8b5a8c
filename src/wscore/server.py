"""The server's end of a connection."""

from collections.abc import Sequence

from .connection import MAX_MESSAGE_SIZE, Connection
from .deadlines import Deadlines
from .extensions import Extension
from .handshake import ServerHandshake
from .headers import HeaderFields
from .parser import Parser
from .response import Response


class ServerConnection(Connection[ServerHandshake]):
    """The server's end: answer its RequestReceived with `accept()` or `reject()`.

    `subprotocols` are what the server speaks, best first; `origins` whom it serves, None for
    everybody (a None in the list lets in who names no origin); `extensions` are those it is ready
    for, `[Deflate()]` say (RFC 6455 section 9); `max_message_size` is in bytes, None for no
    bound. `open_timeout`, `close_timeout` and `timeout` (keepalive) are in seconds, 0 for never;
    they count only for who calls `connection_made` and `handle_timeout`. `handshake` may be one
    that began elsewhere, from a head already parsed.
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
        """Answer a RequestReceived with 101: the connection is open (RFC 6455 section 4.2.2).

        `subprotocol` overrides the choice, which is the first of ours that the client offered;
        the choice is returned. `headers` are added to the response. `now` is in seconds; the
        keepalive time counts from it. Where `more` is set then, frames are here already: call
        `receive_data(b"")`.

        Raises LocalProtocolError where no upgrade waits for an answer, ValueError for a
        subprotocol that was not offered or a header that the handshake writes itself, TypeError
        for what is no header.
        """
        handshake = self._waiting_handshake()
        self._put(handshake.accept(subprotocol, headers))
        self._opened(handshake, now)
        return handshake.subprotocol

    def reject(self, response: Response, now: float = 0.0) -> None:
        """Answer a RequestReceived with anything but 101, or refuse before one came.

        The connection is over then: write `data_to_send()` and end the byte stream, for which
        the peer has `close_timeout` seconds from `now`. Raises LocalProtocolError where the
        handshake is over, ValueError for a 1xx (RFC 6455 section 4.2.2).
        """
        handshake = self._waiting_handshake()
        self._put(handshake.reject(response))
        self._refused(handshake, now)
