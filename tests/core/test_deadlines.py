"""Deadlines by a clock turned by hand: handshake, keepalive, output, close."""

import pytest
from wire import ROLES, AnyConnection, encode, open_end, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, FIN, PING, PONG, TEXT, Frame
from wscore import (
    ClientConnection,
    CloseFrame,
    CloseReceived,
    ConnectionFailed,
    Event,
    HandshakeFailed,
    LocalProtocolError,
    Phase,
    Ping,
    Pong,
    Reasons,
    Refused,
    RequestReceived,
    Response,
    ServerConnection,
)

both_roles = pytest.mark.parametrize("role", ROLES)

HELLO = Frame(FIN | TEXT, b"hello")

SILENT = ConnectionFailed(Reasons.ABNORMAL_CLOSE, "keepalive: nothing was received for 120 s")
STALLED = ConnectionFailed(Reasons.ABNORMAL_CLOSE, "keepalive: no output was read for 120 s")
UNANSWERED = ConnectionFailed(Reasons.ABNORMAL_CLOSE, "the Close was not answered within 10 s")


def ping_at(connection: AnyConnection, now: float, role: str) -> bytes:
    """The payload of the keepalive ping that goes out at `now`."""
    assert connection.handle_timeout(now) == []
    [(opcode, payload)] = sent_frames(connection.data_to_send(), role)
    assert opcode == FIN | PING
    return payload


def hear(connection: AnyConnection, frames: list[Frame], now: float, role: str) -> list[Event]:
    """Something arrives."""
    return connection.receive_data(encode(frames, role), now)


def gone(connection: AnyConnection) -> None:
    """It is over, and time has no part in it any more."""
    assert connection.phase is Phase.CLOSED
    assert connection.should_close
    assert connection.next_deadline() is None
    assert connection.handle_timeout(1e9) == []
    assert connection.data_to_send() == b""


# None at all.


@both_roles
def test_a_connection_without_deadlines(role: str) -> None:
    connection = open_end(role)
    connection.output_progress(0, 100, now=0)
    assert connection.next_deadline() is None
    assert connection.handle_timeout(1e9) == []
    connection.send_close(now=5)
    assert connection.next_deadline() is None
    assert connection.handle_timeout(1e9) == []
    assert connection.phase is Phase.CLOSE_SENT


