"""Fuzzes the heads of the opening handshake, on both sides."""

import re
from unittest.mock import patch

from cuts import pieces
from head_reference import Answered, Asked, Bad
from head_reference import request as read_request
from head_reference import response as read_response

from kit.handshake import KEY, accept_value
from wscore import (
    Accepted,
    ClientConnection,
    Deflate,
    Event,
    HandshakeFailed,
    Refused,
    RequestReceived,
    ServerConnection,
)
from wscore.handshake.head import MAX_HEAD_SIZE

SUBPROTOCOLS = ["chat", "superchat"]

# What stands in the fuzzer's bytes for the right Sec-WebSocket-Accept.
ACCEPT = b"@ACCEPT@"


def requests(data: bytes) -> None:
    """Any bytes, sent to a server: the first says how they are cut."""
    if not data or len(data) > MAX_HEAD_SIZE:
        return
    size, data = data[0], data[1:]
    server, events = _serve(data, size)
    whole_server, whole = _serve(data, 0)
    assert events == whole, (data, size)
    assert server.data_to_send() == (sent := whole_server.data_to_send())
    refused = bool(events) and isinstance(events[0], HandshakeFailed)
    if refused:
        _check_refusal(events[0], sent)
    try:
        expected = read_request(data, SUBPROTOCOLS)
    except Bad as bad:
        assert refused, (data, bad)
        return
    if expected is None:
        _check_incomplete(data, events, refused)
        return
    assert not refused, (data, events, expected)
    assert sent == b"" if not expected.accept else _said(sent) == expected, (data, sent, expected)


def _serve(data: bytes, size: int) -> tuple[ServerConnection, list[Event]]:
    """A server that has received a request in reads of `size` bytes, and accepted it."""
    server = ServerConnection(subprotocols=SUBPROTOCOLS, extensions=[Deflate()])
    events: list[Event] = []
    for piece in pieces(data, size):
        events += server.receive_data(piece)
        if events:
            break
    if events and isinstance(events[0], RequestReceived) and events[0].request.is_upgrade:
        server.accept()
    assert len(events) <= 1
    return server, events


def _check_refusal(event: Event, sent: bytes) -> None:
    """Check a 4xx that says why, on one line."""
    assert isinstance(event, HandshakeFailed)
    assert 400 <= event.status < 500
    assert event.reason.isprintable()
    head, _, body = sent.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 %d [^\r\n]+\r\n" % event.status, head)
    assert re.search(rb"\r\nConnection: close", head)
    assert re.search(rb"\r\nContent-Length: (\d+)", head)
    assert body in (b"", event.reason.encode() + b"\n")


def _check_incomplete(data: bytes, events: list[Event], refused: bool) -> None:
    """Check that nothing happened, or that no end could make the request a good one."""
    assert refused or not events, (data, events)
    if not refused:
        return
    for end in (b"\n\n", b"\n", b" HTTP/1.1\nHost: x\n\n", b"x HTTP/1.1\nHost: x\n\n"):
        try:
            good = read_request(data + end, SUBPROTOCOLS)
        except Bad:
            continue
        assert good is None, (data, end, events)


def _said(sent: bytes) -> Asked:
    """What a 101 says."""
    assert sent.startswith(b"HTTP/1.1 101 "), sent
    fields = dict(line.split(": ", 1) for line in sent.decode().split("\r\n")[1:-2])
    assert (fields.pop("Upgrade"), fields.pop("Connection")) == ("websocket", "Upgrade")
    said = Asked(
        fields.pop("Sec-WebSocket-Accept"),
        fields.pop("Sec-WebSocket-Protocol", None),
        fields.pop("Sec-WebSocket-Extensions", None),
    )
    assert not fields
    return said


def responses(data: bytes) -> None:
    """Any bytes, sent to a client: the first says how they are cut."""
    if not data or len(data) > MAX_HEAD_SIZE:
        return
    size, data = data[0], data[1:]
    event, whole = _ask(data, size), _ask(data, 0)
    assert type(event) is type(whole), (data, size, event, whole)
    if not isinstance(event, Accepted):
        assert event == whole, (data, size, event, whole)
    if isinstance(event, HandshakeFailed):
        assert event.status == 0
        assert event.reason.isprintable()
    try:
        expected = read_response(data, ACCEPT.decode(), SUBPROTOCOLS)
    except Bad as bad:
        assert isinstance(event, HandshakeFailed), (data, event, bad)
        return
    if expected is None:
        assert event is None or isinstance(event, HandshakeFailed), (data, event)
    elif isinstance(event, Accepted):
        assert expected == Answered(101, event.subprotocol), (data, event, expected)
    elif isinstance(event, Refused):
        assert expected.status == event.response.status, (data, event, expected)
        assert len(event.response.body) <= 65536
    else:
        raise AssertionError(data, event, expected)


def _ask(data: bytes, size: int) -> Event | None:
    """What a client makes of a response in reads of `size` bytes, up to the end of the stream."""
    with patch("wscore.handshake.client.new_key", lambda: KEY):
        client = ClientConnection("example.com", subprotocols=SUBPROTOCOLS)
    events: list[Event] = []
    for piece in pieces(data.replace(ACCEPT, accept_value(KEY.encode())), size):
        events += client.receive_data(piece)
        if events:
            break
    if not events:
        events = client.receive_eof()
        # A response without an end of its own ends with the stream.
        if isinstance(events[0], HandshakeFailed) and "before its response" in events[0].reason:
            return None
    return events[0]
