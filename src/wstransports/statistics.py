"""Counters of a server, or of outgoing connections: `Statistics`."""

from collections import Counter

from .client import Client
from .instrument import Instrument


class WaitingBytes:
    """How many bytes wait for all clients together, from what is reported of each."""

    def __init__(self) -> None:
        self.total: int = 0
        self._of: dict[Client, int] = {}

    def waiting(self, client: Client, size: int) -> None:
        """So many wait for this client."""
        self.total += size - self._of.get(client, 0)
        self._of[client] = size

    def closed(self, client: Client) -> None:
        """None wait for this client any more."""
        self.total -= self._of.pop(client, 0)


class Statistics(Instrument):
    """Counts connections and messages: `WebSocketServer(..., instruments=[Statistics()])`.

    It is an instrument, because a count of messages takes time for each of them. Several servers
    and `connect` may share one on the same event loop.
    """

    def __init__(self) -> None:
        self.connections_opened: int = 0
        """Connections whose opening handshake succeeded."""
        self.connections_open: int = 0
        """Those that are open."""
        self.connections_rejected: Counter[str] = Counter()
        """The others, by the reasons of `Instrument.rejected`."""
        self.connections_closed: Counter[int] = Counter()
        """Those that are closed, by code (RFC 6455 section 7.4)."""
        self.messages_received: int = 0
        """Messages that arrived completely."""
        self.messages_sent: int = 0
        """Messages that were queued."""
        self.messages_dropped: int = 0
        """Messages that `broadcast(slow="drop")` did not send."""
        self.bytes_received: int = 0
        """The bytes of the messages received."""
        self.bytes_sent: int = 0
        """The bytes of the messages sent."""
        self.wire_bytes_received: int = 0
        """The same before decompression."""
        self.wire_bytes_sent: int = 0
        """The same after compression."""
        self._waiting = WaitingBytes()

    def __repr__(self) -> str:
        counted = {name: value for name, value in vars(self).items() if name[0] != "_"}
        counted["bytes_waiting"] = self.bytes_waiting
        return f"Statistics({', '.join(f'{name}={value}' for name, value in counted.items())})"

    @property
    def bytes_waiting(self) -> int:
        """The bytes that wait for slow peers, as last reported."""
        return self._waiting.total

    def opened(self, client: Client) -> None:
        """As an Instrument."""
        self.connections_opened += 1
        self.connections_open += 1

    def rejected(self, status: int, reason: str) -> None:
        """As an Instrument."""
        self.connections_rejected[reason] += 1

    def closed(self, client: Client, code: int, seconds: float) -> None:
        """As an Instrument."""
        self.connections_open -= 1
        self.connections_closed[code] += 1
        self._waiting.closed(client)

    def message_received(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        self.messages_received += 1
        self.bytes_received += size
        self.wire_bytes_received += wire_size

    def message_sent(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        self.messages_sent += 1
        self.bytes_sent += size
        self.wire_bytes_sent += wire_size

    def waiting(self, client: Client, size: int) -> None:
        """As an Instrument."""
        self._waiting.waiting(client, size)

    def dropped(self, client: Client, size: int) -> None:
        """As an Instrument."""
        self.messages_dropped += 1
