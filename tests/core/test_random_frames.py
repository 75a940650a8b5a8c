"""Any messages in any frames, cut anywhere, are the same messages; and any bytes are survived."""

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import (
    EXAMPLES,
    ROLES,
    AnyConnection,
    binary,
    encode,
    inside,
    merged,
    open_end,
    open_pair,
    receive,
    text,
)

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame
from wscore import (
    CloseReceived,
    ConnectionFailed,
    Event,
    MessagePiece,
    Phase,
    Ping,
    Pong,
)

roles = st.sampled_from(ROLES)
sizes = st.sampled_from([0, 1, 2, 100, 125, 126, 127, 300, 65535, 65536])
long_bytes = st.builds(lambda data, size: data * size, st.binary(max_size=3), sizes)
long_text = st.builds(lambda data, size: data * size, st.text(max_size=3), sizes)
payloads = st.one_of(st.binary(max_size=20), long_bytes)
messages = st.one_of(st.text(max_size=20), long_text, payloads)
controls = st.tuples(st.sampled_from([FIN | PING, FIN | PONG]), st.binary(max_size=125)).map(
    lambda drawn: Frame(*drawn)
)
# As parts of the whole, because how long that is depends on the rest.
cuts = st.lists(st.floats(min_value=0, max_value=1), max_size=20)


