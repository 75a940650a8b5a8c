"""`explain`: any bytes, right or wrong, as lines that name each field and each broken rule."""

import zlib
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from wire import ROLES, receive

from kit.frames import KEY, masked
from wscore import (
    ClientConnection,
    ConnectionFailed,
    DataType,
    Explained,
    ServerConnection,
    build_frame,
    explain,
)
from wscore.explaining import message
from wscore.explaining.faults import CLAUSES
from wscore.explaining.head import begins_head
from wscore.extensions import Deflate
from wstransports.testing.strategies import broken_frames, conversations

TEXT, BINARY, CONTINUATION = DataType.TEXT, DataType.BINARY, DataType.CONTINUATION
CLOSE, PING, PONG = DataType.CLOSE, DataType.PING, DataType.PONG


def lines(data: bytes, **how: Any) -> list[str]:
    return [str(part) for part in explain(data, **how)]


def faults(data: bytes, **how: Any) -> list[str]:
    return [fault for part in explain(data, **how) for fault in part.faults]


def deflated(data: bytes) -> bytes:
    """The payload of a compressed message."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        # The examples of RFC 6455 section 5.7.
        ("810548656c6c6f", 'FIN=1 RSV=000 opcode=1(text) MASK=0 length=5 text="Hello"'),
        (
            "818537fa213d7f9f4d5158",
            'FIN=1 RSV=000 opcode=1(text) MASK=1 length=5 key=37fa213d text="Hello"',
        ),
        ("890548656c6c6f", "FIN=1 RSV=000 opcode=9(ping) MASK=0 length=5 data=48656c6c6f"),
        ("8a00", "FIN=1 RSV=000 opcode=10(pong) MASK=0 length=0 data=-"),
        ("8200", "FIN=1 RSV=000 opcode=2(binary) MASK=0 length=0 data=-"),
        (
            "8203616200",
            "FIN=1 RSV=000 opcode=2(binary) MASK=0 length=3 data=616200",
        ),
        (
            "880503e8627965",
            "FIN=1 RSV=000 opcode=8(close) MASK=0 length=5"
            ' code=1000(NORMAL, normal closure) reason="bye"',
        ),
        ("88020fa0", 'FIN=1 RSV=000 opcode=8(close) MASK=0 length=2 code=4000 reason=""'),
        ("8800", "FIN=1 RSV=000 opcode=8(close) MASK=0 length=0 data=-"),
        # The example of RFC 7692 section 7.2.3.1.
        (
            "c107f248cdc9c90700",
            "FIN=1 RSV=100 opcode=1(text) MASK=0 length=7 compressed=f248cdc9c90700"
            ' inflated=(5 bytes) text="Hello"',
        ),
        (
            "c207f248cdc9c90700",
            "FIN=1 RSV=100 opcode=2(binary) MASK=0 length=7 compressed=f248cdc9c90700"
            " inflated=(5 bytes) data=48656c6c6f",
        ),
        # Cut short.
        ("81", "FIN=1 RSV=000 opcode=1(text) missing=(the rest of the header)"),
        ("817e", "FIN=1 RSV=000 opcode=1(text) MASK=0 missing=(the rest of the header)"),
        (
            "8181aabb",
            "FIN=1 RSV=000 opcode=1(text) MASK=1 length=1 missing=(the rest of the header)",
        ),
        (
            "81054865",
            "FIN=1 RSV=000 opcode=1(text) MASK=0 length=5 text="
            '"He" missing=(3 bytes of the payload)',
        ),
        # What would act on a terminal, or forge a line.
        (
            "81071b5b324a0ac29b",
            "FIN=1 RSV=000 opcode=1(text) MASK=0 length=7 text=" r'"\x1b[2J\n\x9b"',
        ),
        (
            "880703e81b5d303b07",
            "FIN=1 RSV=000 opcode=8(close) MASK=0 length=7"
            r' code=1000(NORMAL, normal closure) reason="\x1b]0;\x07"',
        ),
    ],
)
def test_a_frame(data: str, line: str) -> None:
    assert lines(bytes.fromhex(data)) == [f"     0 frame: {line}"]


def test_a_fragmented_message_interrupted_by_a_ping() -> None:
    data = (
        build_frame(TEXT, b"caf\xc3", fin=False)
        + build_frame(PING)
        + build_frame(CONTINUATION, b"\xa9")
    )
    assert lines(data) == [
        '     0 frame: FIN=0 RSV=000 opcode=1(text) MASK=0 length=4 text="caf"',
        "     6 frame: FIN=1 RSV=000 opcode=9(ping) MASK=0 length=0 data=-",
        "     8 frame: FIN=1 RSV=000 opcode=0(continuation) MASK=0 length=1"
        ' text="\xe9" message=(text, 2 frames, 5 bytes)',
    ]


def test_a_fragmented_binary_message() -> None:
    data = build_frame(BINARY, b"a", fin=False) + build_frame(CONTINUATION, b"b")
    assert lines(data)[1].endswith("data=62 message=(binary, 2 frames, 2 bytes)")


def test_a_compressed_message_in_fragments() -> None:
    payload = deflated(b"Hello" * 50)
    data = build_frame(TEXT, payload[:1], fin=False, rsv1=True)
    data += build_frame(CONTINUATION, payload[1:])
    first, second = explain(data)
    assert first.fields["inflated"] == "(0 bytes)"
    assert second.fields["inflated"] == "(250 bytes)"
    assert second.fields["text"] == f'"{"Hello" * 16}"...'
    assert faults(data) == []


def test_the_window_is_kept_between_messages() -> None:
    client = ClientConnection("example.com", extensions=[Deflate()])
    server = ServerConnection(extensions=[Deflate()])
    server.receive_data(client.data_to_send())
    server.accept()
    head = server.data_to_send()
    for _ in range(2):
        server.send_message("Hello" * 1000)
    parts = explain(head + server.data_to_send())
    assert [part.fields["inflated"] for part in parts[-2:]] == ["(5000 bytes)"] * 2
    assert parts[-1].size < parts[-2].size
    assert [part.faults for part in parts] == [()] * len(parts)


def test_long_payloads_are_shortened() -> None:
    [part] = explain(build_frame(BINARY, bytes(1000)))
    assert part.fields["data"] == "00" * 32 + "..."
    assert part.payload == bytes(1000)
    [part] = explain(build_frame(TEXT, "x" * 1000))
    assert part.fields["text"] == f'"{"x" * 80}"...'


WRONG = [
    (build_frame(3), "unknown opcode 3 (RFC 6455, 5.2)"),
    (build_frame(TEXT, rsv2=True), "reserved bits are set (RFC 6455, 5.2)"),
    (build_frame(PING, rsv1=True), "reserved bits are set (RFC 6455, 5.2)"),
    (
        build_frame(PING, bytes(126)),
        "a control frame is longer than 125 bytes or fragmented (RFC 6455, 5.5)",
    ),
    (
        build_frame(CLOSE, fin=False),
        "a control frame is longer than 125 bytes or fragmented (RFC 6455, 5.5)",
    ),
    (
        build_frame(TEXT, "x", length_bits=16),
        "a payload length is not in its shortest form (RFC 6455, 5.2)",
    ),
    (
        build_frame(TEXT, "x", length_bits=64),
        "a payload length is not in its shortest form (RFC 6455, 5.2)",
    ),
    (
        build_frame(TEXT, "x", length=1 << 63),
        "a payload length has its most significant bit set (RFC 6455, 5.2)",
    ),
    (
        build_frame(CONTINUATION),
        "a continuation frame without a message to continue (RFC 6455, 5.4)",
    ),
    (
        build_frame(TEXT, "a", fin=False) + build_frame(TEXT),
        "a new message before the end of a fragmented one (RFC 6455, 5.4)",
    ),
    (build_frame(CLOSE) + build_frame(TEXT, "x"), "a data frame after a Close (RFC 6455, 5.5.1)"),
    (build_frame(TEXT, b"\xff"), "a text message is not valid UTF-8 (RFC 6455, 8.1)"),
    (
        build_frame(TEXT, b"\xed\xa0", fin=False),
        "a text message is not valid UTF-8 (RFC 6455, 8.1)",
    ),
    (
        build_frame(TEXT, b"\xff", fin=False) + build_frame(CONTINUATION, b"\xff"),
        "a text message is not valid UTF-8 (RFC 6455, 8.1)",
    ),
    (
        build_frame(TEXT, deflated(b"\xff"), rsv1=True),
        "a text message is not valid UTF-8 (RFC 6455, 8.1)",
    ),
    (build_frame(CLOSE, b"\x03"), "a Close with a payload of one byte (RFC 6455, 5.5.1)"),
    (build_frame(CLOSE, b"\x03\xed"), "a Close with the invalid code 1005 (RFC 6455, 7.4)"),
    (build_frame(CLOSE, b"\x07\xd0"), "a Close with the invalid code 2000 (RFC 6455, 7.4)"),
    (build_frame(CLOSE, b"\x03\xe8\xff"), "a close reason is not valid UTF-8 (RFC 6455, 5.5.1)"),
    (
        build_frame(TEXT) + build_frame(TEXT, mask=KEY),
        "some frames are masked, others are not (RFC 6455, 5.1)",
    ),
    (build_frame(BINARY, b"", rsv1=True), "a compressed message is cut short (RFC 7692, 7.2.2)"),
]


@pytest.mark.parametrize(("data", "fault"), WRONG)
def test_a_broken_rule(data: bytes, fault: str) -> None:
    assert faults(data) == [fault]
    [line] = [line for line in lines(data) if "WRONG" in line]
    assert line.endswith(f"  WRONG: {fault}")


def test_the_faults_of_the_tables_are_all_clauses() -> None:
    shown = {fault for _, fault in WRONG} | {
        *faults(build_frame(TEXT), sender="client"),
        *faults(masked(TEXT), sender="server"),
    }
    assert {what for what in CLAUSES if any(fault.startswith(what) for fault in shown)} == {
        *CLAUSES
    }


def test_the_sender_decides_about_masks() -> None:
    must, must_not = build_frame(TEXT, mask=KEY), build_frame(TEXT)
    assert faults(must, sender="client") == faults(must_not, sender="server") == []
    assert faults(must_not, sender="client") == ["a client must mask its frames (RFC 6455, 5.1)"]
    assert faults(must, sender="server") == ["a server must not mask its frames (RFC 6455, 5.1)"]


def test_several_broken_rules() -> None:
    data = build_frame(TEXT, b"\xff", rsv3=True, length_bits=16)
    assert len(faults(data)) == 3


def test_after_a_fault_the_next_frames_are_explained() -> None:
    data = build_frame(TEXT, b"\xff") + build_frame(TEXT, "fine")
    assert lines(data)[1].endswith('text="fine"')


# Compression within bounds.


def test_a_bomb_is_defused() -> None:
    compressor = zlib.compressobj(9, wbits=-15)
    bomb = compressor.compress(bytes(2 * message.MOST_INFLATED)) + compressor.flush(2)
    data = build_frame(BINARY, bomb[:-4], rsv1=True)
    first, second = explain(data + build_frame(BINARY, deflated(b"x"), rsv1=True))
    assert first.fields["inflated"] == f"(more than {message.MOST_INFLATED} bytes in all)"
    assert second.fields["inflated"] == "(unknown)"
    assert first.faults == second.faults == ()


def test_many_empty_blocks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is decompressed in a call of its own, which copies the others."""
    monkeypatch.setattr(message, "MOST_INFLATED", 2**16)
    [part] = explain(build_frame(BINARY, b"\x03\x00" * 1000, rsv1=True))
    assert part.fields["inflated"] == f"(more than {2**16} bytes in all)"


