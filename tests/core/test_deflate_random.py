"""Any messages, deflated anyhow, in any frames, cut anywhere, are the same; and so are ours."""

import zlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from deflated import Peer, agreed
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wire import (
    EXAMPLES,
    ROLES,
    AnyConnection,
    binary,
    encode,
    merged,
    receive,
    sent_frames,
    text,
)

from kit.frames import BINARY, CONTINUATION, FIN, PING, RSV1, RSV2, TEXT, Frame
from wscore import (
    ConnectionFailed,
    Deflate,
    Event,
    MessagePiece,
    Phase,
    Ping,
    PreparedMessage,
    Reasons,
    ServerConnection,
)

roles = st.sampled_from(ROLES)
windows = st.sampled_from([9, 10, 12, 15])
# As parts of the whole, because how long that is depends on the rest.
places = st.lists(st.floats(min_value=0, max_value=1), max_size=6)
repeated = st.builds(
    lambda data, times: data * times, st.binary(max_size=40), st.sampled_from([1, 30, 700, 5000])
)
noise = st.builds(
    lambda random, size: random.randbytes(size), st.randoms(), st.sampled_from([1, 300, 70_000])
)
repeated_text = st.builds(
    lambda data, times: data * times, st.text(max_size=20), st.sampled_from([1, 30, 700])
)
messages = st.one_of(repeated, noise, repeated_text)


def pieces(data: bytes, at: Iterable[float]) -> list[bytes]:
    """The data cut at these places."""
    stops = [0, *sorted(round(place * len(data)) for place in at), len(data)]
    return [data[start:stop] for start, stop in pairwise(stops)]


def receive_all(connection: AnyConnection, parts: Iterable[bytes]) -> list[Event]:
    """Feed the parts one by one."""
    events: list[Event] = []
    for part in parts:
        events += receive(connection, part)
    return events


@st.composite
def deflated_frames(draw: st.DrawFn, bits: int, takeover: bool) -> tuple[list[Frame], list[Event]]:
    """Messages as another implementation might send them, and what they are."""
    frames: list[Frame] = []
    events: list[Event] = []

    def new_deflater() -> "zlib._Compress":
        level, memory_level = draw(st.integers(0, 9)), draw(st.integers(1, 9))
        return zlib.compressobj(level, zlib.DEFLATED, -bits, memory_level)

    deflater = new_deflater()
    for message in draw(st.lists(messages, max_size=5)):
        payload = message.encode() if isinstance(message, str) else message
        events.append(text(message) if isinstance(message, str) else binary(message))
        compressed = draw(st.booleans())
        if compressed:
            if not takeover:
                deflater = new_deflater()
            parts = pieces(payload, draw(places))
            payload = b""
            for part in parts[:-1]:
                payload += deflater.compress(part)
                how = draw(st.sampled_from(["not", "sync", "full", "final"]))
                if how == "final":
                    payload += deflater.flush()
                    deflater = new_deflater()
                elif how != "not":
                    payload += deflater.flush(
                        zlib.Z_SYNC_FLUSH if how == "sync" else zlib.Z_FULL_FLUSH
                    )
            payload += deflater.compress(parts[-1])
            if draw(st.booleans()):
                payload += deflater.flush() + b"\0"
                deflater = new_deflater()
            else:
                payload += deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]
        opcode = (RSV1 if compressed else 0) | (TEXT if isinstance(message, str) else BINARY)
        parts = pieces(payload, draw(places))
        for i, part in enumerate(parts):
            frames.append(Frame((FIN if i == len(parts) - 1 else 0) | opcode, part))
            opcode = CONTINUATION
            if draw(st.integers(0, 5)) == 0:
                frames.append(Frame(FIN | PING))
    return frames, events


@pytest.mark.slow
@given(st.data(), windows, st.booleans(), places, roles)
def test_messages_deflated_anyhow_in_any_frames_and_cuts(
    data: st.DataObject, bits: int, takeover: bool, cuts: list[float], role: str
) -> None:
    frames, expected = data.draw(deflated_frames(bits, takeover))
    side = "client" if role == "server" else "server"
    answer = f"permessage-deflate; {side}_max_window_bits={bits}"
    if not takeover:
        answer += f"; {side}_no_context_takeover"
    connection = agreed(role, answer)
    events = receive_all(connection, pieces(encode(frames, role), cuts))
    assert merged(event for event in events if isinstance(event, MessagePiece)) == expected
    pings = [frame for frame in frames if frame.first == FIN | PING]
    assert [event for event in events if isinstance(event, Ping)] == [Ping(b"")] * len(pings)
    assert connection.phase is Phase.OPEN


sends = st.lists(
    st.tuples(
        st.sampled_from(["message", "fragments", "prepared"]),
        st.one_of(repeated, repeated_text),
        places,
        st.sampled_from([None, True, False]),
    ),
    max_size=8,
)