def pieces(data: bytes, places: Iterable[float]) -> list[bytes]:
    """The data cut at these places."""
    at = [0, *sorted(round(place * len(data)) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(at)]


def receive_pieces(connection: AnyConnection, parts: list[bytes]) -> list[Event]:
    """Feed the parts one by one."""
    events: list[Event] = []
    for part in parts:
        events += receive(connection, part)
    return events


def receive_by_room(connection: AnyConnection, parts: list[bytes]) -> list[Event]:
    """Feed them out of a room that each overwrites."""
    room = bytearray(max(map(len, parts)))
    events: list[Event] = []
    for part in parts:
        room[: len(part)] = part
        events += connection.receive_data(memoryview(room)[: len(part)])
        room[:] = b"\xff" * len(room)
        while connection.more:
            events += connection.receive_data(b"")
    return events


@st.composite
def framed(draw: st.DrawFn) -> tuple[list[Frame], list[Event]]:
    """Messages in frames of any sizes, control frames anywhere between; and what they are."""
    frames: list[Frame] = []
    events: list[Event] = []

    def interrupt() -> None:
        for control in draw(st.lists(controls, max_size=2)):
            frames.append(control)
            kind = Ping if control.first == FIN | PING else Pong
            events.append(kind(control.payload))

    for message in draw(st.lists(messages, max_size=5)):
        interrupt()
        payload = message.encode() if isinstance(message, str) else message
        parts = pieces(payload, draw(st.lists(st.floats(min_value=0, max_value=1), max_size=4)))
        opcode = TEXT if isinstance(message, str) else BINARY
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            if i:
                interrupt()
            frames.append(Frame((FIN if last else 0) | opcode, part))
            opcode = CONTINUATION
        events.append(text(message) if isinstance(message, str) else binary(message))
    interrupt()
    return frames, events


def in_order(events: Iterable[Event]) -> tuple[list[Event], list[Event]]:
    """Whole messages, and everything else, each in its order."""
    result: list[Event] = []
    rest: list[Event] = []
    for event in events:
        if isinstance(event, MessagePiece):
            result.append(event)
        else:
            rest.append(event)
    return merged(result), rest


@pytest.mark.slow
@given(framed(), cuts, roles)
def test_messages_in_any_frames_and_cuts(
    case: tuple[list[Frame], list[Event]], places: list[float], role: str
) -> None:
    frames, expected = case
    connection = open_end(role)
    parts = pieces(encode(frames, role), places)
    events = receive_pieces(connection, parts)
    assert receive_by_room(open_end(role), parts) == events
    merged(events)  # checks the pieces where they stand
    assert in_order(events) == in_order(expected)
    assert connection.phase is Phase.OPEN


first_bytes = st.sampled_from([fin | code for fin in (0, FIN) for code in (0, 1, 2, 8, 9, 10)])
half_a_code_point = st.just(b"\xe2\x82")
frames_of_any_kind = st.one_of(
    st.tuples(
        st.integers(min_value=0, max_value=255),
        payloads,
        st.none(),
        st.sampled_from([False] * 9 + [True]),
    ),
    st.tuples(
        first_bytes,
        st.one_of(payloads, long_text.map(str.encode), half_a_code_point),
        st.sampled_from([None] * 9 + [b"\x7e\0\1"]),
    ),
    st.tuples(st.just(FIN | CLOSE), st.binary(max_size=4)),
).map(lambda drawn: Frame(*drawn))


def check_end(connection: AnyConnection, events: list[Event]) -> None:
    """It ended in order, or goes on."""
    ends = [event for event in events if isinstance(event, CloseReceived | ConnectionFailed)]
    assert ends == ([events[-1]] if ends else [])
    if ends:
        assert connection.phase in (Phase.CLOSE_RECEIVED, Phase.FAILED)
        connection.acknowledge_close()
        assert connection.data_to_send() != b""
    else:
        assert connection.phase is Phase.OPEN
        connection.send_message("still open")


@pytest.mark.slow
@settings(max_examples=3 * EXAMPLES)
@given(
    st.lists(frames_of_any_kind, max_size=8),
    st.binary(max_size=10),
    cuts,
    roles,
    st.sampled_from([None, 100, 2**20]),
)
def test_cutting_changes_nothing(
    frames: list[Frame], rest: bytes, places: list[float], role: str, limit: int | None
) -> None:
    """Right or wrong: whole, cut anywhere and byte by byte, the events say the same."""
    data = encode(frames, role) + rest
    whole = open_end(role, max_message_size=limit)
    cut = open_end(role, max_message_size=limit)
    events = receive(whole, data)
    cut_events = receive_pieces(cut, pieces(data, places))
    assert merged(cut_events) == merged(events)
    by_room = open_end(role, max_message_size=limit)
    assert receive_by_room(by_room, pieces(data, places)) == cut_events
    if len(data) < 5000:
        single = open_end(role, max_message_size=limit)
        assert merged(receive(single, data, size=1)) == merged(events)
        check_end(single, events)
    check_end(whole, events)
    check_end(cut, cut_events)


@pytest.mark.slow
@settings(max_examples=3 * EXAMPLES)
@given(st.lists(st.binary(max_size=200), max_size=20), roles)
def test_any_bytes_are_survived(parts: list[bytes], role: str) -> None:
    connection = open_end(role)
    check_end(connection, receive_pieces(connection, parts))


@given(st.lists(st.tuples(messages, cuts, st.booleans()), max_size=6), cuts, st.booleans())
def test_what_one_end_sends_the_other_receives(
    sent: list[tuple[str | bytes, list[float], bool]], places: list[float], from_server: bool
) -> None:
    server, client = open_pair()
    ends = cast(list[AnyConnection], [server, client])
    sender, receiver = ends if from_server else reversed(ends)
    for message, parts, in_one in sent:
        if in_one:
            sender.send_message(message)
        elif isinstance(message, str):
            at = [0, *sorted(round(part * len(message)) for part in parts), len(message)]
            for i, (start, stop) in enumerate(pairwise(at)):
                sender.send_fragment(message[start:stop], last=i == len(at) - 2)
        else:
            chunks = pieces(message, parts)
            for i, chunk in enumerate(chunks):
                sender.send_fragment(chunk, last=i == len(chunks) - 1)
    size = sender.unsent
    data = sender.data_to_send()
    assert (len(data), sender.unsent) == (size, 0)
    events = receive_pieces(receiver, pieces(data, places))
    assert merged(events) == [
        text(message) if isinstance(message, str) else binary(message) for message, _, _ in sent
    ]
    state = inside(sender)
    assert sender.receive_data(receiver.data_to_send()) == []
    assert inside(sender) == state
