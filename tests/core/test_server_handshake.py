"""The server's side of the opening handshake: tables of bytes, each whole, cut, and followed."""

from collections.abc import Iterable, Sequence
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_handshake_cases import (
    ACCEPT,
    ACCEPTED,
    CHROMIUM,
    FIELDS,
    HOST,
    NOT_ACCEPT,
    OPENING,
    ORDINARY,
    PARSED_REFUSED,
    REFUSED,
    head,
    opening,
)

from wscore.errors import LocalProtocolError
from wscore.events import HandshakeFailed, RequestReceived
from wscore.extensions import Deflate
from wscore.extensions.negotiated import NO_EXTENSIONS
from wscore.handshake import ServerHandshake, upgrade_required
from wscore.headers import Headers
from wscore.request import Request
from wscore.response import Response

Outcome = RequestReceived | HandshakeFailed | None

SUBPROTOCOLS = ["superchat", "chat"]
ORIGINS = ["http://example.com", None]


def server() -> ServerHandshake:
    return ServerHandshake(subprotocols=SUBPROTOCOLS, origins=ORIGINS)


def feed(pieces: Iterable[bytes]) -> tuple[ServerHandshake, Outcome, bytes]:
    """Feed pieces up to the first event; returns it, and all that was not read as the head."""
    handshake = server()
    event: Outcome = None
    pieces = iter(pieces)
    for piece in pieces:
        event = handshake.receive_data(piece)
        if event is not None:
            break
    return handshake, event, handshake.trailing_data + b"".join(pieces)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def parsed(answer: bytes, method: str = "GET") -> Response:
    """Read an answer with h11 as a client would, all of it up to the end of the stream."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert isinstance(client.next_event(), h11.ConnectionClosed)
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in response.headers]
    return Response(response.status_code, pairs, body)


def ids(table: Sequence[tuple[Any, ...]]) -> list[str]:
    return [case[0] for case in table]


class TestAccepted:
    @pytest.mark.parametrize(("clause", "data", "subprotocol"), ACCEPTED, ids=ids(ACCEPTED))
    def test_whole_cut_and_followed(
        self, clause: str, data: bytes, subprotocol: str | None
    ) -> None:
        handshake, event, rest = feed([data])
        assert isinstance(event, RequestReceived)
        assert event.request.is_upgrade
        assert event.request is handshake.request
        assert handshake.subprotocol == subprotocol
        assert rest == b""

        _, cut_event, rest = feed(cut(data, range(len(data))))
        assert cut_event == event
        assert rest == b""

        frames = b"\x81\x85\0\0\0\0hello\r\n\r\n"
        handshake, event_before_frames, rest = feed([data + frames])
        assert event_before_frames == event
        assert rest == frames

        answer = handshake.accept()
        assert handshake.trailing_data == frames
        assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert answer.endswith(b"\r\n\r\n")
        assert (b"\r\nSec-WebSocket-Protocol: " in answer) == (subprotocol is not None)

    def test_the_example_of_rfc_6455_section_1_3(self) -> None:
        data = (
            b"GET /chat HTTP/1.1\r\n"
            b"Host: server.example.com\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Origin: http://example.com\r\n"
            b"Sec-WebSocket-Protocol: chat, superchat\r\n"
            b"Sec-WebSocket-Version: 13\r\n"
            b"\r\n"
        )
        handshake = ServerHandshake(subprotocols=["chat"])
        assert isinstance(handshake.receive_data(data), RequestReceived)
        assert handshake.accept() == (
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            b"Sec-WebSocket-Protocol: chat\r\n"
            b"\r\n"
        )

    def test_the_request(self) -> None:
        _, event, _ = feed([CHROMIUM])
        assert isinstance(event, RequestReceived)
        request = event.request
        assert (request.method, request.target) == ("GET", "/chat?room=1")
        assert (request.path, request.query) == ("/chat", "room=1")
        assert request.origin == "http://example.com"
        assert request.headers["accept-encoding"] == "gzip, deflate, br, zstd"
        assert len(request.headers) == 12
        assert request.headers.pairs[0] == ("Host", "localhost:8080")  # as it was written

    def test_no_allow_list_serves_every_origin(self) -> None:
        for origin in [[], [("Origin", "null")], [("Origin", "http://evil")]]:
            event = ServerHandshake().receive_data(opening(*origin))
            assert isinstance(event, RequestReceived)

    def test_without_none_in_the_list_an_origin_is_needed(self) -> None:
        handshake = ServerHandshake(origins=["http://example.com"])
        assert handshake.receive_data(opening()) == HandshakeFailed(
            403, "this origin is not allowed"
        )
        handshake = ServerHandshake(origins=["http://example.com"])
        event = handshake.receive_data(opening(("Origin", "http://example.com")))
        assert isinstance(event, RequestReceived)


class TestOrdinary:
    @pytest.mark.parametrize(("clause", "data"), ORDINARY, ids=ids(ORDINARY))
    def test_whole_cut_and_followed(self, clause: str, data: bytes) -> None:
        handshake, event, rest = feed([data])
        assert isinstance(event, RequestReceived)
        assert not event.request.is_upgrade
        assert rest == b""
        _, cut_event, rest = feed(cut(data, range(len(data))))
        assert cut_event == event
        assert rest == b""
        _, event_before_more, rest = feed([data + b"GET / HTTP/1.1\r\n\r\n"])
        assert event_before_more == event
        assert rest == b"GET / HTTP/1.1\r\n\r\n"

        method = event.request.method
        answer = parsed(handshake.reject(Response(200, {"X": "y"}, b"hello")), method)
        assert answer.status == 200
        assert answer.headers == Headers(
            [("X", "y"), ("Connection", "close"), ("Content-Length", "5")]
        )
        assert answer.body == (b"" if method == "HEAD" else b"hello")

    def test_nobody_wants_it(self) -> None:
        handshake, _, _ = feed([head([HOST])])
        answer = handshake.reject(upgrade_required())
        assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        response = parsed(answer)
        assert response.headers["Upgrade"] == "websocket"
        assert response.headers["Connection"] == "close, Upgrade"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.body == b"this is a WebSocket: open it with a WebSocket client\n"


class TestRefused:
    @pytest.mark.parametrize(
        ("clause", "data", "status", "words", "extra"), REFUSED, ids=ids(REFUSED)
    )
    def test_whole_cut_and_followed(
        self, clause: str, data: bytes, status: int, words: str, extra: dict[str, str]
    ) -> None:
        handshake, event, _rest = feed([data])
        assert isinstance(event, HandshakeFailed)
        assert event.status == status
        assert words in event.reason
        assert len(event.reason) < 150
        assert handshake.trailing_data == b""

        response = parsed(handshake.refusal)
        assert response.status == status
        body = f"{event.reason}\n".encode()
        assert response.body == body
        assert body.count(b"\n") == 1
        assert response.headers == Headers(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Connection": "close",
                "Content-Length": str(len(body)),
            }
            | extra
        )

        cut_handshake, cut_event, _rest = feed(cut(data, range(len(data))))
        assert cut_event == event
        assert cut_handshake.refusal == handshake.refusal

        more_handshake, more_event, _rest = feed([data + b"more\r\n\r\n"])
        assert more_event == event
        assert more_handshake.refusal == handshake.refusal

    def test_head_has_no_body(self) -> None:
        handshake, event, _ = feed([opening(line="HEAD / HTTP/1.1")])
        assert event == HandshakeFailed(405, "a WebSocket must be opened with GET")
        assert parsed(handshake.refusal, "HEAD").body == b""
        assert handshake.refusal.endswith(b"\r\n\r\n")

    def test_what_comes_after_it_is_dropped(self) -> None:
        handshake, event, _ = feed([b"\x16"])
        assert isinstance(event, HandshakeFailed)
        assert handshake.receive_data(b"x" * 100_000) is None
        assert handshake.receive_eof() is None
        assert handshake.trailing_data == b""


class TestIncomplete:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"G",
            b"GET / HTTP/1.1\r\n",
            opening()[:-1],
            b"G" * (32 * 1024 - 1),
            b"\r",
            b"\r\n",
            b"\n",
        ],
    )
    def test_end_of_input_and_of_time(self, data: bytes) -> None:
        handshake, event, _ = feed([data])
        assert event is None
        reason = "the client closed the connection before its request was complete"
        assert handshake.receive_eof() == HandshakeFailed(400, reason)
        assert parsed(handshake.refusal).status == 400

        handshake, _, _ = feed([data])
        assert handshake.timeout() == HandshakeFailed(408, "the request did not arrive in time")
        assert parsed(handshake.refusal).status == 408
        with pytest.raises(LocalProtocolError, match="the handshake is over: a failure ended it"):
            handshake.timeout()

    def test_end_of_input_after_a_request(self) -> None:
        handshake, _, _ = feed([opening()])
        assert handshake.receive_eof() is None
        assert handshake.accept()

    def test_time_for_the_answer_is_over(self) -> None:
        handshake, _, _ = feed([opening()])
        reason = "the server did not respond to the request in time"
        assert handshake.timeout() == HandshakeFailed(503, reason)
        assert parsed(handshake.refusal).status == 503
        with pytest.raises(LocalProtocolError, match="a failure ended it"):
            handshake.accept()

    def test_early_data_is_kept_up_to_64_kib(self) -> None:
        handshake, _, _ = feed([opening() + b"1"])
        assert handshake.receive_data(b"23") is None
        assert handshake.trailing_data == b"123"
        assert handshake.receive_data(bytes(64 * 1024 - 3)) is None
        reason = "data was sent before the response to the handshake"
        assert handshake.receive_data(b"4") == HandshakeFailed(400, reason)
        assert handshake.trailing_data == b""
        assert parsed(handshake.refusal).status == 400


class TestAccept:
    def test_another_subprotocol_and_headers(self) -> None:
        handshake, _, _ = feed([opening(("Sec-WebSocket-Protocol", "chat, x"))])
        assert handshake.subprotocol == "chat"
        answer = handshake.accept("x", [("Set-Cookie", "a=\xe9"), ("Set-Cookie", "b=2")])
        assert handshake.subprotocol == "x"
        assert answer.endswith(
            b"\r\nSec-WebSocket-Protocol: x\r\nSet-Cookie: a=\xe9\r\nSet-Cookie: b=2\r\n\r\n"
        )

    @pytest.mark.parametrize(("subprotocol", "headers", "error", "words"), NOT_ACCEPT)
    def test_mistakes_change_nothing(
        self, subprotocol: str | None, headers: Any, error: type[Exception], words: str
    ) -> None:
        handshake, _, _ = feed([opening(("Sec-WebSocket-Protocol", "chat"))])
        with pytest.raises(error, match=words):
            handshake.accept(subprotocol, headers)
        assert handshake.subprotocol == "chat"
        assert handshake.accept().startswith(b"HTTP/1.1 101 ")

    def test_in_the_wrong_state(self) -> None:
        with pytest.raises(LocalProtocolError, match="wait for RequestReceived"):
            server().accept()
        handshake, _, _ = feed([head([HOST])])
        with pytest.raises(LocalProtocolError, match="the request is not an upgrade: respond with"):
            handshake.accept()
        handshake, _, _ = feed([opening()])
        handshake.accept()
        over = "the handshake is over: accept ended it"
        with pytest.raises(LocalProtocolError, match=over):
            handshake.accept()
        with pytest.raises(LocalProtocolError, match=over):
            handshake.reject(Response(403))
        with pytest.raises(LocalProtocolError, match=over):
            handshake.timeout()
        assert handshake.receive_eof() is None
        with pytest.raises(LocalProtocolError, match="the bytes are frames"):
            handshake.receive_data(b"x")


class TestReject:
    def test_an_upgrade(self) -> None:
        handshake, _, _ = feed([opening()])
        answer = handshake.reject(Response(401, {"WWW-Authenticate": "Basic"}, "who?"))
        assert answer == (
            b"HTTP/1.1 401 Unauthorized\r\n"
            b"WWW-Authenticate: Basic\r\n"
            b"Connection: close\r\n"
            b"Content-Length: 4\r\n"
            b"\r\n"
            b"who?"
        )
        with pytest.raises(LocalProtocolError, match="the handshake is over: reject ended it"):
            handshake.reject(Response(401))
        assert handshake.receive_data(b"more") is None
        assert handshake.refusal == b""

    def test_before_a_request(self) -> None:
        handshake, _, _ = feed([b"GET"])
        assert parsed(handshake.reject(Response(503, (), "full"))).body == b"full"
        assert handshake.receive_data(b" / HTTP/1.1\r\n") is None

    def test_the_framing_is_ours(self) -> None:
        handshake, _, _ = feed([head([HOST])])
        headers = {
            "Content-length": "99",
            "Transfer-encoding": "gzip, chunked",
            "connection": "keep-alive",
        }
        response = parsed(handshake.reject(Response(200, headers, b"abc")))
        assert response.headers == Headers({"Connection": "close", "Content-Length": "3"})
        assert response.body == b"abc"

    @pytest.mark.parametrize("status", [204, 304])
    def test_no_body_and_no_length(self, status: int) -> None:
        handshake, _, _ = feed([head([HOST])])
        response = parsed(handshake.reject(Response(status, (), b"abc")))
        assert response.headers == Headers({"Connection": "close"})
        assert response.body == b""

    def test_a_status_without_a_phrase(self) -> None:
        handshake, _, _ = feed([head([HOST])])
        assert handshake.reject(Response(799)).startswith(b"HTTP/1.1 799 \r\n")

    @pytest.mark.parametrize("status", [100, 101, 199])
    def test_no_final_answer(self, status: int) -> None:
        handshake, _, _ = feed([opening()])
        with pytest.raises(ValueError, match=rf"{status} is not a final status: use accept"):
            handshake.reject(Response(status))
        assert handshake.accept()


class TestParsedHead:
    def test_accepted(self) -> None:
        handshake = server()
        event = handshake.receive_head(b"GET", b"/chat", FIELDS, b"frames")
        assert event == RequestReceived(Request("GET", "/chat", OPENING))
        assert handshake.trailing_data == b"frames"
        assert ACCEPT.encode() in handshake.accept()

    @pytest.mark.parametrize(("method", "target", "fields", "status", "words"), PARSED_REFUSED)
    def test_refused(
        self,
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        status: int,
        words: str,
    ) -> None:
        handshake = server()
        event = handshake.receive_head(method, target, fields)
        assert isinstance(event, HandshakeFailed)
        assert event.status == status
        assert words in event.reason
        assert parsed(handshake.refusal).status == status

    def test_http_1_0(self) -> None:
        event = server().receive_head(b"GET", b"/", FIELDS, http_version=b"1.0")
        assert event == HandshakeFailed(400, "a WebSocket needs HTTP/1.1")

    def test_only_as_the_start(self) -> None:
        begun = [b"G", b"\r", b"\r\n", opening(), b"\x16"]
        for handshake in [feed([data])[0] for data in begun]:
            with pytest.raises(LocalProtocolError, match="use a new ServerHandshake"):
                handshake.receive_head(b"GET", b"/", FIELDS)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list of str"),
        ({"subprotocols": ["a b"]}, ValueError, "'a b' is not allowed in subprotocols"),
        ({"origins": "http://a"}, TypeError, r"origins must be a list, not 'http://a': write \["),
        ({"origins": [1]}, TypeError, "origins must be a list of str or None, but 1 is neither"),
        ({"max_head_size": 0}, ValueError, "max_head_size must be in bytes, at least 1, not 0"),
        ({"max_head_size": None}, ValueError, "max_head_size must be in bytes, at least 1, not No"),
        ({"max_head_fields": 0.5}, ValueError, "max_head_fields must be a number of lines, at"),
    ],
)
def test_mistakes(arguments: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ServerHandshake(**arguments)


def test_another_for_the_same_arguments() -> None:
    first = ServerHandshake(
        subprotocols=["chat"], origins=["http://a"], extensions=[Deflate(window_bits=10)]
    )
    asked = opening(
        ("Origin", "http://a"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    )
    first.receive_data(asked)
    answer = first.accept()
    assert b"server_max_window_bits=10" in answer
    second = first.fresh_copy()
    assert (second.request, second.subprotocol, second.negotiated) == (None, None, NO_EXTENSIONS)
    assert isinstance(second.receive_data(asked), RequestReceived)
    assert second.negotiated is first.negotiated is not NO_EXTENSIONS
    assert second.accept() == answer
    assert first.fresh_copy().receive_data(opening(("Origin", "http://b"))) == HandshakeFailed(
        403, "this origin is not allowed"
    )


def test_any_bytes_like_will_do() -> None:
    handshake = server()
    data = opening()
    assert handshake.receive_data(bytearray(data[:30])) is None
    assert isinstance(handshake.receive_data(memoryview(data)[30:]), RequestReceived)
    assert handshake.receive_data(memoryview(b"x")) is None
    assert handshake.trailing_data == b"x"


# Something that looks like a head, with a wound in it.
WOUNDED = st.builds(
    lambda data, start, length, wound: data[:start] + wound + data[start + length :],
    st.sampled_from([case[1] for case in ACCEPTED + ORDINARY]),
    st.integers(0, 400),
    st.integers(0, 20),
    st.binary(max_size=5) | st.sampled_from([b"\n\n", b"\r\n\r\n", b" " * 33_000, b"X: y\n" * 130]),
)


@given(st.binary() | WOUNDED, st.lists(st.integers(0, 20_000)))
def test_any_input_ends_in_the_same_event_however_cut(data: bytes, places: list[int]) -> None:
    handshake, event, rest = feed([data])
    cut_handshake, cut_event, cut_rest = feed(cut(data, places))
    assert cut_event == event
    assert cut_handshake.refusal == handshake.refusal
    if isinstance(event, RequestReceived):
        assert isinstance(cut_event, RequestReceived)
        assert cut_rest == rest
        assert event.request.path.startswith("/")
        assert event.request.headers == cut_event.request.headers
    elif isinstance(event, HandshakeFailed):
        assert handshake.refusal.startswith(b"HTTP/1.1 %d " % event.status)
    else:
        assert len(data) <= 32 * 1024


# The limits of a head.


@pytest.mark.parametrize("size", [400, 16 * 1024, 100_000])
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_on_bytes_is_a_setting(size: int, more: int) -> None:
    """By bytes, and for a head that another parser has read."""
    value = "y" * (size - len(opening(("X", ""))) + more)
    data = opening(("X", value))
    assert len(data) == size + more
    too_long = HandshakeFailed(431, f"the head is longer than {size} bytes")
    for pieces in ([data], cut(data, range(0, len(data), 99))):
        handshake = ServerHandshake(max_head_size=size).fresh_copy()
        events = [event for piece in pieces if (event := handshake.receive_data(piece))]
        assert events == [
            too_long if more else RequestReceived(Request("GET", "/chat", [*OPENING, ("X", value)]))
        ]
    event = ServerHandshake(max_head_size=size).receive_head(
        b"GET", b"/chat", [*FIELDS, (b"X", value.encode())]
    )
    assert (event == too_long) is bool(more)


@pytest.mark.parametrize("fields", [6, 500])
@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_on_fields_is_a_setting(fields: int, more: int) -> None:
    extra = [("X", "y")] * (fields - len(OPENING) + more)
    too_many = HandshakeFailed(431, f"the head has more than {fields} header lines")
    event = ServerHandshake(max_head_fields=fields).receive_data(opening(*extra))
    assert (event == too_many) is bool(more)
    parsed_fields = [*FIELDS, *[(b"X", b"y")] * len(extra)]
    event = ServerHandshake(max_head_fields=fields).receive_head(b"GET", b"/", parsed_fields)
    assert (event == too_many) is bool(more)


# Headers for every refusal.

DATE = "Sat, 28 Nov 2026 22:39:16 GMT"


def test_refusals_get_the_callers_headers() -> None:
    """Such as a Date, for the handshake has no clock (RFC 9110 section 6.6.1)."""
    dates = iter([DATE, "2", "3", "4"])
    first = ServerHandshake(refusal_headers=lambda: {"Date": next(dates), "Connection": "x"})
    first.receive_data(opening())
    assert b"Date" not in first.accept()
    failed = first.fresh_copy()
    assert isinstance(failed.receive_data(b"\0"), HandshakeFailed)
    assert parsed(failed.refusal).headers["date"] == DATE
    late = first.fresh_copy()
    late.timeout()
    assert parsed(late.refusal).headers["date"] == "2"
    refused = first.fresh_copy()
    response = parsed(refused.reject(Response(503, {"Retry-After": "1"})))
    assert response.headers["date"] == "3"
    assert response.headers["retry-after"] == "1"
    assert response.headers.get_all("Connection") == ["close"]
    own = first.fresh_copy()
    response = parsed(own.reject(Response(404, {"date": DATE})))
    assert response.headers.get_all("Date") == [DATE]


def test_headers_that_are_not_allowed_change_nothing() -> None:
    handshake = ServerHandshake(refusal_headers=lambda: [("a b", "c")])
    with pytest.raises(ValueError, match="a b"):
        handshake.reject(Response(404))
    assert handshake.ended_by is None
