"""Responses that refuse, with a body in pieces."""

from typing import Any

import pytest
from server_handshake_cases import HOST, head, opening

from wscore import (
    ClientConnection,
    HandshakeFailed,
    LocalProtocolError,
    Phase,
    Refused,
    RequestReceived,
    Response,
    ServerConnection,
)

DENIED = Response(403, {"Content-Length": "99", "X": "y"}, b"one ")


def asked(**options: Any) -> tuple[ServerConnection, ClientConnection]:
    """A server that has received a client's request."""
    server, client = ServerConnection(**options), ClientConnection("example.com")
    server.connection_made(0)
    [event] = server.receive_data(client.data_to_send(), 1)
    assert isinstance(event, RequestReceived)
    return server, client


def test_the_pieces_arrive_as_they_are_sent() -> None:
    server, client = asked()
    server.reject(DENIED, more_body=True)
    head = server.data_to_send()
    assert client.receive_data(head) == []
    assert head.endswith(b"\r\n\r\n4\r\none \r\n")
    server.send_body(b"", last=False)
    assert server.data_to_send() == b""
    server.send_body(b"two ", last=False)
    second = server.data_to_send()
    assert second == b"4\r\ntwo \r\n"
    assert client.receive_data(second) == []
    assert (server.phase, server.should_close) == (Phase.CONNECTING, False)
    server.send_body(b"three", last=True)
    assert server.should_close
    [event] = client.receive_data(server.data_to_send())
    assert isinstance(event, Refused)
    assert event.response.body == b"one two three"
    assert event.response.headers["X"] == "y"
    assert "Content-Length" not in event.response.headers


@pytest.mark.parametrize(
    ("request_head", "status"),
    [(opening(), 204), (opening(), 304), (head([HOST], "HEAD / HTTP/1.1"), 403)],
)
def test_no_body_where_http_has_none(request_head: bytes, status: int) -> None:
    server = ServerConnection()
    server.receive_data(request_head)
    server.reject(Response(status, (), b"one"), more_body=True)
    assert server.data_to_send().endswith(b"\r\n\r\n")
    server.send_body(b"two", last=False)
    server.send_body(b"three", last=True)
    assert server.data_to_send() == b""
    assert server.should_close


def test_the_caller_may_take_its_time_and_the_client_may_not_take_more() -> None:
    server, _ = asked(open_timeout=10, close_timeout=5)
    assert server.next_deadline() == 10
    server.reject(DENIED, now=2, more_body=True)
    assert server.next_deadline() is None
    server.send_body(b"", last=True, now=60)
    assert server.next_deadline() == 65


def test_a_client_that_reads_nothing_of_the_body() -> None:
    server, _ = asked(timeout=20)
    server.reject(DENIED, now=2, more_body=True)
    assert server.handle_timeout(1000) == []
    server.output_progress(taken=10, waiting=100, now=1000)
    server.output_progress(taken=11, waiting=99, now=1010)
    assert server.next_deadline() == 1030
    assert server.handle_timeout(1029) == []
    assert server.is_overdue(1030)
    [event] = server.handle_timeout(1030)
    assert event == HandshakeFailed(0, "keepalive: no output was read for 20 s")
    assert (server.phase, server.next_deadline()) == (Phase.CLOSED, None)
    with pytest.raises(LocalProtocolError, match="the opening handshake is over"):
        server.send_body(b"", last=True)
    assert server.connection_lost() == []


def test_after_the_body_the_deadline_is_that_of_the_end() -> None:
    server, _ = asked(timeout=20, close_timeout=5)
    server.reject(DENIED, now=2, more_body=True)
    server.output_progress(taken=10, waiting=100, now=3)
    server.send_body(b"", last=True, now=10)
    assert server.next_deadline() == 15
    assert server.handle_timeout(15) == []
    assert server.phase is Phase.CLOSED


def test_input_meanwhile_is_ignored() -> None:
    server, _ = asked()
    server.reject(DENIED, more_body=True)
    assert server.receive_data(b"x" * 100_000) == []
    assert server.receive_eof() == []
    server.send_body(b"", last=True)
    assert server.should_close


def test_a_connection_that_is_lost_meanwhile() -> None:
    server, _ = asked()
    server.reject(DENIED, more_body=True)
    [event] = server.connection_lost()
    assert isinstance(event, HandshakeFailed)
    with pytest.raises(LocalProtocolError):
        server.send_body(b"", last=True)


def test_what_is_not_possible_meanwhile() -> None:
    server, _ = asked()
    with pytest.raises(LocalProtocolError, match="no body is open: begin one with reject"):
        server.send_body(b"", last=True)
    with pytest.raises(ValueError, match="101 is not a final status"):
        server.reject(Response(101), more_body=True)
    server.reject(DENIED, more_body=True)
    for again in (server.accept, lambda: server.reject(DENIED)):
        with pytest.raises(LocalProtocolError, match="the handshake is over: reject ended it"):
            again()
    server.send_body(b"", last=True)
    with pytest.raises(LocalProtocolError, match="the opening handshake is over"):
        server.send_body(b"", last=True)
