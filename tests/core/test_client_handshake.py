"""The client's side of the opening handshake: tables of bytes, each whole, cut, and followed."""

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from os import urandom
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wscore import ClientConnection
from wscore.errors import LocalProtocolError
from wscore.events import Accepted, HandshakeFailed, Refused
from wscore.handshake import ClientHandshake, ServerHandshake, key
from wscore.headers import Headers
from wscore.response import Response

Outcome = Accepted | Refused | HandshakeFailed | None

# RFC 6455 section 1.3: what answers the key made of these bytes.
NONCE = b"the sample nonce"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

UPGRADE = ("Upgrade", "websocket")
CONNECTION = ("Connection", "Upgrade")
ACCEPTING = ("Sec-WebSocket-Accept", ACCEPT)
SWITCHING = [UPGRADE, CONNECTION, ACCEPTING]

SWITCHING_LINE = "HTTP/1.1 101 Switching Protocols"


def head(
    fields: Iterable[tuple[str, str]] = (), line: str = SWITCHING_LINE, end: str = "\r\n"
) -> bytes:
    """A response's head."""
    lines = [line, *(f"{name}: {value}" for name, value in fields), "", ""]
    return end.join(lines).encode("latin-1")


def switching(*extra: tuple[str, str], without: str = "", **line: str) -> bytes:
    """A 101 with some fields more, and one less."""
    return head([*(field for field in SWITCHING if field[0] != without), *extra], **line)


def replaced(name: str, value: str) -> bytes:
    """A 101 with another value for one of its fields."""
    return switching((name, value), without=name)


def chunked(body: bytes, line: str = "HTTP/1.1 401 Unauthorized") -> bytes:
    return head([("Transfer-Encoding", "chunked")], line) + body


def sized(size: int, body: bytes, line: str = "HTTP/1.1 401 Unauthorized") -> bytes:
    return head([("Content-Length", str(size))], line) + body


def client(**arguments: Any) -> ClientHandshake:
    return ClientHandshake("example.com", "/chat", subprotocols=["superchat", "chat"], **arguments)


