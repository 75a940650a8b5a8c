"""A message for many: framed once, compressed once for all who agreed on the same."""

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from deflated import CHROMIUM, FIREFOX, SENTENCE, Peer, agreed
from wire import (
    ROLES,
    AnyConnection,
    inside,
    merged,
    open_end,
    open_pair,
    receive,
    sent_frames,
    text,
)

from kit.frames import BINARY, CONTINUATION, FIN, RSV1, TEXT
from wscore import (
    Deflate,
    LocalProtocolError,
    Phase,
    PreparedMessage,
    ServerConnection,
)
from wscore.extensions import Extension
from wscore.extensions.deflate import NegotiatedDeflate
from wscore.extensions.negotiated import NO_EXTENSIONS, negotiated_extensions
from wscore.prepared import prepared

SENTENCE_TEXT = SENTENCE.decode()

both_roles = pytest.mark.parametrize("role", ROLES)

Send = Callable[[AnyConnection, PreparedMessage], object]

both_ways = pytest.mark.parametrize(
    "send",
    [
        lambda connection, message: connection.send_prepared(message),
        lambda connection, message: connection.prepared_to_send(message),
    ],
    ids=["gathered", "at once"],
)

each_way = pytest.mark.parametrize(
    "send",
    [
        lambda connection, message: connection.send_prepared(message),
        lambda connection, message: connection.prepared_to_send(message),
        lambda connection, message: connection.send_message(message),
    ],
    ids=["gathered", "at once", "as any message"],
)


