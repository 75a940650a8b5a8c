"""What may arrive and what it means: the rules of RFC 6455 sections 5, 7 and 8, as one table.

Each case is received whole, byte by byte and with more bytes after it, as the server receives
it (masked) and as the client does (not masked).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from wire import ROLES, AnyConnection, binary, encode, merged, open_end, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame
from wscore import CloseReceived, ConnectionFailed, Event, Phase, Ping, Pong, Reasons, State


class Case(NamedTuple):
    """What comes and what is made of it; a Close or a failure is the last of the events."""

    name: str
    frames: list[Frame]
    events: Sequence[Event]


def broken(reason: str) -> ConnectionFailed:
    """A protocol error."""
    return ConnectionFailed(Reasons.PROTOCOL_ERROR, reason)


MISDIRECTED = broken("(depends on the role)")
MISDIRECTED_AT = {
    "server": broken("a client must mask its frames"),
    "client": broken("a server must not mask its frames"),
}
RESERVED_BITS = broken("reserved bits are set")
BAD_CONTROL = broken("a control frame is longer than 125 bytes or fragmented")
NOT_SHORTEST = broken("a payload length is not in its shortest form")
TOP_BIT = broken("a payload length has its most significant bit set")
NO_MESSAGE = broken("a continuation frame without a message to continue")
INSIDE = broken("a new message before the end of a fragmented one")
BAD_TEXT = ConnectionFailed(Reasons.INCONSISTENT_DATA, "a text message is not valid UTF-8")
BAD_REASON = ConnectionFailed(Reasons.INCONSISTENT_DATA, "a close reason is not valid UTF-8")

DATA = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary"}
CONTROL = {CLOSE: "close", PING: "ping", PONG: "pong"}
OPCODES = DATA | CONTROL

HELLO = Frame(FIN | TEXT, b"hello")

LENGTHS = [
    *(
        Case(f"5.2: {size} bytes", [Frame(FIN | BINARY, b"x" * size)], [binary(b"x" * size)])
        for size in (0, 1, 3, 4, 5, 124, 125, 126, 127, 128, 65535, 65536)
    ),
    *(
        Case(f"5.2: {size} bytes of text", [Frame(FIN | TEXT, b"x" * size)], [text("x" * size)])
        for size in (0, 1, 125, 126, 300)
    ),
    *(
        Case(
            f"5.2: {size} in {width} bytes, {DATA[first & 0x0F]}",
            [HELLO, Frame(first, b"x" * size, length)],
            [text("hello"), NOT_SHORTEST],
        )
        for size, width, length in (
            (0, 2, b"\x7e\0\0"),
            (1, 2, b"\x7e\0\1"),
            (125, 2, b"\x7e\0\x7d"),
            (0, 8, b"\x7f\0\0\0\0\0\0\0\0"),
            (126, 8, b"\x7f\0\0\0\0\0\0\0\x7e"),
            (65535, 8, b"\x7f\0\0\0\0\0\0\xff\xff"),
        )
        for first in (FIN | TEXT, BINARY)
    ),
    *(
        Case(f"5.2: length {size:x}", [Frame(BINARY, b"", b"\x7f" + size.to_bytes(8))], [TOP_BIT])
        for size in (2**63, 2**63 + 1, 2**64 - 1)
    ),
]

FIRST_BYTES = [
    *(
        Case(
            f"5.2: bits {bits:x} on {'the end of ' * (fin == 0)}{name}",
            [HELLO, Frame(fin | bits | opcode)],
            [text("hello"), RESERVED_BITS],
        )
        for bits in (0x40, 0x20, 0x10, 0x70)
        for fin in (0, FIN)
        for opcode, name in OPCODES.items()
    ),
    *(
        Case(
            f"5.2: opcode {opcode} on {size} bytes{', fragmented' * (fin == 0)}",
            [HELLO, Frame(fin | opcode, b"?" * size)],
            [text("hello"), broken(f"unknown opcode {opcode}")],
        )
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        for fin, size in ((FIN, 0), (FIN, 5), (0, 5), (FIN, 126))
    ),
]

DIRECTIONS = [
    Case(
        f"5.1: {OPCODES[opcode]} of {size} bytes as the other side sends it",
        [HELLO, Frame(FIN | opcode, b"x" * size, misdirected=True)],
        [text("hello"), MISDIRECTED],
    )
    for opcode, size in (
        *((opcode, size) for opcode in (TEXT, BINARY, CLOSE, PING, PONG) for size in (0, 1, 125)),
        (BINARY, 126),
        (BINARY, 65536),
    )
]

CONTROL_FRAMES = [
    Case("5.5.2: a ping", [Frame(FIN | PING)], [Ping(b"")]),
    Case("5.5.2: the longest ping", [Frame(FIN | PING, b"\xff" * 125)], [Ping(b"\xff" * 125)]),
    Case("5.5.3: a pong", [Frame(FIN | PONG, b"a")], [Pong(b"a")]),
    Case("5.5.3: the longest pong", [Frame(FIN | PONG, b"\0" * 125)], [Pong(b"\0" * 125)]),
    *(
        Case(f"5.5: {name} {what}", [HELLO, frame], [text("hello"), BAD_CONTROL])
        for opcode, name in CONTROL.items()
        for what, frame in (
            ("of 126 bytes", Frame(FIN | opcode, bytes(126))),
            ("of 65536 bytes", Frame(FIN | opcode, bytes(65536))),
            ("with a long length", Frame(FIN | opcode, b"", b"\x7e\0\0")),
            ("fragmented", Frame(opcode, b"\x03\xe8")),
        )
    ),
]

FRAGMENTS = [
    Case(
        "5.4: two fragments",
        [Frame(TEXT, b"Hel"), Frame(FIN | CONTINUATION, b"lo")],
        [text("Hello")],
    ),
    Case(
        "5.4: many fragments",
        [Frame(BINARY, b"a"), *[Frame(CONTINUATION, b"b")] * 20, Frame(FIN | CONTINUATION, b"c")],
        [binary(b"a" + b"b" * 20 + b"c")],
    ),
    Case(
        "5.4: empty fragments alone",
        [Frame(TEXT), Frame(CONTINUATION), Frame(FIN | CONTINUATION), HELLO],
        [text(""), text("hello")],
    ),
    Case(
        "5.4: empty fragments around one",
        [Frame(BINARY), Frame(CONTINUATION, b"x"), Frame(CONTINUATION), Frame(FIN | CONTINUATION)],
        [binary(b"x")],
    ),
    Case(
        "5.4: large fragments",
        [Frame(BINARY, b"a" * 70000), Frame(FIN | CONTINUATION, b"b" * 300)],
        [binary(b"a" * 70000 + b"b" * 300)],
    ),
    Case(
        "5.4: control frames between fragments",
        [
            Frame(TEXT, b"a"),
            Frame(FIN | PING, b"1"),
            Frame(CONTINUATION, b"b"),
            Frame(FIN | PONG, b"2"),
            Frame(FIN | CONTINUATION, b"c"),
        ],
        [
            text("a", last=False),
            Ping(b"1"),
            text("b", last=False, first=False),
            Pong(b"2"),
            text("c", first=False),
        ],
    ),
    Case(
        "5.4: a ping before a message's first byte",
        [Frame(BINARY), Frame(FIN | PING, b"1"), Frame(FIN | CONTINUATION, b"b")],
        [Ping(b"1"), binary(b"b")],
    ),
    Case(
        "5.5.1: a Close between fragments",
        [Frame(TEXT, b"a"), Frame(FIN | CLOSE, b"\x03\xe8"), Frame(FIN | CONTINUATION, b"b")],
        [text("a", last=False), CloseReceived(1000, "")],
    ),
    Case("5.4: a middle without a start", [Frame(CONTINUATION, b"x")], [NO_MESSAGE]),
    Case("5.4: an end without a start", [Frame(FIN | CONTINUATION)], [NO_MESSAGE]),
    Case(
        "5.4: a continuation of a whole message",
        [HELLO, Frame(FIN | CONTINUATION, b"x")],
        [text("hello"), NO_MESSAGE],
    ),
    Case(
        "5.4: a continuation after the end",
        [Frame(TEXT, b"a"), Frame(FIN | CONTINUATION, b"b"), Frame(CONTINUATION, b"c")],
        [text("ab"), NO_MESSAGE],
    ),
    *(
        Case(
            f"5.4: {'the start of ' * (fin == 0)}{DATA[inner]} inside {DATA[outer]}",
            [Frame(outer, b"a"), Frame(fin | inner, b"b")],
            [text("a", last=False) if outer == TEXT else binary(b"a", last=False), INSIDE],
        )
        for outer in (TEXT, BINARY)
        for inner in (TEXT, BINARY)
        for fin in (0, FIN)
    ),
    Case(
        "5.4: a message inside one without a byte yet",
        [Frame(TEXT), Frame(FIN | BINARY, b"b")],
        [INSIDE],
    ),
]

GOOD_TEXT = {
    "one code point of each length": "a\u00e9\u20ac\U0001f600",
    "the ends of each length": "\0\x7f\x80\u07ff\u0800\uffff\U00010000",
    "the last before the surrogates": "\ud7ff",
    "the first after the surrogates": "\ue000",
    "the last code point": "\U0010ffff",
    "noncharacters": "\ufffe\uffff",
    "a byte order mark": "\ufeffx",
}

BAD_UTF8 = {
    "a continuation alone": b"\x80",
    "the last continuation alone": b"\xbf",
    "overlong of 2": b"\xc0\xaf",
    "the last overlong of 2": b"\xc1\xbf",
    "overlong of 3": b"\xe0\x80\xaf",
    "the last overlong of 3": b"\xe0\x9f\xbf",
    "overlong of 4": b"\xf0\x80\x80\xaf",
    "the last overlong of 4": b"\xf0\x8f\xbf\xbf",
    "the first surrogate": b"\xed\xa0\x80",
    "the last surrogate": b"\xed\xbf\xbf",
    "a surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
    "the first beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "further beyond": b"\xf5\x80\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "a letter within 2": b"\xc3x",
    "a letter within 3": b"\xe2\x82x",
    "a letter within 4": b"\xf0\x9f\x98x",
    "a start within 3": b"\xe2\xc3\xa9",
    "one of 2": b"\xc3",
    "one of 3": b"\xe2",
    "two of 3": b"\xe2\x82",
    "one of 4": b"\xf0",
    "three of 4": b"\xf0\x9f\x98",
}


def at_once(payload: bytes) -> list[Frame]:
    """A text message in one frame."""
    return [Frame(FIN | TEXT, payload)]


def split(payload: bytes) -> list[Frame]:
    """A text message with a frame for each byte, between empty ones."""
    middle = [Frame(CONTINUATION, payload[i : i + 1]) for i in range(len(payload))]
    return [Frame(TEXT), *middle, Frame(FIN | CONTINUATION)]


TEXTS = [
    *(
        Case(f"8.1: {name}, {how.__name__}", how(content.encode()), [text(content)])
        for name, content in GOOD_TEXT.items()
        for how in (at_once, split)
    ),
    *(
        Case(
            f"8.1: {name}, {how.__name__}",
            how(b"caf\xc3\xa9" + bad),
            [text("caf\u00e9", last=False), BAD_TEXT],
        )
        for name, bad in BAD_UTF8.items()
        for how in (at_once, split)
    ),
    *(
        Case(
            f"8.1: {name} within a long frame",
            [Frame(FIN | TEXT, b"x" * 200 + bad + b"y" * 200)],
            [text("x" * 200, last=False), BAD_TEXT],
        )
        for name, bad in BAD_UTF8.items()
    ),
    *(
        Case(f"8.1: nothing but {name}", [Frame(FIN | TEXT, bad)], [BAD_TEXT])
        for name, bad in BAD_UTF8.items()
    ),
    Case(
        "8.1: a code point in two frames, a Ping between",
        [Frame(TEXT, b"1\xe2\x82"), Frame(FIN | PING), Frame(FIN | CONTINUATION, b"\xac")],
        [text("1", last=False), Ping(b""), text("\u20ac", first=False)],
    ),
    Case(
        "8.1: half a code point, then a Close",
        [Frame(TEXT, b"\xe2\x82"), Frame(FIN | CLOSE)],
        [CloseReceived(Reasons.NO_STATUS, "")],
    ),
    Case(
        "8.1: half a code point is not completed by the next message",
        [Frame(TEXT, b"\xc3"), Frame(FIN | CONTINUATION, b"\xa9"), Frame(FIN | TEXT, b"\xa9")],
        [text("\u00e9"), BAD_TEXT],
    ),
    Case("5.6: binary is any bytes", [Frame(FIN | BINARY, b"\xff\xc3")], [binary(b"\xff\xc3")]),
    Case(
        "7.1.7: messages before a violation are messages",
        [HELLO, Frame(FIN | BINARY, b"\xff"), Frame(FIN | PING, b"?"), Frame(FIN | TEXT, b"\xff")],
        [text("hello"), binary(b"\xff"), Ping(b"?"), BAD_TEXT],
    ),
    Case(
        "7.1.7: nothing counts after a violation",
        [HELLO, Frame(FIN | 3), HELLO, Frame(FIN | CLOSE, b"\x03\xe8")],
        [text("hello"), broken("unknown opcode 3")],
    ),
]


def close(code: int, reason: bytes = b"") -> list[Frame]:
    """A Close."""
    return [Frame(FIN | CLOSE, code.to_bytes(2) + reason)]


GOOD_CODES = (*range(1000, 1004), *range(1007, 1015), 3000, 3001, 3999, 4000, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 65535)

CLOSES = [
    Case("5.5.1: an empty Close", [Frame(FIN | CLOSE)], [CloseReceived(Reasons.NO_STATUS, "")]),
    Case(
        "5.5.1: one byte",
        [Frame(FIN | CLOSE, b"\x03")],
        [broken("a Close with a payload of one byte")],
    ),
    *(Case(f"7.4: {code}", close(code), [CloseReceived(code, "")]) for code in GOOD_CODES),
    *(
        Case(f"7.4: {code}", close(code), [broken(f"a Close with the invalid code {code}")])
        for code in BAD_CODES
    ),
    *(
        Case(f"7.1.6: reason {name}", close(1000, reason.encode()), [CloseReceived(1000, reason)])
        for name, reason in (GOOD_TEXT | {"of 123 bytes": "x" * 123}).items()
    ),
    *(
        Case(f"5.5.1: reason {name}", close(1000, b"x" + bad), [BAD_REASON])
        for name, bad in BAD_UTF8.items()
    ),
    Case(
        "7.4: code before reason",
        close(1005, b"\xff"),
        [broken("a Close with the invalid code 1005")],
    ),
    Case(
        "5.5.1: nothing counts after a Close",
        [HELLO, *close(1001, b"bye"), HELLO, Frame(FIN | PING), *close(1002), Frame(0x7F)],
        [text("hello"), CloseReceived(1001, "bye")],
    ),
]

CASES = LENGTHS + FIRST_BYTES + DIRECTIONS + CONTROL_FRAMES + FRAGMENTS + TEXTS + CLOSES

every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
both_roles = pytest.mark.parametrize("role", ROLES)


def expected(case: Case, role: str) -> list[Event]:
    """The case's events as `role` sees them."""
    return [MISDIRECTED_AT[role] if event is MISDIRECTED else event for event in case.events]


