"""Connections that report the sizes of their messages, and are otherwise like the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import ROLES, receive

from kit.frames import CONTINUATION, FIN, TEXT, Frame
from wscore import (
    Accepted,
    ClientConnection,
    ConnectionFailed,
    Deflate,
    PreparedMessage,
    RequestReceived,
    ServerConnection,
)
from wscore.metering import MeteredClientConnection, MeteredServerConnection

SENTENCE = "The quick brown fox jumps over the lazy dog. " * 40


class Sizes:
    """A Meter that keeps what is reported."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.received: list[tuple[int, int]] = []

    def message_sent(self, size: int, wire_size: int) -> None:
        """As a Meter."""
        self.sent.append((size, wire_size))

    def message_received(self, size: int, wire_size: int) -> None:
        """As a Meter."""
        self.received.append((size, wire_size))


Metered = MeteredServerConnection | MeteredClientConnection
Plain = ServerConnection | ClientConnection


def metered(role: str, deflate: Deflate | None) -> tuple[Metered, Plain, Sizes]:
    """A metered connection, its peer, and what is reported; both open."""
    extensions = [] if deflate is None else [deflate]
    sizes = Sizes()
    if role == "server":
        server = MeteredServerConnection(extensions=extensions, max_message_size=2**22)
        client = ClientConnection("example.com", extensions=extensions)
        server.report_to(sizes)
        shake_hands(server, client)
        return server, client, sizes
    plain_server = ServerConnection(extensions=extensions)
    metered_client = MeteredClientConnection(
        "example.com", "/", extensions=extensions, max_message_size=2**22
    )
    metered_client.report_to(sizes)
    shake_hands(plain_server, metered_client)
    return metered_client, plain_server, sizes


def shake_hands(server: ServerConnection, client: ClientConnection) -> None:
    [request] = server.receive_data(client.data_to_send())
    assert isinstance(request, RequestReceived)
    server.accept()
    [accepted] = client.receive_data(server.data_to_send())
    assert isinstance(accepted, Accepted)


def payload_of(data: bytes, role: str) -> int:
    """The payload's length of the one frame in `data`."""
    size = data[1] & 0x7F
    head = 2 + {126: 2, 127: 8}.get(size, 0) + 4 * (role == "client")
    return len(data) - head


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("data", "size"),
    [
        ("", 0),
        ("short", 5),
        ("äöü", 6),
        (b"bytes", 5),
        (bytearray(b"bytes"), 5),
        (memoryview(b"bytes"), 5),
        (bytes(125), 125),
        (bytes(126), 126),
        (bytes(65535), 65535),
        (bytes(65536), 65536),
        (bytes(2**18), 2**18),
    ],
    ids=lambda one: None if isinstance(one, int) else f"{type(one).__name__}-{len(one)}",
)
def test_a_message_without_compression(role: str, data: str | bytes, size: int) -> None:
    connection, peer, sizes = metered(role, None)
    connection.send_message(data)
    assert sizes.sent == [(size, size)]
    receive(peer, connection.data_to_send())
    peer.send_message(data)
    receive(connection, peer.data_to_send())
    assert sizes.received == [(size, size)]


@pytest.mark.parametrize("role", ROLES)
def test_a_compressed_message(role: str) -> None:
    connection, peer, sizes = metered(role, Deflate())
    connection.send_message(SENTENCE)
    data = connection.data_to_send()
    assert sizes.sent == [(len(SENTENCE), payload_of(data, role))]
    assert payload_of(data, role) < 200
    receive(peer, data)
    peer.send_message(SENTENCE)
    data = peer.data_to_send()
    receive(connection, data)
    other = "client" if role == "server" else "server"
    assert sizes.received == [(len(SENTENCE), payload_of(data, other))]


@pytest.mark.parametrize("role", ROLES)
def test_a_message_in_fragments(role: str) -> None:
    connection, peer, sizes = metered(role, Deflate(threshold=0))
    for compress in (False, True):
        connection.send_fragment(SENTENCE, False, compress=compress)
        connection.send_ping(b"between")
        peer.send_fragment(SENTENCE, False, compress=compress)
        peer.send_ping(b"between")
        assert sizes.sent == []
        receive(connection, peer.data_to_send())
        assert sizes.received == []
        connection.send_fragment(SENTENCE, True)
        peer.send_fragment(SENTENCE, True)
        receive(connection, peer.data_to_send(), 7)
        receive(peer, connection.data_to_send())
        [(sent, wire_sent)], [(received, wire_received)] = sizes.sent, sizes.received
        assert sent == received == 2 * len(SENTENCE)
        assert wire_sent == wire_received
        assert wire_sent == sent if not compress else wire_sent < 200
        sizes.sent.clear()
        sizes.received.clear()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("size", [10, 200, 70000])
def test_a_prepared_message(role: str, compress: bool, size: int) -> None:
    connection, peer, sizes = metered(role, Deflate())
    message = PreparedMessage((SENTENCE * 50)[:size], compress)
    connection.send_prepared(message)
    data = connection.data_to_send()
    assert sizes.sent == [(size, payload_of(data, role))]
    receive(peer, data)
    assert connection.prepared_to_send(message)
    assert [size for size, _ in sizes.sent] == [size, size]


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 40, 20_000]), st.booleans()),  # sentences, compressed
        max_size=6,
    ),
    st.sampled_from([1000, 70_000, 10**7]),
    st.sampled_from(ROLES),
)
def test_messages_are_told_apart_however_they_arrive(
    messages: list[tuple[int, bool]], read: int, role: str
) -> None:
    """In reads of any size, and with pings between them."""
    connection, peer, sizes = metered(role, Deflate(threshold=0))
    wire_sizes = []
    data = b""
    for sentences, compress in messages:
        peer.send_message("Quick brown fox! " * sentences, compress)
        frame = peer.data_to_send()
        wire_sizes.append(payload_of(frame, "client" if role == "server" else "server"))
        peer.send_ping(b"between")
        data += frame + peer.data_to_send()
    receive(connection, data, read)
    assert sizes.received == [
        (17 * sentences, wire_size)
        for (sentences, _), wire_size in zip(messages, wire_sizes, strict=True)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_a_message_that_never_ends_is_not_reported(role: str) -> None:
    connection, _, sizes = metered(role, None)
    connection.send_fragment("begun", False)
    frames = [Frame(TEXT, b"begun"), Frame(FIN | CONTINUATION, b"\xff")]
    data = b"".join(frame.encode(masked=role == "server") for frame in frames)
    assert isinstance(receive(connection, data)[-1], ConnectionFailed)
    assert (sizes.sent, sizes.received) == ([], [])


def test_what_an_encoder_does_not_encode_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next message is counted as ever."""

    class Failing:
        def encode(self, data: bytes, *_: object) -> tuple[int, bytes]:
            if data == b"fail":
                raise ValueError("not this one")
            return 0, data

    connection, _, sizes = metered("server", Deflate(threshold=0))
    monkeypatch.setattr(type(connection._negotiated), "encoders", lambda self: (Failing(),))
    with pytest.raises(ValueError, match="not this one"):
        connection.send_message(b"fail")
    connection.send_message(b"fine")
    assert sizes.sent == [(4, 4)]


@pytest.mark.parametrize("role", ROLES)
def test_control_frames_are_not_messages(role: str) -> None:
    connection, peer, sizes = metered(role, None)
    for one, other in ((connection, peer), (peer, connection)):
        one.send_ping(b"ping")
        one.send_pong(b"pong")
        one.send_close(1000, "bye")
        receive(other, one.data_to_send())
    assert (sizes.sent, sizes.received) == ([], [])
