"""permessage-deflate as we send it, read by a peer of plain zlib. Sections are RFC 7692's."""

import gc
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from deflated import (
    CHROMIUM,
    NO_TAKEOVER,
    SENTENCE,
    TAIL,
    Peer,
    agreed,
    answered,
    deflated,
    each_engine,
    engine_named,
    serve,
)
from wire import ROLES, AnyConnection, binary, encode, merged, open_end, receive, sent_frames

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, Frame
from wscore import Deflate, LocalProtocolError, State

WIDE = Deflate(window_bits=15, peer_window_bits=15)

both_roles = pytest.mark.parametrize("role", ROLES)

HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")


Made = tuple[Any, ...]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Made]:
    """What is made of zlib: the factory and its arguments."""
    result: list[Made] = []

    def recorded(name: str) -> Callable[..., object]:
        factory = getattr(zlib, name)

        def make(*arguments: int) -> object:
            result.append((name, *arguments))
            return factory(*arguments)

        return make

    for name in ("compressobj", "decompressobj"):
        monkeypatch.setattr(zlib, name, recorded(name))
    return result


def kinds(made: list[Made]) -> list[str]:
    """Only which factory it was: "de" or "in"."""
    return ["de" if name == "compressobj" else "in" for name, *_ in made]


def sent(connection: AnyConnection, role: str) -> list[tuple[int, bytes]]:
    """The frames that wait to be written."""
    return sent_frames(connection.data_to_send(), role)


class TestExamples:
    """Section 7.2.3, to the byte."""

    @both_roles
    def test_one_compressed_block(self, role: str) -> None:
        connection = agreed(role)
        connection.send_message("Hello", compress=True)
        assert sent(connection, role) == [(FIN | RSV1 | TEXT, HELLO)]

    @both_roles
    def test_sharing_the_window(self, role: str) -> None:
        connection = agreed(role)
        for payload in (HELLO, bytes.fromhex("f2 00 11 00 00")):
            connection.send_message("Hello", compress=True)
            assert sent(connection, role) == [(FIN | RSV1 | TEXT, payload)]

    @both_roles
    def test_not_sharing_the_window(self, role: str) -> None:
        connection = agreed(role, NO_TAKEOVER)
        for _ in range(3):
            connection.send_message("Hello", compress=True)
            assert sent(connection, role) == [(FIN | RSV1 | TEXT, HELLO)]

    @both_roles
    def test_no_compression(self, role: str) -> None:
        connection = agreed(role, extensions=[Deflate(level=0)])
        connection.send_message("Hello", compress=True)
        payload = bytes.fromhex("00 05 00 fa ff 48 65 6c 6c 6f 00")
        assert sent(connection, role) == [(FIN | RSV1 | TEXT, payload)]

    @both_roles
    def test_two_blocks(self, role: str) -> None:
        """Each fragment is flushed, so that the peer has all of it at once."""
        connection = agreed(role)
        connection.send_fragment("He", last=False)
        connection.send_fragment("llo", last=True)
        assert sent(connection, role) == [
            (RSV1 | TEXT, bytes.fromhex("f2 48 05 00 00 00 ff ff")),
            (FIN | CONTINUATION, bytes.fromhex("ca c9 c9 07 00")),
        ]

    @both_roles
    def test_an_empty_fragment(self, role: str) -> None:
        connection = agreed(role)
        for _ in range(3):
            connection.send_message(b"", compress=True)
            assert sent(connection, role) == [(FIN | RSV1 | BINARY, b"\0")]
        connection.send_fragment(b"", last=False)
        connection.send_fragment(b"", last=False)
        connection.send_fragment(b"", last=True)
        assert sent(connection, role) == [
            (RSV1 | BINARY, b"\0" + TAIL),
            (CONTINUATION, b"\0" + TAIL),
            (FIN | CONTINUATION, b"\0"),
        ]