def check_end(connection: AnyConnection, role: str, last: Event) -> None:
    """Where the connection stands then, and what it answers when asked to, not before."""
    assert connection.data_to_send() == b""
    if isinstance(last, CloseReceived):
        assert connection.phase is Phase.CLOSE_RECEIVED
        body = (
            b"" if last.code == Reasons.NO_STATUS else last.code.to_bytes(2) + last.reason.encode()
        )
    elif isinstance(last, ConnectionFailed):
        assert connection.phase is Phase.FAILED
        body = last.code.to_bytes(2) + last.reason.encode()
    else:
        assert (connection.phase, connection.close_code) == (Phase.OPEN, None)
        return
    assert connection.state is State.CLOSING
    assert (connection.close_code, connection.close_reason) == (last.code, last.reason)
    connection.acknowledge_close()
    assert sent_frames(connection.data_to_send(), role) == [(FIN | CLOSE, body)]
    assert connection.should_close


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@both_roles
@every_case
def test_whole(case: Case, role: str) -> None:
    connection = open_end(role)
    events = merged(receive(connection, encode(case.frames, role)))
    assert events == expected(case, role)
    check_end(connection, role, events[-1])


@pytest.mark.slow
@both_roles
@every_case
def test_byte_by_byte(case: Case, role: str) -> None:
    connection = open_end(role)
    events = merged(receive(connection, encode(case.frames, role), size=1))
    assert events == expected(case, role)
    check_end(connection, role, events[-1])