@pytest.mark.slow
@given(sends, windows, st.booleans(), st.sampled_from([0, 100, 1024]), roles)
def test_what_we_send_another_reads(
    calls: list[tuple[str, str | bytes, list[float], bool | None]],
    bits: int,
    takeover: bool,
    threshold: int,
    role: str,
) -> None:
    ours = Deflate(window_bits=bits, takeover=takeover, threshold=threshold)
    connection = agreed(role, None, [ours])
    peer = Peer(their_bits=bits, their_takeover=takeover)
    for how, data, at, compress in calls:
        payload = data.encode() if isinstance(data, str) else data
        if how == "message":
            connection.send_message(data, compress)
        elif how == "prepared":
            connection.send_prepared(PreparedMessage(data, compress))
        else:
            binary_parts = pieces(payload, at)
            for i, part in enumerate(binary_parts):
                connection.send_fragment(part, i == len(binary_parts) - 1, compress=compress)
        frames = sent_frames(connection.data_to_send(), role)
        first = frames[0][0]
        sent = b"".join(payload for _, payload in frames)
        assert (peer.inflate(sent) if first & RSV1 else sent) == payload
        assert [first & ~FIN for first, _ in frames[1:]] == [CONTINUATION] * (len(frames) - 1)


@pytest.mark.slow
@given(sends, places)
def test_our_two_ends(
    calls: list[tuple[str, str | bytes, list[float], bool | None]], cuts: list[float]
) -> None:
    ours = Deflate(threshold=10)
    server = agreed("server", "permessage-deflate; client_max_window_bits=12", [ours])
    client = agreed("client", "permessage-deflate; server_max_window_bits=12", [ours])
    for sender, receiver in ((server, client), (client, server)):
        expected: list[Event] = []
        for _, data, _, compress in calls:
            sender.send_message(data, compress)
            expected.append(text(data) if isinstance(data, str) else binary(data))
        data = sender.data_to_send()
        assert merged(receive_all(receiver, pieces(data, cuts))) == expected


garbage = st.one_of(
    st.binary(max_size=200),
    # Sound blocks, broken somewhere.
    st.builds(
        lambda data, at, byte: (
            data[: at % (len(data) + 1)] + byte + data[at % (len(data) + 1) + 1 :]
        ),
        repeated.map(lambda data: b"".join(Peer().deflate(data))),
        st.integers(0, 10_000),
        st.binary(max_size=2),
    ),
)


# It ends too early, after the first 64 KiB that come of it: in one go these are reported, and of
# two parts only what the first makes, which is less.
CUT_SHORT = b"\xec\xc11\x01\x00\x00\x00\xc2\xa0\xf5Om\x0c\x1f " + bytes(66)


@pytest.mark.slow
@settings(max_examples=3 * EXAMPLES)
@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), garbage), max_size=4),
    places,
    st.booleans(),
    st.sampled_from([None, 0, 100, 2**20]),
    roles,
)
@example([(TEXT, CUT_SHORT)], [0.5], False, None, "server")
def test_any_payload_ends_the_same_however_cut(
    payloads: list[tuple[int, bytes]],
    cuts: list[float],
    takeover: bool,
    limit: int | None,
    role: str,
) -> None:
    """In messages or in a failure; of one that fails, more may be reported or less."""
    header = None if takeover else "permessage-deflate; server_no_context_takeover"
    data = encode([Frame(FIN | RSV1 | opcode, payload) for opcode, payload in payloads], role)
    runs = []
    for parts in ([data], pieces(data, cuts), [data[i : i + 1] for i in range(len(data))]):
        connection = agreed(role, header, max_message_size=limit)
        events = merged(receive_all(connection, parts))
        last = events[-1] if events else None
        content = b""
        if isinstance(last, ConnectionFailed):
            assert connection.phase is Phase.FAILED
            assert last.code in (Reasons.INCONSISTENT_DATA, Reasons.MESSAGE_TOO_BIG)
            del events[-1]
            under_way = events[-1] if events else None
            if isinstance(under_way, MessagePiece) and not under_way.last:
                content = under_way.data
                del events[-1]
        runs.append((events, content, last))
    whole, some, each = runs
    assert whole[0] == some[0] == each[0]
    shortest, middle, longest = sorted((content for _, content, _ in runs), key=len)
    assert longest.startswith(middle)
    assert middle.startswith(shortest)
    failed = [isinstance(last, ConnectionFailed) for _, _, last in runs]
    assert failed in ([True] * 3, [False] * 3)


@pytest.mark.slow
@settings(max_examples=2 * EXAMPLES)
@given(st.lists(st.binary(max_size=100), max_size=10), roles)
def test_any_bytes_are_survived(reads: list[bytes], role: str) -> None:
    connection = agreed(role)
    for read in reads:
        receive(connection, read)
    connection.connection_lost()
    assert connection.phase is Phase.CLOSED


@settings(max_examples=2 * EXAMPLES)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=10), roles)
def test_any_frames_are_survived(frames: list[tuple[int, bytes]], role: str) -> None:
    connection = agreed(role)
    for first, payload in frames:
        bits = first & (RSV1 | RSV2)
        receive(connection, encode([Frame(first & 0x8F | bits, payload)], role))
    connection.connection_lost()
    assert connection.phase is Phase.CLOSED
    assert isinstance(connection, ServerConnection) is (role == "server")
