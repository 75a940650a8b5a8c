"""The closing handshake (RFC 6455 sections 5.5.1 and 7): who closes, who answers, what is left."""

from collections.abc import Callable
from typing import cast

import pytest
from wire import (
    ROLES,
    AnyConnection,
    binary,
    encode,
    open_end,
    open_pair,
    receive,
    sent_frames,
    text,
)

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Frame
from wscore import (
    ClientConnection,
    CloseFrame,
    CloseReceived,
    ConnectionFailed,
    HandshakeFailed,
    LocalProtocolError,
    MessagePiece,
    Phase,
    Ping,
    Reasons,
    Refused,
    RequestReceived,
    Response,
    ServerConnection,
    State,
)

both_roles = pytest.mark.parametrize("role", ROLES)

HELLO = Frame(FIN | TEXT, b"hello")
GOODBYE = Frame(FIN | CLOSE, b"\x03\xe9bye")  # 1001
WRONG = Frame(FIN | 3)

LEFT = ConnectionFailed(Reasons.ABNORMAL_CLOSE, "the peer disconnected without a Close")
LOST = ConnectionFailed(Reasons.ABNORMAL_CLOSE, "the connection was lost")
NOT_OWED = "there is no Close to acknowledge: check owes_close first"


def ending(connection: AnyConnection) -> tuple[int | None, str]:
    """How it ended."""
    return connection.close_code, connection.close_reason


def sends(connection: AnyConnection, role: str) -> list[tuple[int, bytes]]:
    """What it has to say."""
    return sent_frames(connection.data_to_send(), role)


def refuses_to_acknowledge(connection: AnyConnection) -> None:
    """Nothing is owed, and saying so changes nothing."""
    phase, frames = connection.phase, connection.close_frames
    assert not connection.owes_close
    with pytest.raises(LocalProtocolError, match=NOT_OWED):
        connection.acknowledge_close()
    assert (connection.phase, connection.close_frames) == (phase, frames)
    assert connection.data_to_send() == b""


# The peer closes.


@both_roles
def test_the_peer_closes(role: str) -> None:
    """The answers to its messages go out before the answer to its Close."""
    connection = open_end(role)
    refuses_to_acknowledge(connection)
    events = receive(connection, encode([HELLO, HELLO, GOODBYE], role))
    assert events == [text("hello"), text("hello"), CloseReceived(1001, "bye")]
    assert (connection.phase, connection.state) == (Phase.CLOSE_RECEIVED, State.CLOSING)
    assert ending(connection) == (Reasons.GOING_AWAY, "bye")
    assert connection.owes_close
    assert not connection.should_close
    assert not connection.closes_exchanged
    connection.send_message("one")
    connection.send_fragment("t", last=False)
    connection.send_pong(b"?")
    connection.send_fragment("wo", last=True)
    connection.acknowledge_close()
    assert sends(connection, role) == [
        (FIN | TEXT, b"one"),
        (TEXT, b"t"),
        (FIN | PONG, b"?"),
        (FIN | CONTINUATION, b"wo"),
        (FIN | CLOSE, b"\x03\xe9bye"),
    ]
    assert (connection.phase, connection.state) == (Phase.ENDING, State.CLOSING)
    assert connection.should_close
    assert connection.close_frames == (
        CloseFrame(False, Reasons.GOING_AWAY, "bye"),
        CloseFrame(True, Reasons.GOING_AWAY, "bye"),
    )
    assert connection.closes_exchanged
    refuses_to_acknowledge(connection)
    assert connection.receive_eof() == []
    assert connection.connection_lost() == []
    assert (connection.phase, connection.state) == (Phase.CLOSED, State.CLOSED)
    assert connection.should_close
    assert ending(connection) == (Reasons.GOING_AWAY, "bye")
    refuses_to_acknowledge(connection)


