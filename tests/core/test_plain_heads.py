"""Plain heads of requests, which one pattern reads, are read as h11 reads them."""

import random
import re
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from recorded_heads import RECORDED
from server_handshake_cases import ACCEPTED, CHROMIUM, ORDINARY, REFUSED, opening, replaced
from wire import EXAMPLES

from wscore import Deflate, HandshakeFailed, RequestReceived, ServerConnection, ServerHandshake
from wscore.handshake.head import HeadBuffer, HeadLimits, InvalidHead
from wscore.handshake.plain import PLAIN as PATTERN
from wscore.handshake.plain import plain_head

SERVER = ServerHandshake(
    subprotocols=["superchat", "chat"],
    origins=["http://example.com", "null", None],
    extensions=[Deflate()],
)
LIMITS = HeadLimits(32 * 1024, 128)

PLAIN = {**RECORDED, "the least": opening(), "Chromium in a page": CHROMIUM}

# What a mutation puts into a head: characters that matter to HTTP, and fields that h11 must see.
PIECES = (
    *(bytes([byte]) for byte in b'\0\t\n\v\f\r !"#%,/:;@_~\x7f\x80\xa0\xff'),
    *(b"\r\n", b"\r\n\r\n", b"\n\n", b": ", b" :", b"\r\n ", b"  ", b"HTTP/1.1", b"GET "),
    *(b"Host", b"Host: a\r\n", b"host: b\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Name:\r\n", b"A: \r\n"),
    *(b"Upgrade: websocket\r\n", b"Connection: close\r\n", b"Origin: http://example.com\r\n"),
)


def verdict(data: bytes, size: int | None = None) -> tuple[object, ...]:
    """What a server makes of a request that comes in reads of `size`, and all that it sends."""
    server = ServerConnection(handshake=SERVER.fresh_copy())
    size = size or len(data)
    events = [
        event
        for start in range(0, len(data), size)
        for event in server.receive_data(data[start : start + size])
    ]
    if not events:
        return ()
    [event] = events
    if isinstance(event, HandshakeFailed):
        return event.status, event.reason, server.data_to_send()
    assert isinstance(event, RequestReceived)
    request = event.request
    chosen = server.accept() if request.is_upgrade else None
    read = request.method, request.target, request.headers.encode(), request.subprotocols
    return *read, request.is_upgrade, chosen, server.more, server.data_to_send()


def verdict_of_h11(data: bytes) -> tuple[object, ...]:
    """The same, if no head is plain."""
    with patch("wscore.handshake.server.plain_head", lambda head: None):
        return verdict(data)


def is_plain(data: bytes) -> bool:
    """Whether h11 does not see this head."""
    buffer = HeadBuffer()
    buffer.data += data
    try:
        head = buffer.take(LIMITS)
    except InvalidHead:
        return False
    return head is not None and plain_head(head) is not None


def mutated(count: int) -> Iterator[bytes]:
    """Recorded heads with one to three changes; always the same ones."""
    chance = random.Random("heads")
    heads = list(PLAIN.values())
    for _ in range(count):
        data = chance.choice(heads)
        for _ in range(chance.randint(1, 3)):
            data = _changed(data, chance, heads)
        yield data


