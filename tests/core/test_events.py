"""Events are values: equal by class and content, and readable in a log."""

from copy import copy

import pytest

from wscore import (
    Accepted,
    CloseReceived,
    ConnectionFailed,
    DataType,
    Event,
    HandshakeFailed,
    MessagePiece,
    Ping,
    Pong,
    Refused,
    Request,
    RequestReceived,
    Response,
)

# Two of each class that differ in one field only.
PAIRS: list[tuple[Event, Event]] = [
    (RequestReceived(Request("GET", "/")), RequestReceived(Request("GET", "/chat"))),
    (HandshakeFailed(400, "why"), HandshakeFailed(431, "why")),
    (HandshakeFailed(400, "why"), HandshakeFailed(400, "else")),
    (Accepted(Response(101), "chat"), Accepted(Response(101), None)),
    (Refused(Response(404)), Refused(Response(401))),
    (
        MessagePiece(DataType.TEXT, b"a", "a", True, False),
        MessagePiece(DataType.TEXT, b"a", "a", True, True),
    ),
    (
        MessagePiece(DataType.TEXT, b"", "", True, True),
        MessagePiece(DataType.BINARY, b"", None, True, True),
    ),
    (Ping(b"a"), Ping(b"b")),
    (Pong(b"a"), Pong(b"b")),
    (CloseReceived(1000, "bye"), CloseReceived(1000, "")),
    (ConnectionFailed(1002, "why"), ConnectionFailed(1007, "why")),
]


def test_every_class_is_here() -> None:
    assert {type(one) for one, _ in PAIRS} == set(Event.__subclasses__())


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_content_decides(one: Event, other: Event) -> None:
    assert one == copy(one)
    assert one != other


def test_class_decides() -> None:
    assert Ping(b"a") != Pong(b"a")
    assert CloseReceived(1000, "") != ConnectionFailed(1000, "")
    assert Ping(b"a") != b"a"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_there_is_nothing_else_in_one(one: Event, other: Event) -> None:
    assert not hasattr(one, "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_a_log_can_show_it() -> None:
    piece = MessagePiece(DataType.TEXT, b"a", "a", True, False)
    assert repr(piece) == (
        "MessagePiece(data=b'a', first=True, last=False, text='a', type=<DataType.TEXT: 1>)"
    )
    assert repr(CloseReceived(1000, "bye")) == "CloseReceived(code=1000, reason='bye')"