def test_after_a_corrupt_message_no_other_can_be_inflated() -> None:
    data = build_frame(TEXT, b"\xff" * 9, rsv1=True) + build_frame(TEXT, b"abc", rsv1=True)
    first, second = explain(data)
    assert first.faults[0].startswith("a compressed message is corrupt (Error -3")
    assert (second.faults, second.fields["inflated"]) == ((), "(unknown)")


# Heads.


def request(**keywords: Any) -> bytes:
    return ClientConnection("example.com", "/chat", **keywords).data_to_send()


def response(data: bytes, **keywords: Any) -> bytes:
    server = ServerConnection(**keywords)
    server.receive_data(data)
    server.accept()
    return server.data_to_send()


SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


def test_a_client_from_its_request_on() -> None:
    data = request(headers={"Cookie": "secret", "X-Note": "a\tb"}) + masked(0x81, b"Hello")
    shown = lines(data)
    assert shown[0] == "     0 request: line=GET /chat HTTP/1.1"
    assert shown[1] == '    20 header: Host="example.com"'
    assert [line for line in shown if "X-Note" in line] == [
        shown[-3].replace("end of head: ", "")[:6] + r' header: X-Note="a\tb"'
    ]
    assert "secret" not in "".join(shown)
    assert shown[-2].endswith(" end of head: ")
    assert shown[-1].endswith('key=37fa213d text="Hello"')
    assert faults(data) == []