def _changed(data: bytes, chance: random.Random, heads: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    piece = chance.choice(PIECES)
    lines = data.split(b"\r\n")
    line = chance.randrange(len(lines))
    match chance.randrange(8):
        case 0:
            return data[:at] + piece + data[at:]
        case 1:
            return data[:at] + piece + data[at + 1 :]
        case 2:
            return data[:at] + data[at + chance.randint(1, 4) :]
        case 3:
            return b"\r\n".join([*lines[:line], *lines[line + 1 :]])
        case 4:
            return b"\r\n".join([*lines[:line], lines[line], *lines[line:]])
        case 5:
            return b"\r\n".join([*lines[:line], lines[line] + piece, *lines[line + 1 :]])
        case 6:
            return b"\r\n".join([*lines[:line], piece + lines[line], *lines[line + 1 :]])
        case _:
            other = chance.choice(heads).split(b"\r\n")
            return b"\r\n".join([*lines[:line], chance.choice(other), *lines[line:]])


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_what_browsers_and_libraries_send_is_plain(data: bytes) -> None:
    assert is_plain(data)
    assert verdict(data) == verdict(data, size=1) == verdict_of_h11(data)
    with_a_frame = data + b"\x81\x80\0\0\0\0"
    assert verdict(with_a_frame) == verdict_of_h11(with_a_frame)


@pytest.mark.parametrize(
    ("clause", "data"),
    [*(case[:2] for case in ACCEPTED), *ORDINARY, *(case[:2] for case in REFUSED)],
)
def test_every_verdict_is_that_of_h11(clause: str, data: bytes) -> None:
    assert verdict(data) == verdict_of_h11(data)


@pytest.mark.parametrize(
    "data",
    [
        replaced("Host", ""),
        opening(("Host", "other.example")),
        opening(("host", "example.com")),
        opening(without="Host"),
        opening(("Content-Length", "0")),
        opening(("transfer-encoding", "chunked")),
        opening(("EXPECT", "100-continue")),
        opening(("X", "a\tb")),
        opening(("X", "a ")),
        opening(("X", " a")),
        opening(("X", "é")),
        opening(("X", "")),
        opening(("X", "a\r\n folded")),
        opening(("X ", "a")),
        opening().replace(b"Host: ", b"Host:"),
        opening(end="\n"),
        opening(line="GET / HTTP/1.0"),
        opening(line="HEAD / HTTP/1.1"),
        opening(line="GET  / HTTP/1.1"),
        opening(line="GET /\x7f HTTP/1.1"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_left_to_h11(data: bytes) -> None:
    assert not is_plain(data)


@pytest.mark.parametrize(
    "before", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ", b"POST / HTTP/1.1\r\nHost: a\r\nA: "]
)
def test_a_read_that_looks_like_a_head_inside_of_one(before: bytes) -> None:
    """It is not a request of its own, which somebody could smuggle in."""
    server = ServerHandshake()
    assert server.receive_data(before) is None
    assert isinstance(server.receive_data(opening()), HandshakeFailed)


def check_mutated(count: int) -> int:
    """Compare the verdicts on mutated heads that are plain; returns how many are."""
    plain = list(filter(is_plain, mutated(count)))
    ours = list(map(verdict, plain))
    with patch("wscore.handshake.server.plain_head", lambda head: None):
        for data, said in zip(plain, ours, strict=True):
            assert verdict(data) == said, data
    return len(plain)


def test_mutated_heads_are_read_as_h11_reads_them() -> None:
    assert 500 < check_mutated(2_000) < 1_500


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hundred_thousand_mutated_heads() -> None:
    """Or a quarter of them, as of all random examples."""
    count = 1000 * EXAMPLES
    assert check_mutated(count) > 0.3 * count


def test_the_pattern_never_goes_back() -> None:
    """Each of its repetitions is possessive."""
    rest = re.sub(rb"\[.*?\]|\\.", b"", PATTERN.pattern)
    assert rest.count(b"++") == 4
    assert not re.search(rb"[*{]|\?[^:!<]", rest)
    assert b"+" not in rest.replace(b"++", b"")


@pytest.mark.parametrize(
    "part",
    [b" ", b"a", b": ", b"a: b ", b"a: a\r\n", b"a: a\r\n ", b"a: a\r", b":", b"-a: b\r\n\r"],
)
@pytest.mark.parametrize(
    "start", [b"GET ", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nA", b"GET / HTTP/1.1\r\nA: "]
)
def test_a_hostile_head_takes_one_pass(start: bytes, part: bytes) -> None:
    """In steps that grow with the square of 1 MiB, it would take hours."""
    assert plain_head(start + part * (2**20 // len(part)) + b"\0\r\n\r\n") is None
