"""`wstransports.testing.strategies`: what they promise of what they make."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wscore import (
    ClientConnection,
    CloseReceived,
    Connection,
    ConnectionFailed,
    DataType,
    Event,
    MessagePiece,
    ServerConnection,
)
from wstransports.testing.strategies import broken_frames, conversations, cuts, payloads, texts

FEW = settings(max_examples=30)
MASKED = st.booleans()


def receiver(masked: bool) -> Connection[Any]:
    """The end that receives frames which are masked, or not; its handshake is over."""
    client = ClientConnection("example.com", max_message_size=None)
    server = ServerConnection(max_message_size=None)
    server.receive_data(client.data_to_send())
    server.accept()
    client.receive_data(server.data_to_send())
    return server if masked else client


def received(connection: Connection[Any], parts: list[bytes]) -> list[Event]:
    """The events of all parts."""
    events: list[Event] = []
    for part in parts:
        events += connection.receive_data(part)
        while connection.more:
            events += connection.receive_data(b"")
    return events


@FEW
@given(st.data(), MASKED, st.sampled_from([True, False, None]))
def test_a_conversation_is_its_messages(
    data: st.DataObject, masked: bool, close: bool | None
) -> None:
    frames, messages = data.draw(conversations(masked=masked, close=close))
    wire = b"".join(frames)
    events = received(receiver(masked), data.draw(cuts(wire)))
    found: list[str | bytes] = []
    for event in events:
        assert not isinstance(event, ConnectionFailed)
        if isinstance(event, MessagePiece):
            piece = event.text if event.type is DataType.TEXT else event.data
            assert piece is not None
            if event.first:
                found.append(piece)
            else:
                found[-1] += piece  # type: ignore[operator]
    assert found == messages
    closed = any(isinstance(event, CloseReceived) for event in events)
    assert close is None or closed is close


@FEW
@given(st.data(), MASKED)
def test_a_broken_frame_fails_a_connection(data: st.DataObject, masked: bool) -> None:
    before = data.draw(conversations(masked=masked, close=False))[0]
    broken = data.draw(broken_frames(masked=masked))
    assert isinstance(received(receiver(masked), [*before, broken])[-1], ConnectionFailed)


@FEW
@given(st.data(), st.binary(max_size=50), st.integers(0, 5))
def test_cuts_are_parts_of_the_whole(data: st.DataObject, whole: bytes, most: int) -> None:
    parts = data.draw(cuts(whole, max_cuts=most))
    assert b"".join(parts) == whole
    assert 1 <= len(parts) <= most + 1


@FEW
@given(st.data(), st.sampled_from([0, 1, 100, 126]))
def test_sizes_are_in_bytes_of_utf_8(data: st.DataObject, most: int) -> None:
    assert len(data.draw(payloads(most))) <= most
    assert len(data.draw(texts(most)).encode()) <= most
