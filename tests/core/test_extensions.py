"""The contract of extensions, kept by two others: alone, together and with permessage-deflate.

One scrambles what is sent, one shortens runs of a byte; neither looks into the core.
"""

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from deflated import SENTENCE, Peer, agreed, answered, deflated, extensions_in, serve
from wire import ROLES, binary, encode, merged, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, RSV2, RSV3, TEXT, Frame
from wscore import (
    Accepted,
    ClientConnection,
    ConnectionFailed,
    Deflate,
    HandshakeFailed,
    MessagePiece,
    Ping,
    PreparedMessage,
    Reasons,
    ServerConnection,
)
from wscore.extensions import (
    CorruptMessage,
    Decoder,
    Encoder,
    Extension,
    NegotiatedExtension,
    NegotiationError,
    Parameters,
)
from wscore.extensions.negotiated import negotiated_extensions

both_roles = pytest.mark.parametrize("role", ROLES)


def scrambled(data: bytes, key: int, start: int = 0) -> bytes:
    """Each byte by where it stands in its message; done twice, nothing is done."""
    pad = bytes((key ^ (start + i)) & 0xFF for i in range(256)) * (len(data) // 256 + 1)
    scrambled = int.from_bytes(data) ^ int.from_bytes(pad[: len(data)])
    return scrambled.to_bytes(len(data))


class ScrambleCodec:
    """One connection's, in either direction."""

    pending = False

    def __init__(self, key: int, bits: int) -> None:
        self.bits = bits
        self._key = key
        self._on = False
        self._sent = 0
        self._received = 0

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        if first:
            self._sent = 0
            self._on = compress is not False
        if not self._on:
            return 0, data
        start = self._sent
        self._sent += len(data)
        return (self.bits if first else 0), scrambled(data, self._key, start)

    def sent_stateless(self) -> None:
        """Each message is for itself anyhow."""

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        start = self._received
        self._received = 0 if last else start + len(data)
        return scrambled(data, self._key, start)


@dataclass(frozen=True)
class Scrambled:
    """Of messages of any length but those sent with compress=False."""

    cache_key: int
    bits: int
    threshold = 0

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        return (0, data) if compress is False else (self.bits, scrambled(data, self.cache_key))

    def encoder(self) -> ScrambleCodec:
        return ScrambleCodec(self.cache_key, self.bits)

    decoder = encoder


@dataclass
class Scramble:
    """The client proposes keys, the server takes the first that is even."""

    keys: tuple[int, ...] = (42,)
    bits: int = RSV2
    name: str = "x-scramble"

    def offer(self) -> list[Parameters]:
        return [[("key", str(key))] for key in self.keys]

    def answer(self, offer: Parameters) -> tuple[Parameters, NegotiatedExtension] | None:
        [(_, key)] = offer
        if key is None or int(key) % 2:
            return None
        return [("key", key), ("agreed", None)], Scrambled(int(key), self.bits)

    def agree(self, answer: Parameters) -> NegotiatedExtension:
        key = dict(answer).get("key")
        if key is None:
            raise NegotiationError("\u20ac" * 200)
        return Scrambled(int(key), self.bits)


def shortened(data: bytes) -> bytes:
    """Each run of a byte as its length, up to 255, and the byte."""
    return b"".join(
        bytes([len(run[0]), run[0][0]]) for run in re.finditer(rb"(?s)(.)\1{0,254}", data)
    )


class RunsCodec:
    """A run of 255 comes of two bytes, so more may be pending."""

    def __init__(self) -> None:
        self.pending = False
        self._on = False
        self._kept = b""

    def encode(
        self, data: bytes, first: bool, last: bool, compress: bool | None
    ) -> tuple[int, bytes]:
        if first:
            self._on = not last or len(data) >= Shortened.threshold or bool(compress)
        if not self._on:
            return 0, data
        return (RSV3 if first else 0), shortened(data)

    def sent_stateless(self) -> None:
        """Each message is for itself anyhow."""

    def decode(self, data: bytes, last: bool, most: int) -> bytes:
        assert most >= 1
        assert not (self.pending and data), "more data before the rest was asked for"
        data = self._kept + data
        runs = bytearray()
        at = 0
        while len(data) - at >= 2 and len(runs) < most:
            count, byte = data[at], data[at + 1]
            if not count:
                raise CorruptMessage("a run of nothing")
            room = min(count, most - len(runs))
            runs += bytes([byte]) * room
            if room < count:
                data = data[:at] + bytes([count - room]) + data[at + 1 :]
                break
            at += 2
        self._kept = data[at:]
        self.pending = len(self._kept) >= 2
        if last and len(self._kept) == 1:
            raise CorruptMessage("half a run")
        return bytes(runs)


class Shortened:
    """The same for all."""

    bits = RSV3
    threshold = 100
    cache_key = None

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        if len(data) < self.threshold and not compress:
            return 0, data
        return self.bits, shortened(data)

    def encoder(self) -> Encoder:
        return RunsCodec()

    def decoder(self) -> Decoder:
        return RunsCodec()


class Runs:
    """Without parameters."""

    name = "x-runs"

    def offer(self) -> list[Parameters]:
        return [[]]

    def answer(self, offer: Parameters) -> tuple[Parameters, NegotiatedExtension] | None:
        return None if offer else ([], Shortened())

    def agree(self, answer: Parameters) -> NegotiatedExtension:
        return Shortened()


DEFLATE = Deflate(window_bits=15, peer_window_bits=15)
EXTENSIONS: list[Extension] = [DEFLATE, Scramble(), Runs()]

HEADERS = {"d": "permessage-deflate", "s": "x-scramble; key=42", "r": "x-runs"}
BITS = {"d": RSV1, "s": RSV2, "r": RSV3}

ORDERS = ["".join(order) for count in (1, 2, 3) for order in permutations("dsr", count)]
every_order = pytest.mark.parametrize("order", ORDERS)


def header(order: str) -> str:
    """What the peer offers, or answers."""
    return ", ".join(HEADERS[one] for one in order)


def transformed(data: bytes, order: str) -> bytes:
    """A message's payload, written by hand."""
    for one in order:
        if one == "d":
            data = deflated(data)
        elif one == "s":
            data = scrambled(data, 42)
        else:
            data = shortened(data)
    return data


def restored(payload: bytes, order: str, peer: Peer) -> bytes:
    """The message of a payload, read by hand."""
    for one in reversed(order):
        if one == "d":
            payload = peer.inflate(payload)
        elif one == "s":
            payload = scrambled(payload, 42)
        else:
            runs = [payload[i : i + 2] for i in range(0, len(payload), 2)]
            payload = b"".join(run[1:] * run[0] for run in runs)
    return payload


def all_bits(order: str) -> int:
    """The reserved bits of these extensions."""
    return sum(BITS[one] for one in order)


MESSAGES = [SENTENCE, b"a" * 5000, b"", b"abc", bytes(70_000) + b"!", SENTENCE * 3]


class TestAlone:
    """A single one, agreed on between both ends."""

    def test_its_negotiation(self) -> None:
        """The first offer that suits, as for any other."""
        ours = Scramble(keys=(7, 9, 8, 10))
        client = ClientConnection("example.com", extensions=[ours])
        server = ServerConnection(extensions=[Scramble()])
        request = client.data_to_send()
        assert extensions_in(request) == ", ".join(
            f"x-scramble; key={key}" for key in (7, 9, 8, 10)
        )
        server.receive_data(request)
        server.accept()
        response = server.data_to_send()
        assert extensions_in(response) == "x-scramble; key=8; agreed"
        client.receive_data(response)
        for sender, receiver in ((client, server), (server, client)):
            sender.send_message("caf\u00e9")
            sender.send_fragment(b"ab", last=False)
            sender.send_ping(b"?")
            sender.send_fragment(b"cd", last=True)
            data = sender.data_to_send()
            events = receive(receiver, data)
            whole, *pieces = [event for event in events if isinstance(event, MessagePiece)]
            assert whole == text("caf\u00e9")
            assert merged(pieces) == [binary(b"abcd")]
            assert Ping(b"?") in events

    def test_it_may_be_declined(self) -> None:
        server, answer = serve([Scramble()], "x-scramble; key=7")
        assert answer is None
        server.send_message("abc")
        assert server.data_to_send() == b"\x81\x03abc"

    @both_roles
    def test_it_sees_the_shortest_message(self, role: str) -> None:
        connection = agreed(role, HEADERS["s"], [Scramble()])
        connection.send_message("abc")
        connection.send_message(b"")
        connection.send_message("abc", compress=False)
        assert sent_frames(connection.data_to_send(), role) == [
            (FIN | RSV2 | TEXT, scrambled(b"abc", 42)),
            (FIN | RSV2 | BINARY, b""),
            (FIN | TEXT, b"abc"),
        ]

    @both_roles
    def test_it_sees_none_below_its_threshold(self, role: str) -> None:
        connection = agreed(role, HEADERS["r"], [Runs()])
        for size in (0, 99, 100, 125, 126):
            connection.send_message(b"x" * size)
            bits, payload = (RSV3, shortened(b"x" * size)) if size >= 100 else (0, b"x" * size)
            sent = sent_frames(connection.data_to_send(), role)
            assert sent == [(FIN | bits | BINARY, payload)]
        connection.send_message(b"xx", compress=True)
        assert sent_frames(connection.data_to_send(), role) == [(FIN | RSV3 | BINARY, b"\2x")]

    @both_roles
    def test_several_bits_of_one(self, role: str) -> None:
        connection = agreed(role, HEADERS["s"], [Scramble(bits=RSV1 | RSV3)])
        connection.send_message("abc")
        payload = scrambled(b"abc", 42)
        sent = sent_frames(connection.data_to_send(), role)
        assert sent == [(FIN | RSV1 | RSV3 | TEXT, payload)]
        for bits in (RSV1, RSV3, RSV1 | RSV3):
            frame = encode([Frame(FIN | bits | TEXT, payload)], role)
            assert receive(connection, frame) == [text("abc")]
        [failure] = receive(connection, encode([Frame(FIN | RSV2 | TEXT, payload)], role))
        assert failure == ConnectionFailed(Reasons.PROTOCOL_ERROR, "reserved bits are set")

    def test_one_without_reserved_bits_is_taken_once(self) -> None:
        """As any other: the first offer that suits; a client refuses the same twice."""
        header = "x-scramble; key=8, x-scramble; key=10"
        assert serve([Scramble(bits=0)], header)[1] == "x-scramble; key=8; agreed"


class TestTogether:
    """Messages go through them in the order of the answer, and back (RFC 6455 section 9.1)."""

    @every_order
    def test_the_answer_has_the_order_of_the_offers(self, order: str) -> None:
        _, answer = serve(EXTENSIONS, header(order))
        expected = header(order).replace("key=42", "key=42; agreed")
        assert answer == expected

    @both_roles
    @every_order
    def test_what_is_sent(self, order: str, role: str) -> None:
        connection = agreed(role, header(order), EXTENSIONS)
        peer = Peer()
        for message in MESSAGES:
            connection.send_message(message, compress=True)
            [(first, payload)] = sent_frames(connection.data_to_send(), role)
            assert first == FIN | BINARY | all_bits(order)
            assert restored(payload, order, peer) == message

    @both_roles
    @every_order
    def test_what_is_left_alone_by_some(self, order: str, role: str) -> None:
        """Each judges by itself what it is given; deflate's threshold is 1024, that of runs 100."""
        connection = agreed(role, header(order), EXTENSIONS)
        peer = Peer()
        for size in (10, 99, 100, 500):
            connection.send_message(b"x" * size)
            [(first, payload)] = sent_frames(connection.data_to_send(), role)
            used = "".join(one for one in order if first & BITS[one])
            assert "d" not in used
            assert ("s" in used) is ("s" in order)
            assert size >= 100 or "r" not in used
            assert restored(payload, used, peer) == b"x" * size

    @pytest.mark.slow
    @both_roles
    @every_order
    @pytest.mark.parametrize("size", [None, 1, 1000])
    def test_what_is_received(self, size: int | None, order: str, role: str) -> None:
        connection = agreed(role, header(order), EXTENSIONS)
        for message in MESSAGES[:4] if size == 1 else MESSAGES:
            payload = transformed(message, order)
            frame = encode([Frame(FIN | BINARY | all_bits(order), payload)], role)
            assert merged(receive(connection, frame, size)) == [binary(message)]

    @both_roles
    @every_order
    def test_only_those_whose_bits_are_set(self, order: str, role: str) -> None:
        connection = agreed(role, header(order), EXTENSIONS)
        for count in range(len(order) + 1):
            for used in permutations(order, count):
                some = "".join(one for one in order if one in used)
                frame = Frame(FIN | BINARY | all_bits(some), transformed(SENTENCE, some))
                assert merged(receive(connection, encode([frame], role))) == [binary(SENTENCE)]

    @both_roles
    @every_order
    def test_bits_of_none(self, order: str, role: str) -> None:
        for one in set("dsr") - set(order):
            connection = agreed(role, header(order), EXTENSIONS)
            frame = Frame(FIN | BINARY | all_bits(order) | BITS[one], b"")
            [failure] = receive(connection, encode([frame], role))
            assert failure == ConnectionFailed(Reasons.PROTOCOL_ERROR, "reserved bits are set")

    @pytest.mark.slow
    @both_roles
    @every_order
    def test_fragments(self, order: str, role: str) -> None:
        """Each fragment is transformed as it comes, marked in the first only."""
        connection = agreed(role, header(order), EXTENSIONS)
        other = agreed("client" if role == "server" else "server", header(order), EXTENSIONS)
        parts = [b"aaa", b"", SENTENCE, b"b" * 100_000, b"b"]
        for part in parts:
            connection.send_fragment(part, last=False)
            connection.send_ping()
        connection.send_fragment(b"", last=True)
        data = connection.data_to_send()
        firsts = [first for first, _ in sent_frames(data, role) if first != FIN | PING]
        assert firsts == [BINARY | all_bits(order), *[CONTINUATION] * 4, FIN | CONTINUATION]
        for size in (None, 1000):
            pieces = [e for e in receive(other, data, size) if isinstance(e, MessagePiece)]
            assert merged(pieces) == [binary(b"".join(parts))]

    @every_order
    def test_prepared_for_all(self, order: str) -> None:
        message = PreparedMessage(SENTENCE, compress=True)
        server = agreed("server", header(order), EXTENSIONS)
        peer = Peer()
        for _ in range(2):
            server.send_prepared(message)
            server.send_message(SENTENCE, compress=True)
        for first, payload in sent_frames(server.data_to_send(), "server"):
            assert first == FIN | BINARY | all_bits(order)
            assert restored(payload, order, peer) == SENTENCE


PIECE = 65536
CALL = 4 * PIECE


class TestWhatIsPending:
    """Two that give more than they get, one after the other."""

    @both_roles
    @pytest.mark.parametrize("order", ["dr", "rd", "dsr", "rsd"])
    @pytest.mark.parametrize(
        "size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, CALL - 1, CALL, CALL + 1, 2**20]
    )
    def test_all_of_it_comes_in_bounded_pieces(self, size: int, order: str, role: str) -> None:
        connection = agreed(role, header(order), EXTENSIONS)
        message = bytes(size - 1) + b"!"
        frame = Frame(FIN | BINARY | all_bits(order), transformed(message, order))
        data = encode([frame, Frame(FIN | PING), frame], role)
        events = connection.receive_data(data)
        every = list(events)
        while connection.more:
            events = connection.receive_data(b"")
            made = [len(event.data) for event in events if isinstance(event, MessagePiece)]
            assert sum(made) < CALL + PIECE
            assert max(made, default=0) <= PIECE
            every += events
        assert merged(every) == [binary(message), Ping(b""), binary(message)]

    @both_roles
    def test_both_have_more(self, role: str) -> None:
        """Runs that become a bomb, and after it what takes long in runs again."""
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        payload = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
        payload += (b"\0\xff\xff\0\0" + bytes(65535)) * 4 + b"\0"
        wire = shortened(payload)
        assert len(wire) < PIECE < len(payload) - PIECE
        connection = agreed(role, header("dr"), EXTENSIONS, max_message_size=2**21)
        frame = Frame(FIN | BINARY | all_bits("dr"), wire)
        events = merged(receive(connection, encode([frame, frame], role)))
        assert events == [binary(bytes(2**20 + 4 * 65535))] * 2

    @both_roles
    @pytest.mark.parametrize("order", ["dr", "rd", "dsr", "rsd"])
    @pytest.mark.parametrize("limit", [0, 1000, PIECE, 2**20 - 1])
    def test_the_bound_is_on_what_comes_of_all(self, limit: int, order: str, role: str) -> None:
        connection = agreed(role, header(order), EXTENSIONS, max_message_size=limit)
        for size in (limit, limit + 1):
            payload = transformed(bytes(size), order)
            frame = Frame(FIN | BINARY | all_bits(order), payload)
            events = receive(connection, encode([frame], role))
            if size == limit:
                assert merged(events) == [binary(bytes(size))]
            else:
                reason = f"a message is longer than {limit} bytes"
                assert events[-1] == ConnectionFailed(Reasons.MESSAGE_TOO_BIG, reason)


class TestCorruption:
    @both_roles
    @pytest.mark.parametrize(
        ("payload", "reason"), [(b"\0x", "a run of nothing"), (b"\1x\2", "half a run")]
    )
    def test_what_the_codec_says(self, payload: bytes, reason: str, role: str) -> None:
        connection = agreed(role, HEADERS["r"], [Runs()])
        *_, failure = receive(connection, encode([Frame(FIN | RSV3 | BINARY, payload)], role))
        assert failure == ConnectionFailed(Reasons.INCONSISTENT_DATA, reason)

    @both_roles
    def test_in_any_words(self, role: str) -> None:
        """They go on the wire as far as a Close has room."""

        class Broken(RunsCodec):
            def decode(self, data: bytes, last: bool, most: int) -> bytes:
                raise CorruptMessage("\u20ac" * 200)

        class Agreed(Shortened):
            def decoder(self) -> Decoder:
                return Broken()

        class Breaking(Runs):
            def answer(self, offer: Parameters) -> tuple[Parameters, NegotiatedExtension] | None:
                return [], Agreed()

            def agree(self, answer: Parameters) -> NegotiatedExtension:
                return Agreed()

        connection = agreed(role, HEADERS["r"], [Breaking()])
        [failure] = receive(connection, encode([Frame(FIN | RSV3 | BINARY, b"\1x")], role))
        assert failure == ConnectionFailed(Reasons.INCONSISTENT_DATA, "\u20ac" * 41)
        connection.acknowledge_close()
        [(_, body)] = sent_frames(connection.data_to_send(), role)
        assert body == (1007).to_bytes(2) + ("\u20ac" * 41).encode()

    @both_roles
    def test_of_an_inner_one(self, role: str) -> None:
        connection = agreed(role, header("rd"), EXTENSIONS)
        frame = Frame(FIN | RSV1 | RSV3 | BINARY, deflated(b"\0x"))
        [failure] = receive(connection, encode([frame], role))
        assert failure == ConnectionFailed(Reasons.INCONSISTENT_DATA, "a run of nothing")


class TestConflicts:
    def test_a_server_takes_no_two_with_the_same_bits(self) -> None:
        """RFC 7692 section 5: whichever the client prefers."""
        ours: list[Extension] = [DEFLATE, Scramble(bits=RSV1 | RSV2), Runs()]
        for order, expected in (
            ("dsr", "permessage-deflate, x-runs"),
            ("sdr", "x-scramble; key=42; agreed, x-runs"),
            ("rsd", "x-runs, x-scramble; key=42; agreed"),
        ):
            assert serve(ours, header(order))[1] == expected

    @pytest.mark.parametrize(
        ("order", "name"), [("ds", "x-scramble"), ("rsd", "permessage-deflate")]
    )
    def test_a_client_refuses_two_with_the_same_bits(self, order: str, name: str) -> None:
        ours: list[Extension] = [DEFLATE, Scramble(bits=RSV1 | RSV2), Runs()]
        client, event = answered(ours, header(order))
        assert isinstance(event, HandshakeFailed)
        reason = f"the server chose the extension '{name}' and another for the same reserved bits"
        assert event.reason == reason
        [(first, body)] = sent_frames(client.data_to_send(), "client")
        assert (first, body) == (FIN | CLOSE, (1010).to_bytes(2) + reason.encode())

    def test_two_without_conflict(self) -> None:
        _, event = answered(EXTENSIONS, header("rsd"))
        assert isinstance(event, Accepted)

    def test_a_refusal_in_any_words(self) -> None:
        """What an extension says goes on the wire as far as a Close has room."""
        client, event = answered([Scramble()], "x-scramble")
        assert event == HandshakeFailed(0, "\u20ac" * 200)
        [(_, body)] = sent_frames(client.data_to_send(), "client")
        assert body == (1010).to_bytes(2) + ("\u20ac" * 41).encode()


class Nameless(Runs):
    name = "x runs"


WRONG: list[tuple[Iterable[object], type[Exception], str]] = [
    ([Runs(), Deflate(), Runs()], ValueError, "extensions must be different"),
    ([Deflate(), Deflate(level=9)], ValueError, "extensions must be different"),
    ([Nameless()], ValueError, "'x runs' is not allowed in extensions"),
    ([Deflate], TypeError, "is not an extension: pass a list of instances such as Deflate()"),
    (
        ["deflate"],
        TypeError,
        "'deflate' is not an extension: pass a list of instances such as Deflate()",
    ),
    ("deflate", TypeError, "'d' is not an extension: pass a list of instances such as Deflate()"),
    ([None], TypeError, "None is not an extension"),
]


@pytest.mark.parametrize(("extensions", "error", "words"), WRONG)
def test_a_callers_mistakes(extensions: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        ServerConnection(extensions=extensions)
    with pytest.raises(error, match=re.escape(words)):
        ClientConnection("example.com", extensions=extensions)


class Agreed(NamedTuple):
    """Tuples are equal by their content, whatever their classes."""

    bits: int = RSV2
    threshold: int = 0
    cache_key: int = 1


class OtherwiseAgreed(NamedTuple):
    """Of another extension."""

    bits: int = RSV2
    threshold: int = 0
    cache_key: int = 1


def test_agreements_are_shared_by_connections_that_agreed_on_the_same() -> None:
    extensions: Any = [Agreed(), Agreed(), OtherwiseAgreed()]
    one, same, other = (negotiated_extensions([extension]) for extension in extensions)
    assert one is same
    assert extensions[2] == extensions[0]
    assert other is not one
