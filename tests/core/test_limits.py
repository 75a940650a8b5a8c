"""The bound on messages: judged on declared lengths, small fragments charged for."""

import pytest
from wire import ROLES, binary, encode, merged, open_end, receive, sent_frames, text

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, Frame
from wscore import ConnectionFailed, MessagePiece, Ping, Reasons, ServerConnection

both_roles = pytest.mark.parametrize("role", ROLES)

TOO_SMALL = ConnectionFailed(Reasons.MESSAGE_TOO_BIG, "a message has too many small fragments")


def too_big(limit: int) -> ConnectionFailed:
    """What is said of a message beyond `limit`."""
    return ConnectionFailed(Reasons.MESSAGE_TOO_BIG, f"a message is longer than {limit} bytes")


def header(first: int, size: int, role: str) -> bytes:
    """The start of a frame that declares `size`, without any of its payload."""
    length = b"\x7f" + size.to_bytes(8) if size > 65535 else b"\x7e" + size.to_bytes(2)
    if size < 126:
        length = bytes([size])
    return encode([Frame(first, b"", length)], role)


@both_roles
@pytest.mark.parametrize("limit", [0, 1, 5, 124, 125, 126, 127, 1000, 65535, 65536])
@pytest.mark.parametrize("first", [FIN | BINARY, FIN | TEXT])
def test_the_bound_itself_passes(first: int, limit: int, role: str) -> None:
    connection = open_end(role, max_message_size=limit)
    data = b"x" * limit
    whole = binary(data) if first == FIN | BINARY else text(data.decode())
    assert merged(receive(connection, encode([Frame(first, data)], role))) == [whole]
    assert merged(receive(connection, encode([Frame(first, data)], role), size=7)) == [whole]
    assert receive(connection, encode([Frame(first, data + b"x")], role)) == [too_big(limit)]


@both_roles
@pytest.mark.parametrize("limit", [2**62, 2**63 - 1, 2**63, 2**64, 10**30])
def test_a_bound_beyond_all_messages(limit: int, role: str) -> None:
    connection = open_end(role, max_message_size=limit)
    for frames in ([Frame(FIN | BINARY, b"a")], [Frame(BINARY, b"a"), Frame(FIN | CONTINUATION)]):
        assert merged(receive(connection, encode(frames, role))) == [binary(b"a")]


@both_roles
@pytest.mark.parametrize("limit", [0, 1, 5, 124, 125, 126, 127, 1000, 65535, 65536, 2**40])
@pytest.mark.parametrize("first", [FIN | BINARY, TEXT])
def test_beyond_is_refused_before_any_of_it_is_there(first: int, limit: int, role: str) -> None:
    connection = open_end(role, max_message_size=limit)
    assert receive(connection, header(first, limit + 1, role)) == [too_big(limit)]
    connection.acknowledge_close()
    [(opcode, body)] = sent_frames(connection.data_to_send(), role)
    assert (opcode, body[:2]) == (FIN | CLOSE, (1009).to_bytes(2))


@both_roles
def test_fragments_count_together(role: str) -> None:
    connection = open_end(role, max_message_size=1000)
    fragments = [Frame(BINARY, b"a" * 600), Frame(FIN | CONTINUATION, b"b" * 400)]
    whole = binary(b"a" * 600 + b"b" * 400)
    for _ in range(3):  # for each message again
        assert merged(receive(connection, encode(fragments, role))) == [whole]
    assert receive(connection, encode(fragments[:1], role)) == [binary(b"a" * 600, last=False)]
    assert receive(connection, header(CONTINUATION, 401, role)) == [too_big(1000)]


@both_roles
def test_control_frames_do_not_count(role: str) -> None:
    connection = open_end(role, max_message_size=10)
    ping = Frame(FIN | PING, b"?" * 125)
    fragments = [Frame(BINARY, b"a" * 5), *[ping] * 20, Frame(FIN | CONTINUATION, b"b" * 5)]
    assert receive(connection, encode(fragments, role)) == [
        binary(b"a" * 5, last=False),
        *[Ping(b"?" * 125)] * 20,
        binary(b"b" * 5, first=False),
    ]


@both_roles
def test_no_bound(role: str) -> None:
    """What is declared is waited for, up to the largest length there is, and handed on."""
    connection = open_end(role, max_message_size=None)
    assert connection.max_message_size is None
    assert receive(connection, header(FIN | BINARY, 2**63 - 1, role)) == []
    for _ in range(20):
        [piece] = receive(connection, bytes(2**20))
        assert isinstance(piece, MessagePiece)
        assert (len(piece.data), piece.last) == (2**20, False)


@pytest.mark.slow
@both_roles
def test_no_bound_on_fragments_either(role: str) -> None:
    connection = open_end(role, max_message_size=None)
    fragments = encode([Frame(BINARY), *[Frame(CONTINUATION)] * 70_000], role)
    assert receive(connection, fragments) == []
    assert receive(connection, encode([Frame(FIN | CONTINUATION)], role)) == [binary(b"")]