@pytest.mark.parametrize("name", ["open_timeout", "close_timeout", "timeout"])
@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_none(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="a timeout must be in seconds, 0 for never, not"):
        ServerConnection(**{name: seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [0, -1, float("nan"), 120, 121])
def test_a_ping_interval_that_is_none(interval: float) -> None:
    with pytest.raises(ValueError, match="ping_interval must be in seconds, less than the timeout"):
        ServerConnection(timeout=120, ping_interval=interval)


# The opening handshake.


def test_a_request_that_does_not_come() -> None:
    server = ServerConnection(open_timeout=10, close_timeout=5, timeout=120)
    assert server.next_deadline() is None
    server.connection_made(100)
    assert server.next_deadline() == 110
    server.receive_data(b"GET / HTTP/1.1\r\n", now=109)
    assert server.next_deadline() == 110
    assert server.handle_timeout(109.9) == []
    assert server.data_to_send() == b""
    [event] = server.handle_timeout(110)
    assert isinstance(event, HandshakeFailed)
    assert event.status == 408
    assert server.data_to_send().startswith(b"HTTP/1.1 408 ")
    assert (server.phase, server.next_deadline()) == (Phase.ENDING, 115)
    assert server.handle_timeout(115) == []
    gone(server)


def test_a_request_that_is_not_answered() -> None:
    server, client = ServerConnection(open_timeout=10), ClientConnection("example.com")
    server.connection_made(0)
    [event] = server.receive_data(client.data_to_send(), now=1)
    assert isinstance(event, RequestReceived)
    [failed] = server.handle_timeout(12)
    assert isinstance(failed, HandshakeFailed)
    assert failed.status == 503
    assert server.data_to_send().startswith(b"HTTP/1.1 503 ")
    assert (server.phase, server.next_deadline()) == (Phase.ENDING, None)
    with pytest.raises(LocalProtocolError):
        server.accept()


def test_a_response_that_does_not_come() -> None:
    client = ClientConnection("example.com", open_timeout=10, close_timeout=5)
    client.connection_made(0)
    client.data_to_send()
    assert client.next_deadline() == 10
    [event] = client.handle_timeout(10)
    assert isinstance(event, HandshakeFailed)
    assert client.data_to_send() == b""
    assert (client.phase, client.next_deadline()) == (Phase.ENDING, 15)


def test_a_response_of_which_the_rest_does_not_come() -> None:
    client = ClientConnection("example.com", open_timeout=10)
    client.connection_made(0)
    client.receive_data(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\nhalf", now=9)
    [event] = client.handle_timeout(10)
    assert isinstance(event, Refused)
    assert (event.response.status, event.response.body) == (401, b"half")
    assert (client.phase, client.next_deadline()) == (Phase.ENDING, None)


def test_a_rejection_ends_the_handshakes_time() -> None:
    server = ServerConnection(open_timeout=10, close_timeout=5)
    server.connection_made(0)
    server.reject(Response(503), now=3)
    server.data_to_send()
    assert server.next_deadline() == 8
    assert server.handle_timeout(8) == []
    gone(server)


def test_a_broken_request_ends_the_handshakes_time() -> None:
    server = ServerConnection(open_timeout=10, close_timeout=5)
    server.connection_made(0)
    server.receive_data(b"\x16\x03\x01", now=3)
    assert server.next_deadline() == 8


def test_a_request_cut_off_ends_the_handshakes_time() -> None:
    server = ServerConnection(open_timeout=10, close_timeout=5)
    server.connection_made(0)
    server.receive_eof(now=3)
    assert server.next_deadline() == 8


@both_roles
def test_the_handshakes_time_ends_with_it(role: str) -> None:
    assert open_end(role, open_timeout=10).next_deadline() is None
    connection = open_end(role, now=50, open_timeout=10, close_timeout=10, timeout=120)
    assert connection.next_deadline() == 110
    with pytest.raises(LocalProtocolError, match="the opening handshake is over"):
        connection.connection_made(60)
    assert connection.next_deadline() == 110


def test_a_handshake_lost() -> None:
    server = ServerConnection(open_timeout=10)
    server.connection_made(0)
    server.connection_lost()
    gone(server)


# Keepalive.


@both_roles
def test_a_silent_peer_is_pinged_and_dropped(role: str) -> None:
    connection = open_end(role, now=1000, timeout=120, close_timeout=10)
    assert connection.next_deadline() == 1060
    assert connection.handle_timeout(1059.9) == []
    assert connection.data_to_send() == b""
    assert len(ping_at(connection, 1060, role)) == 4
    assert connection.next_deadline() == 1120
    assert connection.handle_timeout(1119.9) == []
    assert connection.data_to_send() == b""
    assert connection.phase is Phase.OPEN
    assert connection.handle_timeout(1120) == [SILENT]
    assert (connection.close_code, connection.close_reason) == (1006, SILENT.reason)
    body = (1011).to_bytes(2) + SILENT.reason.encode()
    assert sent_frames(connection.data_to_send(), role) == [(FIN | CLOSE, body)]
    assert connection.close_frames == (
        CloseFrame(True, Reasons.UNEXPECTED_CONDITION, SILENT.reason),
    )
    gone(connection)


@both_roles
def test_each_ping_has_a_payload_of_its_own(role: str) -> None:
    connection = open_end(role, timeout=120)
    payloads = set()
    for i in range(100):
        payload = ping_at(connection, 60 * i + 60, role)
        hear(connection, [Frame(FIN | PONG, payload)], 60 * i + 60, role)
        payloads.add(payload)
    assert len(payloads) > 97


@both_roles
def test_any_byte_counts_as_life(role: str) -> None:
    connection = open_end(role, timeout=120)
    now = 0.0
    for byte in encode([Frame(FIN | BINARY, b"x" * 10)], role):
        now += 59
        assert connection.handle_timeout(now) == []
        connection.receive_data(bytes([byte]), now)
        assert connection.next_deadline() == now + 60
    assert connection.data_to_send() == b""
    ping_at(connection, now + 60, role)
    hear(connection, [HELLO], now + 119, role)  # no Pong, but a sign of life
    assert connection.next_deadline() == now + 179


@both_roles
def test_a_call_without_data_is_not_a_sign_of_life(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.receive_data(encode([HELLO] * 300, role), now=10)
    assert connection.more
    connection.receive_data(b"", now=50)
    assert connection.next_deadline() == 70


@both_roles
def test_a_pong_at_the_last_instant_counts(role: str) -> None:
    connection = open_end(role, timeout=120)
    payload = ping_at(connection, 60, role)
    hear(connection, [Frame(FIN | PONG, payload)], 120, role)
    assert connection.handle_timeout(120) == []
    assert (connection.phase, connection.next_deadline()) == (Phase.OPEN, 180)
    assert connection.latency == 60


@both_roles
def test_a_late_timer_pings_first(role: str) -> None:
    """This process slept, not the peer: it has half the time from the ping on."""
    connection = open_end(role, timeout=120)
    ping_at(connection, 5000, role)
    assert connection.next_deadline() == 5060
    assert connection.handle_timeout(5059) == []
    assert connection.handle_timeout(9000) == [SILENT]


@both_roles
def test_while_reading_is_paused_pings_go_out_and_silence_ends_nothing(role: str) -> None:
    """What a peer answers is not read; but a write may show that it is gone."""
    connection = open_end(role, timeout=120)
    connection.pause_reading()
    payloads = set()
    for now in (60, 120, 180, 1_000_000):
        assert not connection.is_overdue(now)
        payloads.add(ping_at(connection, now, role))
        assert connection.next_deadline() == now + 60
    assert len(payloads) == 1  # their answers must differ from others
    connection.resume_reading(2_000_000)
    assert connection.next_deadline() == 2_000_060
    ping_at(connection, 2_000_060, role)
    assert connection.handle_timeout(2_000_120) == [SILENT]


@both_roles
def test_the_answers_to_the_pings_of_a_pause_are_nobody_elses(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.pause_reading()
    [payload] = {ping_at(connection, now, role) for now in (60, 120, 180)}
    connection.resume_reading(181)
    answer = Frame(FIN | PONG, payload)
    assert hear(connection, [answer, HELLO, answer], 182, role) == [text("hello")]
    assert connection.latency is None
    assert hear(connection, [answer, answer], 183, role) == [Pong(payload, 3), Pong(payload)]
    assert connection.latency == 3


@both_roles
def test_one_answer_to_the_pings_of_a_pause_will_do(role: str) -> None:
    """A peer may answer the latest only (RFC 6455 section 5.5.3)."""
    connection = open_end(role, timeout=120)
    connection.pause_reading()
    [old] = {ping_at(connection, now, role) for now in (60, 120, 180)}
    connection.resume_reading(180)
    assert hear(connection, [Frame(FIN | PONG, old)], 180, role) == []
    new = ping_at(connection, 240, role)
    assert new != old
    assert hear(connection, [Frame(FIN | PONG, new)], 241, role) == [Pong(new, 1)]
    assert connection.latency == 1


@both_roles
def test_pausing_after_a_ping(role: str) -> None:
    """Its answer may lie in what we did not read: the clock starts afresh, with a new ping."""
    connection = open_end(role, timeout=120)
    first = ping_at(connection, 60, role)
    connection.pause_reading()
    assert ping_at(connection, 500, role) == first
    connection.resume_reading(500)
    assert connection.next_deadline() == 560
    assert ping_at(connection, 560, role) != first
    assert connection.handle_timeout(620) == [SILENT]


# The keepalive's Pong, and others.


@both_roles
def test_the_keepalives_pong_has_its_latency(role: str) -> None:
    connection = open_end(role, timeout=120)
    assert connection.latency is None
    payload = ping_at(connection, 60, role)
    answer = Frame(FIN | PONG, payload)
    foreign = Frame(FIN | PONG, b"foreign")
    assert hear(connection, [foreign], 60.125, role) == [Pong(b"foreign")]
    assert connection.latency is None
    assert hear(connection, [HELLO, foreign, answer, HELLO, answer], 60.25, role) == [
        text("hello"),
        Pong(b"foreign"),
        Pong(payload, 0.25),
        text("hello"),
        Pong(payload),  # one answer is what was asked for
    ]
    assert connection.latency == 0.25
    assert hear(connection, [answer], 61, role) == [Pong(payload)]
    assert connection.latency == 0.25


@both_roles
def test_our_users_pong_is_theirs(role: str) -> None:
    connection = open_end(role, timeout=120)
    ping_at(connection, 60, role)
    connection.send_ping(b"mine")
    assert hear(connection, [Frame(FIN | PONG, b"mine")], 61, role) == [Pong(b"mine")]


@both_roles
def test_latency_is_the_last_pings(role: str) -> None:
    connection = open_end(role, timeout=120)
    for seconds in (0.5, 0.25):
        due = connection.next_deadline()
        assert due is not None
        payload = ping_at(connection, due, role)
        answer = Frame(FIN | PONG, payload)
        assert hear(connection, [answer], due + seconds, role) == [Pong(payload, seconds)]
        assert connection.latency == seconds


@both_roles
def test_the_keepalives_pong_before_a_close(role: str) -> None:
    connection = open_end(role, timeout=120)
    payload = ping_at(connection, 60, role)
    frames = [Frame(FIN | PONG, payload), Frame(FIN | PING), Frame(FIN | CLOSE)]
    events = [Pong(payload, 1), Ping(b""), CloseReceived(1005, "")]
    assert hear(connection, frames, 61, role) == events


# What the peer is responsible for.


@both_roles
def test_a_ping_that_is_due_is_nothing_to_wait_for(role: str) -> None:
    """What a peer seems to have missed is judged when what has arrived is read."""
    connection = open_end(role, timeout=120, close_timeout=10)
    assert not connection.is_overdue(60)
    payload = ping_at(connection, 60, role)
    assert not connection.is_overdue(119.9)
    assert connection.is_overdue(120)
    hear(connection, [Frame(FIN | PONG, payload)], 125, role)
    assert not connection.is_overdue(125)
    connection.output_progress(0, 1, now=125)
    hear(connection, [HELLO], 245, role)
    assert connection.is_overdue(245)
    connection.send_close(now=250)
    assert not connection.is_overdue(259.9)
    assert connection.is_overdue(260)


# Output that makes no progress.


@both_roles
def test_a_peer_that_talks_but_takes_nothing_is_dropped(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.output_progress(500, 100, now=10)
    for now in range(20, 130, 10):
        hear(connection, [HELLO], now, role)
        connection.output_progress(500, 100 + now, now)
        assert connection.next_deadline() == min(130, now + 60)
        assert connection.handle_timeout(now) == []
    assert connection.handle_timeout(129.9) == []
    assert connection.handle_timeout(130) == [STALLED]
    assert (connection.close_code, connection.close_reason) == (1006, STALLED.reason)
    assert connection.data_to_send() == b""
    assert connection.close_frames == ()
    gone(connection)


@both_roles
def test_a_peer_that_takes_something_is_not_stalled(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.output_progress(0, 1000, now=0)
    for now in range(50, 1000, 50):
        hear(connection, [HELLO], now, role)
        connection.output_progress(now, 1000, now)
        assert connection.handle_timeout(now) == []
    assert connection.next_deadline() == 950 + 60
    hear(connection, [HELLO], 1060, role)
    assert connection.next_deadline() == 950 + 120


@both_roles
def test_an_estimate_that_falls_is_not_progress(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.output_progress(500, 100, now=0)
    hear(connection, [HELLO], 100, role)
    connection.output_progress(450, 150, now=100)
    assert connection.next_deadline() == 120
    connection.output_progress(451, 149, now=110)
    assert connection.next_deadline() == 170
    assert connection.handle_timeout(120) == []


@both_roles
def test_a_peer_that_has_taken_all_is_not_stalled(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.output_progress(0, 1000, now=0)
    connection.output_progress(1000, 0, now=5)
    hear(connection, [HELLO], 119, role)
    assert connection.next_deadline() == 179
    connection.output_progress(1000, 10, now=120)  # a new wait, though nothing was taken since
    hear(connection, [HELLO], 179, role)
    assert connection.next_deadline() == 239
    hear(connection, [HELLO], 230, role)
    assert connection.next_deadline() == 240


@both_roles
def test_pausing_does_not_stop_the_clock_of_output(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.pause_reading()
    connection.output_progress(0, 1, now=5)
    ping_at(connection, 60, role)
    ping_at(connection, 120, role)
    assert connection.next_deadline() == 125
    assert connection.handle_timeout(124) == []
    assert connection.handle_timeout(125) == [STALLED]
    gone(connection)


@both_roles
@pytest.mark.parametrize(("waiting", "held"), [(1000, 0), (0, 1000)])
def test_a_slow_reader_is_not_silent(waiting: int, held: int, role: str) -> None:
    """A ping waits behind the output that it reads."""
    connection = open_end(role, timeout=120)
    connection.output_progress(0, waiting, 60, held)
    ping_at(connection, 60, role)
    for now in range(120, 1000, 60):
        connection.output_progress(now, waiting, now, held)
        assert not connection.is_overdue(now)
        assert connection.handle_timeout(now) == []
        assert connection.next_deadline() == now + 60
    assert connection.data_to_send() == b""
    connection.output_progress(now, waiting, now + 60, held)
    ping_at(connection, now + 60, role)
    assert connection.handle_timeout(now + 119.9) == []
    assert connection.handle_timeout(now + 120) == [STALLED if waiting else SILENT]


@both_roles
def test_a_peer_that_has_taken_all_must_answer(role: str) -> None:
    connection = open_end(role, timeout=120)
    connection.output_progress(0, 1000, now=60)
    ping_at(connection, 60, role)
    connection.output_progress(1000, 0, now=119)
    assert connection.handle_timeout(120) == [SILENT]


def test_output_during_the_handshake() -> None:
    """That has a time of its own; what waits still counts when it is over."""
    server, client = ServerConnection(timeout=120), ClientConnection("example.com")
    server.output_progress(0, 300, now=0)
    assert server.next_deadline() is None
    server.receive_data(client.data_to_send(), now=100)
    server.accept(now=100)
    assert server.next_deadline() == 120
    assert server.handle_timeout(120) == [STALLED]


# Closing.


@both_roles
def test_our_close_is_not_answered(role: str) -> None:
    connection = open_end(role, timeout=120, close_timeout=10)
    connection.send_close(1001, "bye", now=5)
    connection.data_to_send()
    assert connection.next_deadline() == 15
    hear(connection, [HELLO], 14, role)  # what still comes in puts nothing off
    assert connection.next_deadline() == 15
    assert connection.handle_timeout(14.9) == []
    assert connection.handle_timeout(15) == [UNANSWERED]
    assert (connection.close_code, connection.close_reason) == (1006, UNANSWERED.reason)
    gone(connection)


@both_roles
def test_the_stream_does_not_end(role: str) -> None:
    """Each step of the closing handshake has its own time."""
    connection = open_end(role, timeout=120, close_timeout=10)
    connection.send_close(now=5)
    connection.data_to_send()
    hear(connection, [Frame(FIN | CLOSE)], 12, role)
    assert (connection.phase, connection.next_deadline()) == (Phase.ENDING, 22)
    assert connection.handle_timeout(21.9) == []
    assert connection.handle_timeout(22) == []
    assert connection.close_code == 1005
    gone(connection)


@both_roles
@pytest.mark.parametrize(
    ("frame", "body"),
    [
        (Frame(FIN | CLOSE, b"\x03\xe9bye"), b"\x03\xe9bye"),
        (Frame(0x7F), b"\x03\xeaunknown opcode 15"),
    ],
)
def test_a_close_that_we_owe_goes_out_by_itself_in_the_end(
    frame: Frame, body: bytes, role: str
) -> None:
    connection = open_end(role, timeout=120, close_timeout=10)
    hear(connection, [frame], 5, role)
    assert connection.owes_close
    assert connection.next_deadline() == 15
    assert connection.handle_timeout(14.9) == []
    assert connection.data_to_send() == b""
    assert connection.handle_timeout(16) == []
    assert sent_frames(connection.data_to_send(), role) == [(FIN | CLOSE, body)]
    assert not connection.owes_close
    assert (connection.phase, connection.next_deadline()) == (Phase.ENDING, 26)
    assert connection.handle_timeout(26) == []
    gone(connection)


@both_roles
def test_a_close_acknowledged_in_time(role: str) -> None:
    connection = open_end(role, close_timeout=10)
    hear(connection, [Frame(FIN | CLOSE)], 5, role)
    connection.acknowledge_close(now=9)
    assert connection.next_deadline() == 19


@both_roles
def test_a_peer_that_ended_its_half(role: str) -> None:
    connection = open_end(role, timeout=120, close_timeout=10)
    connection.receive_eof(now=5)
    assert connection.next_deadline() == 15
    assert connection.handle_timeout(15) == []
    assert connection.data_to_send() == b""
    assert (connection.phase, connection.next_deadline()) == (Phase.ENDING, 25)
    assert connection.handle_timeout(1e9) == []
    gone(connection)


@both_roles
def test_a_peer_that_ended_its_half_after_input_kept_back(role: str) -> None:
    """Until that is read, the connection is open and its clock keepalive's."""
    connection = open_end(role, timeout=120, close_timeout=10)
    hear(connection, [HELLO] * 300, 5, role)
    connection.receive_eof(now=6)
    assert connection.next_deadline() == 65
    connection.receive_data(b"", now=7)
    assert connection.next_deadline() == 17


@both_roles
@pytest.mark.parametrize("phase", [Phase.CLOSE_SENT, Phase.CLOSE_RECEIVED, Phase.ENDING])
def test_closing_has_no_keepalive(phase: Phase, role: str) -> None:
    """Nor a clock for output: its own is there, or none is wanted."""
    connection = open_end(role, timeout=120)
    connection.output_progress(0, 100, now=0)
    if phase is not Phase.CLOSE_RECEIVED:
        connection.send_close(now=1)
    if phase is not Phase.CLOSE_SENT:
        hear(connection, [Frame(FIN | CLOSE)], 1, role)
    connection.data_to_send()
    assert connection.phase is phase
    connection.output_progress(0, 200, now=2)
    assert connection.next_deadline() is None
    assert connection.handle_timeout(1e9) == []
    assert connection.data_to_send() == b""


@both_roles
def test_a_lost_connection_has_no_deadlines(role: str) -> None:
    connection = open_end(role, timeout=120, close_timeout=10)
    connection.output_progress(0, 100, now=0)
    connection.connection_lost()
    gone(connection)
    connection = open_end(role, timeout=120, close_timeout=10)
    connection.send_close(now=0)
    connection.data_to_send()
    connection.connection_lost()
    gone(connection)


@both_roles
def test_all_that_is_due_is_done_at_once(role: str) -> None:
    """One call, however late, leaves nothing overdue."""
    connection = open_end(role, timeout=120, close_timeout=10)
    receive(connection, encode([Frame(FIN | CLOSE)], role))
    connection.handle_timeout(1e6)
    assert connection.next_deadline() == 1e6 + 10


@both_roles
@pytest.mark.parametrize(("close_timeout", "by"), [(0, 3), (10, 3), (2, 2)])
def test_the_time_for_a_close_can_be_shortened(role: str, close_timeout: float, by: float) -> None:
    connection = open_end(role, close_timeout=close_timeout)
    connection.shorten_close_timeout(3)
    connection.send_close(now=100)
    assert connection.next_deadline() == 100 + by
