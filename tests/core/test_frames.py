"""Frames of whole messages: what is made at once, and what is left to the longer way."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaves import compiled, forms, needs_compiled
from wire import BINARY, FIN, TEXT, Frame, encode

from wscore import accel

ShortFrame = Callable[[object, int], bytes | None]

in_both_forms = pytest.mark.parametrize("short_frame", forms("short_frame"))

NO_BOUND = 2**62

# On both sides of where the length takes more bytes.
SIZES = [0, 1, 125, 126, 127, 65535, 65536, 65537]


class Text(str):
    """A str that is not just one."""


class Bytes(bytes):
    """Bytes that are not just that."""


@in_both_forms
@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size(short_frame: ShortFrame, size: int) -> None:
    payload = bytes(i & 0x7F for i in range(size))
    for below in (size + 1, NO_BOUND):
        text = short_frame(payload.decode(), below)
        assert text == encode([Frame(FIN | TEXT, payload)], "client")
        assert type(text) is bytes
        assert short_frame(payload, below) == encode([Frame(FIN | BINARY, payload)], "client")
    for below in (size, size - 1, -1):
        assert short_frame(payload, below) is None
        assert short_frame(payload.decode(), below) is None


@in_both_forms
@pytest.mark.parametrize("text", ["é", "€", "\U0001f600", "a\x80" * 31 + "€"])
def test_what_is_not_ascii_counts_four_bytes(short_frame: ShortFrame, text: str) -> None:
    most = 4 * len(text)
    assert short_frame(text, most) is None
    assert short_frame(text, most + 1) == encode([Frame(FIN | TEXT, text.encode())], "client")


@in_both_forms
@pytest.mark.parametrize(
    "data", [Text("a"), Bytes(b"a"), bytearray(b"a"), memoryview(b"a"), None, 1, ["a"]]
)
def test_nothing_but_str_and_bytes(short_frame: ShortFrame, data: object) -> None:
    assert short_frame(data, NO_BOUND) is None


@in_both_forms
@pytest.mark.parametrize("text", ["\ud800", "a" * 300 + "\udfff", "€\udc80€"])
def test_a_lone_surrogate_is_no_text(short_frame: ShortFrame, text: str) -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed") as raised:
        short_frame(text, NO_BOUND)
    assert raised.value.object == text


@needs_compiled
@given(st.text() | st.binary(), st.integers(-1, 600))
def test_both_forms_agree(data: str | bytes, below: int) -> None:
    assert compiled is not None
    assert compiled.short_frame(data, below) == accel.DEFINITIONS["short_frame"](data, below)


@needs_compiled
@pytest.mark.parametrize("arguments", [(), (b"",), (b"", 1, 2), (b"", "1"), (b"", None)])
def test_wrong_arguments(arguments: tuple[object, ...]) -> None:
    assert compiled is not None
    with pytest.raises(TypeError):
        compiled.short_frame(*arguments)
