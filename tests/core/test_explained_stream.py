"""`ExplainedStream`: what `explain` says, of bytes that come in pieces."""

import zlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from wire import ROLES

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, RSV1, TEXT, Frame
from wscore import Explained, explain
from wscore.explaining import stream
from wscore.explaining.message import MOST_INFLATED
from wscore.explaining.stream import ExplainedStream
from wstransports.testing.strategies import broken_frames, conversations, cuts

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
END = b"\r\n"


def streamed(pieces: list[bytes], sender: str = "client") -> list[Explained]:
    """All parts of what comes in pieces."""
    one = ExplainedStream("client" if sender == "client" else "server")
    return [part for piece in pieces for part in one.feed(piece)] + one.end()


def lines(data: bytes, sender: str = "client") -> list[str]:
    """What is said of each part but heads, the bytes coming one at a time."""
    parts = streamed([data[i : i + 1] for i in range(len(data))], sender)
    return [str(part).split(": ", 1)[1] for part in parts if "head" not in part.kind]


def frames(*frames: Frame) -> bytes:
    """What a client sends: a request and frames."""
    return REQUEST + END + b"".join(frame.encode(masked=True) for frame in frames)


def deflated(data: bytes) -> bytes:
    """The payload of a compressed message."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@given(st.data(), st.sampled_from(ROLES))
def test_the_same_as_of_the_whole_up_to_the_first_fault(data: st.DataObject, role: str) -> None:
    """Any frames, right, wrong or cut short, in any pieces."""
    sender = "client" if role == "server" else "server"
    sent, _ = data.draw(conversations(masked=role == "server", close=data.draw(st.booleans())))
    opening = (REQUEST if role == "server" else RESPONSE) + END
    wire = opening + b"".join(sent)
    wire += data.draw(broken_frames(masked=role == "server") | st.binary(max_size=30))
    whole = explain(wire)
    # A capture may have another head, but no stream has.
    assume(all(part.kind == "frame" for part in whole[len(explain(opening)) :]))
    parts = streamed(data.draw(cuts(wire)), sender)
    faulty = [index for index, part in enumerate(whole) if part.faults]
    right = faulty[0] if faulty else len(whole)
    assert [str(part) for part in parts[:right]] == [str(part) for part in whole[:right]]
    if not faulty:
        assert len(parts) == len(whole)
    elif "missing" not in whole[right].fields:
        reported = parts[right].faults
        assert reported and reported == whole[right].faults[: len(reported)]
        assert len(parts) == right + 1


def test_a_wrong_header_is_shown_before_its_payload_comes() -> None:
    """So what is wrong with that is not shown, as it is where all has come."""
    [wrong] = streamed([RESPONSE + END, b"\xc1\x01", b"\x80"], "server")[-1:]
    assert [fault.partition(" (")[0] for fault in wrong.faults] == ["reserved bits are set"]
    [whole] = streamed([RESPONSE + END + b"\xc1\x01\x80"], "server")[-1:]
    assert len(whole.faults) == 2


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [stream.PIECE - 1, stream.PIECE, 3 * stream.PIECE + 5])
def test_a_long_frame(compressed: bool, size: int) -> None:
    """Its start is shown, and all of it is counted."""
    content = bytes(i * i % 251 for i in range(size))
    payload = deflated(content) if compressed else content
    frame = Frame(FIN | BINARY | (RSV1 if compressed else 0), payload)
    data = frames(frame, Frame(FIN | TEXT, b"next")).removeprefix(REQUEST + END)
    [whole, _] = explain(data)
    one = ExplainedStream("client")
    one.feed(REQUEST + END)
    parts = [part for i in range(0, len(data), 1000) for part in one.feed(data[i : i + 1000])]
    assert str(parts[0]).split(": ")[1] == str(whole).split(": ")[1]
    assert parts[0].size == whole.size
    assert 'text="next"' in str(parts[1])


def test_a_long_frame_in_the_middle_of_a_message() -> None:
    content = deflated(b"x" * 9_000_000)
    start, rest = content[:10], content[10:]
    parts = streamed([frames(Frame(RSV1 | TEXT, start), Frame(FIN | CONTINUATION, rest))])[-2:]
    sizes = [int(part.fields["inflated"].strip("(").split(" ")[0]) for part in parts]
    assert sum(sizes) == 9_000_000
    assert parts[1].fields["message"] == (
        f"(text, 2 frames, {len(content)} bytes, 9000000 inflated)"
    )
    plain = streamed([frames(Frame(BINARY, b"1"), Frame(FIN | CONTINUATION, b"2" * 200_000))])
    assert plain[-1].fields["message"] == "(binary, 2 frames, 200001 bytes)"


def test_a_frame_that_is_cut_off() -> None:
    data = frames(Frame(FIN | BINARY, b"\1" * 100_000))
    [part] = streamed([data[:-70_000]])[len(streamed([REQUEST + END])) :]
    assert part.fields["missing"] == "(70000 bytes of the payload)"
    assert part.size == 30_014
    assert part.fields["data"].startswith("0101")


def test_a_header_that_is_cut_off() -> None:
    assert lines(frames() + b"\x81")[-1].endswith("opcode=1(text) missing=(the rest of the header)")


def test_a_wrong_header_is_shown_at_once_and_nothing_after_it() -> None:
    one = ExplainedStream("client")
    one.feed(REQUEST + END)
    [part] = one.feed(b"\x83\xff" + b"\xff" * 30)
    assert part.faults[0] == "unknown opcode 3 (RFC 6455, 5.2)"
    assert one.ended
    assert one.feed(Frame(FIN | TEXT, b"more").encode(masked=True)) == []
    assert one.end() == []


def test_what_one_feed_decompresses_is_bounded() -> None:
    bomb = deflated(bytes(MOST_INFLATED))
    one = ExplainedStream("client")
    one.feed(REQUEST + END)
    bombs = frames(*[Frame(FIN | RSV1 | BINARY, bomb)] * 3).removeprefix(REQUEST + END)
    said = [part.fields["inflated"] for part in one.feed(bombs)]
    assert said == [f"(more than {MOST_INFLATED} bytes in all)", "(unknown)", "(unknown)"]
    other = ExplainedStream("client")
    other.feed(REQUEST + END)
    for _ in range(3):
        small = Frame(FIN | RSV1 | BINARY, deflated(bytes(MOST_INFLATED // 2)))
        [part] = other.feed(small.encode(masked=True))
        assert part.fields["inflated"] == f"({MOST_INFLATED // 2} bytes)"


def test_what_is_held_is_bounded() -> None:
    one = ExplainedStream("client")
    for _ in range(40):
        one.feed(b"GET " + b"x" * 10_000)
        assert len(one._held) <= stream.MOST_HEAD + 10_004
    assert one.ended
    other = ExplainedStream("client")
    other.feed(REQUEST + END)
    data = Frame(FIN | BINARY, bytes(1_000_000)).encode(masked=True)
    for i in range(0, len(data), 5000):
        other.feed(data[i : i + 5000])
        assert len(other._held) <= stream.PIECE + 5000


# Heads.


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        (b"GET /chat?token=sesame&room=5 HTTP/1.1", "line=GET /chat?token=...&room=... HTTP/1.1"),
        (b"GET /chat?sesame HTTP/1.1", "line=GET /chat?... HTTP/1.1"),
        (b"GET /chat? HTTP/1.1", "line=GET /chat? HTTP/1.1"),
        (b"GET /?a=&b HTTP/1.1", "line=GET /?a=&... HTTP/1.1"),
    ],
)
def test_a_query_is_shown_without_values(head: bytes, shown: str) -> None:
    [request, *_] = streamed([head + b"\r\nHost: x\r\n\r\n"])
    assert str(request).split(": ")[1].split("  WRONG")[0] == shown


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (b"Authorization: Basic sesame", '"..."'),
        (b"proxy-authorization: Basic sesame", '"..."'),
        (b"Cookie: sesame=1", '"..."'),
        (b"Set-Cookie: a=sesame", '"..."'),
        (b"Cookie : sesame=1", '"..."'),
        (b"Cookie: a\r\n b=sesame", '"..."'),
        (b"Cookie: a\rsesame", '"..."'),
        (b"Location: wss://ada:sesame@example.org/?t=sesame", '"wss://...@example.org/?t=..."'),
        (b"X-Note: \x1b[31m\xff", r'"\x1b[31mÿ"'),
        (b"nonsense", '""'),
    ],
)
def test_no_secret_of_a_head_is_shown(field: bytes, shown: str) -> None:
    parts = streamed([REQUEST + field + END + END])
    assert not any("sesame" in str(part) for part in parts)
    headers = [part for part in parts if part.kind == "header"]
    assert list(headers[-1].fields.values()) == [shown]
    assert all(str(part).isprintable() for part in parts)


def test_informational_responses_come_first() -> None:
    one = ExplainedStream("server")
    one.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert not one.opened
    one.feed(RESPONSE + END)
    assert one.opened
    [frame] = one.feed(Frame(FIN | PING, b"").encode(masked=False))
    assert frame.kind == "frame"


def test_extensions_of_the_response() -> None:
    """No other reserved bits may be set."""
    for header, right in (
        (b"Sec-WebSocket-Extensions: permessage-deflate\r\n", True),
        (b"", False),
    ):
        one = ExplainedStream("server")
        one.feed(RESPONSE + header + END)
        [frame] = one.feed(Frame(FIN | RSV1 | TEXT, deflated(b"Hello")).encode(masked=False))
        assert bool(frame.faults) is not right


def test_a_refusal_has_a_body() -> None:
    one = ExplainedStream("server")
    parts = one.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n")
    assert [part.kind for part in parts] == ["response", "header", "end of head"]
    assert not one.opened
    assert [str(part) for part in one.feed(b"sorry")] == ["    45 body: data=736f727279"]
    assert one.ended


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x16\x03\x01\x02", "     0 incomplete: data=16030102"),
        (b"GET / HTTP/1.1\r\n", "     0 incomplete: data=474554202f20485454502f312e310d0a"),
        (b"what?\r\n\r\n", "     0 not HTTP: data=776861743f0d0a0d0a"),
        (b"", ""),
    ],
)
def test_what_is_not_a_head(data: bytes, line: str) -> None:
    assert "".join(map(str, streamed([data]))) == line


def test_a_close() -> None:
    close = Frame(FIN | CLOSE, b"\x03\xe8\n\x1b")
    assert lines(frames(close))[-1].endswith(r'code=1000(NORMAL, normal closure) reason="\n\x1b"')
