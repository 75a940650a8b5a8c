"""Fuzzes the frames of an open connection, on both sides, compressed and not."""

from cuts import pieces, settled
from frame_reference import Message, Reading, Rules, read

from kit.frames import CLOSE, PING, PONG
from kit.handshake import KEY, acceptance
from wscore import (
    ClientConnection,
    CloseReceived,
    ConnectionFailed,
    Deflate,
    Event,
    MessagePiece,
    Ping,
    Pong,
    RequestReceived,
    ServerConnection,
)

LIMITS = (None, 2**20, 1000, 10)

DEFLATE = "permessage-deflate"
NO_TAKEOVER = "; server_no_context_takeover; client_no_context_takeover"

REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
)


def frames(data: bytes) -> None:
    """Any frames: the first byte chooses the rules, the second how they are cut."""
    if len(data) < 2:
        return
    rules, size, data = rules_of(data[0]), data[1], data[2:]
    expected = read(data, rules)
    whole = settled(receive(connection(rules), data, 0))
    compare(whole, expected, (rules, data))
    cut = settled(receive(connection(rules), data, size))
    if not expected.inexact or not expected.failed:
        assert cut == whole, (rules, size, data, cut, whole)
    compare(cut, expected, (rules, size, data))


def rules_of(choice: int) -> Rules:
    """The rules that a byte chooses."""
    return Rules(
        masked=choice & 1 == 0,
        limit=LIMITS[choice >> 1 & 3],
        deflate=choice & 8 != 0,
        takeover=choice & 16 == 0,
    )


def connection(rules: Rules) -> ServerConnection | ClientConnection:
    """A connection past its handshake, whose peer is to keep these rules."""
    offers = [DEFLATE + ("" if rules.takeover else NO_TAKEOVER)] if rules.deflate else []
    fields = "".join(f"Sec-WebSocket-Extensions: {offer}\r\n" for offer in offers)
    settings = Deflate(peer_window_bits=15, peer_takeover=rules.takeover)
    extensions = [settings] if rules.deflate else []
    if rules.masked:
        server = ServerConnection(max_message_size=rules.limit, extensions=extensions)
        [event] = server.receive_data(f"{REQUEST}{fields}\r\n".encode())
        assert isinstance(event, RequestReceived)
        server.accept()
        server.data_to_send()
        return server
    client = ClientConnection("localhost", max_message_size=rules.limit, extensions=extensions)
    client.receive_data(acceptance(client.data_to_send(), fields.encode()))
    return client


def receive(end: ServerConnection | ClientConnection, data: bytes, size: int) -> list[Event]:
    """All events, up to the last."""
    events: list[Event] = []
    for piece in pieces(data, size):
        events += end.receive_data(piece)
        while end.more:
            events += end.receive_data(b"")
    if events and isinstance(events[-1], CloseReceived | ConnectionFailed):
        end.acknowledge_close()
        assert end.data_to_send()
    else:
        end.send_message("still open")
    return events


def compare(events: list[Event], expected: Reading, case: object) -> None:
    """Compare what the core reports with what the reference has read."""
    found = summary(events)
    assert found.controls == expected.controls, (case, events, expected.controls)
    assert len(found.failed) == bool(expected.failed), (case, events, expected.failed)
    assert found.failed <= expected.failed, (case, events, expected.failed)
    messages = found.messages
    if expected.inexact:
        complete = sum(message.complete for message in expected.messages)
        whole = expected.messages[-1].data if len(expected.messages) > complete else None
        part = messages[complete:]
        assert len(part) <= 1, (case, events)
        if part and whole is not None:
            assert whole.startswith(part[0].data), (case, events)
        messages = messages[:complete]
        assert messages == expected.messages[:complete], (case, events, expected.messages)
    else:
        assert messages == expected.messages, (case, events, expected.messages)


def summary(events: list[Event]) -> Reading:
    """The events, as the reference puts it."""
    reading = Reading()
    complete = 0
    for event in events:
        messages = reading.messages
        if isinstance(event, MessagePiece):
            data = event.data
            if event.text is not None:
                assert event.text.encode() == data
            if not event.first:
                data = messages.pop().data + data
            messages.append(Message(int(event.type), data, event.last))
            complete += event.last
        elif isinstance(event, Ping | Pong):
            opcode = PING if isinstance(event, Ping) else PONG
            reading.control(opcode, event.payload, complete)
        elif isinstance(event, CloseReceived):
            code = b"" if event.code == 1005 else event.code.to_bytes(2)
            reading.control(CLOSE, code + event.reason.encode(), complete)
        else:
            assert isinstance(event, ConnectionFailed)
            assert event.reason.isprintable()
            reading.failed = {int(event.code)}
    return reading