def test_a_server_from_its_response_on() -> None:
    data = SWITCH + b"\r\n" + build_frame(TEXT, "Hello")
    assert lines(data) == [
        "     0 response: line=HTTP/1.1 101 Switching Protocols",
        '    34 header: Upgrade="websocket"',
        '    54 header: Connection="Upgrade"',
        '    75 header: Sec-WebSocket-Accept="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="',
        "   127 end of head: ",
        '   129 frame: FIN=1 RSV=000 opcode=1(text) MASK=0 length=5 text="Hello"',
    ]


def test_the_head_decides_about_masks_and_reserved_bits() -> None:
    compressed = build_frame(BINARY, deflated(b"x"), rsv1=True)
    agreed = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    other = b"Sec-WebSocket-Extensions: permessage-foo\r\n\r\n"
    assert faults(SWITCH + agreed + compressed) == []
    assert faults(SWITCH + other + build_frame(TEXT, rsv2=True)) == []
    assert faults(SWITCH + b"\r\n" + compressed) == ["reserved bits are set (RFC 6455, 5.2)"]
    assert faults(request() + build_frame(TEXT)) == [
        "a client must mask its frames (RFC 6455, 5.1)"
    ]
    assert faults(SWITCH + b"\r\n" + masked(0x81)) == [
        "a server must not mask its frames (RFC 6455, 5.1)"
    ]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (
            request().replace(b"13", b"12"),
            "only WebSocket version 13 is supported (RFC 6455, 4.2.1)",
        ),
        (
            request().replace(b"GET", b"PUT"),
            "a WebSocket must be opened with GET (RFC 6455, 4.2.1)",
        ),
        (
            request()[:-2],
            "the head is cut short: its blank line is missing (RFC 9112, 2.1)",
        ),
        (
            SWITCH.replace(b"websocket", b"tls/1.3") + b"\r\n",
            "the Upgrade header of the response is not websocket (RFC 6455, 4.1)",
        ),
        (
            SWITCH.replace(b"Connection: Upgrade", b"Connection: close") + b"\r\n",
            "the Connection header of the response does not name upgrade (RFC 6455, 4.1)",
        ),
        (
            SWITCH.replace(b"xOo=", b"x") + b"\r\n",
            "the Sec-WebSocket-Accept header is not base64 of 20 bytes (RFC 6455, 4.1)",
        ),
        (
            SWITCH + b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n",
            "the server chose more than one subprotocol (RFC 6455, 4.1)",
        ),
        (
            SWITCH + b"Sec-WebSocket-Extensions: \x01\r\n\r\n",
            "malformed HTTP response: a header line is not valid (RFC 9112, 5)",
        ),
        (
            SWITCH + b"Sec-WebSocket-Extensions: a b\r\n\r\n",
            "malformed Sec-WebSocket-Extensions header: 'a b' is not a token (RFC 6455, 9.1)",
        ),
    ],
)
def test_a_wrong_head(data: bytes, fault: str) -> None:
    parts = explain(data)
    assert parts[0].faults == (fault,)
    assert [part.faults for part in parts[1:]] == [()] * (len(parts) - 1)


