"""What is said of a peer's mistakes: in words of ours, on one line, of bounded length.

Reasons end up in log lines, and in responses and Close frames. Neither h11's messages, which quote
the peer's bytes as Python writes them, nor those of extensions may bring anything else along.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from deflated import agreed
from hypothesis import given
from hypothesis import strategies as st
from server_handshake_cases import FIELDS, HOST, OPENING, head
from wire import ROLES, encode, receive

from kit.frames import BINARY, FIN, RSV1, Frame
from wscore import (
    ClientConnection,
    ConnectionFailed,
    Deflate,
    HandshakeFailed,
    ServerConnection,
    ServerHandshake,
)
from wscore.extensions import CorruptMessage, NegotiationError, Parameters
from wscore.extensions.deflate import Inflater, NegotiatedDeflate
from wscore.frames import truncated_reason
from wscore.reasons import printable

FORGED = "x\r\nWARNING: all is lost\x1b[2J\u2028\x85\0\x7f" * 40

REQUEST = "malformed HTTP request"
RESPONSE = "malformed HTTP response"


def is_fit(reason: str) -> bool:
    """Whether a reason can stand in a log line, and quotes nothing as bytes."""
    return reason.isprintable() and len(reason) <= 200 and "b'" not in reason


# The bytes, and what h11 finds in them that is wrong.
REQUESTS: list[tuple[bytes, str]] = [
    (head(OPENING, "GET  / HTTP/1.1"), "the request line is not valid"),
    (head(OPENING, "G(T / HTTP/1.1"), "the request line is not valid"),
    (head([HOST, ("X ", "y")]), "a header line is not valid"),
    (head([(" X", "y"), HOST]), "the first header line is indented"),
    (head(), "the Host header is missing"),
    (head([HOST, HOST]), "the Host header is repeated"),
    (head([HOST, ("Content-Length", "x")]), "the Content-Length header is not a number"),
    (
        head([HOST, ("Content-Length", "1"), ("Content-Length", "2")]),
        "the Content-Length headers differ",
    ),
    (
        head([HOST, *[("Transfer-Encoding", "chunked")] * 2]),
        "the Transfer-Encoding header is repeated",
    ),
    (head([HOST, ("Transfer-Encoding", "gzip")]), "the Transfer-Encoding header is not chunked"),
]

PARSED: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], str]] = [
    (b"G\nT", b"/", FIELDS, "the method is not a token"),
    (b"GET", b"/\n", FIELDS, "the request target has characters that are not allowed"),
    (b"GET", b"/", [*FIELDS, (b"a b", b"c")], "a header name is not a token"),
    (
        b"GET",
        b"/",
        [*FIELDS, (b"a", b" b")],
        "a header value has characters that are not allowed",
    ),
]

RESPONSES: list[tuple[bytes, str]] = [
    (head(line="HTTP/1.1 1x1 x"), "the status line is not valid"),
    (head(line="HTTP/1.1 099 x"), "the status code is less than 100"),
]


@pytest.mark.parametrize(("data", "fault"), REQUESTS, ids=[fault for _, fault in REQUESTS])
def test_requests(data: bytes, fault: str) -> None:
    connection = ServerConnection()
    assert connection.receive_data(data) == [HandshakeFailed(400, f"{REQUEST}: {fault}")]
    assert connection.data_to_send().endswith(f"\r\n\r\n{REQUEST}: {fault}\n".encode())


@pytest.mark.parametrize(
    ("method", "target", "fields", "fault"), PARSED, ids=[fault for *_, fault in PARSED]
)
def test_parsed_requests(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], fault: str
) -> None:
    event = ServerHandshake().receive_head(method, target, fields)
    assert event == HandshakeFailed(400, f"{REQUEST}: {fault}")


@pytest.mark.parametrize(("data", "fault"), RESPONSES, ids=[fault for _, fault in RESPONSES])
def test_responses(data: bytes, fault: str) -> None:
    connection = ClientConnection("example.com")
    assert connection.receive_data(data) == [HandshakeFailed(0, f"{RESPONSE}: {fault}")]


def test_every_fault_is_met() -> None:
    """No entry is left for a message that h11 no longer has."""
    from wscore.handshake.head import FAULTS

    met = {row[-1] for table in (REQUESTS, PARSED, RESPONSES) for row in table}
    assert met == {fault for _, fault in FAULTS}


@pytest.mark.parametrize("message", ["", "something new: bytearray(b'GET')"])
def test_of_what_h11_says_that_we_do_not_know_nothing_is_repeated(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    import h11

    def fails(self: object) -> None:
        raise h11.RemoteProtocolError(message)

    monkeypatch.setattr(h11.Connection, "next_event", fails)
    not_plain = head(OPENING, end="\n")
    assert ServerConnection().receive_data(not_plain) == [HandshakeFailed(400, REQUEST)]
    client = ClientConnection("example.com")
    assert client.receive_data(head(line="HTTP/1.1 101 x")) == [HandshakeFailed(0, RESPONSE)]


PIECES = st.sampled_from(
    [b"GET ", b"/", b" HTTP/1.1", b"HTTP/1.1 ", b"200 ", b"101 ", b"\r\n", b"\n", b": ", b"Host: a"]
    + [
        b"Upgrade: ",
        b"websocket",
        b"Connection: ",
        b"Sec-WebSocket-Protocol: ",
        b"Content-Length: ",
    ]
    + [b"Sec-WebSocket-Extensions: ", b"Transfer-Encoding: ", b"\x1b[2J", b"\x85", b"\xff", b"'"]
)


@given(st.lists(PIECES | st.binary(max_size=9), max_size=30))
def test_of_any_bytes_the_reason_is_fit(pieces: list[bytes]) -> None:
    data = b"".join(pieces) + b"\r\n\r\n"
    for connection in (ServerConnection(), ClientConnection("example.com")):
        for start in (b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 101 x\r\n"):
            for event in connection.receive_data(start + data):
                if isinstance(event, HandshakeFailed):
                    assert is_fit(event.reason), event.reason


@pytest.mark.parametrize("name", ["Upgrade", "Connection", "Sec-WebSocket-Extensions"])
def test_headers_that_are_quoted(name: str) -> None:
    value = "\x85\xa0'\"\xad" * 50
    for connection, line in (
        (ServerConnection(extensions=[Deflate()]), "GET / HTTP/1.1"),
        (ClientConnection("example.com"), "HTTP/1.1 101 x"),
    ):
        fields = [field for field in OPENING if field[0] != name]
        for event in connection.receive_data(head([*fields, (name, value)], line)):
            assert not isinstance(event, HandshakeFailed) or is_fit(event.reason)


@dataclass(frozen=True)
class Talkative(Deflate):
    """An extension that says what it was given."""

    def agree(self, answer: Parameters) -> NegotiatedDeflate:
        raise NegotiationError(FORGED)


def test_what_an_extension_says_of_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wscore.handshake.client.accept_value", lambda key: "A")
    connection = ClientConnection("example.com", extensions=[Talkative()])
    fields = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "A")]
    extension = ("Sec-WebSocket-Extensions", "permessage-deflate")
    [event] = connection.receive_data(head([*fields, extension], "HTTP/1.1 101 x"))
    assert isinstance(event, HandshakeFailed)
    assert event.reason.startswith(r"x\r\nWARNING: all is lost\x1b[2J\u2028\x85\x00\x7fx")
    assert is_fit(event.reason)


def failure(role: str, extension: Deflate) -> str:
    """The reason for a compressed message that is corrupt."""
    connection = agreed(role, extensions=[extension])
    [event] = receive(connection, encode([Frame(FIN | RSV1 | BINARY, b"\xff" * 9)], role))
    assert isinstance(event, ConnectionFailed)
    assert len(event.reason.encode()) <= 123
    connection.acknowledge_close()  # it fits into a Close
    return event.reason


@pytest.mark.parametrize("role", ROLES)
def test_what_an_extension_says_of_a_message(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    def decode(self: Inflater, data: bytes, last: bool, most: int) -> bytes:
        raise CorruptMessage(FORGED)

    monkeypatch.setattr(Inflater, "decode", decode)
    reason = failure(role, Deflate())
    assert reason.startswith(r"x\r\nWARNING") and is_fit(reason)


@pytest.mark.parametrize("role", ROLES)
def test_what_an_engine_says_of_a_message(role: str) -> None:
    class Decompressor:
        def decompress(self, data: bytes, most: int) -> bytes:
            raise zlib.error(FORGED)

        def copy(self) -> "Decompressor":
            return self

    engine: Any = ModuleType("engine")
    vars(engine).update(
        compressobj=zlib.compressobj, decompressobj=lambda bits: Decompressor(), error=zlib.error
    )
    reason = failure(role, Deflate(engine=engine))
    assert reason.startswith("a compressed message is corrupt (x") and is_fit(reason)


def characters(*spans: tuple[int, int]) -> Iterable[str]:
    return (chr(code) for first, end in spans for code in range(first, end))


def test_printable() -> None:
    assert printable("as it is: é, 日本, 😀") == "as it is: é, 日本, 😀"
    assert printable("a\nb\t\x7f\x9b\u2028\u202e\ud800") == r"a\nb\t\x7f\x9b\u2028\u202e\ud800"
    assert printable("x" * 300) == "x" * 200
    assert len(printable("\0" * 300)) == 200
    assert printable("x" * 300, 9) == "x" * 9
    for character in characters((0, 0x3000), (0xD800, 0xE000), (0xFE00, 0x10000)):
        assert printable(character).isprintable()


def test_a_close_has_room_for() -> None:
    assert truncated_reason("€" * 50) == "€" * 41
    assert truncated_reason("\n" * 200) == r"\n" * 61 + "\\"
    assert truncated_reason("\ud800") == r"\ud800"
