"""The origins that a server serves: those that no client sends are refused at the call."""

from typing import Any

import pytest
from server_handshake_cases import opening

from wscore import HandshakeFailed, RequestReceived, ServerConnection
from wscore.handshake import ServerHandshake

SENT = [
    "https://example.com",
    "http://example.com",
    "https://example.com:8443",
    "http://example.com:443",
    "https://example.com:80",
    "https://xn--bcher-kva.example",
    "http://localhost:3000",
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "https://a_b.example",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://0f0c1d5a-0000-4000-8000-000000000000",
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "ws://example.com",
    "file://",
    "null",
]

# (an origin that no client sends, what the error says of it)
NOT_SENT = [
    ("https://example.com/", "no more; write 'https://example.com'"),
    ("https://example.com/app?x=1", "no more; write 'https://example.com'"),
    ("https://example.com#top", "no more; write 'https://example.com'"),
    ("https://Example.com", "in lower case, no more; write 'https://example.com'"),
    ("HTTPS://EXAMPLE.COM:8443/", "write 'https://example.com:8443'"),
    ("https://example.com:443", "leave out the default port; write 'https://example.com'"),
    ("http://example.com:80", "leave out the default port; write 'http://example.com'"),
    ("http://[::1]:80", r"write 'http://\[::1\]'"),
    ("*", "wildcards are not supported; list each origin, or pass origins=None"),
    ("https://*.example.com", "wildcards are not supported"),
    ("example.com", "begin with the scheme, as in https://example.com"),
    ("example.com:443", "begin with the scheme"),
    ("", "begin with the scheme"),
    ("Null", "begin with the scheme"),
    ("none", "begin with the scheme"),
    ("https://b\xfccher.example", r"write its host in ASCII \(xn--...\)"),
    ("https://", "it has no host"),
    ("https://:8443", "it has no host"),
    ("file://:1", "it has no host"),
    ("https://example.com:", "an origin is scheme://host"),
    ("https://example.com:0", "the port is not a number from 1 to 65535"),
    ("https://example.com:65536", "the port is not a number from 1 to 65535"),
    ("https://example.com:99999999999999999999", "the port is not a number"),
    ("https://example.com:08", "the port is not a number"),
    ("https://user@example.com", "no more$"),
    (" https://example.com", "no more$"),
    ("https://example.com\n", "no more$"),
    ("https://a, https://b", "no more$"),
]


@pytest.mark.parametrize("origin", SENT)
def test_an_origin_that_clients_send_is_served(origin: str) -> None:
    server = ServerConnection(origins=["https://other.example", origin])
    [event] = server.receive_data(opening(("Origin", origin)))
    assert isinstance(event, RequestReceived)
    server = ServerConnection(origins=["https://other.example"])
    [event] = server.receive_data(opening(("Origin", origin)))
    assert event == HandshakeFailed(403, "this origin is not allowed")


@pytest.mark.parametrize(("origin", "words"), NOT_SENT)
def test_an_origin_that_matches_nobody_is_refused(origin: str, words: str) -> None:
    for origins in ([origin], ["https://example.com", None, origin], (origin,)):
        with pytest.raises(ValueError, match=words) as caught:
            ServerHandshake(origins=origins)
        assert f"the origin {origin!r} matches no client: " in str(caught.value)
        assert str(caught.value).isprintable()


def test_any_collection_will_do() -> None:
    origins: Any = {"https://example.com", None}
    [event] = ServerConnection(origins=origins).receive_data(opening())
    assert isinstance(event, RequestReceived)
    assert ServerHandshake(origins=[]).receive_data(opening()) == HandshakeFailed(
        403, "this origin is not allowed"
    )