def test_frames_follow_a_request_that_is_wrong() -> None:
    parts = explain(request().replace(b"13", b"12") + masked(0x81, b"x"))
    assert parts[-1].fields["text"] == '"x"'


def test_what_follows_a_refusal_is_a_body() -> None:
    data = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    assert lines(data)[-1] == "    45 body: data=676f6e65"
    assert faults(data) == []
    assert len(explain(data[:-4])) == 3


def test_a_request_through_a_proxy() -> None:
    data = b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n" + request()
    assert [part.kind for part in explain(data) if part.kind == "request"] == ["request"] * 2
    assert faults(data + masked(0x81)) == []


def test_an_empty_line_before_a_head_belongs_to_it() -> None:
    parts = explain(b"\r\n" + request())
    assert (parts[0].kind, parts[0].size) == ("request", 22)
    assert faults(b"\r\n" + request()) == []


def test_a_header_that_is_none() -> None:
    parts = explain(b"GET / HTTP/1.1\r\nHost: a\r\nno colon\x1b\r\n\r\n")
    assert [str(part) for part in parts[2:]] == [
        r'    25 header: no colon\x1b=""',
        "    36 end of head: ",
    ]
    assert parts[0].faults == (
        "malformed HTTP request: a header line is not valid (RFC 6455, 4.2.1)",
    )


