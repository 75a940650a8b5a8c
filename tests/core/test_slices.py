"""Work per call is bounded: 256 frames, the rest is kept and `more` says so."""

from itertools import chain
from typing import Any

import pytest
from wire import ROLES, AnyConnection, binary, encode, merged, open_end, receive, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, Frame
from wscore import (
    Accepted,
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    Event,
    MessagePiece,
    Ping,
    RequestReceived,
    ServerConnection,
)

both_roles = pytest.mark.parametrize("role", ROLES)

SLICE = 256
HELLO = Frame(FIN | TEXT, b"hello")


def slices(connection: AnyConnection, data: bytes) -> list[list[Event]]:
    """The events of each call that it takes."""
    calls = [connection.receive_data(data)]
    while connection.more:
        calls.append(connection.receive_data(b""))
    return calls


@both_roles
@pytest.mark.parametrize("count", [1, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE, 3 * SLICE - 1])
def test_a_call_handles_256_frames(count: int, role: str) -> None:
    full, rest = divmod(count, SLICE)
    sizes = [SLICE] * full + [rest] * (rest > 0)
    calls = slices(open_end(role), encode([HELLO] * count, role))
    assert [len(events) for events in calls] == sizes
    assert list(chain(*calls)) == [text("hello")] * count


@both_roles
def test_max_frames_sets_how_many(role: str) -> None:
    connection = open_end(role)
    assert connection.max_frames == SLICE
    connection.max_frames = 3
    frames = [HELLO, Frame(FIN | PING, b"?"), Frame(TEXT, b"he"), Frame(FIN | CONTINUATION, b"llo")]
    calls = slices(connection, encode([*frames, HELLO, HELLO, HELLO, HELLO], role))
    assert list(map(len, calls)) == [3, 3, 2]
    connection.max_frames = SLICE
    assert list(map(len, slices(connection, encode([HELLO] * 20, role)))) == [20]


@both_roles
@pytest.mark.parametrize("number", [0, SLICE + 1, 1.5, None])
def test_max_frames_is_checked(role: str, number: Any) -> None:
    connection = open_end(role)
    with pytest.raises(ValueError, match="max_frames must be an int from 1 to 256"):
        connection.max_frames = number


@both_roles
@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (Frame(FIN | PING, b"?"), Ping(b"?")),
        (Frame(FIN | BINARY, b"x" * 126), binary(b"x" * 126)),
        (Frame(FIN | TEXT), text("")),
    ],
)
def test_every_kind_of_frame_counts(frame: Frame, event: Event, role: str) -> None:
    calls = slices(open_end(role), encode([frame] * 600, role))
    assert calls == [[event] * 256, [event] * 256, [event] * 88]


@both_roles
def test_frames_without_an_event_count(role: str) -> None:
    frames = [Frame(BINARY), *[Frame(CONTINUATION)] * 600, Frame(FIN | CONTINUATION)]
    connection = open_end(role, max_message_size=None)
    assert slices(connection, encode(frames, role)) == [[], [], [binary(b"")]]