@pytest.mark.slow
@both_roles
@every_case
def test_with_more_after(case: Case, role: str) -> None:
    """Other frames, right and wrong; nothing but what a connection still open makes of them."""
    connection = open_end(role)
    after = [Frame(FIN | TEXT, b"after"), Frame(FIN | BINARY, b"x" * 300), *close(4000)]
    events = expected(case, role)
    if not isinstance(events[-1], CloseReceived | ConnectionFailed):
        events = [*events, text("after"), binary(b"x" * 300), CloseReceived(4000, "")]
    assert merged(receive(connection, encode(case.frames + after, role))) == events
    assert receive(connection, b"\xff" * 300) == []
    check_end(connection, role, events[-1])


FIRST_IMPOSSIBLE = {
    "a continuation alone": (b"", b"\x80"),
    "C0": (b"", b"\xc0"),
    "C1": (b"", b"\xc1"),
    "F5": (b"", b"\xf5"),
    "FF": (b"", b"\xff"),
    "overlong of 3": (b"\xe0", b"\x9f"),
    "overlong of 4": (b"\xf0", b"\x8f"),
    "a surrogate": (b"\xed", b"\xa0"),
    "beyond U+10FFFF": (b"\xf4", b"\x90"),
    "a letter within 2": (b"\xc3", b"x"),
    "a letter within 3": (b"\xe2\x82", b"x"),
    "a letter within 4": (b"\xf0\x9f\x98", b"x"),
}