@pytest.mark.parametrize("record", [b"\x16\x03\x01\x02\x00", b"\x17\x03\x03\x00\x10"])
def test_tls_is_recognised(record: bytes) -> None:
    [part] = explain(record)
    assert (part.kind, part.size) == ("TLS", len(record))
    assert part.faults == ("these bytes are encrypted: capture what is inside TLS (RFC 8446, 5.1)",)


# Whatever the bytes are.


def check_total(data: bytes, parts: list[Explained]) -> None:
    """Each byte is in exactly one part, and each part is one printable line."""
    offset = 0
    for part in parts:
        assert part.offset == offset
        assert part.size > 0
        assert str(part).isprintable()
        offset += part.size
    assert offset == len(data)


senders = st.sampled_from(["client", "server", None])
starts = st.sampled_from(
    [b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 ", b"\n\nGET ", SWITCH + b"\r\n", b"HTTP/1\n\n"]
)


@given(starts, st.binary(max_size=300), senders)
def test_any_bytes(start: bytes, rest: bytes, sender: Literal["client", "server"] | None) -> None:
    for data in (start + rest, rest[:4] + start + rest[4:]):
        check_total(data, explain(data, sender))


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_bytes_like(make: Callable[[bytes], bytes]) -> None:
    assert explain(make(b"\x81\x00")) == explain(b"\x81\x00")
    assert explain(make(b"")) == []


@given(st.sampled_from(ROLES), st.data())
def test_it_agrees_with_the_parser(role: str, data: st.DataObject) -> None:
    """On what is wrong first, and in the same words."""
    client = ClientConnection("example.com", max_message_size=None)
    server = ServerConnection(max_message_size=None)
    request = client.data_to_send()
    server.receive_data(request)
    server.accept()
    response = server.data_to_send()
    client.receive_data(response)
    masked = role == "server"
    frames, _ = data.draw(conversations(masked=masked, close=False))
    wire = b"".join(frames)
    if data.draw(st.booleans()):
        wire += data.draw(broken_frames(masked=masked))
    else:
        wire += data.draw(st.binary(max_size=30))
    assume(not begins_head(wire, 0))  # which explains as another head
    events = receive(server if masked else client, wire)
    failed = [event.reason for event in events if isinstance(event, ConnectionFailed)]
    parts = explain((request if masked else response) + wire)
    check_total((request if masked else response) + wire, parts)
    closes = [i for i, part in enumerate(parts) if part.fields.get("opcode") == "8(close)"]
    # The parser says nothing after a Close, nor of a frame's first byte alone.
    judged = [part for part in parts[: min(closes, default=len(parts)) + 1] if part.size > 1]
    said = [part.faults for part in judged if part.faults]
    assert bool(failed) is bool(said)
    if failed:
        assert any(fault.startswith(failed[0]) for fault in said[0])


def test_arguments_are_checked() -> None:
    unchecked: Any = explain
    with pytest.raises(TypeError, match="what to explain must be bytes-like, not str"):
        unchecked("8100")
    with pytest.raises(ValueError, match="sender must be .* not 'me'"):
        unchecked(b"", "me")
