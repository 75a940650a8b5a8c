"""Masking against RFC 6455 section 5.3, word for word; in Python and compiled."""

from collections.abc import Callable
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from implementations import compiled, forms, needs_compiled

import wscore.masking
from kit.frames import xor
from wscore.masking import _TABLES_FROM, MaskKeys

ApplyMask = Callable[..., bytes]

in_both_forms = pytest.mark.parametrize("apply_mask", forms("apply_mask"))

# Where the way of computing changes, and around whole words.
SIZES = [*range(70), *range(120, 132), *range(8185, 8200), 65535, 65536, 65537]


@in_both_forms
@pytest.mark.parametrize(
    "key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x37\xfa\x21\x3d", b"\0\0\0\1"]
)
def test_every_size_around_the_thresholds(apply_mask: ApplyMask, key: bytes) -> None:
    data = bytes(i * 7 & 0xFF for i in range(max(SIZES)))
    expected = xor(data, key)
    for size in SIZES:
        masked = apply_mask(data[:size], key)
        assert masked == expected[:size]
        assert type(masked) is bytes
        assert apply_mask(masked, key) == data[:size]


@in_both_forms
def test_the_example_of_the_rfc(apply_mask: ApplyMask) -> None:
    """RFC 6455 section 5.7."""
    assert apply_mask(b"Hello", b"\x37\xfa\x21\x3d") == b"\x7f\x9f\x4d\x51\x58"


@in_both_forms
@given(
    st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.sampled_from([0, _TABLES_FROM])
)
def test_any_data_and_key(apply_mask: ApplyMask, data: bytes, key: bytes, more: int) -> None:
    data += bytes(more)
    assert apply_mask(data, key) == xor(data, key)


@in_both_forms
def test_what_is_not_bytes_but_like_them(apply_mask: ApplyMask) -> None:
    masked = apply_mask(b"Hello", b"\x37\xfa\x21\x3d", 1)
    for form in (bytearray, memoryview):
        assert apply_mask(form(b"Hello"), b"\x37\xfa\x21\x3d", 1) == masked


@in_both_forms
@given(st.binary(max_size=40), st.integers(0, 50), st.integers(0, 50))
def test_a_part_is_masked_from_its_start_on(
    apply_mask: ApplyMask, data: bytes, start: int, stop: int
) -> None:
    key = b"\x37\xfa\x21\x3d"
    assert apply_mask(data, key, start) == xor(data[start:], key)
    assert apply_mask(data, key, start, stop) == xor(data[start:stop], key)


@needs_compiled
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((b"",), TypeError),
        ((b"", b"1234", 0, 1, 2), TypeError),
        ((memoryview(bytes(8))[::2], b"1234"), BufferError),
        ((b"12345678", bytearray(b"1234")), TypeError),
        ((b"12345678", "1234"), TypeError),
        ((b"12345678", b"123"), ValueError),
        ((b"12345678", b"12345"), ValueError),
        ((b"12345678", b"1234", "0"), TypeError),
        ((b"12345678", b"1234", 0, None), TypeError),
        ((b"12345678", b"1234", 2**64), OverflowError),
        ((b"12345678", b"1234", 0, -(2**64)), OverflowError),
    ],
)
def test_what_the_compiled_one_cannot_take(
    arguments: tuple[object, ...], error: type[Exception]
) -> None:
    """Whatever it is given, it touches nobody else's memory."""
    assert compiled is not None
    with pytest.raises(error):
        compiled.apply_mask(*arguments)


@needs_compiled
def test_a_part_of_the_compiled_one_lies_within_the_data() -> None:
    assert compiled is not None
    for start in range(-12, 12):
        for stop in range(-12, 12):
            assert (
                compiled.apply_mask(b"12345678", bytes(4), start, stop) == b"12345678"[start:stop]
            )


def test_each_key_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which the system gives them, over the ends of blocks."""
    blocks: list[bytes] = []

    def random_bytes(size: int) -> bytes:
        blocks.append(bytes(len(blocks) + index & 0xFF for index in range(size)))
        return blocks[-1]

    monkeypatch.setattr(wscore.masking, "urandom", random_bytes)
    used = b"".join(islice(MaskKeys(), 600))
    assert len(blocks) == 3
    assert b"".join(blocks).startswith(used)
    assert len(used) == 2400
