"""The bound holds on inflated sizes; memory and the work of each call are bounded without it."""

import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from deflated import NO_TAKEOVER, TAIL, Peer, agreed, deflated
from wire import ROLES, AnyConnection, binary, encode, merged, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, TEXT, Frame
from wscore import CloseReceived, ConnectionFailed, Event, MessagePiece, Ping, Reasons

both_roles = pytest.mark.parametrize("role", ROLES)
both_takeovers = pytest.mark.parametrize("header", [None, NO_TAKEOVER], ids=["takeover", "none"])

TOO_SMALL = ConnectionFailed(Reasons.MESSAGE_TOO_BIG, "a message has too many small fragments")

KIB, MIB = 2**10, 2**20
PIECE = 64 * KIB
CALL = 256 * KIB

EMPTY_BLOCK = b"\0" + TAIL
FINAL_BLOCK = b"\3\0"

NOISE = Random(7692).randbytes(MIB)


# The tests' own, because what connections use is replaced.
plain_inflater = zlib.decompressobj


@dataclass
class Account:
    """What was asked of zlib."""

    rounds: int = 0
    given: int = 0
    made: int = 0


class Inflater:
    """zlib's, with an account."""

    def __init__(self, inner: "zlib._Decompress", account: Account) -> None:
        self.inner = inner
        self.account = account

    def decompress(self, data: bytes, most: int) -> bytes:
        """Never asks for 0 bytes, which means no limit to zlib."""
        assert 1 <= most <= PIECE
        made = self.inner.decompress(data, most)
        self.account.rounds += 1
        self.account.given += len(data)
        self.account.made += len(made)
        return made

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """The account of this test's connections."""
    result = Account()
    inflater = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda wbits: Inflater(inflater(wbits), result))
    return result


