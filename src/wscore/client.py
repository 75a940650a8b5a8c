"""The client side of a connection."""

from collections.abc import Sequence

from .connection import MAX_MESSAGE_SIZE, Connection
from .deadlines import Deadlines
from .extensions import Extension
from .handshake import ClientHandshake
from .handshake.head import MAX_HEAD_FIELDS, MAX_HEAD_SIZE
from .headers import HeaderFields
from .masking import MaskKeys
from .parser import Parser
from .request import Request


class ClientConnection(Connection[ClientHandshake]):
    """The client side of a connection: `data_to_send()` has its request from the start.

    `host` is the Host header's value, `target` the path and query; `subprotocols` and `extensions`
    are offered in this order; `origin` and `headers` are added (RFC 6455 section 4.1).
    `max_head_size` in bytes and `max_head_fields` in lines limit the response's head.
    `max_message_size` is in bytes, None for no limit; `open_timeout`, `close_timeout` and
    `timeout` (keepalive) are in seconds, 0 for never. Raises TypeError or ValueError for a value
    that is not allowed in a request. Then wait for Accepted, Refused or HandshakeFailed. `request`
    is the request that was sent.
    """

    __slots__ = ("request",)

    def __init__(
        self,
        host: str,
        target: str = "/",
        *,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        headers: HeaderFields = (),
        extensions: Sequence[Extension] = (),
        max_head_size: int = MAX_HEAD_SIZE,
        max_head_fields: int = MAX_HEAD_FIELDS,
        max_message_size: int | None = MAX_MESSAGE_SIZE,
        open_timeout: float = 0,
        close_timeout: float = 0,
        timeout: float = 0,
    ) -> None:
        handshake = ClientHandshake(
            host,
            target,
            subprotocols=subprotocols,
            origin=origin,
            headers=headers,
            extensions=extensions,
            max_head_size=max_head_size,
            max_head_fields=max_head_fields,
        )
        super().__init__(
            handshake,
            Parser(False, max_message_size),
            MaskKeys(),
            Deadlines(open_timeout, close_timeout, timeout),
        )
        self.request: Request = handshake.request
        self._put(handshake.request_bytes())
