"""Prometheus' metrics, as they are scraped over HTTP."""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from kit.connecting import connecting
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from wstransports import broadcast
from wstransports.runtime import running

prometheus_client = pytest.importorskip("prometheus_client")

from wstransports.prometheus import PrometheusInstrument  # noqa: E402  # it needs the extra

SENTENCE = "The quick brown fox jumps over the lazy dog. " * 100


class Quiet(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *arguments: object) -> None:
        """As of each request."""


class Endpoint:
    """What Prometheus scrapes."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        application = prometheus_client.make_wsgi_app(self.registry)
        self._server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
        # Its own start_http_server() takes half a second to stop.
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def scrape(self) -> dict[str, float]:
        """The samples by name and labels; the content type is that of the text format."""
        with closing(HTTPConnection("127.0.0.1", self._server.server_port, timeout=10)) as http:
            http.request("GET", "/metrics")
            response = http.getresponse()
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/plain; version=")
            text = response.read().decode()
        lines = [line for line in text.splitlines() if line[0] != "#" and "_created" not in line]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with closing(Endpoint()) as endpoint:
        yield endpoint


@on_each_loop
async def test_a_servers_metrics(loop: Loop, endpoint: Endpoint) -> None:
    instrument = PrometheusInstrument(registry=endpoint.registry)
    async with loop.serving(echo, instruments=[instrument]) as server:
        async with connecting(server) as client:
            await client.writer.send(SENTENCE)
            await client.receive()
            during = await running().in_thread(endpoint.scrape)
            await client.close(4001)
        async with connecting(server):
            pass
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.answer()
        await loop.until(lambda: endpoint.scrape()["wstransports_connections_open"] == 0)
    after = endpoint.scrape()
    assert during["wstransports_connections_open"] == 1
    wire = [after.pop(f"wstransports_{way}_wire_bytes_total") for way in ("sent", "received")]
    assert all(0 < size < 200 for size in wire)
    assert 0 <= after.pop("wstransports_connection_duration_seconds_sum") < 40
    assert after.pop('wstransports_connection_duration_seconds_bucket{le="+Inf"}') == 2
    assert {name: value for name, value in after.items() if "bucket" not in name} == {
        "wstransports_connections_opened_total": 2,
        "wstransports_connections_open": 0,
        'wstransports_connections_rejected_total{reason="plain",status="426"}': 1,
        'wstransports_connections_closed_total{code="4xxx"}': 1,
        'wstransports_connections_closed_total{code="1000"}': 1,
        "wstransports_connection_duration_seconds_count": 2,
        "wstransports_messages_received_total": 1,
        "wstransports_messages_sent_total": 1,
        "wstransports_messages_dropped_total": 0,
        "wstransports_received_bytes_total": len(SENTENCE),
        "wstransports_sent_bytes_total": len(SENTENCE),
        "wstransports_waiting_bytes": 0,
    }


@on_memory
async def test_slow_peers(loop: MemoryLoop, endpoint: Endpoint) -> None:
    instrument = PrometheusInstrument(registry=endpoint.registry, namespace="chat")
    async with loop.serving(echo, instruments=[instrument]) as server:
        peer = await loop.connect(server)
        peer.stop_reading()
        await broadcast(server.clients, bytes(300_000), compress=False)
        await broadcast(server.clients, "left out", slow="drop")
        during = endpoint.scrape()
        peer.start_reading()
        await loop.settle()
    assert during["chat_waiting_bytes"] > 200_000
    assert during["chat_messages_dropped_total"] == 1
    assert endpoint.scrape()["chat_waiting_bytes"] == 0


def test_two_with_the_same_names(endpoint: Endpoint) -> None:
    PrometheusInstrument(registry=endpoint.registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusInstrument(registry=endpoint.registry)
