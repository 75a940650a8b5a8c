"""Masking against RFC 6455 section 5.3, word for word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import RELAXED, xor

from wscore.masking import apply_mask

# Where the way of computing changes, and around whole words.
SIZES = [*range(70), *range(120, 132), *range(8185, 8200), 65535, 65536, 65537]


@pytest.mark.parametrize(
    "key", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x37\xfa\x21\x3d", b"\0\0\0\1"]
)
def test_every_size_around_the_thresholds(key: bytes) -> None:
    data = bytes(i * 7 & 0xFF for i in range(max(SIZES)))
    expected = xor(data, key)
    for size in SIZES:
        masked = apply_mask(data[:size], key)
        assert masked == expected[:size]
        assert type(masked) is bytes
        assert apply_mask(masked, key) == data[:size]


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 5.7."""
    assert apply_mask(b"Hello", b"\x37\xfa\x21\x3d") == b"\x7f\x9f\x4d\x51\x58"


@RELAXED
@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.sampled_from([0, 8192]))
def test_any_data_and_key(data: bytes, key: bytes, more: int) -> None:
    data += bytes(more)
    assert apply_mask(data, key) == xor(data, key)