class TestThreshold:
    @both_roles
    @pytest.mark.parametrize("threshold", [0, 1, 2, 100, 125, 126, 127, 1024, 70000])
    def test_shorter_messages_are_left_alone(self, threshold: int, role: str) -> None:
        connection = agreed(role, extensions=[Deflate(threshold=threshold)])
        peer = Peer(their_bits=12)
        for size in {max(threshold - 1, 0), threshold, threshold + 1}:
            bits = RSV1 if size >= threshold else 0
            for data, opcode in (("x" * size, TEXT), (b"x" * size, BINARY)):
                whole = [data, data, bytearray(b"x" * size)]
                connection.send_message(whole[0])
                connection.send_fragment(whole[1], last=True)
                connection.send_message(whole[2])
                frames = sent(connection, role)
                types = [opcode, opcode, BINARY]
                assert [first for first, _ in frames] == [FIN | bits | kind for kind in types]
                for _, payload in frames:
                    content = peer.inflate(payload) if bits else payload
                    assert content == b"x" * size

    @both_roles
    def test_it_counts_bytes(self, role: str) -> None:
        connection = agreed(role)
        connection.send_message("\u20ac" * 341)
        connection.send_message("\u20ac" * 342)
        firsts = [first for first, _ in sent(connection, role)]
        assert firsts == [FIN | TEXT, FIN | RSV1 | TEXT]

    @both_roles
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 1023, 1024, 70000])
    def test_a_word_of_the_sender_goes_before(self, size: int, role: str) -> None:
        connection = agreed(role)
        peer = Peer()
        for data, opcode in (("x" * size, TEXT), (b"x" * size, BINARY)):
            connection.send_message(data, compress=True)
            connection.send_message(data, compress=False)
            connection.send_fragment(data, last=True, compress=True)
            connection.send_fragment(data, last=True, compress=False)
            connection.send_message(bytearray(b"x" * size), compress=True)
            connection.send_message(bytearray(b"x" * size), compress=False)
            firsts = [FIN | opcode] * 4 + [FIN | BINARY] * 2
            frames = sent(connection, role)
            assert [first for first, _ in frames] == [
                first | bits for first, bits in zip(firsts, [RSV1, 0] * 3, strict=True)
            ]
            for first, payload in frames:
                assert (peer.inflate(payload) if first & RSV1 else payload) == b"x" * size
                assert (first & RSV1 != 0) is (payload != b"x" * size)

    @both_roles
    def test_without_the_extension_it_says_nothing(self, role: str) -> None:
        connection = open_end(role)
        connection.send_message(SENTENCE, compress=True)
        connection.send_message("x", compress=True)
        connection.send_fragment("x", last=True, compress=True)
        assert sent(connection, role) == [
            (FIN | BINARY, SENTENCE),
            (FIN | TEXT, b"x"),
            (FIN | TEXT, b"x"),
        ]


class TestFragments:
    @both_roles
    @pytest.mark.parametrize("header", [None, NO_TAKEOVER])
    def test_they_are_compressed_however_short(self, header: str | None, role: str) -> None:
        connection = agreed(role, header)
        peer = Peer(their_takeover=header is None)
        for parts in (["He", "llo"], ["", "", ""], ["x" * 5000, "", "y"], ["", "x"]):
            for part in parts:
                connection.send_fragment(part, last=False)
            connection.send_fragment("!", last=True)
            frames = sent(connection, role)
            assert [first for first, _ in frames] == [
                RSV1 | TEXT,
                *[CONTINUATION] * (len(parts) - 1),
                FIN | CONTINUATION,
            ]
            payload = b"".join(payload for _, payload in frames)
            assert peer.inflate(payload) == "".join([*parts, "!"]).encode()

    @both_roles
    @pytest.mark.parametrize("later", [None, True, False])
    def test_the_first_part_says_it_for_all(self, later: bool | None, role: str) -> None:
        connection = agreed(role)
        connection.send_fragment(SENTENCE, last=False, compress=False)
        connection.send_fragment(SENTENCE, last=False, compress=later)
        connection.send_fragment(SENTENCE, last=True, compress=later)
        assert sent(connection, role) == [
            (BINARY, SENTENCE),
            (CONTINUATION, SENTENCE),
            (FIN | CONTINUATION, SENTENCE),
        ]
        connection.send_fragment(SENTENCE, last=False, compress=True)
        connection.send_fragment(SENTENCE, last=True, compress=later)
        frames = sent(connection, role)
        assert [first for first, _ in frames] == [RSV1 | BINARY, FIN | CONTINUATION]
        assert Peer().inflate(b"".join(payload for _, payload in frames)) == SENTENCE * 2

    @both_roles
    def test_control_frames_between_them_are_not(self, role: str) -> None:
        """Section 6.1: never control frames."""
        connection = agreed(role, extensions=[Deflate(threshold=0)])
        connection.send_fragment("He", last=False)
        connection.send_ping(b"?" * 125)
        connection.send_fragment("llo", last=False)
        connection.send_pong(b"!")
        connection.send_fragment("", last=True)
        connection.send_close(1000, "bye")
        frames = sent(connection, role)
        assert [first for first, _ in frames] == [
            *(RSV1 | TEXT, FIN | PING, CONTINUATION, FIN | PONG, FIN | CONTINUATION, FIN | CLOSE)
        ]
        assert [frames[i][1] for i in (1, 3, 5)] == [b"?" * 125, b"!", b"\x03\xe8bye"]
        assert Peer().inflate(b"".join(frames[i][1] for i in (0, 2, 4))) == b"Hello"

    @both_roles
    @pytest.mark.parametrize("refused", ["message", "type", "data"])
    def test_what_is_refused_leaves_the_window_as_it_was(self, refused: str, role: str) -> None:
        connection = agreed(role)
        connection.send_fragment("He", last=False)
        wrong: Any = 5
        with pytest.raises(LocalProtocolError if refused == "message" else TypeError):
            if refused == "message":
                connection.send_message(SENTENCE, compress=True)
            else:
                connection.send_fragment(SENTENCE if refused == "type" else wrong, last=True)
        connection.send_fragment("llo", last=True)
        with pytest.raises(TypeError):
            connection.send_message(wrong, compress=True)
        connection.send_message("Hello", compress=True)
        *hello, (_, again) = sent(connection, role)
        peer = Peer()
        assert peer.inflate(b"".join(payload for _, payload in hello)) == b"Hello"
        assert peer.inflate(again) == b"Hello"


