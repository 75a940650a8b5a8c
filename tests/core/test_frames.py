"""Frames of whole messages: what is made at once, and what is left to the longer way."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import compiled, forms, needs_compiled
from wire import encode

from kit.frames import BINARY, FIN, TEXT, Frame
from wscore import speedups

MessageFrame = Callable[[object, int], bytes | None]

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
        text = message_frame(payload.decode(), below)
        assert text == encode([Frame(FIN | TEXT, payload)], "client")
        assert type(text) is bytes
        assert message_frame(payload, below) == encode([Frame(FIN | BINARY, payload)], "client")
    for below in (size, size - 1, -1):
        assert message_frame(payload, below) is None
        assert message_frame(payload.decode(), below) is None


@in_both_forms
def test_many_bytes_are_not_copied(message_frame: MessageFrame) -> None:
    for size in (2**18 - 1, 2**18):
        frame = encode([Frame(FIN | BINARY, bytes(size))], "client")
        assert message_frame(bytes(size), NO_BOUND) == (frame if size < 2**18 else None)


@in_both_forms
@pytest.mark.parametrize("one", ["a", "é", "€", "\U0001f600"])
def test_much_text_has_its_frame(message_frame: MessageFrame, one: str) -> None:
    for text in (one * 2**16, one * 2**18):
        assert message_frame(text, NO_BOUND) == text_frame(text)


@in_both_forms
@pytest.mark.parametrize("text", ["é", "€", "\U0001f600", "a\x80" * 31 + "€"])
def test_what_is_not_ascii_counts_four_bytes(message_frame: MessageFrame, text: str) -> None:
    most = 4 * len(text)
    assert message_frame(text, most) is None
    assert message_frame(text, most + 1) == encode([Frame(FIN | TEXT, text.encode())], "client")


@in_both_forms
@pytest.mark.parametrize(
    "data", [Text("a"), Bytes(b"a"), bytearray(b"a"), memoryview(b"a"), None, 1, ["a"]]
)
def test_nothing_but_str_and_bytes(message_frame: MessageFrame, data: object) -> None:
    assert message_frame(data, NO_BOUND) is None


@in_both_forms
@pytest.mark.parametrize("text", ["\ud800", "a" * 300 + "\udfff", "€\udc80€"])
def test_a_lone_surrogate_is_not_text(message_frame: MessageFrame, text: str) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed") as raised:
        message_frame(text, NO_BOUND)
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
                assert message_frame(text, NO_BOUND) == text_frame(text)
    for widest in (4, 10, 12):
        text = (EDGES[:widest] * size)[:size]
        assert message_frame(text, NO_BOUND) == text_frame(text)


@in_both_forms
def test_a_surrogate_at_every_place(message_frame: MessageFrame) -> None:
    for surrogate in "\ud800\udbff\udc00\udfff":
        for before in range(105):
            for after in (0, 1, 40):
                text = "€" * before + surrogate + "é" * after
                with pytest.raises(UnicodeEncodeError) as raised:
                    message_frame(text, NO_BOUND)
                assert (raised.value.object, raised.value.start) == (text, before)


@in_both_forms
@given(st.text("a\xe9\u20ac", max_size=300), st.text("ab\xfc", max_size=100))
def test_any_text_of_words(message_frame: MessageFrame, text: str, words: str) -> None:
    for one in (text, words, text + words, words * 2 + text):
        assert message_frame(one, NO_BOUND) == text_frame(one)


@needs_compiled
@given(st.text() | st.binary(), st.integers(-1, 600))
def test_both_forms_agree(data: str | bytes, below: int) -> None:
    assert compiled is not None
    assert compiled.message_frame(data, below) == speedups.PYTHON_FUNCTIONS["message_frame"](
        data, below
    )


@needs_compiled
@pytest.mark.parametrize("arguments", [(), (b"",), (b"", 1, 2), (b"", "1"), (b"", None)])
def test_wrong_arguments(arguments: tuple[object, ...]) -> None:
    assert compiled is not None
    with pytest.raises(TypeError):
        compiled.message_frame(*arguments)