@both_roles
def test_an_empty_close_is_answered_with_an_empty_one(role: str) -> None:
    connection = open_end(role)
    receive(connection, encode([Frame(FIN | CLOSE)], role))
    assert ending(connection) == (Reasons.NO_STATUS, "")
    connection.acknowledge_close()
    assert sends(connection, role) == [(FIN | CLOSE, b"")]
    assert connection.close_frames == (
        CloseFrame(False, Reasons.NO_STATUS, ""),
        CloseFrame(True, Reasons.NO_STATUS, ""),
    )


@both_roles
def test_a_close_may_be_answered_in_words_of_our_own(role: str) -> None:
    connection = open_end(role)
    receive(connection, encode([GOODBYE], role))
    connection.send_close(4001, "ours")
    assert sends(connection, role) == [(FIN | CLOSE, b"\x0f\xa1ours")]
    assert connection.phase is Phase.ENDING
    assert connection.close_frames[1] == CloseFrame(True, 4001, "ours")
    assert ending(connection) == (Reasons.GOING_AWAY, "bye")
    refuses_to_acknowledge(connection)


@both_roles
def test_an_answer_to_a_message_may_be_followed_by_a_close_at_once(role: str) -> None:
    """The events of a read are acted on one after the other, when all have been parsed."""
    connection = open_end(role)
    for event in receive(connection, encode([HELLO, HELLO, GOODBYE], role)):
        if isinstance(event, MessagePiece):
            if connection.may_send:
                connection.send_message(event.text or "")
                connection.send_close(4000)
        else:
            assert not connection.owes_close
    assert sends(connection, role) == [(FIN | TEXT, b"hello"), (FIN | CLOSE, b"\x0f\xa0")]


# We close.


@both_roles
@pytest.mark.parametrize("size", [1, None])
def test_a_ping_after_our_close_is_answered(size: int | None, role: str) -> None:
    """RFC 6455 section 5.5.2: unless a Close was received."""
    connection = open_end(role)
    connection.send_close()
    assert sends(connection, role) == [(FIN | CLOSE, b"\x03\xe8")]
    events = receive(connection, encode([Frame(FIN | PING, b"1"), HELLO], role), size)
    assert events[0] == Ping(b"1")
    assert connection.may_pong
    connection.send_pong(b"1")
    assert sends(connection, role) == [(FIN | PONG, b"1")]
    with pytest.raises(LocalProtocolError, match="a Close was sent"):
        connection.send_ping(b"1")
    both = encode([Frame(FIN | PING, b"2"), GOODBYE], role)
    assert connection.receive_data(both) == [Ping(b"2")]
    assert connection.more
    connection.send_pong(b"2")  # before the Close counts as received
    assert sends(connection, role) == [(FIN | PONG, b"2")]
    assert connection.receive_data(b"") == [CloseReceived(1001, "bye")]
    assert not connection.more
    assert not connection.may_pong
    with pytest.raises(LocalProtocolError, match="a Close was sent"):
        connection.send_pong(b"2")
    assert connection.data_to_send() == b""


@both_roles
def test_we_close(role: str) -> None:
    """What the peer sent before its answer still comes in."""
    connection = open_end(role)
    connection.send_message("last words")
    connection.send_close(1000, "bye")
    assert (connection.phase, connection.state) == (Phase.CLOSE_SENT, State.CLOSING)
    assert ending(connection) == (None, "")
    assert not connection.should_close
    assert sends(connection, role) == [
        (FIN | TEXT, b"last words"),
        (FIN | CLOSE, b"\x03\xe8bye"),
    ]
    refuses_to_acknowledge(connection)
    late = [HELLO, Frame(FIN | PING, b"?"), Frame(BINARY, b"a"), Frame(FIN | CONTINUATION, b"b")]
    assert receive(connection, encode(late, role)) == [
        text("hello"),
        Ping(b"?"),
        binary(b"a", last=False),
        binary(b"b", first=False),
    ]
    answer = Frame(FIN | CLOSE, b"\x03\xe8")
    assert receive(connection, encode([answer, HELLO], role)) == [CloseReceived(1000, "")]
    assert connection.phase is Phase.ENDING
    assert connection.should_close
    assert ending(connection) == (Reasons.NORMAL, "")
    assert connection.close_frames == (
        CloseFrame(True, Reasons.NORMAL, "bye"),
        CloseFrame(False, Reasons.NORMAL, ""),
    )
    refuses_to_acknowledge(connection)


