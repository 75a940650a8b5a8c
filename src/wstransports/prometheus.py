"""Counters for Prometheus: `PrometheusInstrument`; it needs the extra `prometheus`."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from wscore import Reasons

from .client import Client
from .instrument import Instrument
from .statistics import WaitingBytes

# Connections last from seconds to days.
_SECONDS = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600)

_REASONS = {int(reason) for reason in Reasons}


class PrometheusInstrument(Instrument):
    """Keeps Prometheus' metrics: `WebSocketServer(..., instruments=[PrometheusInstrument()])`.

    Several servers and `connect` may share one; give each a `namespace` of its own to tell them
    apart. The metrics are added to `registry`, which prometheus_client serves. Raises ValueError if
    it has metrics of these names already.
    """

    def __init__(
        self, *, registry: CollectorRegistry = REGISTRY, namespace: str = "wstransports"
    ) -> None:
        def counter(name: str, what: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, what, labels, namespace=namespace, registry=registry)

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(name, what, namespace=namespace, registry=registry)

        self._opened = counter("connections_opened", "Connections that were opened.")
        self._open = gauge("connections_open", "Connections that are open.")
        self._rejected = counter(
            "connections_rejected",
            "Opening handshakes that led to no connection.",
            ("reason", "status"),
        )
        self._closed = counter("connections_closed", "Connections that were closed.", ("code",))
        self._seconds = Histogram(
            "connection_duration_seconds",
            "How long closed connections were open.",
            namespace=namespace,
            registry=registry,
            buckets=_SECONDS,
        )
        self._received = counter("messages_received", "Messages that arrived.")
        self._sent = counter("messages_sent", "Messages that were sent.")
        self._dropped = counter("messages_dropped", "Messages of broadcasts to slow clients.")
        self._received_size = counter("received_bytes", "The bytes of messages that arrived.")
        self._sent_size = counter("sent_bytes", "The bytes of messages that were sent.")
        self._received_wire_size = counter("received_wire_bytes", "The same before decompression.")
        self._sent_wire_size = counter("sent_wire_bytes", "The same after compression.")
        self._waiting = WaitingBytes()
        waiting = gauge("waiting_bytes", "Bytes that wait for slow peers.")
        waiting.set_function(lambda: self._waiting.total)

    def opened(self, client: Client) -> None:
        """As an Instrument."""
        self._opened.inc()
        self._open.inc()

    def rejected(self, status: int, reason: str) -> None:
        """As an Instrument."""
        self._rejected.labels(reason, str(status)).inc()

    def closed(self, client: Client, code: int, seconds: float) -> None:
        """As an Instrument."""
        self._open.dec()
        # The peer chooses a private code, and each would be a time series.
        self._closed.labels(str(code) if code in _REASONS else f"{code // 1000}xxx").inc()
        self._seconds.observe(seconds)
        self._waiting.closed(client)

    def message_received(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        self._received.inc()
        self._received_size.inc(size)
        self._received_wire_size.inc(wire_size)

    def message_sent(self, client: Client, size: int, wire_size: int) -> None:
        """As an Instrument."""
        self._sent.inc()
        self._sent_size.inc(size)
        self._sent_wire_size.inc(wire_size)

    def waiting(self, client: Client, size: int) -> None:
        """As an Instrument."""
        self._waiting.waiting(client, size)

    def dropped(self, client: Client, size: int) -> None:
        """As an Instrument."""
        self._dropped.inc()