@pytest.fixture
def deflaters(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What is made of zlib to compress with."""
    made: list[tuple[int, ...]] = []
    compressobj = zlib.compressobj

    def recorded(level: int, method: int, bits: int, memory_level: int) -> "zlib._Compress":
        made.append((level, method, bits, memory_level))
        return compressobj(level, method, bits, memory_level)

    monkeypatch.setattr(zlib, "compressobj", recorded)
    return made


def servers(count: int, settings: Deflate | None = None) -> list[AnyConnection]:
    """Connections of one server that agreed with their peers on the same."""
    extensions: list[Extension] = [settings or Deflate()]
    return [agreed("server", CHROMIUM, extensions) for _ in range(count)]


def send_all(connections: list[AnyConnection], message: PreparedMessage) -> list[bytes]:
    """What each of them has to write."""
    for connection in connections:
        connection.send_prepared(message)
    return [connection.data_to_send() for connection in connections]


class TestWhatIsSent:
    @both_roles
    @pytest.mark.parametrize(
        ("data", "opcode", "payload"),
        [
            ("", TEXT, b""),
            ("caf\u00e9", TEXT, b"caf\xc3\xa9"),
            ("x" * 70_000, TEXT, b"x" * 70_000),
            (b"", BINARY, b""),
            (b"\xff" * 126, BINARY, b"\xff" * 126),
            (bytearray(b"ab"), BINARY, b"ab"),
            (memoryview(b"abcd")[::2], BINARY, b"ac"),
        ],
        ids=["empty", "text", "long text", "no bytes", "bytes", "bytearray", "memoryview"],
    )
    @pytest.mark.parametrize("compress", [None, True, False])
    def test_the_same_as_of_any_message(
        self, data: str | bytes, opcode: int, payload: bytes, compress: bool | None, role: str
    ) -> None:
        message = PreparedMessage(data, compress)
        plain, compressing = open_end(role), agreed(role)
        peer = Peer()
        for _ in range(2):
            plain.send_prepared(message)
            compressing.send_prepared(message)
            waiting = plain.unsent
            written = plain.data_to_send()
            assert len(written) == waiting
            assert sent_frames(written, role) == [(FIN | opcode, payload)]
            [(first, sent)] = sent_frames(compressing.data_to_send(), role)
            compress = len(payload) >= 1024 if compress is None else compress
            assert first == FIN | opcode | (RSV1 if compress else 0)
            assert (peer.inflate(sent) if compress else sent) == payload

    @both_roles
    @pytest.mark.parametrize("compress", [None, True, False])
    @pytest.mark.parametrize("before", [[], ["a"], ["a", "b" * 2000]])
    def test_at_once(self, before: list[str], compress: bool | None, role: str) -> None:
        """After what is unsent, and nothing is left."""
        connection = agreed(role)
        peer = Peer()
        message = PreparedMessage(SENTENCE_TEXT, compress)
        for _ in range(2):
            for data in before:
                connection.send_message(data)
            written = connection.prepared_to_send(message)
            assert (connection.unsent, connection.data_to_send()) == (0, b"")
            got = [
                peer.inflate(payload) if first & RSV1 else payload
                for first, payload in sent_frames(written, role)
            ]
            assert got == [*(data.encode() for data in before), SENTENCE]

    @both_roles
    @pytest.mark.parametrize("compress", [None, True, False])
    def test_send_message_takes_it(self, compress: bool | None, role: str) -> None:
        message = PreparedMessage(SENTENCE_TEXT, compress)
        connection, peer = agreed(role), Peer()
        for _ in range(2):
            connection.send_message(message)
            [(first, sent)] = sent_frames(connection.data_to_send(), role)
            assert first == FIN | TEXT | (RSV1 if compress is not False else 0)
            assert (sent if compress is False else peer.inflate(sent)) == SENTENCE

    @both_roles
    @pytest.mark.parametrize("compress", [True, False])
    def test_it_alone_says_whether_to_compress(self, compress: bool, role: str) -> None:
        connection = agreed(role)
        with pytest.raises(TypeError, match=f"compress={compress}: a PreparedMessage has its own"):
            connection.send_message(PreparedMessage(SENTENCE), compress)
        assert connection.data_to_send() == b""

    def test_what_was_given_may_change_afterwards(self) -> None:
        data = bytearray(b"x" * 2000)
        message = PreparedMessage(data)
        data[:] = b"y" * 2000
        server, _ = open_pair()
        server.send_prepared(message)
        assert sent_frames(server.data_to_send(), "server") == [(FIN | BINARY, b"x" * 2000)]

    @pytest.mark.parametrize("data", [5, None, ["x"], object()])
    def test_other_data(self, data: Any) -> None:
        with pytest.raises(TypeError, match="a message is str .text. or bytes-like .binary., not"):
            PreparedMessage(data)

    def test_one_of_its_own(self) -> None:
        message = PreparedMessage("x")
        assert prepared(message, None) is message
        assert prepared("x", None).frame(NO_EXTENSIONS) == message.frame(NO_EXTENSIONS)
        assert prepared("x", True).compress is True

    def test_what_it_is(self) -> None:
        assert (PreparedMessage("\u20ac").data, PreparedMessage("\u20ac").payload) == (
            *("\u20ac", b"\xe2\x82\xac"),
        )
        assert PreparedMessage(bytearray(b"x")).data == b"x"
        assert PreparedMessage("", False).compress is False


class TestOnce:
    def test_framed_once(self) -> None:
        """Even the bytes are the same object."""
        message = PreparedMessage(SENTENCE)
        plain = [open_pair()[0] for _ in range(3)]
        first, *others = send_all(list(plain), message)
        assert all(other is first for other in others)

    def test_compressed_once_for_all_alike(self, deflaters: list[tuple[int, ...]]) -> None:
        message = PreparedMessage(SENTENCE)
        connections = servers(5)
        first, *others = send_all(connections, message)
        for connection in connections:
            connection.send_message(message)
            others.append(connection.data_to_send())
        assert all(other is first for other in others)
        assert deflaters == [(6, zlib.DEFLATED, -12, 5)]

    def test_once_for_each_kind(self, deflaters: list[tuple[int, ...]]) -> None:
        """Windows, levels and memory levels; a connection without compression costs nothing."""
        kinds: list[tuple[str, Deflate]] = [
            (FIREFOX, Deflate()),
            (CHROMIUM, Deflate(peer_window_bits=9)),  # the same: it is our window that counts
            (
                f"{FIREFOX}; server_no_context_takeover",
                Deflate(),
            ),  # the same: it is for itself anyhow
            (f"{FIREFOX}; server_max_window_bits=10", Deflate()),
            (FIREFOX, Deflate(level=9)),
            (FIREFOX, Deflate(memory_level=9)),
            (FIREFOX, Deflate(threshold=10_000)),
            (f"{FIREFOX}; server_max_window_bits=8", Deflate()),
        ]
        connections = [agreed("server", header, [ours]) for header, ours in kinds * 3]
        connections += [open_pair()[0]]
        sent = send_all(connections, PreparedMessage(SENTENCE))
        assert deflaters == [
            (6, zlib.DEFLATED, -12, 5),
            (6, zlib.DEFLATED, -10, 5),
            (9, zlib.DEFLATED, -12, 5),
            (6, zlib.DEFLATED, -12, 9),
        ]
        assert sent[0] == sent[1] == sent[2]
        bits = [sent_frames(data, "server")[0][0] & RSV1 for data in sent]
        assert bits == [RSV1, RSV1, RSV1, RSV1, RSV1, RSV1, 0, 0] * 3 + [0]

    def test_each_has_its_own_threshold(self) -> None:
        low = agreed("server", extensions=[Deflate(threshold=10)])
        high = agreed("server", extensions=[Deflate(threshold=100)])
        for order in ([low, high], [high, low]):
            sent = send_all(order, PreparedMessage("x" * 50))
            firsts = {order[i]: sent_frames(data, "server")[0][0] for i, data in enumerate(sent)}
            assert firsts == {low: FIN | RSV1 | TEXT, high: FIN | TEXT}

    def test_two_classes_are_never_alike(self) -> None:
        """However they call what makes them so."""

        class First(NegotiatedDeflate):
            byte = b"1"

            def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
                return RSV1, self.byte

        class Second(First):
            byte = b"2"

        first, second = (
            negotiated_extensions([one(Deflate(), 12, True, 12, True)]) for one in (First, Second)
        )
        message = PreparedMessage("x")
        assert message.frame(first) == b"\xc1\x011" == message.frame(first)
        assert message.frame(second) == b"\xc1\x012"
        assert message.frame(NO_EXTENSIONS) == b"\x81\x01x"


class TestTheConnectionsOwnCompression:
    """The peer's window moves on with what many get; ours is right all the same."""

    @pytest.mark.parametrize("compress", [None, True, False])
    @pytest.mark.parametrize("header", [FIREFOX, f"{FIREFOX}; server_no_context_takeover"])
    def test_around_it(self, header: str, compress: bool | None) -> None:
        takeover = header == FIREFOX
        server = agreed("server", header)
        peer = Peer(their_takeover=takeover)
        message = PreparedMessage(SENTENCE[::-1], compress)
        for data in (SENTENCE, message, SENTENCE, message, message, SENTENCE, SENTENCE):
            if isinstance(data, PreparedMessage):
                server.send_prepared(data)
                content = data.payload
            else:
                server.send_message(data)
                content = data
            [(first, payload)] = sent_frames(server.data_to_send(), "server")
            assert (peer.inflate(payload) if first & RSV1 else payload) == content

    def test_one_left_alone_changes_nothing(self, deflaters: list[tuple[int, ...]]) -> None:
        server = agreed("server")
        server.send_message(SENTENCE)
        for compress in (None, False):
            server.send_prepared(PreparedMessage("short", compress))
        server.send_message(SENTENCE)
        assert len(deflaters) == 1
        sizes = [len(payload) for _, payload in sent_frames(server.data_to_send(), "server")]
        assert sizes[-1] < sizes[0] / 3

    def test_our_own_client_reads_it(self) -> None:
        server = agreed("server", FIREFOX, [Deflate()])
        client = agreed("client", "permessage-deflate; server_max_window_bits=12", [Deflate()])
        for data in ("own", PreparedMessage("many" * 500), "own" * 500) * 3:
            if isinstance(data, PreparedMessage):
                server.send_prepared(data)
            else:
                server.send_message(data)
        events = merged(receive(client, server.data_to_send()))
        assert events == [text("own"), text("many" * 500), text("own" * 500)] * 3


class TestClients:
    def test_each_masks_again(self) -> None:
        message = PreparedMessage(SENTENCE_TEXT, compress=False)
        sent = set()
        for _ in range(3):
            _, client = open_pair()
            for _ in range(3):
                client.send_prepared(message)
                data = client.data_to_send()
                assert sent_frames(data, "client") == [(FIN | TEXT, SENTENCE)]
                sent.add(data)
        assert len(sent) == 9

    def test_they_compress_as_ever(self) -> None:
        client = agreed("client")
        peer = Peer()
        sizes = []
        for _ in range(3):
            client.send_prepared(PreparedMessage(SENTENCE))
            [(first, payload)] = sent_frames(client.data_to_send(), "client")
            assert (first, peer.inflate(payload)) == (FIN | RSV1 | BINARY, SENTENCE)
            sizes.append(len(payload))
        assert sizes[1] < sizes[0] / 3


class TestRefusals:
    """As of any message, and they change nothing."""

    @both_roles
    @each_way
    def test_during_a_message_of_our_own(self, role: str, send: Send) -> None:
        connection = agreed(role)
        connection.send_fragment("a", last=False, compress=False)
        before = inside(connection)
        with pytest.raises(LocalProtocolError, match="a fragmented message is unfinished"):
            send(connection, PreparedMessage(SENTENCE))
        assert inside(connection) == before
        connection.send_fragment("b", last=True)
        assert sent_frames(connection.data_to_send(), role) == [
            (TEXT, b"a"),
            (FIN | CONTINUATION, b"b"),
        ]

    @both_roles
    @both_ways
    @pytest.mark.parametrize("message", ["x", b"x", None])
    def test_what_is_not_a_prepared_message(self, message: Any, role: str, send: Send) -> None:
        connection = agreed(role)
        before = inside(connection)
        with pytest.raises(TypeError, match=r"send_prepared\(\) takes a PreparedMessage, not "):
            send(connection, message)
        assert inside(connection) == before

    @both_roles
    @each_way
    def test_after_our_close(self, role: str, send: Send) -> None:
        connection = agreed(role)
        connection.send_close()
        with pytest.raises(LocalProtocolError, match="a Close was sent or the connection is over"):
            send(connection, PreparedMessage(SENTENCE))

    @each_way
    def test_before_the_handshake_is_over(self, send: Send) -> None:
        server = ServerConnection()
        with pytest.raises(LocalProtocolError, match="the opening handshake is not complete"):
            send(server, PreparedMessage(SENTENCE))
        assert server.phase is Phase.CONNECTING

    @both_roles
    @each_way
    def test_what_is_refused_is_not_compressed(
        self, role: str, send: Send, deflaters: list[tuple[int, ...]]
    ) -> None:
        connection = agreed(role)
        connection.send_close()
        with pytest.raises(LocalProtocolError):
            send(connection, PreparedMessage(SENTENCE))
        assert deflaters == []


def test_many_servers_one_message_each_peer_reads_it() -> None:
    """Each connection with a past of its own."""
    pairs = [(server, Peer(their_bits=12)) for server in servers(10)]
    for i, (server, peer) in enumerate(pairs):
        for j in range(i):
            server.send_message(f"{j}" * 2000)
            [(_, payload)] = sent_frames(server.data_to_send(), "server")
            assert peer.inflate(payload) == f"{j}".encode() * 2000
    message = PreparedMessage(SENTENCE)
    for server, peer in pairs:
        server.send_prepared(message)
        server.send_message(SENTENCE)
        for _, payload in sent_frames(server.data_to_send(), "server"):
            assert peer.inflate(payload) == SENTENCE
