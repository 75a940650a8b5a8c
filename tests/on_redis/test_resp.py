"""RESP3: what a server sends, whole, cut anywhere, and hostile; and what commands look like."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstransports.rooms.redis.resp import (
    ELEMENT,
    MOST_DEPTH,
    MOST_LINE,
    ErrorReply,
    Push,
    Reply,
    ReplyParser,
    encode,
)

MESSAGE = b">3\r\n$7\r\nmessage\r\n"

REPLIES: list[tuple[bytes, Reply]] = [
    (b"+OK\r\n", b"OK"),
    (b"+\r\n", b""),
    (b":12\r\n", 12),
    (b":-9223372036854775808\r\n", -(2**63)),
    (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5e3\r\n", 1500.0),
    (b",-inf\r\n", -math.inf),
    (b",10\r\n", 10.0),
    (
        b"(-3492890328409238509324850943850943825024385\r\n",
        -3492890328409238509324850943850943825024385,
    ),
    (b"=7\r\ntxt:a\r\n\r\n", b"a\r\n"),
    (b"*0\r\n", []),
    (b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n", [1, [b"a"]]),
    (b"~2\r\n+a\r\n+b\r\n", [b"a", b"b"]),
    (b"%2\r\n+a\r\n:1\r\n+b\r\n%0\r\n", {b"a": 1, b"b": {}}),
    (b"|1\r\n+ttl\r\n:3600\r\n:5\r\n", 5),
    (b"|0\r\n:5\r\n", 5),
    (b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", [1, 2]),
    (MESSAGE + b"$4\r\nnews\r\n$6\r\na\r\nb\r\n\r\n", Push([b"message", b"news", b"a\r\nb\r\n"])),
    (MESSAGE + b"$0\r\n\r\n$0\r\n\r\n", Push([b"message", b"", b""])),
    (MESSAGE + b"+a\r\n:1\r\n", Push([b"message", b"a", 1])),
    (MESSAGE + b"$1\r\na\r\n:1\r\n", Push([b"message", b"a", 1])),
    (b"|1\r\n+a\r\n+b\r\n" + MESSAGE + b"$1\r\na\r\n$1\r\nb\r\n", Push([b"message", b"a", b"b"])),
]


def parsed(*parts: bytes) -> list[Reply]:
    """The replies in these parts."""
    parser = ReplyParser()
    replies = [reply for part in parts for reply in parser.feed(part)]
    assert not parser.failure
    return replies


def failure(data: bytes, most: int = 100_000) -> str:
    """What is wrong with these bytes, whole and byte by byte."""
    whole = ReplyParser(most)
    before = whole.feed(data)
    cut = ReplyParser(most)
    assert [reply for byte in data for reply in cut.feed(bytes([byte]))] == before
    assert whole.failure == cut.failure != ""
    assert whole.feed(b"+OK\r\n") == []
    return whole.failure


@pytest.mark.parametrize(("data", "reply"), REPLIES, ids=lambda value: repr(value)[:30])
def test_each_kind_of_reply(data: bytes, reply: Reply) -> None:
    [found] = parsed(data)
    assert found == reply
    assert type(found) is type(reply)


def test_not_a_number() -> None:
    [found] = parsed(b",nan\r\n")
    assert math.isnan(found)


@pytest.mark.parametrize(
    "data", [b"-WRONGTYPE not\xff a list\r\n", b"!21\r\nWRONGTYPE not\xff a list\r\n"]
)
def test_an_error(data: bytes) -> None:
    [found] = parsed(data)
    assert isinstance(found, ErrorReply)
    assert found.code == "WRONGTYPE"
    assert str(found).startswith("WRONGTYPE not\ufffd a list")


def test_a_push_is_no_reply() -> None:
    pushed, reply = parsed(b">2\r\n+message\r\n:1\r\n*1\r\n:1\r\n")
    assert isinstance(pushed, Push)
    assert pushed == [b"message", 1]
    assert not isinstance(reply, Push)


def test_each_cut() -> None:
    data = b"".join(data for data, _ in REPLIES)
    replies = [reply for _, reply in REPLIES]
    for cut in range(len(data) + 1):
        assert parsed(data[:cut], data[cut:]) == replies
    assert parsed(*(bytes([byte]) for byte in data)) == replies
    assert parsed(memoryview(data).tobytes()) == replies


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "not a reply of RESP3: b'HTTP/1.1 400"),
        (b"\r\n", "a line is empty"),
        (b":1_0\r\n", "not a reply of RESP3: b':1_0'"),
        (b": 1\r\n", "not a reply"),
        (b":" + b"1" * 20 + b"\r\n", "not a reply"),
        (b"(" + b"1" * 1001 + b"\r\n", "not a reply"),
        (b",infinity\r\n", "not a reply"),
        (b"#x\r\n", "not a reply"),
        (b"_x\r\n", "not a reply"),
        (b"%-1\r\n", "not a reply"),
        (b"$-2\r\n", "a length is not a number but b'-2'"),
        (b"$?\r\n", "a length is not a number"),
        (b"*?\r\n", "a length is not a number"),
        (b"$99999999999\r\n", "a length is not a number"),
        (b"$3\r\nabcd\r\n", "a string is not as long as it says"),
        (b"=3\r\nabc\r\n", "a verbatim string does not say its format"),
        (MESSAGE + b"$1\r\nab\r\n$1\r\nb\r\n", "a string is not as long as it says"),
        (MESSAGE + b"$1\r\na\r\n$1\r\nbc\r\n", "a string is not as long as it says"),
        (MESSAGE + b"$1\r\na\r\n$100001\r\n", "a reply takes more than 100000 bytes"),
        (MESSAGE + b"$1\r\na\r\n$99740\r\n" + b"x" * 99740 + b"\r\n", "a reply takes more than"),
        (b"+a\rb\r\n", "a line break is inside a line"),
        (b"-a\nb\r\n", "a line break is inside a line"),
        (b"%1\r\n*0\r\n:1\r\n", "a map has an aggregate for a key"),
        (b"*1\r\n>1\r\n:1\r\n", "a push is empty or inside a reply"),
        (b">0\r\n", "a push is empty or inside a reply"),
        (b"*1\r\n" * 9, "a reply is nested more than 8 deep"),
        (b"+" + b"a" * MOST_LINE, f"a line is longer than {MOST_LINE} bytes"),
        (b"$100001\r\n", "a reply takes more than 100000 bytes"),
        (b"*2000\r\n", "a reply takes more than"),
        (b"%1000\r\n", "a reply takes more than"),
        (b"*2\r\n$60000\r\n" + b"a" * 60000 + b"\r\n$60000\r\n", "a reply takes more than"),
        (b"*2\r\n" + b"*1000\r\n" + b":1\r\n" * 1000 + b"*1000\r\n", "a reply takes more than"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_wrong_ends_in_a_failure(data: bytes, why: str) -> None:
    assert why in failure(data)


def test_values_count_where_many_come_in_many_aggregates() -> None:
    """Each of these fits, all of them do not."""
    one = b"*30\r\n" + b":1\r\n" * 30
    why = failure(b"*32\r\n" + one * 32, most=32 * ELEMENT)
    assert why == f"a reply takes more than {32 * ELEMENT} bytes"
    assert failure(
        b"*31\r\n" + b"+\r\n" * 28 + b"*2\r\n:1\r\n:1\r\n:1\r\n:1\r\n", most=32 * ELEMENT
    )


def test_what_came_before_the_fault_counts() -> None:
    parser = ReplyParser()
    assert parser.feed(b"+OK\r\n:1\r\nnonsense\r\n:2\r\n") == [b"OK", 1]
    assert parser.failure.startswith("not a reply")


def test_each_reply_has_the_whole_limit() -> None:
    parser = ReplyParser(most=1000)
    string = b"$900\r\n" + b"a" * 900 + b"\r\n"
    assert parser.feed(string * 3) == [b"a" * 900] * 3


def test_a_message_of_the_limit() -> None:
    """Read in one go or in parts, it may take as much."""
    for size in range(99_600, 99_800):
        data = MESSAGE + b"$1\r\na\r\n$%d\r\n%b\r\n" % (size, b"x" * size)
        whole, cut = ReplyParser(100_000), ReplyParser(100_000)
        replies = [reply for part in (data[:-1], data[-1:]) for reply in cut.feed(part)]
        assert whole.feed(data) == replies
        assert bool(whole.failure) is bool(cut.failure) is not bool(replies)


def test_commands() -> None:
    assert encode(("SET", b"k\r\n", 12, "é")) == (
        b"*4\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n$2\r\n\xc3\xa9\r\n"
    )


SCALARS = st.one_of(
    st.none(), st.booleans(), st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.binary(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def written(value: Reply) -> Iterator[bytes]:
    """A value as a server writes it."""
    if value is None:
        yield b"_\r\n"
    elif isinstance(value, bool):
        yield b"#t\r\n" if value else b"#f\r\n"
    elif isinstance(value, int):
        yield b":%d\r\n" % value
    elif isinstance(value, bytes):
        yield b"$%d\r\n%b\r\n" % (len(value), value)
    elif isinstance(value, list):
        yield b"*%d\r\n" % len(value)
        for one in value:
            yield from written(one)
    else:
        yield b"%%%d\r\n" % len(value)
        for pair in value.items():
            yield from written(pair[0])
            yield from written(pair[1])


def depth(value: Reply) -> int:
    """How deep aggregates lie in each other."""
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(st.lists(VALUES.filter(lambda value: depth(value) <= MOST_DEPTH), max_size=4), st.data())
def test_what_is_written_is_read(values: list[Reply], data: st.DataObject) -> None:
    whole = b"".join(part for value in values for part in written(value))
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6).map(sorted))
    edges = [0, *cuts, len(whole)]
    parts = [whole[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert parsed(*parts) == values


@given(st.lists(st.binary(max_size=30)))
def test_nothing_raises(parts: list[bytes]) -> None:
    """Any bytes, and any after a beginning that is right."""
    for begin in (b"", b"*3\r\n", b"%1\r\n$3\r\n", b">2\r\n"):
        parser = ReplyParser(1000)
        for part in (begin, *parts):
            parser.feed(part)


@given(
    st.binary(max_size=200).map(
        lambda noise: bytes(b"*:$+-%_#,(=!>~|0123\r\n"[b % 21] for b in noise)
    )
)
def test_a_cut_changes_nothing(noise: bytes) -> None:
    whole, cut = ReplyParser(2000), ReplyParser(2000)
    replies = whole.feed(noise)
    assert repr([r for byte in noise for r in cut.feed(bytes([byte]))]) == repr(replies)
    assert whole.failure == cut.failure