@both_roles
@pytest.mark.parametrize("name", FIRST_IMPOSSIBLE)
@pytest.mark.parametrize("before", [b"", b"x" * 10, b"x" * 70000], ids=len)
def test_text_fails_at_the_first_impossible_byte(name: str, before: bytes, role: str) -> None:
    """RFC 6455 section 8.1, with most of the frame still to come."""
    connection = open_end(role)
    possible, impossible = FIRST_IMPOSSIBLE[name]
    start = before + possible
    whole = encode([Frame(FIN | TEXT, start + impossible + b"x" * 1000)], role)
    arrived = len(whole) - 1000 - len(impossible)
    events = receive(connection, whole[:arrived])
    assert merged(events) == ([text(before.decode(), last=False)] if before else [])
    assert receive(connection, whole[arrived : arrived + 1]) == [BAD_TEXT]


@both_roles
@pytest.mark.parametrize(
    ("frame", "arrived", "failure"),
    [
        (Frame(FIN | 3, bytes(100)), 2, broken("unknown opcode 3")),
        (Frame(FIN | 0x40 | BINARY, bytes(100)), 2, RESERVED_BITS),
        (Frame(FIN | PING, bytes(126)), 2, BAD_CONTROL),
        (Frame(FIN | BINARY, bytes(100), misdirected=True), 2, MISDIRECTED),
        (Frame(FIN | BINARY, b"", b"\x7e\0\x7d"), 4, NOT_SHORTEST),
        (Frame(FIN | BINARY, b"", b"\x7f\x80" + bytes(7)), 10, TOP_BIT),
        (Frame(FIN | CONTINUATION, bytes(100)), 2, NO_MESSAGE),
        (Frame(FIN | BINARY, bytes(101)), 2, ConnectionFailed(1009, "{100}")),
        (Frame(FIN | BINARY, bytes(200)), 4, ConnectionFailed(1009, "{100}")),
        (Frame(BINARY, bytes(65536)), 10, ConnectionFailed(1009, "{100}")),
    ],
)
def test_a_header_is_judged_as_soon_as_it_shows(
    frame: Frame, arrived: int, failure: ConnectionFailed, role: str
) -> None:
    connection = open_end(role, max_message_size=100)
    data = encode([frame], role)
    assert receive(connection, data[: arrived - 1]) == []
    [event] = receive(connection, data[arrived - 1 : arrived])
    if failure is MISDIRECTED:
        failure = MISDIRECTED_AT[role]
    if failure.reason == "{100}":
        failure = ConnectionFailed(1009, "a message is longer than 100 bytes")
    assert event == failure


@both_roles
def test_input_may_be_any_bytes_like(role: str) -> None:
    connection = open_end(role)
    data = encode([HELLO], role)
    for form in (bytes, bytearray, memoryview):
        assert connection.receive_data(form(data)) == [text("hello")]


@both_roles
def test_input_may_be_any_memoryview(role: str) -> None:
    """Of bytes that lie apart, of other items than bytes, and of more dimensions."""
    data = encode([Frame(FIN | BINARY, bytes(range(46)))], role)
    views: list[Any] = [memoryview(data[::-1])[::-1], memoryview(b"??" + data)[2:]]
    views += [memoryview(data).cast(form) for form in ("b", "c", "I")]
    views.append(memoryview(data).cast("B", (2, len(data) // 2)))
    connection = open_end(role)
    for view in views:
        assert connection.receive_data(view) == [binary(bytes(range(46)))]


@both_roles
@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_other_input_is_refused(data: object, role: str) -> None:
    connection = open_end(role)
    with pytest.raises(TypeError):
        connection.receive_data(data)  # type: ignore[arg-type]
    assert connection.receive_data(encode([HELLO], role)) == [text("hello")]
