"""The fuzzer's corpus is replayed, and its references are right about what the RFCs show."""

import corpus
import pytest
from extension_reference import Malformed, deflate_answer, extension_list
from frame_reference import Control, Message, Rules, read
from head_reference import Asked, Bad, request
from targets import TARGETS

from fuzz import TARGETS as FUZZED
from kit.frames import BINARY, CLOSE, FIN, PING, TEXT, Frame
from kit.handshake import REQUEST

OPEN = Rules(masked=False, limit=100, deflate=True, takeover=True)


def test_each_target_has_a_corpus() -> None:
    assert tuple(TARGETS) == FUZZED
    assert sorted(TARGETS) == sorted(file.stem for file in corpus.FOLDER.glob("*.txt"))
    assert all(len(corpus.load(name)) >= 5 for name in TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_replayed(name: str) -> None:
    for data in corpus.load(name):
        TARGETS[name](data)


def test_saving_keeps_comments_and_drops_repetitions(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    corpus.path("frames").write_text("# why\nb'c'\n")
    corpus.save("frames", [b"bb", b"a", b"a"])
    assert corpus.path("frames").read_text() == "# why\nb'a'\nb'bb'\n"
    assert corpus.load("frames") == [b"a", b"bb"]


# --- The references, on the RFCs' own examples


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x81\x05Hello", Message(TEXT, b"Hello", True)),
        (b"\x01\x03Hel\x80\x02lo", Message(TEXT, b"Hello", True)),
        (b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", Message(TEXT, b"Hello", True)),
        (b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", Message(TEXT, b"Hello", True)),
        (b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", Message(TEXT, b"Hello", True)),
        (b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", Message(TEXT, b"Hello", True)),
        (b"\x82\x05He", Message(BINARY, b"He", False)),
        (b"\x81\x02\xe2\x82", None),
    ],
)
def test_messages(data: bytes, message: Message | None) -> None:
    reading = read(data, OPEN)
    if message is None:
        assert (reading.messages, reading.failed) == ([], {1007})
    else:
        assert (reading.messages, reading.failed) == ([message], set())


def test_the_masked_example() -> None:
    data = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    assert read(data, OPEN._replace(masked=True)).messages == [Message(TEXT, b"Hello", True)]
    assert read(data, OPEN).failed == {1002}


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"\x83\x00", {1002}),
        (b"\xa1\x00", {1002}),
        (b"\xc9\x00", {1002}),
        (b"\x80\x00", {1002}),
        (b"\x09\x00", {1002}),
        (b"\x89\x7e\x00\x7e", {1002}),
        (b"\x82\x7e\x00\x7d", {1002}),
        (b"\x82\x7f" + bytes([255] * 8), {1002}),
        (b"\x82\x7e\x00\xff", {1009}),
        (b"\x01\x01a\x01\x01a", {1002}),
        (b"\x88\x01\x03", {1002}),
        (b"\x88\x02\x03\xed", {1002}),
        (b"\x88\x03\x03\xe8\xff", {1007}),
        (b"\x81\x03\xed\xa0\x80", {1007}),
        (b"\x01\x02\xed\xa0", {1007}),
        (b"\xc1\x01\xff", {1007, 1009}),
    ],
)
def test_violations(data: bytes, codes: set[int]) -> None:
    assert read(data, OPEN).failed == codes


def test_control_frames() -> None:
    frames = [Frame(TEXT, b"a"), Frame(FIN | PING, b"p"), Frame(FIN, b"b"), Frame(FIN | CLOSE)]
    reading = read(b"".join(frame.encode(masked=False) for frame in frames), OPEN)
    assert reading.messages == [Message(TEXT, b"ab", True)]
    assert reading.controls == [Control(PING, b"p", 0), Control(CLOSE, b"", 1)]
    assert reading.closed


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("foo", [("foo", [])]),
        ("bar; baz=2", [("bar", [("baz", "2")])]),
        ('foo, bar;baz="2" ;b', [("foo", []), ("bar", [("baz", "2"), ("b", None)])]),
        (" , foo,,", [("foo", [])]),
        ('a; b="\\2"', [("a", [("b", "2")])]),
    ],
)
def test_extensions(value: str, elements: object) -> None:
    assert extension_list(value) == elements


@pytest.mark.parametrize("value", ["a;", "a; b=", "a/b", 'a; b="2', 'a; b="x,y"', "a b", "a;;b"])
def test_malformed_extensions(value: str) -> None:
    with pytest.raises(Malformed):
        extension_list(value)


def test_an_answer_to_an_offer() -> None:
    offers = "permessage-deflate; x, permessage-deflate; client_max_window_bits"
    answer = deflate_answer(extension_list(offers))
    assert answer == "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def test_a_request() -> None:
    accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert request(REQUEST, []) == Asked(accept, None, None)
    assert request(REQUEST[:-1], []) is None
    with pytest.raises(Bad):
        request(REQUEST.replace(b"Host", b"Hast"), [])
