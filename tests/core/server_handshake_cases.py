"""Requests by the bytes, and what the server makes of each: what test_server_handshake.py runs.

The refusals hold for a server that serves http://example.com and who names no origin, the
subprotocols for one that speaks superchat and chat.
"""

from collections.abc import Iterable
from typing import Any

# RFC 6455 section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HOST = ("Host", "example.com")
UPGRADE = ("Upgrade", "websocket")
CONNECTION = ("Connection", "Upgrade")
SENT_KEY = ("Sec-WebSocket-Key", KEY)
VERSION = ("Sec-WebSocket-Version", "13")
OPENING = [HOST, UPGRADE, CONNECTION, SENT_KEY, VERSION]

CHROMIUM = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: localhost:8080\r\n"
    b"Connection: Upgrade\r\n"
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0.0.0\r\n"
    b"Upgrade: websocket\r\n"
    b"Origin: http://example.com\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    b"\r\n"
)


def head(
    fields: Iterable[tuple[str, str]] = (), line: str = "GET /chat HTTP/1.1", end: str = "\r\n"
) -> bytes:
    """A request's head."""
    lines = [line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return end.join(lines).encode("latin-1")


def opening(*extra: tuple[str, str], without: str = "", **line: str) -> bytes:
    """An opening handshake with some fields more, and one less."""
    return head([*(field for field in OPENING if field[0] != without), *extra], **line)


def replaced(name: str, value: str) -> bytes:
    """An opening handshake with another value for one of its fields."""
    return opening((name, value), without=name)


# (RFC clause or reason, bytes, subprotocol chosen)
ACCEPTED: list[tuple[str, bytes, str | None]] = [
    ("6455-4.2.1 the least", opening(), None),
    ("6455-4.2.1 Chromium", CHROMIUM, None),
    ("6455-4.2.1/3 case", replaced("Upgrade", "WebSocket"), None),
    ("6455-4.2.1/3 list", replaced("Upgrade", "h2c, websocket"), None),
    ("6455-4.2.1/3 lines", opening(("Upgrade", "foo/2")), None),
    ("6455-4.2.1/4 case", replaced("Connection", "uPGRADE"), None),
    ("6455-4.2.1/4 Firefox", replaced("Connection", "keep-alive, Upgrade"), None),
    ("6455-4.2.1/4 lines", opening(("Connection", "keep-alive")), None),
    ("6455-4.1 spare bits in the key", replaced("Sec-WebSocket-Key", "A" * 21 + "C=="), None),
    ("6455-4.2.1/8 one", opening(("Sec-WebSocket-Protocol", "chat")), "chat"),
    ("6455-4.2.2 ours first", opening(("Sec-WebSocket-Protocol", "chat, superchat")), "superchat"),
    (
        "6455-4.2.1/8 lines",
        opening(("Sec-WebSocket-Protocol", "x"), ("Sec-WebSocket-Protocol", "chat")),
        "chat",
    ),
    ("6455-4.2.2 none of ours", opening(("Sec-WebSocket-Protocol", "Chat, x")), None),
    ("6455-9.1 unknown", opening(("Sec-WebSocket-Extensions", "foo; bar")), None),
    ("6455-10.2 origin", opening(("Origin", "http://example.com")), None),
    ("9110-8.6 no body", opening(("Content-Length", "0")), None),
    ("9110-2.5 minor version", opening(line="GET / HTTP/1.9"), None),
    ("9112-2.2 LF alone", opening(end="\n"), None),
    ("9112-2.2 an empty line before", b"\r\n" + opening(), None),
    ("9112-2.2 an empty line before, LF alone", b"\n" + opening(end="\n"), None),
    ("9112-3.2.2 absolute form", opening(line="GET http://example.com/?x HTTP/1.1"), None),
    ("9112-5.2 folded", opening(("X", "a\r\n b")), None),
    ("9110-5.5 obs-text", opening(("X", "\xe9\x85")), None),
    ("empty value", opening(("X", "")), None),
    ("128 fields", opening(*[("X", "y")] * 123), None),
    ("32 KiB", opening(("X", "y" * (32 * 1024 - len(opening(("X", "")))))), None),
]

# (RFC clause or reason, bytes)
ORDINARY: list[tuple[str, bytes]] = [
    ("9110-9.3.1 GET", head([HOST])),
    ("9110-9.3.2 HEAD", head([HOST], "HEAD / HTTP/1.1")),
    ("9112-3.2 HTTP/1.0 without Host", head((), "GET / HTTP/1.0")),
    ("9110-7.8 another Upgrade", head([HOST, ("Upgrade", "h2c"), CONNECTION])),
    ("9110-7.8 Connection alone", head([HOST, CONNECTION])),
    ("9110-7.6.1 Connection is of no interest", head([HOST, ("Connection", ",,;;")])),
    ("an IPv6 host", head([("Host", "[::1]:8080")])),
]

GARBAGE = "this is not an HTTP/1.1 request"
BODY = "request bodies are not supported"
METHODS = "only GET and HEAD are supported"
ORIGIN = "this origin is not allowed"
PLAIN = "this is a TLS handshake, but the server expects plain HTTP"
KEY_BAD = "the Sec-WebSocket-Key header is not base64 of 16 bytes"
TARGET = "the request target is neither a path nor an absolute URI"
LONG = "the head is longer than 32768 bytes"

# (RFC clause or reason, bytes, status, what the reason says, headers beyond the usual)
REFUSED: list[tuple[str, bytes, int, str, dict[str, str]]] = [
    # No HTTP
    ("TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "a TLS handshake", {}),
    ("TLS, first byte", b"\x16", 400, PLAIN, {}),
    ("zeros", bytes(20), 400, GARBAGE, {}),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", 400, GARBAGE, {}),
    ("words", b"hello there\n", 400, GARBAGE, {}),
    ("high bytes", b"GET /\xff", 400, GARBAGE, {}),
    ("9112-2.2 two empty lines", b"\r\n\r\n", 400, GARBAGE, {}),
    ("9112-2.2 two empty lines, LF alone", b"\n\n" + opening(), 400, GARBAGE, {}),
    ("9112-2.2 no line break", b"\r" + opening(), 400, "control characters", {}),
    ("9113-3.4 HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, GARBAGE, {}),
    ("no version", b"GET /\r\n", 400, GARBAGE, {}),
    ("9112-2.3 version", b"GET / HTTP/1.1 \r\n", 400, GARBAGE, {}),
    ("9112-2.3 digit", opening(line="GET / HTTP/1.x"), 400, "the request line is not valid", {}),
    ("9112-3 blanks", opening(line="GET  / HTTP/1.1"), 400, "the request line is not valid", {}),
    ("9112-3 method", opening(line="G(T / HTTP/1.1"), 400, "the request line is not valid", {}),
    ("9112-5.1 blank before colon", opening(("X ", "y")), 400, "a header line is not valid", {}),
    ("9112-5 no colon", head([HOST]).replace(b": ", b" "), 400, "a header line is not valid", {}),
    ("9112-5.2 fold", head([(" X", "y"), HOST]), 400, "the first header line is indented", {}),
    ("9110-5.5 NUL", opening(("X", "a\0b")), 400, "control characters", {}),
    ("9110-5.5 CR", opening(("X", "a\rb")), 400, "control characters", {}),
    ("CR in the line", b"GET / \rHTTP/1.1\r\n\r\n", 400, GARBAGE, {}),
    ("h11's slow pattern", opening(("X", " " * 15_000 + "\v")), 400, "control characters", {}),
    ("h11's slow pattern", opening(("X", " " * 15_000 + "\f")), 400, "control characters", {}),
    # Bounds
    ("endless line", b"G" * 32 * 1024, 431, LONG, {}),
    ("endless line, ended late", b"G" * 32_800 + b"\n", 431, LONG, {}),
    ("endless target", b"GET /" + b"a" * 32 * 1024, 431, LONG, {}),
    ("one byte more", opening(("X", "y" * (32_769 - len(opening(("X", "")))))), 431, LONG, {}),
    ("200 kB", opening(("X", "y" * 200_000)), 431, LONG, {}),
    ("129 fields", opening(*[("X", "y")] * 124), 431, "more than 128 header lines", {}),
    # HTTP
    ("9112-3.2 no Host", opening(without="Host"), 400, "the Host header is missing", {}),
    (
        "9112-3.2 no Host in a later minor version",
        opening(without="Host", line="GET /chat HTTP/1.2"),
        400,
        "the Host header is missing",
        {},
    ),
    ("9112-3.2 two Hosts", opening(HOST), 400, "the Host header is repeated", {}),
    ("9112-3.2 empty Host", replaced("Host", ""), 400, "the Host header is malformed", {}),
    ("9112-3.2 bad Host", replaced("Host", "a b"), 400, "the Host header is malformed", {}),
    ("9112-3.2 bad Host", replaced("Host", "a/b"), 400, "the Host header is malformed", {}),
    ("9112-3.2 target", head([HOST], "GET * HTTP/1.1"), 400, TARGET, {}),
    ("9112-3.2 target", head([HOST], "GET chat HTTP/1.1"), 400, TARGET, {}),
    ("9112-3.2 target", head([HOST], "GET ?a HTTP/1.1"), 400, TARGET, {}),
    ("9112-3.2 target", head([HOST], "GET http:///a HTTP/1.1"), 400, TARGET, {}),
    ("6455-3 fragment", opening(line="GET /a#b HTTP/1.1"), 400, TARGET, {}),
    ("6455-3 fragment", opening(line="GET http://a/#b HTTP/1.1"), 400, TARGET, {}),
    ("9110-8.6 body", opening(("Content-Length", "10")), 400, BODY, {}),
    ("9110-8.6 body", head([HOST, ("Content-Length", "1")]), 400, BODY, {}),
    ("9112-6.3 lengths", opening(("Content-Length", "1, 2")), 400, "Content-Length", {}),
    ("9112-6.3 length", opening(("Content-Length", "-1")), 400, "Content-Length header", {}),
    ("9112-6.1 body", opening(("Transfer-Encoding", "chunked")), 400, BODY, {}),
    ("9112-6.1 body", head([HOST, ("Transfer-Encoding", "gzip")]), 400, "Transfer-Encoding", {}),
    ("9110-9.1 POST", head([HOST], "POST / HTTP/1.1"), 405, METHODS, {"Allow": "GET, HEAD"}),
    ("9110-9.3.6", head([HOST], "CONNECT a:1 HTTP/1.1"), 405, METHODS, {"Allow": "GET, HEAD"}),
    # The WebSocket handshake
    ("6455-4.2.1/1", opening(line="POST / HTTP/1.1"), 405, "opened with GET", {"Allow": "GET"}),
    ("6455-4.2.1/1 HTTP/1.0", opening(line="GET / HTTP/1.0"), 400, "needs HTTP/1.1", {}),
    ("6455-4.2.1/3 none", opening(without="Upgrade"), 400, "Upgrade header does not name", {}),
    ("6455-4.2.1/3 other", replaced("Upgrade", "h2c"), 400, "Upgrade header does not name", {}),
    ("6455-4.2.1/3 malformed", replaced("Upgrade", "websocket;"), 400, "malformed Upgrade", {}),
    ("6455-4.2.1/4 none", opening(without="Connection"), 400, "Connection header does not", {}),
    ("6455-4.2.1/4 other", replaced("Connection", "close"), 400, "Connection header does not", {}),
    ("6455-4.2.1/4 empty", replaced("Connection", ","), 400, "Connection header does not", {}),
    ("6455-4.2.1/4 malformed", replaced("Connection", ",,;;"), 400, "malformed Connection", {}),
    ("6455-4.2.1/5 none", opening(without="Sec-WebSocket-Key"), 400, "Key header is missing", {}),
    ("6455-4.2.1/5 two", opening(SENT_KEY), 400, "Key header is repeated", {}),
    ("6455-4.2.1/5 empty", replaced("Sec-WebSocket-Key", ""), 400, KEY_BAD, {}),
    ("6455-4.2.1/5 15 bytes", replaced("Sec-WebSocket-Key", "A" * 20), 400, KEY_BAD, {}),
    ("6455-4.2.1/5 17 bytes", replaced("Sec-WebSocket-Key", "A" * 23 + "="), 400, KEY_BAD, {}),
    ("6455-4.2.1/5 no padding", replaced("Sec-WebSocket-Key", "A" * 22), 400, KEY_BAD, {}),
    ("6455-4.2.1/5 more", replaced("Sec-WebSocket-Key", KEY + "="), 400, KEY_BAD, {}),
    ("6455-4.2.1/5 URL alphabet", replaced("Sec-WebSocket-Key", "_" * 22 + "=="), 400, KEY_BAD, {}),
    ("6455-4.2.1/5", replaced("Sec-WebSocket-Key", KEY[:9] + " " + KEY[9:]), 400, KEY_BAD, {}),
    ("6455-4.2.1/6", opening(without="Sec-WebSocket-Version"), 400, "header is missing", {}),
    ("6455-4.2.1/6 two", opening(VERSION), 400, "Version header is repeated", {}),
    *[
        (
            f"6455-4.4 version {version}",
            replaced("Sec-WebSocket-Version", version),
            426,
            "only WebSocket version 13 is supported",
            {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "close, Upgrade"},
        )
        for version in ["8", "14", "013", "13, 8", "x", ""]
    ],
    ("6455-4.2.1/8", opening(("Sec-WebSocket-Protocol", "a b")), 400, "malformed Sec-Web", {}),
    ("6455-4.3 none", opening(("Sec-WebSocket-Protocol", "")), 400, "Protocol header: it is", {}),
    ("6455-4.3 none", opening(("Sec-WebSocket-Protocol", ",")), 400, "Protocol header: it is", {}),
    *[
        (
            f"6455-9.1 {value}",
            opening(("Sec-WebSocket-Extensions", value)),
            400,
            "malformed Sec-WebSocket-Extensions header",
            {},
        )
        for value in ("", ',', ';;,="', "x-a; b=", "permessage-deflate;;", "x/a", 'x-a; b="c')
    ],
    ("6455-4.2.2/4 origin", opening(("Origin", "http://evil")), 403, ORIGIN, {}),
    ("6455-4.2.2/4 null", opening(("Origin", "null")), 403, ORIGIN, {}),
    ("6454-7.3", opening(*[("Origin", "http://example.com")] * 2), 400, "Origin header is", {}),
]  # fmt: skip

# The same request from a parser of somebody else's.
FIELDS = [(name.lower().encode(), value.encode()) for name, value in OPENING]

# (method, target, fields, status, what the reason says)
PARSED_REFUSED: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], int, str]] = [
    (b"POST", b"/", FIELDS, 405, "a WebSocket must be opened with GET"),
    (b"G T", b"/", FIELDS, 400, "the method is not a token"),
    (b"GET", b"/ ", FIELDS, 400, "the request target has"),
    (b"GET", b"x", FIELDS, 400, "the request target"),
    (b"GET", b"/", FIELDS[1:], 400, "the Host header is missing"),
    (b"GET", b"/", [*FIELDS, (b"a", b"b\r\nc")], 400, "control characters in the head"),
    (b"GET", b"/", [*FIELDS, (b"a", b" " * 30_000 + b"\v")], 400, "control characters in the"),
    (b"GET", b"/", [*FIELDS, (b"a\r\nb", b"c")], 400, "control characters in the head"),
    (b"GET", b"/", [*FIELDS, (b"a", b" b")], 400, "a header value has"),
    (b"GET", b"/" + b"a" * 32_800, FIELDS, 431, LONG),
    (b"GET", b"/", [*FIELDS, *[(b"a", b"b")] * 124], 431, "more than 128 header lines"),
]

# What accept() refuses where "chat" was offered: (subprotocol, headers, error, what it says)
NOT_ACCEPT: list[tuple[str | None, Any, type[Exception], str]] = [
    ("z", (), ValueError, "did not offer the subprotocol 'z': choose from "),
    ("", (), ValueError, "did not offer the subprotocol ''"),
    (None, {"Upgrade": "x"}, ValueError, "writes the upgrade header itself: leave it"),
    (None, {"Connection": "x"}, ValueError, "writes the connection header"),
    (None, {"Content-Length": "0"}, ValueError, "writes the content-length header"),
    (None, {"Transfer-Encoding": "x"}, ValueError, "writes the transfer-encoding header"),
    (None, {"Sec-WebSocket-Accept": "x"}, ValueError, "sec-websocket-accept header"),
    (None, {"SEC-WEBSOCKET-NEW": "x"}, ValueError, "sec-websocket-new header"),
    (None, {"A": "b\nC: d"}, ValueError, "the value of header A has line breaks"),
    (None, [("A", 1)], TypeError, "a header must be a pair"),
]
