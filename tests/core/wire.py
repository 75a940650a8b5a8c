"""Connections past their handshake, and what they send and receive."""

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack

from hypothesis import settings

from kit.frames import Frame, parse
from wscore import (
    Accepted,
    ClientConnection,
    Connection,
    DataType,
    Event,
    MessagePiece,
    RequestReceived,
    ServerConnection,
)

ROLES = ("server", "client")

# Of each random test, unless it says otherwise.
EXAMPLES = settings().max_examples

AnyConnection = Connection[Any]


def encode(frames: Iterable[Frame], role: str) -> bytes:
    """What the peer of `role` sends."""
    return b"".join(frame.encode(masked=role == "server") for frame in frames)


def sent_frames(data: bytes, role: str) -> list[tuple[int, bytes]]:
    """The frames that `role` sent: first byte and unmasked payload of each."""
    frames = []
    while data:
        parsed = parse(data)
        assert parsed is not None, "a part of a frame"
        assert bool(parsed.key) is (role == "client")
        frames.append((parsed.frame.first, parsed.frame.payload))
        data = data[parsed.size :]
    return frames


class Settings(TypedDict, total=False):
    """The settings of both roles."""

    max_message_size: int | None
    open_timeout: float
    close_timeout: float
    timeout: float


def open_pair(
    now: float = 0.0, **settings: Unpack[Settings]
) -> tuple[ServerConnection, ClientConnection]:
    """Both ends of one connection, open."""
    server, client = ServerConnection(**settings), ClientConnection("example.com", **settings)
    server.connection_made(now)
    client.connection_made(now)
    [request] = server.receive_data(client.data_to_send(), now)
    assert isinstance(request, RequestReceived)
    server.accept(now=now)
    [accepted] = client.receive_data(server.data_to_send(), now)
    assert isinstance(accepted, Accepted)
    return server, client


def open_end(role: str, now: float = 0.0, **settings: Unpack[Settings]) -> AnyConnection:
    """One end of a connection, open."""
    server, client = open_pair(now, **settings)
    return server if role == "server" else client


def inside(connection: AnyConnection) -> dict[str, object]:
    """All that a connection holds, waiting output and the state of its parts included."""
    held: dict[str, object] = {}
    for owner in (connection, connection._deadlines, connection._parser, connection._handshake):
        for cls in type(owner).__mro__:
            for name in getattr(cls, "__slots__", ()):
                value = getattr(owner, name)
                held[f"{cls.__name__}.{name}"] = list(value) if name == "_out" else value
    return held


def receive(connection: AnyConnection, data: bytes, size: int | None = None) -> list[Event]:
    """Feed `data`, whole or in reads of `size` bytes, as long as there is more."""
    events: list[Event] = []
    size = size or max(len(data), 1)
    for start in range(0, len(data), size):
        events += connection.receive_data(data[start : start + size])
        while connection.more:
            events += connection.receive_data(b"")
    return events


def text(content: str, last: bool = True, first: bool = True) -> MessagePiece:
    """A piece of a text message; a whole one by default."""
    return MessagePiece(DataType.TEXT, content.encode(), content, first, last)


def binary(content: bytes, last: bool = True, first: bool = True) -> MessagePiece:
    """A piece of a binary message; a whole one by default."""
    return MessagePiece(DataType.BINARY, content, None, first, last)


def merged(events: Iterable[Event]) -> list[Event]:
    """The events, neighbouring pieces of a message made one; checks each piece on the way."""
    result: list[Event] = []
    under_way: MessagePiece | None = None
    for event in events:
        if isinstance(event, MessagePiece):
            assert event.first is (under_way is None)
            assert event.data or event.last
            if under_way is not None:
                assert event.type is under_way.type
            if event.type is DataType.TEXT:
                assert event.text is not None
                assert event.data == event.text.encode()
            else:
                assert event.type is DataType.BINARY
                assert event.text is None
            under_way = None if event.last else event
            before = result[-1] if result else None
            if not event.first and isinstance(before, MessagePiece):
                result[-1] = MessagePiece(
                    event.type,
                    before.data + event.data,
                    None if event.text is None else (before.text or "") + event.text,
                    before.first,
                    event.last,
                )
                continue
        result.append(event)
    return result
