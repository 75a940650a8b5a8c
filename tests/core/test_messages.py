"""Messages of one frame that is all here: what is taken, and before what it stops."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implementations import compiled, forms, needs_compiled
from wire import EXAMPLES, ROLES, binary, encode, text

from kit.frames import BINARY, CONTINUATION, FIN, PING, RSV1, RSV2, TEXT, Frame
from wscore import Event, MessagePiece, Ping, speedups

WholeMessages = Callable[..., int]

in_both_forms = pytest.mark.parametrize("whole_messages", forms("whole_messages"))
for_both_roles = pytest.mark.parametrize("role", ROLES)

NO_LIMIT = 2**62


class Decoding:
    """Records what it is given, among the events; refuses to go on after the payload b"stop"."""

    def take(self, first: int, payload: bytes, events: list[Event]) -> bool:
        if payload == b"wrong":
            raise ArithmeticError
        events.append(Ping(bytes([first]) + payload))
        return payload != b"stop"


def taken(
    whole_messages: WholeMessages,
    data: bytes | memoryview,
    role: str,
    position: int = 0,
    limit: int = NO_LIMIT,
    budget: int = 256,
    bits: int = 0,
) -> tuple[int, list[Event]]:
    """Where the messages end that are taken, and what they are."""
    events: list[Event] = []
    masked = role == "server"
    end = whole_messages(data, position, masked, limit, budget, events, bits, Decoding())
    return end, events


# Around the lengths at which something changes.
SIZES = [0, 1, 2, 7, 8, 9, 124, 125, 126, 127, 300, 65534, 65535, 65536, 65537, 300_000]


@in_both_forms
@for_both_roles
def test_messages_of_every_size(whole_messages: WholeMessages, role: str) -> None:
    frames: list[Frame] = []
    expected: list[Event] = []
    for size in SIZES:
        content = bytes(i & 0x7F for i in range(size))
        frames += [Frame(FIN | TEXT, content), Frame(FIN | BINARY, content)]
        expected += [text(content.decode()), binary(content)]
    data = encode(frames, role)
    position, events = taken(whole_messages, data, role)
    assert (position, events) == (len(data), expected)
    for event, model in zip(events, expected, strict=True):
        for name in type(event).__slots__:
            assert type(getattr(event, name)) is type(getattr(model, name))


GOOD = Frame(FIN | TEXT, "Grüße".encode())


@in_both_forms
@for_both_roles
def test_input_that_is_a_memoryview(whole_messages: WholeMessages, role: str) -> None:
    data = encode([GOOD, Frame(FIN | BINARY, bytes(300))], role)
    position, events = taken(whole_messages, memoryview(data + b"\x81"), role)
    assert (position, events) == (len(data), [text("Grüße"), binary(bytes(300))])
    assert all(type(event.data) is bytes for event in events if isinstance(event, MessagePiece))


# Whatever is not a message in one whole valid frame.
OTHERS = {
    "a fragment": Frame(TEXT, b"a"),
    "a continuation": Frame(FIN | CONTINUATION, b"a"),
    "a ping": Frame(FIN | PING, b"a"),
    "a reserved bit": Frame(FIN | 0x40 | TEXT, b"a"),
    "an unknown opcode": Frame(FIN | 3, b"a"),
    "no UTF-8": Frame(FIN | TEXT, b"a\xff"),
    "half a code point": Frame(FIN | TEXT, b"\xe2\x82"),
    "a mask too many or too few": Frame(FIN | BINARY, b"a" * 8, misdirected=True),
    "125 bytes, not in the shortest form": Frame(FIN | BINARY, bytes(125), length=b"\x7e\0\x7d"),
    "300 bytes, not in the shortest form": Frame(
        FIN | BINARY, bytes(300), length=b"\x7f" + (300).to_bytes(8)
    ),
    "65535 bytes, not in the shortest form": Frame(
        FIN | BINARY, bytes(65535), length=b"\x7f" + (65535).to_bytes(8)
    ),
    "the top bit of a length": Frame(
        FIN | BINARY, bytes(65536), length=b"\x7f" + (2**63 + 65536).to_bytes(8)
    ),
    "the greatest length": Frame(FIN | BINARY, length=b"\x7f" + (2**63 - 1).to_bytes(8)),
    "a length beyond 64 bits": Frame(FIN | BINARY, bytes(65536), length=b"\x7f" + b"\xff" * 8),
}


@in_both_forms
@for_both_roles
@pytest.mark.parametrize("other", OTHERS)
def test_it_stops_before_anything_else(
    whole_messages: WholeMessages, role: str, other: str
) -> None:
    good = encode([GOOD], role)
    for before in (b"", good, good * 3):
        data = before + encode([OTHERS[other], GOOD], role)
        position, events = taken(whole_messages, data, role)
        assert position == len(before)
        assert events == [text("Grüße")] * (len(before) // len(good))


@in_both_forms
@for_both_roles
@pytest.mark.parametrize("size", [5, 200, 65535, 65536])
def test_it_stops_before_what_is_not_all_here(
    whole_messages: WholeMessages, role: str, size: int
) -> None:
    good = encode([GOOD], role)
    data = encode([Frame(FIN | BINARY, bytes(size))], role)
    for cut in {*range(min(len(data), 20)), len(data) - 1}:
        assert taken(whole_messages, good + data[:cut], role) == (len(good), [text("Grüße")])


@in_both_forms
@for_both_roles
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300, 65536])
def test_the_limit(whole_messages: WholeMessages, role: str, size: int) -> None:
    data = encode([Frame(FIN | BINARY, bytes(size))], role)
    assert taken(whole_messages, data, role, limit=size) == (len(data), [binary(bytes(size))])
    assert taken(whole_messages, data, role, limit=size - 1) == (0, [])


@in_both_forms
@for_both_roles
def test_the_budget(whole_messages: WholeMessages, role: str) -> None:
    data = encode([GOOD] * 4, role)
    for budget in range(6):
        position, events = taken(whole_messages, data, role, budget=budget)
        assert len(events) == min(budget, 4)
        assert position == len(events) * (len(data) // 4)


@in_both_forms
@for_both_roles
def test_the_position_and_what_was_there(whole_messages: WholeMessages, role: str) -> None:
    good = encode([GOOD], role)
    for position in range(8):
        assert taken(whole_messages, bytes(position) + good, role, position) == (
            position + len(good),
            [text("Grüße")],
        )
    assert taken(whole_messages, good, role, len(good)) == (len(good), [])
    assert taken(whole_messages, good, role, len(good) + 1) == (len(good) + 1, [])
    events: list[Event] = [binary(b"before")]
    whole_messages(good, 0, role == "server", NO_LIMIT, 1, events, 0, Decoding())
    assert events == [binary(b"before"), text("Grüße")]


@in_both_forms
@for_both_roles
def test_what_extensions_made(whole_messages: WholeMessages, role: str) -> None:
    """It is handed on in its order among the others, unmasked and not looked into."""
    coded = [
        Frame(FIN | RSV1 | TEXT, b"\xff" * 300),
        Frame(FIN | RSV2 | BINARY, b""),
        Frame(FIN | RSV1 | RSV2 | BINARY, bytes(65535)),
    ]
    data = encode([GOOD, coded[0], GOOD, *coded[1:]], role)
    handed = [Ping(bytes([frame.first]) + frame.payload) for frame in coded]
    expected = [text("Grüße"), handed[0], text("Grüße"), *handed[1:]]
    for input in (data, memoryview(data)):
        assert taken(whole_messages, input, role, bits=RSV1 | RSV2) == (len(data), expected)
    assert taken(whole_messages, data, role, budget=2, bits=RSV1 | RSV2)[1] == expected[:2]


@in_both_forms
@for_both_roles
def test_where_it_says_stop(whole_messages: WholeMessages, role: str) -> None:
    frames = [GOOD, Frame(FIN | RSV1 | TEXT, b"stop")]
    before = encode(frames, role)
    events = [text("Grüße"), Ping(b"\xc1stop")]
    assert taken(whole_messages, encode([*frames, GOOD], role), role, bits=RSV1) == (
        len(before),
        events,
    )


@in_both_forms
@for_both_roles
def test_what_it_raises(whole_messages: WholeMessages, role: str) -> None:
    with pytest.raises(ArithmeticError):
        taken(whole_messages, encode([Frame(FIN | RSV1 | TEXT, b"wrong")], role), role, bits=RSV1)


@in_both_forms
@for_both_roles
@pytest.mark.parametrize(
    ("frame", "limit"),
    [
        (Frame(RSV1 | TEXT, b"a"), NO_LIMIT),
        (Frame(FIN | RSV1 | CONTINUATION, b"a"), NO_LIMIT),
        (Frame(FIN | RSV1 | PING, b"a"), NO_LIMIT),
        (Frame(FIN | RSV2 | TEXT, b"a"), NO_LIMIT),
        (Frame(FIN | RSV1 | RSV2 | TEXT, b"a"), NO_LIMIT),
        (Frame(FIN | RSV1 | TEXT, bytes(65536)), NO_LIMIT),
        (Frame(FIN | RSV1 | TEXT, bytes(11)), 10),
        (Frame(FIN | RSV1 | TEXT, b"a", misdirected=True), NO_LIMIT),
    ],
)
def test_what_it_is_not_handed(
    whole_messages: WholeMessages, role: str, frame: Frame, limit: int
) -> None:
    data = encode([GOOD, frame], role)
    position, events = taken(whole_messages, data, role, limit=limit, bits=RSV1)
    assert (position, events) == (len(encode([GOOD], role)), [text("Grüße")])


frames = st.builds(
    Frame,
    st.sampled_from([FIN | TEXT] * 5 + [FIN | BINARY] * 5 + [TEXT, FIN | PING, 0xA1] + [0xC1] * 4),
    st.one_of(
        st.binary(max_size=12),
        st.text(max_size=12).map(str.encode),
        st.integers(120, 130).map(bytes),
        st.sampled_from([300, 65535, 65536]).map(bytes),
    ),
    st.sampled_from(
        [None] * 9 + [b"\x7e\0\1", b"\x7e\0\x7e", b"\x7f", b"\x7f" + bytes(5) + b"\1\0\0"]
    ),
    st.sampled_from([False] * 9 + [True]),
)


@pytest.mark.slow
@needs_compiled
@settings(max_examples=5 * EXAMPLES)
@given(
    st.lists(frames, max_size=6),
    st.binary(max_size=8),
    st.sampled_from(ROLES),
    st.one_of(st.just(0), st.integers(0, 20)),
    st.sampled_from([0, 5, 125, 126, NO_LIMIT]),
    st.integers(0, 8),
    st.sampled_from([0, 0x40, 0x60]),
)
def test_both_forms_do_the_same(
    sent: list[Frame], rest: bytes, role: str, position: int, limit: int, budget: int, bits: int
) -> None:
    data = encode(sent, role) + rest
    arguments = (data, role, position, limit, budget, bits)
    defined = taken(speedups.PYTHON_FUNCTIONS["whole_messages"], *arguments)  # type: ignore[arg-type]
    assert taken(compiled.whole_messages, *arguments) == defined  # type: ignore[union-attr]


@needs_compiled
@settings(max_examples=5 * EXAMPLES)
@given(st.binary(max_size=60), st.sampled_from(ROLES))
def test_both_forms_do_the_same_on_any_bytes(data: bytes, role: str) -> None:
    defined = taken(speedups.PYTHON_FUNCTIONS["whole_messages"], data, role)  # type: ignore[arg-type]
    assert taken(compiled.whole_messages, data, role) == defined  # type: ignore[union-attr]


CODED = encode([Frame(FIN | RSV1 | TEXT, b"a")], "server")
RIGHT: tuple[Any, ...] = (CODED, 0, True, 10, 10, [], RSV1, Decoding())


@needs_compiled
@pytest.mark.parametrize(
    ("place", "wrong", "error"),
    [
        (0, memoryview(bytes(8))[::2], BufferError),
        (0, "text", TypeError),
        (1, -1, ValueError),
        (1, None, TypeError),
        (1, 2**64, OverflowError),
        (3, None, TypeError),
        (3, 2**64, OverflowError),
        (4, "1", TypeError),
        (5, (), TypeError),
        (6, None, TypeError),
        (6, 2**64, OverflowError),
        (7, None, AttributeError),
    ],
)
def test_what_the_compiled_one_cannot_take(
    place: int, wrong: object, error: type[Exception]
) -> None:
    """Whatever it is given, it touches nobody else's memory."""
    assert compiled is not None
    assert compiled.whole_messages(*RIGHT) == len(CODED)
    with pytest.raises(error):
        compiled.whole_messages(*RIGHT[:place], wrong, *RIGHT[place + 1 :])
    with pytest.raises(TypeError):
        compiled.whole_messages(*RIGHT[:-1])