@pytest.fixture(autouse=True, scope="module")
def known_nonce() -> Iterator[None]:
    """Every key of this module is the one that ACCEPT answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key, "urandom", lambda size: NONCE[:size])
        yield


def feed(data: bytes, places: Iterable[int] = ()) -> tuple[ClientHandshake, Outcome, bytes]:
    """Feed data, cut at places, up to the first event; returns it, and what was not read."""
    handshake = client()
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    start = 0
    for end in ends:
        event = handshake.receive_data(data[start:end])
        if event is not None:
            return handshake, event, handshake.trailing_data + data[end:]
        start = end
    return handshake, None, b""


def ids(table: Sequence[tuple[Any, ...]]) -> list[str]:
    return [case[0] for case in table]


EARLY_HINTS = head([("Link", "</x>")], "HTTP/1.1 103 Early Hints")

# (RFC clause or reason, bytes, subprotocol chosen)
ACCEPTED: list[tuple[str, bytes, str | None]] = [
    ("6455-4.1 the least", switching(), None),
    ("6455-4.1/2 case", replaced("Upgrade", "WebSocket"), None),
    ("6455-4.1/3 case", replaced("Connection", "upgrade"), None),
    ("6455-4.1/3 list", replaced("Connection", "keep-alive, Upgrade"), None),
    ("6455-4.1/3 lines", switching(("Connection", "x")), None),
    ("6455-4.1/4 blanks", replaced("Sec-WebSocket-Accept", f"  {ACCEPT} "), None),
    ("6455-4.1/6 subprotocol", switching(("Sec-WebSocket-Protocol", "chat")), "chat"),
    ("9110-15.2 informational", EARLY_HINTS * 8 + switching(), None),
    ("9112-4 no phrase", switching(line="HTTP/1.1 101"), None),
    ("9112-2.2 LF alone", switching(end="\n"), None),
    ("128 fields", switching(*[("X", "y")] * 125), None),
    ("32 KiB", switching(("X", "y" * (32 * 1024 - len(switching(("X", "")))))), None),
]

MALFORMED = "malformed HTTP response: "
NO_HTTP = "the server does not respond with HTTP/1.1"
LONG = "the head is longer than 32768 bytes"

# (RFC clause or reason, bytes, what the reason says)
FAILED: list[tuple[str, bytes, str]] = [
    ("TLS alert", b"\x15\x03\x01\x00\x02\x02\x46", NO_HTTP),
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", NO_HTTP),
    ("9112-2.2 empty line", b"\r\n" + switching(), NO_HTTP),
    ("9113-3.4 HTTP/2", switching(line="HTTP/2.0 101 x"), NO_HTTP),
    ("9112-4 status", switching(line="HTTP/1.1 1x1 x"), MALFORMED + "the status line is not valid"),
    ("9112-4 status", head(line="HTTP/1.1 099 x"), MALFORMED),
    ("9112-4 status", head(line="HTTP/1.1 42 x"), MALFORMED + "the status line is not valid"),
    ("9112-5.1 name", switching(("X ", "y")), MALFORMED + "a header line is not valid"),
    ("9110-5.5 NUL", switching(("X", "\0")), MALFORMED + "control characters in the head"),
    ("9110-5.5 CR", switching(("X", "a\rb")), MALFORMED + "control characters in the head"),
    ("h11's slow pattern", switching(("X", " " * 16_000 + "\v")), "control characters"),
    ("9112-6.1 coding", head([("Transfer-Encoding", "gzip")], "HTTP/1.1 200 x"), MALFORMED),
    ("9112-6.3 length", sized(-1, b""), MALFORMED + "the Content-Length header is not"),
    ("endless", b"HTTP/1." + b"1" * 32 * 1024, LONG),
    ("one byte more", switching(("X", "y" * (32_769 - len(switching(("X", "")))))), LONG),
    ("200 kB", switching(("X", "y" * 200_000)), LONG),
    ("129 fields", switching(*[("X", "y")] * 126), "more than 128 header lines"),
    ("9110-15.2", EARLY_HINTS * 9 + switching(), "more than 8 informational responses"),
    ("6455-4.2.2/5.1 HTTP/1.0", switching(line="HTTP/1.0 101 x"), "with HTTP/1.0"),
    ("6455-4.1/2 none", switching(without="Upgrade"), "the Upgrade header of the response is not"),
    ("6455-4.1/2 other", replaced("Upgrade", "h2c"), "the Upgrade header of the response is not"),
    ("6455-4.1/2 more", switching(("Upgrade", "h2c")), "the Upgrade header of the response is not"),
    ("6455-4.1/2 malformed", replaced("Upgrade", "a b"), "malformed Upgrade header"),
    ("6455-4.1/3 none", switching(without="Connection"), "the Connection header of the response"),
    ("6455-4.1/3 other", replaced("Connection", "close"), "the Connection header of the response"),
    ("6455-4.1/3 malformed", replaced("Connection", ";;"), "malformed Connection header"),
    ("6455-4.1/4 none", switching(without="Sec-WebSocket-Accept"), "does not match the key"),
    ("6455-4.1/4 two", switching(ACCEPTING), "does not match the key"),
    ("6455-4.1/4 other", replaced("Sec-WebSocket-Accept", "A" * 27 + "="), "does not match"),
    ("6455-4.1/4 quoted", replaced("Sec-WebSocket-Accept", f'"{ACCEPT}"'), "does not match"),
    (
        "6455-4.1/5",
        switching(("Sec-WebSocket-Extensions", "permessage-deflate; a=b")),
        "the server chose the extension 'permessage-deflate', which was not offered",
    ),
    *[
        ("6455-9.1", switching(("Sec-WebSocket-Extensions", value)), "malformed Sec-WebSocket-Ext")
        for value in ("", ",", ";", "x-a; b=", "permessage-deflate;;", "x/a", 'x-a; b="c')
    ],
    (
        "6455-4.1/6 other",
        switching(("Sec-WebSocket-Protocol", "Chat")),
        "the server chose the subprotocol 'Chat', which was not offered",
    ),
    (
        "6455-4.1/6 two",
        switching(("Sec-WebSocket-Protocol", "chat, superchat")),
        "the subprotocol 'chat, superchat', which was not offered",
    ),
    (
        "6455-4.1/6 two",
        switching(*[("Sec-WebSocket-Protocol", "chat")] * 2),
        "the server chose more than one subprotocol",
    ),
    ("6455-4.1/6 none", switching(("Sec-WebSocket-Protocol", "")), "the subprotocol ''"),
]

K64 = 64 * 1024
BLANKS = b" " * 60_000

# (RFC clause or reason, bytes, status, body); all of them end by themselves.
REFUSED: list[tuple[str, bytes, int, bytes]] = [
    ("9112-6.3/6 length", sized(5, b"hello"), 401, b"hello"),
    ("9112-6.3/6 no body", sized(0, b""), 401, b""),
    ("9112-6.3/6 more than said", sized(2, b"he"), 401, b"he"),
    ("9110-15.3.5", head(line="HTTP/1.1 204 No Content"), 204, b""),
    ("9110-15.4.5", sized(5, b"", "HTTP/1.1 304 Not Modified"), 304, b""),
    ("9112-6.3/1 chunks", chunked(b"0\r\n", "HTTP/1.1 204 x").partition(b"0\r\n")[0], 204, b""),
    ("9110-15.2 informational", EARLY_HINTS + sized(1, b"x"), 401, b"x"),
    ("the bound, by length", sized(10**19, b"x" * K64), 401, b"x" * K64),
    ("the bound, to the end", head(line="HTTP/1.1 500 x") + b"x" * K64, 500, b"x" * K64),
    ("the bound, in chunks", chunked(b"10000\r\n" + b"x" * (K64 - 7)), 401, b"x" * (K64 - 7)),
    ("9112-7.1 chunks", chunked(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n"), 401, b"hello"),
    ("9112-7.1 none", chunked(b"0\r\n"), 401, b""),
    ("9112-7.1 big", chunked(b"0A;x=y\r\n0123456789\r\n000\r\n"), 401, b"0123456789"),
    ("9112-7.1 CRLF in a chunk", chunked(b"4 \r\n\r\n\r\n\r\n0\r\n"), 401, b"\r\n\r\n"),
    ("9112-7.1 no size", chunked(b"3\r\nhel\r\n\r\n"), 401, b"hel"),
    ("9112-7.1 no number", chunked(b"3\r\nhel\r\nxyz\r\n"), 401, b"hel"),
    ("9112-7.1 negative", chunked(b"-3\r\n"), 401, b""),
    ("9112-7.1 more than 64 bits", chunked(b"1" * 17 + b"\r\n"), 401, b""),
    ("9112-7.1 longer than said", chunked(b"3\r\nhello"), 401, b"hel"),
    ("h11's slow pattern", chunked(b"1;" + BLANKS + b"\nx\r\nz\r\n0\r\n"), 401, b"z"),
]

# (RFC clause or reason, bytes, status, body); these need the end of the stream.
UNENDED: list[tuple[str, bytes, int, bytes]] = [
    ("9112-6.3/8", head(line="HTTP/1.1 302 Found"), 302, b""),
    ("9112-6.3/8", head(line="HTTP/1.0 200 OK") + b"hello", 200, b"hello"),
    ("9112-8 short of the length", sized(5, b"hel"), 401, b"hel"),
    ("9112-8 short of a size", chunked(b""), 401, b""),
    ("9112-8 short of a size", chunked(b"1\r\na\r\n3"), 401, b"a"),
    ("9112-8 short of a chunk", chunked(b"5\r\nhel"), 401, b"hel"),
    ("9112-8 short of a CR", chunked(b"3\r\nhel"), 401, b"hel"),
    ("9112-8 short of a LF", chunked(b"3\r\nhel\r"), 401, b"hel"),
]


class TestRequest:
    def test_the_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # The key of RFC 6455 section 4.1, item 7, but for the bits that it has to spare.
        monkeypatch.setattr(key, "urandom", lambda size: bytes(range(1, size + 1)))
        handshake = ClientHandshake(
            "example.com:8080",
            "/chat?room=1",
            subprotocols=("chat", "v2"),
            origin="http://example.com",
            headers=[("Cookie", "a=1"), ("X", "\xe9")],
        )
        assert handshake.request_bytes() == (
            b"GET /chat?room=1 HTTP/1.1\r\n"
            b"Host: example.com:8080\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: chat, v2\r\n"
            b"Origin: http://example.com\r\n"
            b"Cookie: a=1\r\n"
            b"X: \xe9\r\n"
            b"\r\n"
        )
        assert handshake.request_bytes() == handshake.request_bytes()

    def test_each_key_is_new(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key, "urandom", urandom)
        requests = {ClientHandshake("a", "/").request_bytes() for _ in range(20)}
        assert len(requests) == 20
        for request in requests:
            found = re.search(rb"\r\nSec-WebSocket-Key: (.*)\r\n", request)
            assert found is not None
            assert len(b64decode(found[1], validate=True)) == 16

    def test_the_least(self) -> None:
        request = ClientHandshake("[::1]:80", "/").request_bytes()
        assert request.startswith(b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n")
        assert b"Origin" not in request
        assert b"Sec-WebSocket-Protocol" not in request
        assert b"Sec-WebSocket-Extensions" not in request
        assert b"User-Agent" not in request

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"host": ""}, ValueError, "'' is not a host: write it like example.com"),
            ({"host": "a b"}, ValueError, "'a b' is not a host"),
            ({"host": "http://a"}, ValueError, "'http://a' is not a host"),
            ({"host": "a\r\nX: y"}, ValueError, "is not a host"),
            ({"target": ""}, ValueError, "'' is not a request target: write an absolute path"),
            ({"target": "chat"}, ValueError, "'chat' is not a request target"),
            ({"target": "/a b"}, ValueError, "'/a b' is not a request target"),
            ({"target": "/\xe9"}, ValueError, "is not a request target"),
            ({"target": "/a#b"}, ValueError, "'/a#b' is not a request target"),
            ({"target": "/ HTTP/1.1\r\n"}, ValueError, "is not a request target"),
            ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list of str"),
            ({"subprotocols": ["a", "a"]}, ValueError, "subprotocols must be different"),
            ({"origin": "a\nb"}, ValueError, "the value of header Origin has line breaks"),
            ({"headers": {"Host": "b"}}, ValueError, "writes the host header itself: leave it"),
            ({"headers": {"Origin": "b"}}, ValueError, "writes the origin header itself"),
            ({"headers": {"upgrade": "b"}}, ValueError, "writes the upgrade header itself"),
            ({"headers": {"Connection": "b"}}, ValueError, "writes the connection header"),
            ({"headers": {"Content-Length": "1"}}, ValueError, "writes the content-length"),
            ({"headers": {"Transfer-Encoding": "x"}}, ValueError, "the transfer-encoding header"),
            ({"headers": {"Sec-WebSocket-Key": "b"}}, ValueError, "sec-websocket-key header"),
            ({"headers": {"A": "b\r\nC: d"}}, ValueError, "the value of header A has line breaks"),
            ({"headers": [("A", None)]}, TypeError, "a header must be a pair"),
        ],
    )
    def test_mistakes(self, arguments: Any, error: type[Exception], words: str) -> None:
        with pytest.raises(error, match=words):
            ClientHandshake(**({"host": "a", "target": "/"} | arguments))


class TestAccepted:
    @pytest.mark.parametrize(("clause", "data", "subprotocol"), ACCEPTED, ids=ids(ACCEPTED))
    def test_whole_cut_and_followed(
        self, clause: str, data: bytes, subprotocol: str | None
    ) -> None:
        handshake, event, rest = feed(data)
        assert isinstance(event, Accepted)
        assert event.subprotocol == subprotocol
        assert event.response.status == 101
        assert event.response.headers["upgrade"].lower() == "websocket"
        assert rest == b""
        assert handshake.refusal == b""

        _, cut_event, rest = feed(data, range(len(data)))
        assert cut_event == event
        assert rest == b""

        frames = b"\x81\x05hello\r\n\r\n"
        handshake, event_before_frames, rest = feed(data + frames)
        assert event_before_frames == event
        assert rest == handshake.trailing_data == frames

    def test_it_is_over_then(self) -> None:
        handshake, _, _ = feed(switching())
        with pytest.raises(LocalProtocolError, match="the bytes are frames, pass them to"):
            handshake.receive_data(b"x")
        with pytest.raises(LocalProtocolError, match="the handshake is over"):
            handshake.timeout()
        assert handshake.receive_eof() is None

    def test_our_server(self) -> None:
        handshake = client(origin="http://a")
        server = ServerHandshake(subprotocols=["chat"], origins=["http://a"])
        server.receive_data(handshake.request_bytes())
        event = handshake.receive_data(server.accept(None, {"Set-Cookie": "a=1"}) + b"frames")
        assert isinstance(event, Accepted)
        assert event.subprotocol == "chat"
        assert event.response.headers["set-cookie"] == "a=1"
        assert handshake.trailing_data == b"frames"


class TestFailed:
    @pytest.mark.parametrize(("clause", "data", "words"), FAILED, ids=ids(FAILED))
    def test_whole_cut_and_followed(self, clause: str, data: bytes, words: str) -> None:
        handshake, event, _rest = feed(data)
        assert isinstance(event, HandshakeFailed)
        assert event.status == 0
        assert words in event.reason
        assert len(event.reason) < 150
        assert handshake.trailing_data == b""
        assert bool(handshake.refusal) is (
            "Sec-WebSocket-Ext" in event.reason or "extension" in event.reason
        )
        assert handshake.receive_data(b"more") is None
        assert handshake.receive_eof() is None
        assert feed(data, range(len(data)))[1] == event
        assert feed(data + b"more\r\n\r\n")[1] == event

    @pytest.mark.parametrize("data", [b"", b"HTT", switching()[:-1], EARLY_HINTS])
    def test_end_of_input_and_of_time(self, data: bytes) -> None:
        handshake, event, _ = feed(data)
        assert event is None
        reason = "the server closed the connection before its response was complete"
        assert handshake.receive_eof() == HandshakeFailed(0, reason)
        handshake, _, _ = feed(data)
        assert handshake.timeout() == HandshakeFailed(0, "the server did not respond in time")


class TestRefused:
    @pytest.mark.parametrize(("clause", "data", "status", "body"), REFUSED, ids=ids(REFUSED))
    def test_whole_cut_and_followed(
        self, clause: str, data: bytes, status: int, body: bytes
    ) -> None:
        handshake, event, rest = feed(data)
        assert isinstance(event, Refused)
        assert (event.response.status, event.response.body) == (status, body)
        assert rest == b""
        assert handshake.receive_data(b"more") is None
        assert handshake.receive_eof() is None
        assert feed(data, range(len(data)))[1] == event
        assert feed(data + b"more\r\n\r\n")[1] == event

    @pytest.mark.parametrize(("clause", "data", "status", "body"), UNENDED, ids=ids(UNENDED))
    def test_the_end_of_the_stream_ends_it(
        self, clause: str, data: bytes, status: int, body: bytes
    ) -> None:
        for places in [range(0), range(len(data))]:
            handshake, event, _ = feed(data, places)
            assert event is None
            event = handshake.receive_eof()
            assert isinstance(event, Refused)
            assert (event.response.status, event.response.body) == (status, body)
            assert handshake.receive_data(b"more") is None

    def test_a_short_head_after_a_long_one_cut_anywhere(self) -> None:
        data = EARLY_HINTS + head(line="HTTP/1.1 204")
        for place in range(len(data)):
            assert feed(data, [place])[1] == Refused(Response(204))

    def test_time_ends_it_too(self) -> None:
        handshake, _, _ = feed(sized(5, b"hel"))
        assert handshake.timeout() == Refused(Response(401, {"Content-Length": "5"}, b"hel"))

    def test_status_and_headers(self) -> None:
        fields = [("Set-Cookie", "a=1"), ("Location", "/x"), ("Set-Cookie", "b=2")]
        _, event, _ = feed(head([*fields, ("Content-Length", "0")], "HTTP/1.1 301 Moved"))
        assert isinstance(event, Refused)
        assert event.response.headers == Headers([*fields, ("Content-Length", "0")])
        assert event.response.headers.get_all("set-cookie") == ["a=1", "b=2"]

    def test_our_server(self) -> None:
        handshake = client()
        server = ServerHandshake()
        server.receive_data(handshake.request_bytes())
        event = handshake.receive_data(server.reject(Response(403, {"A": "b"}, "no")))
        fields = {"A": "b", "Connection": "close", "Content-Length": "2"}
        assert event == Refused(Response(403, fields, b"no"))


def test_any_bytes_like_will_do() -> None:
    data = sized(5, b"hello")
    handshake = client()
    assert handshake.receive_data(bytearray(data[:30])) is None
    assert handshake.receive_data(memoryview(data)[30:-2]) is None
    event = handshake.receive_data(memoryview(data)[-2:])
    assert isinstance(event, Refused)
    assert event.response.body == b"hello"


# Something that looks like a response, with a wound in it.
WOUNDED = st.builds(
    lambda data, start, length, wound: data[:start] + wound + data[start + length :],
    st.sampled_from([case[1] for case in [*ACCEPTED, *REFUSED, *UNENDED]]),
    st.integers(0, 400),
    st.integers(0, 20),
    st.binary(max_size=5) | st.sampled_from([b"\n\n", b"\r\n\r\n", b" " * 17_000, b"X: y\n" * 130]),
)


@given(st.binary() | WOUNDED, st.lists(st.integers(0, 100_000)))
def test_any_input_ends_in_the_same_event_however_cut(data: bytes, places: list[int]) -> None:
    handshake, event, rest = feed(data)
    cut_handshake, cut_event, cut_rest = feed(data, places)
    assert cut_event == event
    if isinstance(event, Accepted):
        assert cut_rest == rest
    if event is None:
        end = handshake.receive_eof()
        assert isinstance(end, Refused | HandshakeFailed)
        assert cut_handshake.receive_eof() == end


# The limits of a head.


@pytest.mark.parametrize("size", [400, 100_000])
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_on_bytes_is_a_setting(
    size: int, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wscore.handshake.client.accept_value", lambda key: ACCEPT)
    data = switching(("X", "y" * (size - len(switching(("X", ""))) + more)))
    for step in (len(data), 99):
        connection = ClientConnection("example.com", max_head_size=size)
        events = []
        for start in range(0, len(data), step):
            events += connection.receive_data(data[start : start + step])
        if more:
            assert events == [
                HandshakeFailed(0, f"malformed HTTP response: the head is longer than {size} bytes")
            ]
        else:
            assert isinstance(events[0], Accepted)


def test_the_limit_on_fields_is_a_setting() -> None:
    connection = ClientConnection("example.com", max_head_fields=2)
    reason = "malformed HTTP response: the head has more than 2 header lines"
    assert connection.receive_data(switching()) == [HandshakeFailed(0, reason)]
    with pytest.raises(ValueError, match="max_head_fields must be a number of lines"):
        ClientConnection("example.com", max_head_fields=0)
