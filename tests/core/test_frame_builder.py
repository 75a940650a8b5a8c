"""`build_frame`: whatever a test asks for, wrong frames included."""

from typing import Any

import pytest

from kit.frames import KEY, Frame
from wscore import DataType, build_frame

HELLO = b"Hello"


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        # The examples of RFC 6455 section 5.7.
        (build_frame(DataType.TEXT, "Hello"), "810548656c6c6f"),
        (build_frame(DataType.TEXT, HELLO, mask=KEY), "818537fa213d7f9f4d5158"),
        (build_frame(DataType.TEXT, "Hel", fin=False), "010348656c"),
        (build_frame(DataType.CONTINUATION, b"lo"), "80026c6f"),
        (build_frame(DataType.PING, HELLO), "890548656c6c6f"),
        # Wrong ones.
        (build_frame(15, fin=False, rsv1=True, rsv2=True, rsv3=True), "7f00"),
        (build_frame(2, rsv1=True), "c200"),
        (build_frame(2, rsv2=True), "a200"),
        (build_frame(2, rsv3=True), "9200"),
        (build_frame(2, HELLO, length=3), "820348656c6c6f"),
        (build_frame(2, b"", length=(1 << 64) - 1), "827fffffffffffffffff"),
        (build_frame(2, b"x", length_bits=7), "820178"),
        (build_frame(2, b"x", length_bits=16), "827e000178"),
        (build_frame(2, memoryview(b"x"), length_bits=64), "827f000000000000000178"),
        (build_frame(2, bytearray(b"x"), length_bits=16, mask=bytes(4)), "82fe00010000000078"),
    ],
)
def test_bytes(frame: bytes, wire: str) -> None:
    assert frame.hex() == wire


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [None, KEY])
def test_lengths_take_their_shortest_form(size: int, mask: bytes | None) -> None:
    payload = bytes(size)
    expected = Frame(0x82, payload).encode(masked=mask is not None)
    assert build_frame(DataType.BINARY, payload, mask=mask) == expected


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"opcode": 16}, ValueError, "from 0 to 15, not 16"),
        ({"opcode": DataType.NONE}, ValueError, "from 0 to 15, not <DataType.NONE"),
        ({"opcode": 1, "mask": b"abc"}, ValueError, "4 bytes of a masking key, not 3"),
        ({"opcode": 1, "payload": 5}, TypeError, r"str \(text\) or bytes-like \(binary\), not int"),
        (
            {"opcode": 1, "length": -1},
            ValueError,
            "64 bits holds 0 to 18446744073709551615, not -1",
        ),
        ({"opcode": 1, "length": 1 << 64}, ValueError, "64 bits holds 0 to"),
        ({"opcode": 1, "length": 126, "length_bits": 7}, ValueError, "7 bits holds 0 to 125, not"),
        ({"opcode": 1, "length": 65536, "length_bits": 16}, ValueError, "holds 0 to 65535, not"),
        ({"opcode": 1, "length_bits": 8}, ValueError, "7, 16, 64 or None for the shortest, not 8"),
    ],
)
def test_what_the_fields_cannot_hold(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build_frame(**arguments)