@both_roles
def test_we_close_without_a_code(role: str) -> None:
    connection = open_end(role)
    connection.send_close(None)
    assert sends(connection, role) == [(FIN | CLOSE, b"")]
    assert connection.close_frames == (CloseFrame(True, Reasons.NO_STATUS, ""),)


def test_both_close_at_once() -> None:
    server, client = open_pair()
    server.send_close(1001, "server")
    client.send_close(4000, "client")
    to_client, to_server = server.data_to_send(), client.data_to_send()
    assert server.receive_data(to_server) == [CloseReceived(4000, "client")]
    assert client.receive_data(to_client) == [CloseReceived(1001, "server")]
    for connection, ours, theirs in (
        (cast(AnyConnection, server), (1001, "server"), (4000, "client")),
        (cast(AnyConnection, client), (4000, "client"), (1001, "server")),
    ):
        assert connection.phase is Phase.ENDING
        assert ending(connection) == theirs
        assert connection.close_frames == (CloseFrame(True, *ours), CloseFrame(False, *theirs))
        refuses_to_acknowledge(connection)


# The peer breaks a rule.


@both_roles
def test_a_violation_is_answered_when_what_was_owed_is_out(role: str) -> None:
    connection = open_end(role)
    events = receive(connection, encode([HELLO, WRONG, HELLO, GOODBYE], role))
    reason = "unknown opcode 3"
    assert events == [text("hello"), ConnectionFailed(Reasons.PROTOCOL_ERROR, reason)]
    assert (connection.phase, connection.state) == (Phase.FAILED, State.CLOSING)
    assert ending(connection) == (Reasons.PROTOCOL_ERROR, reason)
    assert connection.close_frames == ()
    assert not connection.should_close
    connection.send_message("answer")
    assert connection.owes_close
    connection.acknowledge_close()
    assert sends(connection, role) == [
        (FIN | TEXT, b"answer"),
        (FIN | CLOSE, b"\x03\xea" + reason.encode()),
    ]
    assert connection.should_close
    assert connection.close_frames == (CloseFrame(True, Reasons.PROTOCOL_ERROR, reason),)
    refuses_to_acknowledge(connection)
    assert receive(connection, encode([GOODBYE], role)) == []
    assert connection.connection_lost() == []
    assert ending(connection) == (Reasons.PROTOCOL_ERROR, reason)


@both_roles
def test_a_violation_may_be_answered_in_words_of_our_own(role: str) -> None:
    connection = open_end(role)
    receive(connection, encode([WRONG], role))
    connection.send_close(Reasons.POLICY_VIOLATION, "no")
    assert sends(connection, role) == [(FIN | CLOSE, b"\x03\xf0no")]
    assert connection.phase is Phase.ENDING


@both_roles
def test_a_violation_after_our_close(role: str) -> None:
    """Our Close is out: there is nothing more to say."""
    connection = open_end(role)
    connection.send_close()
    connection.data_to_send()
    [event] = receive(connection, encode([WRONG], role))
    assert event == ConnectionFailed(Reasons.PROTOCOL_ERROR, "unknown opcode 3")
    assert connection.phase is Phase.ENDING
    assert ending(connection) == (Reasons.PROTOCOL_ERROR, "unknown opcode 3")
    assert connection.close_frames == (CloseFrame(True, Reasons.NORMAL, ""),)
    refuses_to_acknowledge(connection)


# The peer ends its half of the stream.

CUT_OFF = {
    "between messages": b"",
    "within a header": b"\x82",
    "within a length": b"\x82\xfe\x01",
    "within a payload": encode([Frame(FIN | BINARY, b"x" * 1000)], "server")[:100],
    "within a ping": encode([Frame(FIN | PING, b"x" * 100)], "server")[:100],
    "within a message": encode([Frame(BINARY, b"x")], "server"),
    "within a code point": encode([Frame(TEXT, b"\xe2\x82")], "server"),
}