class TestWindows:
    @both_roles
    @pytest.mark.parametrize("takeover", [True, False])
    @pytest.mark.parametrize("bits", range(9, 16))
    def test_each_there_and_back(self, bits: int, takeover: bool, role: str) -> None:
        """Of the peer's window no more is used than agreed: its zlib would say so."""
        ours = Deflate(window_bits=bits, peer_window_bits=bits, takeover=takeover)
        answer = f"permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}"
        header = CHROMIUM if role == "server" else answer
        connection = agreed(role, header, [ours])
        peer = Peer(bits, True, bits, takeover)
        for size in (100, 2**bits - 1, 2**bits, 2**bits + 1):
            message = (SENTENCE * (size // len(SENTENCE) + 1))[:size] + SENTENCE[:200]
            for _ in range(2):
                connection.send_message(message, compress=True)
                [(_, payload)] = sent(connection, role)
                assert peer.inflate(payload) == message
                [payload] = peer.deflate(message)
                frame = encode([Frame(FIN | RSV1 | BINARY, payload)], role)
                assert merged(receive(connection, frame)) == [binary(message)]

    @both_roles
    def test_of_8_bits_we_inflate_only(self, role: str) -> None:
        """zlib does not deflate with it; that a message goes uncompressed section 6 allows."""
        ours = Deflate(window_bits=8, peer_window_bits=8, threshold=0)
        answer = "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8"
        connection = agreed(role, CHROMIUM if role == "server" else answer, [ours])
        for compress in (None, True, False):
            connection.send_message(SENTENCE, compress)
            connection.send_fragment("a", last=False, compress=compress)
            connection.send_fragment("b", last=True, compress=compress)
            assert sent(connection, role) == [
                (FIN | BINARY, SENTENCE),
                (TEXT, b"a"),
                (FIN | CONTINUATION, b"b"),
            ]
        peer = Peer(bits=8)
        for message in (SENTENCE, SENTENCE[:256] * 3, bytes(1000), SENTENCE):
            [payload] = peer.deflate(message)
            frame = encode([Frame(FIN | RSV1 | BINARY, payload)], role)
            assert merged(receive(connection, frame)) == [binary(message)]

    @each_engine
    @both_roles
    @pytest.mark.parametrize("level", range(10))
    def test_each_level(self, level: int, role: str, engine: str) -> None:
        for memory_level in range(1, 10):
            ours = Deflate(level, memory_level, engine=engine_named(engine))
            connection = agreed(role, extensions=[ours])
            peer = Peer(their_bits=12)
            for message in (SENTENCE * 10, b"", SENTENCE):
                connection.send_message(message, compress=True)
                [(_, payload)] = sent(connection, role)
                assert peer.inflate(payload) == message
                assert (len(payload) < len(message)) is (level > 0 and message != b"")

    @both_roles
    def test_settings_are_heeded(self, role: str, made: list[Made]) -> None:
        ours = Deflate(level=3, memory_level=2, window_bits=10, peer_window_bits=9)
        answer = "permessage-deflate; server_max_window_bits=9"
        connection = agreed(role, CHROMIUM if role == "server" else answer, [ours])
        connection.send_message(SENTENCE)
        receive(connection, encode([Frame(FIN | RSV1 | BINARY, b"\0")], role))
        assert made == [("compressobj", 3, zlib.DEFLATED, -10, 2), ("decompressobj", -9)]


class TestMemory:
    """A connection that never compresses costs no window."""

    @both_roles
    def test_nothing_of_zlib_before_it_is_needed(self, role: str, made: list[Made]) -> None:
        connection = agreed(role)
        connection.send_message("short")
        connection.send_message(b"x" * 1023)
        connection.send_message(SENTENCE, compress=False)
        connection.send_fragment(SENTENCE, last=False, compress=False)
        connection.send_fragment(SENTENCE, last=True)
        connection.send_ping(b"x" * 125)
        plain = [Frame(FIN | BINARY, SENTENCE), Frame(TEXT, b"a"), Frame(FIN | CONTINUATION, b"b")]
        receive(connection, encode([*plain, Frame(FIN | PING)], role))
        assert made == []
        connection.send_message(SENTENCE)
        assert kinds(made) == ["de"]
        frames = encode([Frame(FIN | RSV1 | BINARY, deflated(SENTENCE))], role)
        receive(connection, frames)
        assert kinds(made) == ["de", "in"]
        # Both last as long as the connection.
        connection.send_message(SENTENCE)
        receive(connection, frames)
        assert kinds(made) == ["de", "in"]

    @pytest.mark.slow
    @both_roles
    def test_what_was_agreed_on_is_shared(self, role: str) -> None:
        """Until a message is compressed, a connection takes no more than one without compression,
        whatever the peer offered or answered."""

        def each(*connect: Callable[[], AnyConnection]) -> list[float]:
            """Bytes, for each of these ways to connect."""
            taken = []
            for one in connect:
                kept = [one() for _ in range(10)]
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                kept += [one() for _ in range(100)]
                gc.collect()
                taken.append((tracemalloc.get_traced_memory()[0] - before) / 100)
                for connection in kept:
                    assert connection.state is State.OPEN
            return taken

        def without() -> AnyConnection:
            if role == "server":
                return serve([], CHROMIUM)[0]
            return answered([WIDE])[0]

        tracemalloc.start()
        try:
            agreeing, declining = each(lambda: agreed(role, extensions=[WIDE]), without)
        finally:
            tracemalloc.stop()
        assert 500 < declining
        assert agreeing < declining + 16

    @both_roles
    def test_without_takeover_each_message_has_its_own(self, role: str, made: list[Made]) -> None:
        connection = agreed(role, NO_TAKEOVER)
        parts = Peer().deflate(b"a", b"b", b"c")
        made.clear()
        for i in range(1, 4):
            for part in ("a", "b", "c"):
                connection.send_fragment(part, last=part == "c")
            assert kinds(made) == ["de", "in"] * (i - 1) + ["de"]
            frames = [Frame(RSV1 | BINARY, parts[0]), Frame(CONTINUATION, parts[1])]
            frames.append(Frame(FIN | CONTINUATION, parts[2]))
            assert merged(receive(connection, encode(frames, role))) == [binary(b"abc")]
            assert kinds(made) == ["de", "in"] * i

    @both_roles
    @pytest.mark.parametrize(
        ("header", "least", "most"), [(None, 32_768, 40_960), (NO_TAKEOVER, 0, 4_096)]
    )
    def test_in_bytes(self, header: str | None, least: int, most: int, role: str) -> None:
        """As Deflate's docstring says: 4 * 2**window_bits + 512 * 2**memory_level, and 6 KiB."""
        connection = agreed(role, header, [Deflate(window_bits=12, memory_level=5)])
        tracemalloc.start()
        try:
            connection.send_message(SENTENCE, compress=False)
            connection.data_to_send()
            before = tracemalloc.get_traced_memory()[0]
            assert before < 4_096
            connection.send_message(SENTENCE)
            connection.data_to_send()
            window = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert least <= window <= most