@both_roles
def test_256_kib_of_the_smallest_frames(role: str) -> None:
    """6 bytes each: an empty one with its mask, or four bytes without."""
    frame = Frame(FIN | BINARY, b"" if role == "server" else b"abcd")
    data = encode([frame], role) * (2**18 // 6)
    calls = slices(open_end(role), data)
    assert len(calls) == 171
    assert {len(events) for events in calls[:-1]} == {SLICE}
    assert list(chain(*calls)) == [binary(frame.payload)] * (2**18 // 6)


@both_roles
def test_numbered_frames_of_every_size_arrive_once_and_in_order(role: str) -> None:
    payloads = [i.to_bytes(4) * (i % 70) for i in range(3000)]
    frames = [Frame(FIN | BINARY, payload) for payload in payloads]
    calls = slices(open_end(role), encode(frames, role))
    assert max(len(events) for events in calls) == SLICE
    pieces = [event for event in chain(*calls) if isinstance(event, MessagePiece)]
    assert [piece.data for piece in pieces] == payloads


@both_roles
@pytest.mark.parametrize("rest", [1, 2, 3, 5, 100])
def test_half_a_frame_after_a_full_slice(rest: int, role: str) -> None:
    connection = open_end(role)
    data = encode([*[HELLO] * 256, Frame(FIN | BINARY, b"x" * 200)], role)
    cut = len(encode([HELLO] * 256, role)) + rest
    assert connection.receive_data(data[:cut]) == [text("hello")] * 256
    assert connection.more
    events = connection.receive_data(b"")
    assert not connection.more
    events += connection.receive_data(data[cut:])
    assert merged(events) == [binary(b"x" * 200)]


@both_roles
def test_the_last_frames_payload_is_not_a_frame(role: str) -> None:
    """The 256th header's payload is handed on, however it comes."""
    connection = open_end(role)
    data = encode([*[HELLO] * 255, Frame(FIN | BINARY, b"x" * 200)], role)
    events = connection.receive_data(data[:-10])
    assert (len(events), connection.more) == (256, False)
    assert connection.receive_data(data[-10:]) == [binary(b"x" * 10, first=False)]


@both_roles
@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_new_data_while_there_is_more(size: int, role: str) -> None:
    """Who feeds without asking for the rest first loses nothing, and each call stays bounded."""
    connection = open_end(role)
    frames = [Frame(FIN | BINARY, i.to_bytes(2)) for i in range(5000)]
    data = encode(frames, role)
    events = connection.receive_data(data[:20000])
    assert connection.more
    for start in range(20000, len(data), size):
        call = connection.receive_data(data[start : start + size])
        assert len(call) <= SLICE
        events += call
    while connection.more:
        call = connection.receive_data(b"")
        assert len(call) <= SLICE
        events += call
    assert merged(events) == [binary(i.to_bytes(2)) for i in range(5000)]


@both_roles
@pytest.mark.parametrize(
    ("end", "event"),
    [
        (Frame(FIN | CLOSE), CloseReceived(1005, "")),
        (Frame(0x7F), ConnectionFailed(1002, "unknown opcode 15")),
    ],
)
def test_nothing_more_after_the_end(end: Frame, event: Event, role: str) -> None:
    data = encode([*[HELLO] * 300, end, *[HELLO] * 300], role)
    connection = open_end(role)
    assert slices(connection, data) == [[text("hello")] * 256, [*[text("hello")] * 44, event]]
    assert connection._parser._rest == b""  # nor is it kept
    assert receive(connection, encode([HELLO] * 300, role)) == []
    assert not connection.more


@both_roles
def test_a_bound_set_between_two_slices_holds_in_the_second(role: str) -> None:
    connection = open_end(role)
    connection.receive_data(encode([HELLO] * 300, role))
    connection.max_message_size = 4
    too_big = ConnectionFailed(1009, "a message is longer than 4 bytes")
    assert connection.receive_data(b"") == [too_big]


@both_roles
def test_a_connection_may_be_used_between_two_slices(role: str) -> None:
    connection = open_end(role)
    connection.receive_data(encode([HELLO] * 300, role))
    connection.send_message("x")
    connection.send_close()
    assert connection.more
    assert connection.receive_data(b"") == [text("hello")] * 44


# What follows the handshake is input like any other.


@pytest.mark.parametrize("count", [0, 1, 256, 257, 600])
def test_frames_after_the_request(count: int) -> None:
    server, client = ServerConnection(), ClientConnection("example.com")
    request = client.data_to_send() + encode([HELLO] * count, "server")
    [event] = server.receive_data(request)
    assert isinstance(event, RequestReceived)
    assert not server.more
    server.accept()
    assert server.more is (count > 0)
    calls = slices(server, b"")
    assert max(len(events) for events in calls) <= SLICE
    assert list(chain(*calls)) == [text("hello")] * count


@pytest.mark.parametrize("count", [0, 1, 256, 257, 600])
def test_frames_after_the_response(count: int) -> None:
    server, client = ServerConnection(), ClientConnection("example.com")
    server.receive_data(client.data_to_send())
    server.accept()
    calls = slices(client, server.data_to_send() + encode([HELLO] * count, "client"))
    assert isinstance(calls[0][0], Accepted)
    assert max(len(events) for events in calls) <= SLICE + 1
    assert list(chain(*calls))[1:] == [text("hello")] * count


def test_new_data_after_frames_after_the_request() -> None:
    server, client = ServerConnection(), ClientConnection("example.com")
    data = client.data_to_send() + encode([HELLO] * 300, "server")
    server.receive_data(data[:-3])
    server.accept()
    assert list(chain(*slices(server, data[-3:]))) == [text("hello")] * 300
