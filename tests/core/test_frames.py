"""Frames of whole messages: what is made at once, and what is left to the longer way."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import compiled, forms, needs_compiled
from wire import encode

from kit.frames import BINARY, FIN, TEXT, Frame, parse
from wscore import speedups

MessageFrame = Callable[[object, int, Iterator[bytes] | None], bytes | None]

in_both_forms = pytest.mark.parametrize("message_frame", forms("message_frame"))

NO_BOUND = 2**62

# On both sides of where the length takes more bytes.
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 65537]


class Text(str):
    """A str that is not just one."""


class Bytes(bytes):
    """Bytes that are not just that."""


def text_frame(text: str) -> bytes:
    return encode([Frame(FIN | TEXT, text.encode())], "client")


@in_both_forms
@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size(message_frame: MessageFrame, size: int) -> None:
    payload = bytes(i & 0x7F for i in range(size))
    for below in (size + 1, NO_BOUND):
        text = message_frame(payload.decode(), below, None)
        assert text == encode([Frame(FIN | TEXT, payload)], "client")
        assert type(text) is bytes
        assert message_frame(payload, below, None) == encode(
            [Frame(FIN | BINARY, payload)], "client"
        )
    for below in (size, size - 1, -1):
        assert message_frame(payload, below, None) is None
        assert message_frame(payload.decode(), below, None) is None


@in_both_forms
def test_many_bytes_are_not_copied(message_frame: MessageFrame) -> None:
    for size in (2**18 - 1, 2**18):
        frame = encode([Frame(FIN | BINARY, bytes(size))], "client")
        assert message_frame(bytes(size), NO_BOUND, None) == (frame if size < 2**18 else None)


@in_both_forms
@pytest.mark.parametrize("one", ["a", "é", "€", "\U0001f600"])
def test_much_text_has_its_frame(message_frame: MessageFrame, one: str) -> None:
    for text in (one * 2**16, one * 2**18):
        assert message_frame(text, NO_BOUND, None) == text_frame(text)


@in_both_forms
@pytest.mark.parametrize("text", ["é", "€", "\U0001f600", "a\x80" * 31 + "€"])
def test_what_is_not_ascii_counts_four_bytes(message_frame: MessageFrame, text: str) -> None:
    most = 4 * len(text)
    assert message_frame(text, most, None) is None
    assert message_frame(text, most + 1, None) == encode(
        [Frame(FIN | TEXT, text.encode())], "client"
    )


@in_both_forms
@pytest.mark.parametrize(
    "data", [Text("a"), Bytes(b"a"), bytearray(b"a"), memoryview(b"a"), None, 1, ["a"]]
)
def test_nothing_but_str_and_bytes(message_frame: MessageFrame, data: object) -> None:
    assert message_frame(data, NO_BOUND, None) is None


@in_both_forms
@pytest.mark.parametrize("text", ["\ud800", "a" * 300 + "\udfff", "€\udc80€"])
def test_a_lone_surrogate_is_not_text(message_frame: MessageFrame, text: str) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed") as raised:
        message_frame(text, NO_BOUND, None)
    assert raised.value.object == text


# Around what takes one byte more in UTF-8, and in each width that CPython keeps characters in.
EDGES = "a\x7f\x80\xff\u0100\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"


@in_both_forms
@pytest.mark.parametrize("size", [*range(1, 105), 4095, 4096, 4097, 9000])
def test_text_of_every_length(message_frame: MessageFrame, size: int) -> None:
    """All of one character, all but the last, the last alone, and one after the other."""
    for one in EDGES:
        for other in "aé€":
            for text in (one * size, one * (size - 1) + other, other * (size - 1) + one):
                assert message_frame(text, NO_BOUND, None) == text_frame(text)
    for widest in (4, 10, 12):
        text = (EDGES[:widest] * size)[:size]
        assert message_frame(text, NO_BOUND, None) == text_frame(text)


@in_both_forms
def test_a_surrogate_at_every_place(message_frame: MessageFrame) -> None:
    for surrogate in "\ud800\udbff\udc00\udfff":
        for before in range(105):
            for after in (0, 1, 40):
                text = "€" * before + surrogate + "é" * after
                with pytest.raises(UnicodeEncodeError) as raised:
                    message_frame(text, NO_BOUND, None)
                assert (raised.value.object, raised.value.start) == (text, before)


@in_both_forms
@given(st.text("a\xe9\u20ac", max_size=300), st.text("ab\xfc", max_size=100))
def test_any_text_of_words(message_frame: MessageFrame, text: str, words: str) -> None:
    for one in (text, words, text + words, words * 2 + text):
        assert message_frame(one, NO_BOUND, None) == text_frame(one)


@in_both_forms
@pytest.mark.parametrize("size", SIZES)
def test_a_client_masks_each_frame_with_the_next_key(
    message_frame: MessageFrame, size: int
) -> None:
    keys = iter([b"\1\2\3\xff", b"abcd"])
    for key, data in ((b"\1\2\3\xff", "x" * size), (b"abcd", "\u20ac" * (size // 3))):
        frame = message_frame(data, NO_BOUND, keys)
        assert frame is not None
        parsed = parse(frame)
        assert parsed is not None
        assert (parsed.frame, parsed.key) == (Frame(FIN | TEXT, data.encode()), key)
        assert parsed.size == len(frame)


@in_both_forms
def test_a_frame_that_is_not_made_takes_no_key(message_frame: MessageFrame) -> None:
    keys = iter([b"abcd"])
    for data in (b"abc", "abc", "\u20ac", bytearray(b"a")):
        assert message_frame(data, 3, keys) is None
    with pytest.raises(UnicodeEncodeError):
        message_frame("\ud800", NO_BOUND, keys)
    assert next(keys) == b"abcd"


@needs_compiled
@given(st.text() | st.binary(), st.integers(-1, 600), st.none() | st.binary(min_size=4, max_size=4))
def test_both_forms_agree(data: str | bytes, below: int, key: bytes | None) -> None:
    assert compiled is not None
    forms = compiled.message_frame, speedups.PYTHON_FUNCTIONS["message_frame"]
    one, other = (form(data, below, None if key is None else iter([key])) for form in forms)
    assert one == other


@needs_compiled
@pytest.mark.parametrize(
    "arguments", [(), (b"", 1), (b"", 1, None, 2), (b"", "1", None), (b"", None, None)]
)
def test_wrong_arguments(arguments: tuple[object, ...]) -> None:
    assert compiled is not None
    with pytest.raises(TypeError):
        compiled.message_frame(*arguments)


@needs_compiled
@pytest.mark.parametrize("keys", [5, [b"abcd"], iter([]), iter([b"abc"]), iter(["abcd"])])
def test_what_is_not_keys(keys: object) -> None:
    assert compiled is not None
    with pytest.raises(TypeError, match="the keys must be an iterator of four bytes each"):
        compiled.message_frame(b"a", NO_BOUND, keys)
