"""A server's connection that starts with the head that another parser has read."""

import pytest
from server_handshake_cases import (
    ACCEPTED,
    FIELDS,
    ORDINARY,
    PARSED_REFUSED,
    REFUSED,
    opening,
)
from wire import receive, text

from kit.frames import FIN, TEXT, Frame
from wscore import (
    HandshakeFailed,
    LocalProtocolError,
    Phase,
    RequestReceived,
    Response,
    ServerConnection,
)
from wscore.handshake import ServerHandshake

ORIGINS = ["http://example.com", None]
HELLO = Frame(FIN | TEXT, b"hello").encode(masked=True)

Head = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]


def server() -> ServerConnection:
    return ServerConnection(subprotocols=["superchat", "chat"], origins=ORIGINS)


def read(data: bytes) -> Head | None:
    """A head as a parser hands it over; None if it is not one that a parser would accept."""
    lines = data.removeprefix(b"\r\n").split(b"\r\n")
    line = lines[0].split(b" ")
    fields = [field.split(b": ", 1) for field in lines[1:-2]]
    if len(line) != 3 or lines[-2:] != [b"", b""]:
        return None
    if any(len(field) != 2 or field[0].strip() != field[0] for field in fields):
        return None
    return line[0], line[1], [(name, value) for name, value in fields], line[2][5:]


REQUESTS: list[tuple[str, bytes]] = [
    *((clause, data) for clause, data, _ in ACCEPTED),
    *ORDINARY,
    *((clause, data) for clause, data, *_ in REFUSED),
]
HEADS = [(clause, data, head) for clause, data in REQUESTS if (head := read(data)) is not None]


def test_most_requests_can_be_read() -> None:
    assert len(HEADS) > 90


@pytest.mark.parametrize(
    ("data", "head"), [case[1:] for case in HEADS], ids=[case[0] for case in HEADS]
)
def test_it_is_judged_as_its_bytes_are(data: bytes, head: Head) -> None:
    by_bytes, by_head = server(), server()
    method, target, fields, version = head
    events = by_bytes.receive_data(data + HELLO)
    found = by_head.receive_head(method, target, fields, HELLO, version)
    if found != events:  # the bytes are judged before the whole head is there
        assert isinstance(found[0], HandshakeFailed)
        assert isinstance(events[0], HandshakeFailed)
        assert found[0].status == events[0].status == 400
    assert by_head.phase is by_bytes.phase
    assert by_head.should_close is by_bytes.should_close
    assert not by_head.silent
    if isinstance(found[0], RequestReceived) and found[0].request.is_upgrade:
        assert by_head.accept() == by_bytes.accept()
        assert by_head.more
        assert by_head.receive_data(b"") == [text("hello")]
    elif isinstance(found[0], RequestReceived):
        by_head.reject(Response(404))
        by_bytes.reject(Response(404))
    if found == events:
        assert by_head.data_to_send() == by_bytes.data_to_send()


@pytest.mark.parametrize(("method", "target", "fields", "status", "words"), PARSED_REFUSED)
def test_a_refusal_is_ready_to_be_sent(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], status: int, words: str
) -> None:
    connection = ServerConnection(close_timeout=5)
    connection.connection_made(100.0)
    [event] = connection.receive_head(method, target, fields, now=101.0)
    assert isinstance(event, HandshakeFailed)
    assert event.status == status
    assert connection.phase is Phase.ENDING
    assert connection.should_close
    assert connection.data_to_send().startswith(b"HTTP/1.1 %d " % status)
    assert connection.next_deadline() == 106.0


def test_what_arrives_later_follows_it() -> None:
    connection = server()
    [event] = connection.receive_head(b"GET", b"/", FIELDS, memoryview(HELLO)[:3])
    assert isinstance(event, RequestReceived)
    assert connection.receive_data(HELLO[3:]) == []
    connection.accept()
    assert receive(connection, HELLO) == [text("hello"), text("hello")]


def test_only_as_the_start() -> None:
    connection = server()
    connection.receive_data(opening())
    with pytest.raises(LocalProtocolError, match="a request was received already"):
        connection.receive_head(b"GET", b"/", FIELDS)
    connection.accept()
    with pytest.raises(LocalProtocolError, match="the opening handshake is over"):
        connection.receive_head(b"GET", b"/", FIELDS)


def test_a_handshake_that_began_elsewhere() -> None:
    handshake = ServerHandshake()
    handshake.receive_head(b"GET", b"/", FIELDS, HELLO)
    connection = ServerConnection(handshake=handshake)
    connection.accept()
    assert connection.receive_data(b"") == [text("hello")]


def test_a_handshake_that_is_over_is_refused_at_the_call() -> None:
    failed = ServerHandshake()
    failed.receive_head(b"POST", b"/", FIELDS)
    accepted = ServerHandshake()
    accepted.receive_head(b"GET", b"/", FIELDS)
    accepted.accept()
    rejected = ServerHandshake()
    rejected.reject(Response(503))
    for handshake, what in ((failed, "a failure"), (accepted, "accept"), (rejected, "reject")):
        with pytest.raises(ValueError, match=f"the handshake is over: {what} ended it; pass a new"):
            ServerConnection(handshake=handshake)