@pytest.mark.parametrize("where", CUT_OFF)
def test_the_peer_ends_its_half(where: str) -> None:
    """RFC 6455 section 7.1.5: 1006, which is never sent; answers may still be read."""
    server, _ = open_pair()
    receive(server, encode([HELLO], "server") + CUT_OFF[where])
    assert not server.input_ended
    assert server.receive_eof() == [LEFT]
    assert server.input_ended
    assert (server.phase, server.state) == (Phase.FAILED, State.CLOSING)
    assert ending(server) == (1006, "the peer disconnected without a Close")
    assert server.owes_close
    assert not server.should_close
    server.send_message("answer")
    server.acknowledge_close()
    assert server.data_to_send() == b"\x81\x06answer"
    assert server.should_close
    assert server.close_frames == ()
    assert server.receive_eof() == []
    refuses_to_acknowledge(server)
    assert server.connection_lost() == []
    assert ending(server) == (1006, "the peer disconnected without a Close")


@both_roles
def test_a_peer_that_ended_its_half_may_be_sent_something(role: str) -> None:
    connection = open_end(role)
    connection.receive_eof()
    connection.send_close(1001)
    assert sends(connection, role) == [(FIN | CLOSE, b"\x03\xe9")]
    assert connection.phase is Phase.ENDING


@both_roles
def test_the_peer_ends_its_half_in_place_of_an_answer(role: str) -> None:
    connection = open_end(role)
    connection.send_close(1001)
    assert connection.receive_eof() == [LEFT]
    assert connection.phase is Phase.ENDING
    assert ending(connection) == (1006, "the peer disconnected without a Close")
    assert connection.close_frames == (CloseFrame(True, Reasons.GOING_AWAY, ""),)
    assert receive(connection, encode([GOODBYE], role)) == []


@both_roles
def test_the_peer_closes_and_ends_its_half(role: str) -> None:
    """Half-closed: our answers and our Close still go out."""
    connection = open_end(role)
    receive(connection, encode([HELLO, GOODBYE], role))
    assert connection.receive_eof() == []
    assert connection.phase is Phase.CLOSE_RECEIVED
    connection.send_message("answer")
    connection.acknowledge_close()
    assert sends(connection, role) == [(FIN | TEXT, b"answer"), (FIN | CLOSE, b"\x03\xe9bye")]
    assert connection.receive_eof() == []
    assert ending(connection) == (Reasons.GOING_AWAY, "bye")


@both_roles
def test_the_peer_breaks_a_rule_and_ends_its_half(role: str) -> None:
    connection = open_end(role)
    receive(connection, encode([WRONG], role))
    assert connection.receive_eof() == []
    assert connection.phase is Phase.FAILED
    connection.acknowledge_close()
    [(opcode, _)] = sends(connection, role)
    assert opcode == FIN | CLOSE


# The stream is gone.


def in_close_received(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([GOODBYE], role))


def in_close_sent(connection: AnyConnection, role: str) -> None:
    connection.send_close()


def in_failed(connection: AnyConnection, role: str) -> None:
    receive(connection, encode([WRONG], role))


def in_ending(connection: AnyConnection, role: str) -> None:
    connection.send_close()
    receive(connection, encode([GOODBYE], role))


def in_closed(connection: AnyConnection, role: str) -> None:
    in_ending(connection, role)
    connection.connection_lost()


GONE_BAD = (1006, "the connection was lost")