@both_roles
@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 31])
@pytest.mark.parametrize(
    ("limit", "fragments"),
    [(2**20, 2**20 // 64 + 256), (2**16, 2**16 // 64 + 256), (2**14, 512), (2**14 - 1, 511)],
)
def test_small_fragments_are_charged(limit: int, fragments: int, payload: bytes, role: str) -> None:
    connection = open_end(role, max_message_size=limit)
    small = [Frame(BINARY, payload), *[Frame(CONTINUATION, payload)] * (fragments - 1)]
    sent = merged(receive(connection, encode(small, role)))
    assert sent == ([binary(payload * fragments, last=False)] if payload else [])
    assert receive(connection, encode([Frame(CONTINUATION, payload)], role)) == [TOO_SMALL]


@both_roles
@pytest.mark.parametrize("limit", [0, 100])
def test_a_few_fragments_are_free(limit: int, role: str) -> None:
    """256 of them beyond the bound."""
    connection = open_end(role, max_message_size=limit)
    most = 254 + limit // 64
    empty = [Frame(BINARY), *[Frame(CONTINUATION)] * most, Frame(FIN | CONTINUATION)]
    for _ in range(3):
        assert receive(connection, encode(empty, role)) == [binary(b"")]
    assert receive(connection, encode([*empty[:-1], Frame(CONTINUATION)], role)) == []
    assert receive(connection, encode(empty[-1:], role)) == [TOO_SMALL]


LARGE = b"x" * 65536
AT_THE_LIMIT: dict[str, list[bytes]] = {
    "whole, then empty": [LARGE * 16, b""],
    "16 fragments and an empty one": [*[LARGE] * 16, b""],
    "an empty one before, 16, and 254 empty ones": [b"", *[LARGE] * 16, *[b""] * 254],
    "small ones at the end": [*[LARGE] * 15, b"x" * 65406, *[b"x"] * 130, *[b""] * 125],
}


@both_roles
@pytest.mark.parametrize("size", [1, 1000, None], ids=["bytewise", "in parts", "whole"])
@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_the_free_fragments_come_on_top_of_the_limit(
    name: str, size: int | None, role: str
) -> None:
    payloads = AT_THE_LIMIT[name]
    scale = 64 if size == 1 else 1  # byte by byte a MiB would take a second
    payloads = [payload[: len(payload) // scale] or payload for payload in payloads]
    whole = b"".join(payloads)
    connection = open_end(role, max_message_size=len(whole))
    first, *others, last = payloads
    frames = [
        Frame(BINARY, first),
        *[Frame(CONTINUATION, other) for other in others],
        Frame(FIN | CONTINUATION, last),
    ]
    assert merged(receive(connection, encode(frames, role), size)) == [binary(whole)]


@pytest.mark.slow
@both_roles
def test_large_fragments_are_charged_what_they_are(role: str) -> None:
    """The suite's group 9: 4 MiB in fragments of 64 bytes, within a bound of 16 MiB."""
    connection = open_end(role, max_message_size=2**24)
    fragments = [Frame(BINARY, b"x" * 64), *[Frame(CONTINUATION, b"x" * 64)] * 65_536]
    data = encode([*fragments, Frame(FIN | CONTINUATION)], role)
    assert sum(
        len(piece.data) for piece in receive(connection, data) if isinstance(piece, MessagePiece)
    ) == (64 * 65_537)


@both_roles
def test_a_bound_set_later_holds_from_the_next_frame_on(role: str) -> None:
    connection = open_end(role, max_message_size=100)
    first = encode([Frame(BINARY, b"a" * 80)], role)
    assert receive(connection, first[:50]) != []
    connection.max_message_size = 90
    assert connection.max_message_size == 90
    assert receive(connection, first[50:]) != []
    assert receive(connection, header(CONTINUATION, 11, role)) == [too_big(90)]


@both_roles
def test_a_bound_lifted_during_a_message(role: str) -> None:
    connection = open_end(role, max_message_size=100)
    receive(connection, encode([Frame(BINARY, b"a" * 100)], role))
    connection.max_message_size = None
    assert receive(connection, header(CONTINUATION, 2**40, role)) == []


@pytest.mark.parametrize("size", [-1, 1.5, "1000", b"1"])
def test_a_bound_that_is_none(size: object) -> None:
    with pytest.raises(
        ValueError, match="max_message_size must be in bytes, None for no limit, not"
    ):
        ServerConnection(max_message_size=size)  # type: ignore[arg-type]
    connection = ServerConnection(max_message_size=7)
    with pytest.raises(
        ValueError, match="max_message_size must be in bytes, None for no limit, not"
    ):
        connection.max_message_size = size  # type: ignore[assignment]
    assert connection.max_message_size == 7
