"""UTF-8 as it arrives, against the grammar of RFC 3629 section 4; in Python and compiled."""

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from implementations import compiled, forms, needs_compiled

Decode = Callable[[bytes, bool], tuple[str, int]]

in_both_forms = pytest.mark.parametrize("decode", forms("decode"))

WHOLE = re.compile(
    rb"(?:[\x00-\x7f]"
    rb"|[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}"
    rb"|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2})*"
)
# What can still become one code point.
BEGUN = re.compile(
    rb"(?:[\xc2-\xdf]"
    rb"|\xe0[\xa0-\xbf]?"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]?"
    rb"|\xed[\x80-\x9f]?"
    rb"|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?"
    rb"|[\xf1-\xf3][\x80-\xbf]{0,2}"
    rb"|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?)?"
)


def check(decode: Decode, data: bytes) -> None:
    """Decode `data` as an end and as a beginning, and see that both are right."""
    match = WHOLE.match(data)
    assert match is not None
    used = match.end()
    text = data[:used].decode()
    if used == len(data):
        assert decode(data, True) == (text, used)
    else:
        with pytest.raises(UnicodeDecodeError) as caught:
            decode(data, True)
        assert (caught.value.object, caught.value.start) == (data, used)
    if BEGUN.fullmatch(data, used):
        assert decode(data, False) == (text, used)
    else:
        with pytest.raises(UnicodeDecodeError) as caught:
            decode(data, False)
        assert (caught.value.object, caught.value.start) == (data, used)


@pytest.mark.slow
@in_both_forms
def test_all_of_one_byte_and_two(decode: Decode) -> None:
    check(decode, b"")
    for first in range(256):
        check(decode, bytes([first]))
        for second in range(256):
            check(decode, bytes([first, second]))


EDGES = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)


@pytest.mark.slow
@in_both_forms
def test_all_starts_with_continuations_around_their_edges(decode: Decode) -> None:
    for first in range(0xC0, 0x100):
        for second in EDGES:
            for third in EDGES:
                check(decode, bytes([first, second, third]))
                for fourth in EDGES:
                    check(decode, bytes([first, second, third, fourth]))


@in_both_forms
@given(st.binary(max_size=12), st.text(max_size=4), st.text(max_size=4))
@example(b"\xed\xa0", "", "")
@example(b"\xed\xa0", "a", "")
def test_any_bytes_within_text(decode: Decode, data: bytes, before: str, after: str) -> None:
    check(decode, before.encode() + data)
    check(decode, before.encode() + data + after.encode())


@pytest.mark.slow
@in_both_forms
@given(st.text(max_size=20), st.lists(st.integers(min_value=0, max_value=80)))
def test_text_cut_anywhere_is_the_same_text(decode: Decode, text: str, cuts: list[int]) -> None:
    data, rest, result = text.encode(), b"", ""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, stop in pairwise(places):
        arrived = rest + data[start:stop]
        piece, used = decode(arrived, stop == len(data))
        result, rest = result + piece, arrived[used:]
        assert len(rest) < 4
    assert (result, rest) == (text, b"")


# Of each width that CPython keeps characters in, and around its borders.
WIDTHS = ["a", "\x7f", "\x80", "\xff", "\u0100", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff"]
WIDTHS += ["\U00010000", "\U0010ffff"]


@in_both_forms
def test_long_text_of_every_width(decode: Decode) -> None:
    """With long runs and short ones, on all places in a word."""
    for one in WIDTHS:
        for other in WIDTHS:
            for run in (1, 7, 8, 9, 130):
                text = (one * run + other) * 5
                data = text.encode()
                decoded, used = decode(data, True)
                assert (decoded, used) == (text, len(data))
                assert decoded.__sizeof__() == text.__sizeof__()  # as compact as any other
                for broken in (b"\x80", b"\xc1\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
                    with pytest.raises(UnicodeDecodeError) as caught:
                        decode(data + broken + data, False)
                    assert (caught.value.start, caught.value.reason != "") == (len(data), True)


# What the compiled one works on in blocks: long, with much of it no ASCII, and not all.
ALTERNATING = [f"{one}{other}a" for one in WIDTHS[2:] for other in WIDTHS]


@in_both_forms
@pytest.mark.parametrize("size", [509, 512, 640, 1027])
def test_long_text_that_alternates(decode: Decode, size: int) -> None:
    """Cut at any place in a character, its blocks beginning at any."""
    for turn in ALTERNATING:
        data = (turn * size).encode()[:size]
        for end in range(size - 8, size + 1):
            check(decode, data[:end])
        text, _ = decode(data, False)
        assert text.__sizeof__() == str(text.encode(), "utf-8").__sizeof__()


@pytest.mark.slow
@in_both_forms
def test_long_text_that_is_broken_at_one_place(decode: Decode) -> None:
    """In each block and at its borders, whatever it may be broken by."""
    long = ("aé€\U00010000" * 100).encode()
    for broken in (b"\x80", b"\xc0", b"\xc1", b"\xe0\x9f", b"\xed\xa0", b"\xf0\x8f", b"\xf4\x90"):
        check(decode, long + broken)
        check(decode, long[:-1] + broken)
        for start in (*range(140), *range(250, 262), *range(380, 390)):
            check(decode, long[:start] + broken + long[start + len(broken) :])
            check(decode, long[:start] + broken + long)
            check(decode, long[:start] + broken)
    for byte in (0x61, *range(0x80, 0x100)):
        for start in range(120, 140):
            check(decode, long[:start] + bytes([byte]) + long[start + 1 :])


@pytest.mark.slow
@in_both_forms
@given(st.text("a\xe9\u20ac\U0001f600", min_size=300, max_size=700), st.binary(max_size=3))
def test_any_long_text(decode: Decode, text: str, after: bytes) -> None:
    check(decode, text.encode() + after)


@needs_compiled
@pytest.mark.parametrize("arguments", [(), (b"",), (b"", True, 1), (bytearray(b"a"), True)])
def test_what_the_compiled_one_cannot_take(arguments: tuple[object, ...]) -> None:
    """Whatever it is given, it touches nobody else's memory."""
    assert compiled is not None
    with pytest.raises(TypeError):
        compiled.decode(*arguments)


Encode = Callable[[str], bytes]

both_encode = pytest.mark.parametrize("encode", forms("encode"))


@both_encode
@pytest.mark.parametrize("size", [*range(105), 4097])
def test_encoding_text_of_every_length(encode: Encode, size: int) -> None:
    for one in WIDTHS:
        for other in "aé€":
            for text in (one * size, one * size + other, other * size + one):
                assert encode(text) == text.encode()


@both_encode
@given(st.text(), st.text("a\xe9\u20ac", max_size=300))
def test_encoding_any_text(encode: Encode, text: str, words: str) -> None:
    for one in (text, words, words + text):
        assert encode(one) == one.encode()


@both_encode
def test_a_surrogate_is_not_encoded(encode: Encode) -> None:
    for before in ("", "aé", "€" * 100):
        with pytest.raises(UnicodeEncodeError) as raised:
            encode(f"{before}\ud800€")
        assert raised.value.start == len(before)


@needs_compiled
@pytest.mark.parametrize("arguments", [(), (b"a",), ("a", "b"), (None,)])
def test_what_the_compiled_one_cannot_encode(arguments: tuple[object, ...]) -> None:
    assert compiled is not None
    with pytest.raises(TypeError):
        compiled.encode(*arguments)