@both_roles
@pytest.mark.parametrize(
    ("bring", "phase", "events", "end"),
    [
        (lambda connection, role: None, Phase.OPEN, [LOST], GONE_BAD),
        (in_close_sent, Phase.CLOSE_SENT, [LOST], GONE_BAD),
        (in_close_received, Phase.CLOSE_RECEIVED, [], (1001, "bye")),
        (in_failed, Phase.FAILED, [], (1002, "unknown opcode 3")),
        (in_ending, Phase.ENDING, [], (1001, "bye")),
        (in_closed, Phase.CLOSED, [], (1001, "bye")),
    ],
)
def test_the_connection_is_lost(
    bring: Callable[[AnyConnection, str], None],
    phase: Phase,
    events: list[ConnectionFailed],
    end: tuple[int, str],
    role: str,
) -> None:
    connection = open_end(role)
    bring(connection, role)
    connection.data_to_send()
    frames = connection.close_frames
    assert connection.phase is phase
    assert connection.connection_lost() == events
    assert ending(connection) == end
    for _ in range(2):
        assert (connection.phase, connection.state) == (Phase.CLOSED, State.CLOSED)
        assert connection.should_close
        assert not connection.more
        refuses_to_acknowledge(connection)
        assert receive(connection, encode([HELLO, GOODBYE, WRONG], role)) == []
        assert connection.receive_eof() == []
        assert connection.connection_lost() == []
        assert connection.data_to_send() == b""
        assert ending(connection) == end
        assert connection.close_frames == frames


# During the opening handshake.

REQUEST = b"".join(
    line + b"\r\n"
    for line in (
        b"GET / HTTP/1.1",
        b"Host: example.com",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        b"",
    )
)

OVER = "the opening handshake is over: there is nothing to respond to"


@pytest.mark.parametrize("arrived", [b"", REQUEST[:50], REQUEST])
def test_a_server_loses_a_client_during_its_handshake(arrived: bytes) -> None:
    server = ServerConnection()
    server.receive_data(arrived)
    lost = HandshakeFailed(0, "the connection was lost during the opening handshake")
    assert server.connection_lost() == [lost]
    assert (server.phase, server.close_code, server.should_close) == (Phase.CLOSED, None, True)
    for answer in (server.accept, lambda: server.reject(Response(503))):
        with pytest.raises(LocalProtocolError, match=OVER):
            answer()
    with pytest.raises(LocalProtocolError, match=OVER):
        server.connection_made(0)
    assert server.receive_data(REQUEST) == []
    assert server.receive_eof() == []
    assert server.connection_lost() == []
    assert server.data_to_send() == b""
    assert server.phase is Phase.CLOSED


def test_a_client_loses_a_server_during_its_handshake() -> None:
    client, server = ClientConnection("example.com"), ServerConnection()
    server.receive_data(client.data_to_send())
    server.accept()
    lost = HandshakeFailed(0, "the connection was lost during the opening handshake")
    assert client.connection_lost() == [lost]
    assert client.receive_data(server.data_to_send()) == []
    assert (client.phase, client.close_code) == (Phase.CLOSED, None)


