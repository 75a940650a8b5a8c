"""What counts or traces connections: `Instrument`, for an application to subclass."""

from .client import Client
from .instruments import does_nothing


class Instrument:
    """A base class for what counts or traces connections: `instruments=[...]`.

    Pass an instance to `WebSocketServer` or `connect`, and override what you need. The methods are
    plain functions, called on the event loop, and must return at once. An exception is logged, the
    first time for each method, and harms no connection. Methods that are not overridden cost
    nothing.
    """

    @does_nothing
    def opened(self, client: Client) -> None:
        """A connection is open (RFC 6455 section 4): called before its `on_connection`."""

    @does_nothing
    def rejected(self, status: int, reason: str) -> None:
        """An opening handshake did not lead to a connection.

        `status` is that of the HTTP response, 0 for none. `reason` is one word:

        On a server, "full" (`max_connections`), "address" (`max_connections_per_address`),
        "shutdown", "unauthorized" (`basic_auth`), "application" (what `process_request` returned,
        such as the answer to a health check), "error" (a hook raised), "tls", "plain" (a request
        that is not a WebSocket's), or "handshake" (a request that is invalid or late, or a client
        that left).

        For `connect`, "response" (the server's, redirects included), or "unreachable" (anything
        else). An error in `connect` itself is not reported.
        """

    @does_nothing
    def closed(self, client: Client, code: int, seconds: float) -> None:
        """A connection is closed: with which code, 1006 for a lost one, and how long it was open.

        Its callbacks may still run. Nothing is called for this `client` afterwards.
        """

    @does_nothing
    def message_received(self, client: Client, size: int, wire_size: int) -> None:
        """A message arrived completely: called before `on_message` gets the last of it.

        `size` is its bytes, `wire_size` those of its payload as it was sent, which are fewer if it
        was compressed (RFC 7692). Text counts as UTF-8.
        """

    @does_nothing
    def message_sent(self, client: Client, size: int, wire_size: int) -> None:
        """A message was queued, the last fragment included; `size` and `wire_size` as above."""

    @does_nothing
    def waiting(self, client: Client, size: int) -> None:
        """The peer is slow, and `size` bytes wait for it.

        Called when senders begin to wait, and when there is buffer space again.
        """

    @does_nothing
    def dropped(self, client: Client, size: int) -> None:
        """`broadcast(slow="drop")` did not send a message of `size` bytes to a slow client."""
