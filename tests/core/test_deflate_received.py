"""permessage-deflate as it arrives, deflated by plain zlib or written by hand: one table.

Each case is received whole, byte by byte and with more bytes after it, in both roles. Sections
are those of RFC 7692.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from deflated import NO_TAKEOVER, SENTENCE, TAIL, Peer, agreed, deflated, each_engine, engine_named
from wire import ROLES, binary, encode, merged, open_end, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, Frame
from wscore import (
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    Deflate,
    Event,
    MessagePiece,
    Phase,
    Ping,
    Pong,
    Reasons,
    ServerConnection,
)

both_roles = pytest.mark.parametrize("role", ROLES)
both_takeovers = pytest.mark.parametrize("header", [None, NO_TAKEOVER], ids=["takeover", "none"])

HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")
FINAL_HELLO = bytes.fromhex("f3 48 cd c9 c9 07 00")  # with BFINAL set, and nothing after it
STORED_HELLO = bytes.fromhex("00 05 00 fa ff") + b"Hello"

CODES = bytes.fromhex("14 95 8b 6e 44 21 08 44 bf 15")

RESERVED_BITS = ConnectionFailed(Reasons.PROTOCOL_ERROR, "reserved bits are set")
BAD_TEXT = ConnectionFailed(Reasons.INCONSISTENT_DATA, "a text message is not valid UTF-8")
CUT_SHORT = ConnectionFailed(Reasons.INCONSISTENT_DATA, "a compressed message is cut short")


def corrupt(reason: str) -> ConnectionFailed:
    """What is said of data that zlib does not understand."""
    error = f"Error -3 while decompressing data: {reason}"
    return ConnectionFailed(Reasons.INCONSISTENT_DATA, f"a compressed message is corrupt ({error})")


class Case(NamedTuple):
    """What comes and what is made of it; a Close or a failure is the last of the events."""

    name: str
    frames: list[Frame]
    events: Sequence[Event]


def one(payload: bytes, opcode: int = TEXT) -> Frame:
    """A compressed message in one frame."""
    return Frame(FIN | RSV1 | opcode, payload)


def many(*payloads: bytes, opcode: int = TEXT) -> list[Frame]:
    """A compressed message with a frame for each of the payloads."""
    first, *middle, last = payloads
    frames = [Frame(CONTINUATION, payload) for payload in middle]
    return [Frame(RSV1 | opcode, first), *frames, Frame(FIN | CONTINUATION, last)]


def split(payload: bytes) -> list[Frame]:
    """A compressed message with a frame for each byte, between empty ones."""
    return many(b"", *[payload[i : i + 1] for i in range(len(payload))], b"")


EXAMPLES = [
    Case("7.2.3.1 one block", [one(HELLO)], [text("Hello")]),
    Case("7.2.3.1 in two frames", many(HELLO[:3], HELLO[3:]), [text("Hello")]),
    Case("7.2.3.2 not sharing the window", [one(HELLO)] * 3, [text("Hello")] * 3),
    Case("7.2.3.3 no compression", [one(STORED_HELLO + b"\0")], [text("Hello")]),
    Case("7.2.3.4 BFINAL", [one(FINAL_HELLO + b"\0")], [text("Hello")]),
    Case(
        "7.2.3.5 two blocks",
        [one(bytes.fromhex("f2 48 05 00 00 00 ff ff ca c9 c9 07 00"))],
        [text("Hello")],
    ),
    Case("7.2.3.6 an empty fragment", [one(b"\0")], [text("")]),
    Case("7.2.3.6 as the last", many(HELLO[:-1] + b"\0" + TAIL, b"\0"), [text("Hello")]),
]

BLOCKS = [
    Case("7.2.3.4 BFINAL, a byte in each frame", split(FINAL_HELLO + b"\0"), [text("Hello")]),
    Case("7.2.3.4 BFINAL again and again", [one(FINAL_HELLO + b"\0")] * 3, [text("Hello")] * 3),
    Case(
        "7.2.3.4 BFINAL in the middle",
        [one(FINAL_HELLO + HELLO), one(HELLO)],
        [text("HelloHello"), text("Hello")],
    ),
    Case(
        "7.2.3.4 BFINAL in the middle and at the end",
        [one(FINAL_HELLO * 3 + b"\0"), one(HELLO)],
        [text("Hello" * 3), text("Hello")],
    ),
    Case(
        "7.2.3.4 BFINAL in each frame",
        [*many(FINAL_HELLO, FINAL_HELLO, FINAL_HELLO + b"\0"), one(HELLO)],
        [text("Hello" * 3), text("Hello")],
    ),
    Case("7.2.3.4 BFINAL, then an empty frame", many(FINAL_HELLO, b""), [text("Hello")]),
    Case("7.2.3.4 BFINAL, then empty frames", many(FINAL_HELLO, b"", b""), [text("Hello")]),
    Case("7.2.3.4 BFINAL, then its last byte", many(FINAL_HELLO, b"", b"\0"), [text("Hello")]),
    Case("7.2.3.4 BFINAL on nothing", [one(b"\3\0\0"), one(HELLO)], [text(""), text("Hello")]),
    Case("7.2.3.4 BFINAL stored", [one(b"\1" + STORED_HELLO[1:] + b"\0")], [text("Hello")]),
    Case(
        "7.2.3.4 BFINAL, its last byte forgotten",
        [one(FINAL_HELLO), one(HELLO)],
        [text("Hello"), text("Hello")],
    ),
    Case("7.2.1 empty blocks all around", [one((b"\0" + TAIL) * 9 + b"\0")], [text("")]),
    Case(
        "7.2.1 empty blocks between",
        [one((b"\0" + TAIL) * 9 + STORED_HELLO + (b"\0" + TAIL) * 9 + b"\0")],
        [text("Hello")],
    ),
    Case("6.1 empty frames around one", many(b"", b"", HELLO, b"", b""), [text("Hello")]),
    Case("6.1 a byte in each frame", split(deflated(SENTENCE)), [text(SENTENCE.decode())]),
    Case(
        "6.2 compressed and not, in turn",
        [one(HELLO), Frame(FIN | TEXT, b"Hi"), one(HELLO), Frame(FIN | BINARY, HELLO)],
        [text("Hello"), text("Hi"), text("Hello"), binary(HELLO)],
    ),
    Case(
        "6 control frames between",
        [
            Frame(RSV1 | TEXT, HELLO[:2]),
            Frame(FIN | PING, b"1"),
            Frame(CONTINUATION, HELLO[2:-1] + b"\0" + TAIL),
            Frame(FIN | PONG, b"2"),
            Frame(FIN | CONTINUATION, b"\0"),
            one(HELLO),
        ],
        [
            text("H", last=False),
            Ping(b"1"),
            text("ello", last=False, first=False),
            Pong(b"2"),
            text("", first=False),
            text("Hello"),
        ],
    ),
    Case(
        "6 a Close between",
        [Frame(RSV1 | BINARY, HELLO[:-1] + b"\0" + TAIL), Frame(FIN | CLOSE, b"\x03\xe8")],
        [binary(b"Hello", last=False), CloseReceived(1000, "")],
    ),
    Case(
        "6 text whose payload is none",
        [one(zlib.compress("caf\u00e9".encode(), wbits=-15) + b"\0")],
        [text("caf\u00e9")],
    ),
    Case(
        "a code point in two blocks",
        many(b"\0\1\0\xfe\xff\xc3", b"\0\1\0\xfe\xff\xa9\0"),
        [text("\u00e9")],
    ),
    Case("incompressible", [one(deflated(bytes(range(256))), BINARY)], [binary(bytes(range(256)))]),
]

BITS = [
    *(
        Case(f"6.1 {name} with RSV1", [one(HELLO), frame], [text("Hello"), RESERVED_BITS])
        for name, frame in (
            ("a Ping", Frame(FIN | RSV1 | PING)),
            ("a Pong", Frame(FIN | RSV1 | PONG, b"\0")),
            ("a Close", Frame(FIN | RSV1 | CLOSE, b"\x03\xe8")),
        )
    ),
    *(
        Case(
            f"6.1 {'an end' if fin else 'a middle'} with RSV1, of {'' if bits else 'un'}compressed",
            [Frame(bits | BINARY), Frame(fin | RSV1 | CONTINUATION, b"\0")],
            [RESERVED_BITS],
        )
        for fin in (0, FIN)
        for bits in (0, RSV1)
    ),
    *(
        Case(
            f"6455-5.2 bits {bits:x} on {'the start of ' * (fin == 0)}{opcode}",
            [one(HELLO), Frame(fin | bits | opcode, b"\0")],
            [text("Hello"), RESERVED_BITS],
        )
        for bits in (RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3)
        for opcode in (TEXT, BINARY)
        for fin in (0, FIN)
    ),
]

CORRUPT = [
    Case("a block of type 3", [one(b"\7")], [corrupt("invalid block type")]),
    Case(
        "a stored block's length", [one(b"\0\5\0\0\0")], [corrupt("invalid stored block lengths")]
    ),
    Case(
        "a distance before the start",
        [one(bytes.fromhex("f2 00 11 00 00"))],
        [text("H", last=False), corrupt("invalid distance too far back")],
    ),
    Case(
        "after a block",
        [one(STORED_HELLO + b"\7" + bytes(100), BINARY)],
        [binary(b"Hello", last=False), corrupt("invalid block type")],
    ),
    Case(
        "after a message",
        [one(HELLO), one(b"\7"), one(HELLO)],
        [text("Hello"), corrupt("invalid block type")],
    ),
    Case("in the last of many frames", many(b"", b"", b"\7"), [corrupt("invalid block type")]),
    Case(
        "after BFINAL",
        [one(FINAL_HELLO + b"\7")],
        [text("Hello", last=False), corrupt("invalid block type")],
    ),
    Case("random bytes", [one(bytes(range(255, 200, -1)))], [corrupt("invalid block type")]),
    Case(
        "a zlib header", [one(zlib.compress(SENTENCE))], [corrupt("invalid stored block lengths")]
    ),
    *(
        Case(
            f"text: {name}",
            [one(deflated(b"caf\xc3\xa9" + bad))],
            [text("caf\u00e9", last=False), BAD_TEXT],
        )
        for name, bad in (("FF", b"\xff"), ("half a code point", b"\xc3"), ("C0", b"\xc0\x80"))
    ),
    Case("text: nothing but half a code point", [one(deflated(b"\xe2\x82"))], [BAD_TEXT]),
    # What is missing is not made up, and not waited for in the next message either.
    Case("nothing at all", [one(b"")], [CUT_SHORT]),
    Case("nothing in many frames", many(b"", b"", b""), [CUT_SHORT]),
    Case("a block with codes of its own, cut within them", [one(CODES)], [CUT_SHORT]),
    Case("nothing after a message", [one(HELLO), one(b"")], [text("Hello"), CUT_SHORT]),
    *(
        Case(
            f"{name}, {missing} of its bytes cut off",
            [one(HELLO), one(payload[:-missing], BINARY), one(HELLO)],
            [text("Hello"), binary(b"Hello", last=False), failure],
        )
        for name, payload, missing, failure in (
            ("a coded block", HELLO, 1, CUT_SHORT),
            ("a coded block", HELLO, 2, CUT_SHORT),
            ("a coded block", HELLO, 4, CUT_SHORT),
            ("a stored block", STORED_HELLO + b"\0", 1, CUT_SHORT),
            ("a stored block", STORED_HELLO + b"\0", 2, CUT_SHORT),
            ("a stored block", STORED_HELLO + b"\0", 3, corrupt("invalid block type")),
            ("a stored block", STORED_HELLO + b"\0", 7, corrupt("invalid stored block lengths")),
            ("a coded block with BFINAL", FINAL_HELLO, 1, CUT_SHORT),
            ("a coded block with BFINAL", FINAL_HELLO, 2, CUT_SHORT),
            ("a stored block with BFINAL", b"\1" + STORED_HELLO[1:], 4, CUT_SHORT),
            ("a longer one with BFINAL", b"\1\x07\0\xf8\xffHello!!", 4, CUT_SHORT),
            ("a longer one with BFINAL", b"\1\x07\0\xf8\xffHello!!", 5, CUT_SHORT),
        )
    ),
]

CASES = EXAMPLES + BLOCKS + BITS + CORRUPT
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def reported(events: Sequence[Event]) -> tuple[list[Event], bytes, list[Event]]:
    """What stands before a message that failed, what was reported of that, and what stands after.

    How much that is depends on how the input is cut: zlib gives nothing of what it fails in.
    """
    *before, last = events
    content = b""
    if isinstance(last, ConnectionFailed) and before:
        piece = before[-1]
        if isinstance(piece, MessagePiece) and not piece.last:
            content = piece.data
            del before[-1]
    return before, content, [last]


def check(case: Case, role: str, header: str | None, size: int | None, engine: str) -> None:
    """Receive a case and look at what comes of it."""
    wide = Deflate(window_bits=15, peer_window_bits=15, engine=engine_named(engine))
    connection = agreed(role, header, [wide])
    events = merged(receive(connection, encode(case.frames, role), size))
    last = events[-1]
    if isinstance(last, ConnectionFailed):
        before, content, failure = reported(events)
        expected_before, most, expected_failure = reported(case.events)
        assert (before, failure) == (expected_before, expected_failure)
        assert most.startswith(content)
        assert connection.phase is Phase.FAILED
        assert receive(connection, encode([one(HELLO)], role)) == []
        connection.acknowledge_close()
        [(first, body)] = sent_frames(connection.data_to_send(), role)
        assert (first, body) == (FIN | CLOSE, last.code.to_bytes(2) + last.reason.encode())
    else:
        assert events == case.events
        closed = isinstance(last, CloseReceived)
        assert connection.phase is (Phase.CLOSE_RECEIVED if closed else Phase.OPEN)


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@each_engine
@both_takeovers
@both_roles
@every_case
def test_whole(case: Case, role: str, header: str | None, engine: str) -> None:
    check(case, role, header, None, engine)


@pytest.mark.slow
@each_engine
@both_takeovers
@both_roles
@every_case
def test_byte_by_byte(case: Case, role: str, header: str | None, engine: str) -> None:
    check(case, role, header, 1, engine)


@pytest.mark.slow
@each_engine
@both_takeovers
@both_roles
@every_case
def test_with_more_after_it(case: Case, role: str, header: str | None, engine: str) -> None:
    if isinstance(case.events[-1], CloseReceived | ConnectionFailed):
        more, events = [one(b"\7"), Frame(0x7F)], list(case.events)
    else:
        more = [one(HELLO), Frame(FIN | BINARY, b"after"), one(HELLO), Frame(FIN | PING)]
        events = [*case.events, text("Hello"), binary(b"after"), text("Hello"), Ping(b"")]
    check(Case(case.name, case.frames + more, events), role, header, None, engine)


@both_roles
def test_sharing_the_window(role: str) -> None:
    """Section 7.2.3.2: not where the peer said that it takes over no context."""
    again = [one(HELLO), one(bytes.fromhex("f2 00 11 00 00"))]
    assert merged(receive(agreed(role), encode(again, role))) == [text("Hello")] * 2
    *_, failure = receive(agreed(role, NO_TAKEOVER), encode(again, role))
    assert failure == corrupt("invalid distance too far back")


@both_roles
def test_without_the_extension(role: str) -> None:
    for frame in (one(HELLO), Frame(RSV1 | BINARY, b"\0")):
        assert receive(open_end(role), encode([frame], role)) == [RESERVED_BITS]


def test_right_after_the_handshake() -> None:
    """Compressed frames in the same read as the head that agrees on it."""
    server = ServerConnection(extensions=[Deflate()])
    client = ClientConnection("example.com", extensions=[Deflate()])
    server.receive_data(client.data_to_send() + encode([one(HELLO)] * 2, "server"))
    server.accept()
    assert server.receive_data(b"") == [text("Hello")] * 2
    data = server.data_to_send() + encode([one(HELLO)] * 2, "client")
    assert receive(client, data)[1:] == [text("Hello")] * 2


@both_takeovers
@both_roles
@pytest.mark.parametrize("before", [b"", b"x" * 10, SENTENCE * 50], ids=len)
def test_text_fails_at_the_first_impossible_byte(
    before: bytes, role: str, header: str | None
) -> None:
    """Of the inflated text, with most of the frame still to come (RFC 6455 section 8.1)."""
    connection = agreed(role, header)
    payload = b"".join(Peer().deflate(before + b"\xe2\x82x" + SENTENCE[::-1]))
    impossible = len(before) + 2
    inflater = zlib.decompressobj(-15)
    sizes = [len(inflater.decompress(payload[i : i + 1])) for i in range(len(payload))]
    at = next(i for i in range(len(payload)) if sum(sizes[: i + 1]) > impossible)
    assert at < len(payload) - 10
    data = encode([one(payload)], role)
    start = len(data) - len(payload)
    assert all(isinstance(event, MessagePiece) for event in receive(connection, data[: start + at]))
    assert receive(connection, data[start + at : start + at + 1])[-1] == BAD_TEXT


@both_roles
@pytest.mark.parametrize("end", ["eof", "lost", "closed by us"])
def test_the_end_during_a_message(end: str, role: str) -> None:
    connection = agreed(role)
    start, rest = Peer().deflate(SENTENCE, SENTENCE)
    data = encode([Frame(RSV1 | BINARY, start)], role)
    assert merged(receive(connection, data)) == [binary(SENTENCE, last=False)]
    if end == "eof":
        [event] = connection.receive_eof()
        assert event == ConnectionFailed(
            Reasons.ABNORMAL_CLOSE, "the peer disconnected without a Close"
        )
    elif end == "lost":
        [event] = connection.connection_lost()
        assert event == ConnectionFailed(Reasons.ABNORMAL_CLOSE, "the connection was lost")
    else:
        connection.send_close()
        rest_of_it = encode([Frame(FIN | CONTINUATION, rest), one(HELLO)], role)
        *pieces, hello = receive(connection, rest_of_it)
        assert b"".join(p.data for p in pieces if isinstance(p, MessagePiece)) == SENTENCE
        assert hello == text("Hello")