def test_a_client_loses_a_server_during_its_refusal() -> None:
    """The status and the headers are there, and some of the body."""
    client = ClientConnection("example.com")
    client.data_to_send()
    client.receive_data(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nhalf")
    [event] = client.connection_lost()
    assert isinstance(event, Refused)
    assert (event.response.status, event.response.body) == (401, b"half")
    assert (client.phase, client.close_code) == (Phase.CLOSED, None)
    assert client.connection_lost() == []


@pytest.mark.parametrize("arrived", [b"", REQUEST[:50]])
def test_a_client_leaves_during_its_request(arrived: bytes) -> None:
    """It may still read why."""
    server = ServerConnection()
    server.receive_data(arrived)
    [event] = server.receive_eof()
    assert isinstance(event, HandshakeFailed)
    assert event.status == 400
    assert server.data_to_send().startswith(b"HTTP/1.1 400 ")
    assert (server.phase, server.should_close) == (Phase.ENDING, True)
    assert server.receive_eof() == []
    assert server.receive_data(REQUEST) == []
    assert server.connection_lost() == []


def test_a_server_leaves_during_its_response() -> None:
    client = ClientConnection("example.com")
    client.data_to_send()
    client.receive_data(b"HTTP/1.1 101 Switching")
    [event] = client.receive_eof()
    assert isinstance(event, HandshakeFailed)
    assert (client.phase, client.should_close) == (Phase.ENDING, True)
    assert client.data_to_send() == b""


@pytest.mark.parametrize("after", [[], [HELLO], [HELLO] * 300])
def test_a_client_ends_its_half_after_its_request(after: list[Frame]) -> None:
    """It is let in, heard to the end, and answered."""
    server = ServerConnection()
    [event] = server.receive_data(REQUEST + encode(after, "server"))
    assert isinstance(event, RequestReceived)
    assert server.receive_eof() == []
    assert (server.phase, server.more) == (Phase.CONNECTING, False)
    server.accept()
    assert server.phase is Phase.OPEN
    events = []
    while server.more:
        events += server.receive_data(b"")
    assert events == [*[text("hello")] * len(after), LEFT]
    assert (server.phase, server.owes_close) == (Phase.FAILED, True)
    server.send_message("answer")
    server.acknowledge_close()
    assert server.data_to_send().endswith(b"\x81\x06answer")


def test_a_client_that_ended_its_half_is_rejected() -> None:
    server = ServerConnection()
    server.receive_data(REQUEST)
    server.receive_eof()
    server.reject(Response(403))
    assert server.data_to_send().startswith(b"HTTP/1.1 403 ")
    assert (server.phase, server.more) == (Phase.ENDING, False)


# The end comes while input is kept back.


@both_roles
def test_the_end_waits_for_the_input_kept_back(role: str) -> None:
    connection = open_end(role)
    events = connection.receive_data(encode([HELLO] * 600, role))
    assert (len(events), connection.more) == (256, True)
    assert connection.receive_eof() == []
    assert connection.receive_eof() == []
    assert (connection.phase, connection.more) == (Phase.OPEN, True)
    assert not connection.input_ended  # not what can be seen of it yet
    connection.send_message("still open")
    events += connection.receive_data(b"")
    assert (len(events), connection.phase, connection.more) == (512, Phase.OPEN, True)
    events += connection.receive_data(b"")
    assert events == [*[text("hello")] * 600, LEFT]
    assert (connection.phase, connection.more) == (Phase.FAILED, False)


@both_roles
@pytest.mark.parametrize(
    ("end", "event"),
    [
        (GOODBYE, CloseReceived(1001, "bye")),
        (WRONG, ConnectionFailed(1002, "unknown opcode 3")),
    ],
)
def test_a_close_kept_back_goes_before_the_end(
    end: Frame, event: CloseReceived | ConnectionFailed, role: str
) -> None:
    connection = open_end(role)
    events = connection.receive_data(encode([*[HELLO] * 300, end], role))
    connection.receive_eof()
    events += connection.receive_data(b"")
    assert events == [*[text("hello")] * 300, event]
    assert connection.owes_close
    assert ending(connection) == (event.code, event.reason)


@both_roles
@pytest.mark.parametrize("end", [[], [GOODBYE]])
def test_we_close_while_input_and_end_are_kept_back(end: list[Frame], role: str) -> None:
    connection = open_end(role)
    connection.receive_data(encode([*[HELLO] * 300, *end], role))
    connection.receive_eof()
    connection.send_close()
    assert (connection.phase, connection.more) == (Phase.CLOSE_SENT, True)
    last = CloseReceived(1001, "bye") if end else LEFT
    assert connection.receive_data(b"") == [*[text("hello")] * 44, last]
    assert connection.phase is Phase.ENDING


@both_roles
def test_input_kept_back_is_dropped_with_the_connection(role: str) -> None:
    connection = open_end(role)
    connection.receive_data(encode([HELLO] * 300, role))
    connection.receive_eof()
    assert connection.connection_lost() == [LOST]
    assert not connection.more
    assert connection.receive_data(b"") == []


def test_silent_until_a_byte_comes() -> None:
    connection = ServerConnection()
    assert connection.silent
    connection.receive_data(b"")
    assert connection.silent
    connection.receive_data(b"G")
    assert not connection.silent