def too_big(limit: int) -> ConnectionFailed:
    """What is said of a message beyond `limit`."""
    return ConnectionFailed(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")


def bomb(mebibytes: int) -> bytes:
    """The payload of so many zeros, a thousandth of them long."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return once * mebibytes + b"\0"


def one(payload: bytes, opcode: int = BINARY) -> Frame:
    """A compressed message in one frame."""
    return Frame(FIN | RSV1 | opcode, payload)


def unmasked(frames: list[Frame], role: str) -> bytes:
    """The frames' bytes; masked with zeros, for masking megabytes by hand takes seconds."""
    parts = []
    for frame in frames:
        plain = frame.encode(masked=False)
        if role == "server":
            start = len(plain) - len(frame.payload)
            plain = bytes([plain[0], plain[1] | 0x80]) + plain[2:start] + bytes(4) + frame.payload
        parts.append(plain)
    return b"".join(parts)


def calls(connection: AnyConnection, data: bytes) -> Iterator[list[Event]]:
    """The events of each call that it takes, none of which makes more than it may."""
    while True:
        events = connection.receive_data(data)
        sizes = [len(event.data) for event in events if isinstance(event, MessagePiece)]
        assert sum(sizes) < CALL + PIECE
        assert max(sizes, default=0) <= PIECE + 3  # and the start of a code point
        yield events
        if not connection.more:
            return
        data = b""


def length(events: list[Event]) -> int:
    """How many bytes of messages there are."""
    return sum(len(event.data) for event in events if isinstance(event, MessagePiece))


class TestSize:
    """On the inflated size: the bound itself passes, one byte more does not."""

    @both_takeovers
    @both_roles
    @pytest.mark.parametrize(
        "limit", [0, 1, 2, 100, 125, 126, 1000, 20_000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]
    )
    def test_whole_and_in_reads(self, limit: int, role: str, header: str | None) -> None:
        for content in (bytes(limit + 1), NOISE[: limit + 1], b"x" * limit + b"!"):
            for size in (1, 1000, None) if limit <= 1000 else (1000, None):
                connection = agreed(role, header, max_message_size=limit)
                peer = Peer(takeover=header is None)
                [exact], [again], [more] = map(peer.deflate, (content[:-1], content[:-1], content))
                frames = unmasked([one(exact), one(again)], role)
                assert merged(receive(connection, frames, size)) == [binary(content[:-1])] * 2
                *pieces, failure = receive(connection, unmasked([one(more)], role), size)
                assert failure == too_big(limit)
                assert length(pieces) <= limit

    @both_roles
    @pytest.mark.parametrize("limit", [0, 1, 2, 3, 1000, PIECE - 1, PIECE, PIECE + 1])
    def test_of_text(self, limit: int, role: str) -> None:
        content = "\u20ac" * (limit // 3) + "x" * (limit % 3)
        connection = agreed(role, max_message_size=limit)
        payload = deflated(content.encode())
        assert merged(receive(connection, encode([one(payload, TEXT)], role))) == [text(content)]
        payload = deflated(content.encode() + b"\xff")
        assert receive(connection, encode([one(payload, TEXT)], role))[-1] == too_big(limit)

    @both_roles
    @pytest.mark.parametrize("missing", [0, 1, 499, 500, 600, 1000])
    def test_of_all_fragments_together(self, missing: int, role: str) -> None:
        connection = agreed(role, max_message_size=1000)
        for _ in range(3):
            first, middle, last = Peer().deflate(bytes(500), b"x" * 500, b"")
            frames = [Frame(RSV1 | BINARY, first), Frame(CONTINUATION, middle)]
            whole = encode([*frames, Frame(FIN | CONTINUATION, last)], role)
            assert merged(receive(connection, whole)) == [binary(bytes(500) + b"x" * 500)]
        first, middle, last = Peer().deflate(bytes(1000 - missing), b"x" * missing, b"!")
        frames = [Frame(RSV1 | BINARY, first), Frame(CONTINUATION, middle)]
        assert length(receive(connection, encode(frames, role))) == 1000
        end = encode([Frame(FIN | CONTINUATION, last)], role)
        assert receive(connection, end) == [too_big(1000)]
        connection.acknowledge_close()
        [(opcode, body)] = sent_frames(connection.data_to_send(), role)
        assert (opcode, body[:2]) == (FIN | CLOSE, (1009).to_bytes(2))

    @both_roles
    def test_uncompressed_messages_as_well(self, role: str) -> None:
        """They are judged by what they declare, to the byte."""
        connection = agreed(role, max_message_size=1000)
        frames = [one(deflated(bytes(1000))), Frame(FIN | BINARY, bytes(1000))] * 2
        assert merged(receive(connection, encode(frames, role))) == [binary(bytes(1000))] * 4
        frame = Frame(FIN | BINARY, bytes(1001))
        assert receive(connection, encode([frame], role)[:8]) == [too_big(1000)]

    @both_roles
    @pytest.mark.parametrize("limit", [0, 1000, MIB])
    def test_what_is_declared_leaves_room_for_what_does_not_compress(
        self, limit: int, role: str
    ) -> None:
        most = limit + limit // 8 + 16 * KIB
        connection = agreed(role, max_message_size=limit)
        declared = (
            b"\x7e" + (most + 1).to_bytes(2) if limit < MIB else b"\x7f" + (most + 1).to_bytes(8)
        )
        header = Frame(RSV1 | BINARY, b"", declared)
        assert receive(connection, unmasked([header], role)) == [too_big(limit)]
        connection = agreed(role, max_message_size=limit)
        content = NOISE[:limit]
        payload = deflated(content)
        filled = EMPTY_BLOCK * ((most - len(payload)) // 5) + payload
        assert most - 5 < len(filled) <= most
        assert merged(receive(connection, unmasked([one(filled)], role))) == [binary(content)]


class TestBomb:
    @both_roles
    @pytest.mark.parametrize("limit", [0, 1, 1000, PIECE, MIB, 3 * MIB - 1])
    def test_it_is_stopped_as_soon_as_the_bound_is_passed(
        self, limit: int, role: str, account: Account
    ) -> None:
        """1 MiB that would inflate to 1 GiB."""
        payload = bomb(1024)
        data = unmasked([one(payload[: limit + limit // 8 + 16 * KIB])], role)
        connection = agreed(role, max_message_size=limit)
        *before, last = calls(connection, data)
        assert last[-1] == too_big(limit)
        assert sum(map(length, before)) + length(last) <= limit
        assert account.made == limit + 1
        assert receive(connection, data) == []

    @both_roles
    def test_one_in_another(self, role: str) -> None:
        """What comes out is not looked into."""
        inner = bomb(1)
        connection = agreed(role, max_message_size=len(inner))
        [whole] = merged(receive(connection, encode([one(deflated(inner))], role)))
        assert whole == binary(inner)

    @both_roles
    def test_without_a_bound_it_comes_in_pieces(self, role: str, account: Account) -> None:
        """10 MiB in one read that inflate to 10 GiB: nothing but the input is held."""
        connection = agreed(role, max_message_size=None)
        data = unmasked([one(bomb(10 * 1024))], role)
        tracemalloc.start()
        try:
            total = 0
            for _, events in zip(range(60), calls(connection, data), strict=False):
                total += length(events)
                del events
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # The first call also takes a piece of the input, which counts as much as a call's output.
        assert total == PIECE + 59 * CALL == account.made
        assert account.given <= 2 * 60 * CALL
        assert peak < 3 * len(data)
        assert connection.more
        assert connection.connection_lost() == [
            ConnectionFailed(Reasons.ABNORMAL_CLOSE, "the connection was lost")
        ]
        assert not connection.more

    @both_roles
    @pytest.mark.parametrize("size", [100, 4096, None])
    def test_without_a_bound_all_of_it_comes(self, size: int | None, role: str) -> None:
        connection = agreed(role, max_message_size=None)
        data = unmasked([one(bomb(16)), one(deflated(b"Hello"))], role)
        size = size or len(data)
        events: list[Event] = []
        for start in range(0, len(data), size):
            for more in calls(connection, data[start : start + size]):
                events += more
        *pieces, hello = events
        assert length(pieces) == 16 * MIB
        assert [event for event in pieces if isinstance(event, MessagePiece) and event.last] == (
            pieces[-1:]
        )
        assert hello == binary(b"Hello")

    @pytest.mark.slow
    @both_roles
    def test_many_at_once(self, role: str) -> None:
        """256 messages of 1 KiB, each of which may inflate to 1 MiB: the limit is the same."""
        connection = agreed(role)
        data = unmasked([one(bomb(1))] * 256, role)
        total = count = 0
        for events in calls(connection, data):
            total += length(events)
            count += 1
        assert total == 256 * MIB
        assert count >= 1024

    @both_roles
    def test_many_that_take_one_round_each(self, role: str) -> None:
        connection = agreed(role)
        data = unmasked([one(deflated(bytes(PIECE - 1)))] * 12, role)
        assert [len(events) for events in calls(connection, data)] == [5, 5, 2]

    @both_roles
    def test_much_after_a_ping(self, role: str) -> None:
        connection = agreed(role)
        data = unmasked([Frame(FIN | PING), one(bomb(1)), one(deflated(b"Hello"))], role)
        ping, *pieces, hello = [event for call in calls(connection, data) for event in call]
        assert ping == Ping(b"")
        assert merged(pieces) == [binary(bytes(MIB))]
        assert hello == binary(b"Hello")

    @both_roles
    def test_small_messages_come_as_many_as_uncompressed(self, role: str) -> None:
        connection = agreed(role)
        data = unmasked([one(deflated(b"x" * 100))] * 600, role)
        assert [len(events) for events in calls(connection, data)] == [256, 256, 88]

    @both_roles
    def test_work_grows_as_the_input(self, role: str, account: Account) -> None:
        """Not as its square, however much comes in one read."""
        connection = agreed(role, max_message_size=None)
        payload = deflated(NOISE * 4)
        data = unmasked([one(payload)], role)
        events = [event for call in calls(connection, data) for event in call]
        assert merged(events) == [binary(NOISE * 4)]
        assert account.given <= 2 * len(payload)


@both_roles
def test_the_free_fragments_come_on_top_of_the_limit(role: str) -> None:
    connection = agreed(role, max_message_size=MIB)
    payload = deflated(NOISE)
    parts = [payload[start : start + PIECE] for start in range(0, len(payload), PIECE)]
    frames = [
        Frame(RSV1 | BINARY, parts[0]),
        *[Frame(CONTINUATION, part) for part in (*parts[1:], *[b""] * 200)],
        Frame(FIN | CONTINUATION),
    ]
    assert merged(receive(connection, encode(frames, role))) == [binary(NOISE)]


class TestFruitlessWork:
    """Blocks that inflate to nothing."""

    @both_roles
    @pytest.mark.parametrize("limit", [0, 1000, MIB])
    def test_it_ends_at_what_may_be_declared(self, limit: int, role: str) -> None:
        connection = agreed(role, max_message_size=limit)
        frames = [Frame(CONTINUATION, EMPTY_BLOCK * 200)] * (limit // 500 + 40)
        first = Frame(RSV1 | BINARY, EMPTY_BLOCK * 200)
        assert receive(connection, unmasked([first, *frames], role)) == [too_big(limit)]

    @both_roles
    def test_small_fragments_are_charged(self, role: str) -> None:
        connection = agreed(role, max_message_size=0)
        fragments = [Frame(RSV1 | BINARY, EMPTY_BLOCK), *[Frame(CONTINUATION, EMPTY_BLOCK)] * 511]
        assert receive(connection, encode(fragments, role)) == []
        assert receive(connection, encode(fragments[-1:], role)) == [TOO_SMALL]

    @both_roles
    def test_a_call_takes_a_piece_of_them(self, role: str, account: Account) -> None:
        """They can be made to cost zlib 80 ns a byte, and reads can be of any size."""
        connection = agreed(role, max_message_size=None)
        data = unmasked([Frame(RSV1 | BINARY, EMPTY_BLOCK * (MIB // 5))], role)
        given = 0
        for events in calls(connection, data):
            assert events == []
            assert account.given - given <= PIECE
            given = account.given
        assert given == MIB // 5 * 5

    @both_roles
    @pytest.mark.parametrize("block", [EMPTY_BLOCK, FINAL_BLOCK], ids=["empty", "final"])
    def test_without_a_bound_it_holds_nothing(
        self, block: bytes, role: str, account: Account
    ) -> None:
        connection = agreed(role, max_message_size=None)
        data = unmasked([Frame(RSV1 | BINARY, block * 10_000)], role)
        for _ in range(3):
            rounds = account.rounds
            for events in calls(connection, data):
                assert events == []
                assert account.rounds - rounds <= CALL // 256
                rounds = account.rounds
            data = unmasked([Frame(CONTINUATION, block * 10_000)], role)
            assert connection._parser._rest == b""
        end = encode([Frame(FIN | CONTINUATION, b"\0")], role)
        assert receive(connection, end) == [binary(b"")]


class TestPending:
    """What zlib has not given, and what it has not taken, comes before anything else."""

    @both_roles
    @both_takeovers
    @pytest.mark.parametrize(
        "size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, CALL - 1, CALL, CALL + 1, CALL + PIECE]
    )
    def test_around_whole_pieces(self, size: int, role: str, header: str | None) -> None:
        connection = agreed(role, header)
        for content in (bytes(size), NOISE[:size]):
            data = unmasked([one(deflated(content)), Frame(FIN | PING), one(b"\0")], role)
            events = [event for call in calls(connection, data) for event in call]
            assert merged(events) == [binary(content), Ping(b""), binary(b"")]

    @both_roles
    def test_all_that_can_be_inflated_comes_at_once(self, role: str) -> None:
        """However much zlib has in hand when a piece is full: nothing waits for more input."""
        payload = deflated(bytes(PIECE + 600))
        whole = unmasked([one(payload)], role)
        start = len(whole) - len(payload)
        for cut in range(len(payload)):
            events = receive(agreed(role), whole[: start + cut])
            assert length(events) == len(plain_inflater(-15).decompress(payload[:cut]))

    @both_roles
    def test_a_control_frame_waits_its_turn(self, role: str) -> None:
        connection = agreed(role, max_message_size=None)
        start, middle, end = Peer().deflate(bytes(MIB), bytes(MIB), b"")
        frames = [
            *(Frame(RSV1 | BINARY, start), Frame(FIN | PING, b"1"), Frame(CONTINUATION, middle)),
            *(Frame(FIN | PING, b"2"), Frame(FIN | CONTINUATION, end), Frame(FIN | CLOSE)),
        ]
        events = [event for call in calls(connection, encode(frames, role)) for event in call]
        at = [i for i, event in enumerate(events) if isinstance(event, Ping)]
        parts = events[: at[0]], events[at[0] + 1 : at[1]], events[at[1] + 1 : -1]
        assert [length(part) for part in parts] == [MIB, MIB, 0]
        assert events[-1] == CloseReceived(Reasons.NO_STATUS, "")

    @both_roles
    def test_the_end_of_input_waits_its_turn(self, role: str) -> None:
        connection = agreed(role, max_message_size=None)
        total = length(connection.receive_data(encode([one(bomb(2))], role)))
        assert connection.more
        assert connection.receive_eof() == []
        while connection.more:
            events = connection.receive_data(b"")
            total += length(events)
        assert total == 2 * MIB
        assert events[-1] == ConnectionFailed(
            Reasons.ABNORMAL_CLOSE, "the peer disconnected without a Close"
        )

    @both_roles
    def test_new_data_while_there_is_more(self, role: str) -> None:
        """Who feeds without asking for the rest first loses nothing."""
        connection = agreed(role, max_message_size=None)
        data = unmasked([one(bomb(4)), one(deflated(b"Hello"))] * 2, role)
        events: list[Event] = []
        for start in range(0, len(data), 50):
            part = connection.receive_data(data[start : start + 50])
            assert length(part) < CALL + PIECE
            events += part
        while connection.more:
            events += connection.receive_data(b"")
        assert merged(events) == [binary(bytes(4 * MIB)), binary(b"Hello")] * 2

    @both_roles
    def test_the_connection_may_be_used_meanwhile(self, role: str) -> None:
        connection = agreed(role, max_message_size=None)
        total = length(connection.receive_data(encode([one(bomb(2))], role)))
        connection.send_message(bytes(5000))
        connection.send_close()
        while connection.more:
            total += length(connection.receive_data(b""))
        assert total == 2 * MIB


class TestAChangedBound:
    """It holds from the next frame on, on what was inflated before too."""

    @both_roles
    @pytest.mark.parametrize("limit", [0, 1, 999, 1000])
    def test_lowered_between_frames(self, limit: int, role: str) -> None:
        connection = agreed(role)
        start, nothing, more = Peer().deflate(b"x" * 1000, b"", b"!")
        data = encode([Frame(RSV1 | BINARY, start)], role)
        assert length(receive(connection, data)) == 1000
        connection.max_message_size = limit
        data = encode([Frame(CONTINUATION, nothing)], role)
        if limit == 1000:
            assert receive(connection, data) == []
            data = encode([Frame(FIN | CONTINUATION, more)], role)
        assert receive(connection, data) == [too_big(limit)]

    @both_roles
    @pytest.mark.parametrize("limit", [0, CALL - 1, CALL, 5 * PIECE])
    def test_lowered_during_a_frame(self, limit: int, role: str) -> None:
        connection = agreed(role, max_message_size=3 * MIB)
        payload = bomb(2)
        data = encode([Frame(RSV1 | BINARY, payload[:-1]), Frame(FIN | CONTINUATION, b"\0")], role)
        total = length(connection.receive_data(data))
        assert total == CALL
        connection.max_message_size = limit
        while connection.more:
            events = connection.receive_data(b"")
            total += length(events)
        assert total == 2 * MIB
        assert events[-1] == too_big(limit)

    @both_roles
    @pytest.mark.parametrize("limit", [3 * MIB, None])
    def test_raised_or_lifted(self, limit: int | None, role: str) -> None:
        connection = agreed(role)
        payload = bomb(3)
        half = len(payload) // 4
        frames = [Frame(RSV1 | BINARY, payload[:half]), Frame(FIN | CONTINUATION, payload[half:])]
        total = length(receive(connection, encode(frames[:1], role)))
        assert 0 < total <= MIB
        connection.max_message_size = limit
        *pieces, last = receive(connection, encode(frames[1:], role))
        assert total + length([*pieces, last]) == 3 * MIB
        assert isinstance(last, MessagePiece)
        assert last.last

    @both_roles
    def test_raised_during_a_frame_is_too_late_for_it(self, role: str) -> None:
        connection = agreed(role, max_message_size=MIB)
        connection.receive_data(encode([one(bomb(2))], role))
        assert connection.more
        connection.max_message_size = None
        while connection.more:
            events = connection.receive_data(b"")
        assert events[-1] == too_big(MIB)

    @both_roles
    def test_of_the_next_message(self, role: str) -> None:
        """What one message inflated to is forgotten with its end."""
        connection = agreed(role)
        receive(connection, encode([one(deflated(bytes(1000)))], role))
        connection.max_message_size = 10
        frames = encode([one(deflated(bytes(10))), Frame(FIN | BINARY, bytes(10))], role)
        assert merged(receive(connection, frames)) == [binary(bytes(10))] * 2
