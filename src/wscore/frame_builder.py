"""Frames as a test wants them, wrong ones included (RFC 6455 section 5.2)."""

from .enums import DataType
from .frames import FIN, MASKED, MAX_CONTROL, encode_header, payload_bytes
from .masking import apply_mask
from .utf8 import encode

_RSV = (0x40, 0x20, 0x10)
# The bytes of the extended payload length, the marker in the first length byte, by `length_bits`.
_WIDTHS = {7: (0, 0), 16: (2, 126), 64: (8, 127)}


def build_frame(
    opcode: DataType | int,
    payload: str | bytes | bytearray | memoryview = b"",
    *,
    fin: bool = True,
    rsv1: bool = False,
    rsv2: bool = False,
    rsv3: bool = False,
    mask: bytes | None = None,
    length: int | None = None,
    length_bits: int | None = None,
) -> bytes:
    """The bytes of one frame, valid or not: for tests and experiments (RFC 6455 section 5.2).

    Arguments:
        `opcode`: a DataType, or any number from 0 to 15.
        `payload`: str, which is encoded as UTF-8, or bytes-like.
        `fin`, `rsv1`, `rsv2`, `rsv3`: the bits of the first byte.
        `mask`: the masking key, 4 bytes; None for a frame that is not masked.
        `length`: the payload length to declare, in bytes; None for that of `payload`.
        `length_bits`: the size of the length field: 7, 16 or 64; None for the shortest.

    Raises ValueError for what the field cannot hold, TypeError for another kind of payload.
    """
    if not 0 <= opcode <= 15:
        raise ValueError(f"opcode has four bits: it must be from 0 to 15, not {opcode!r}")
    if mask is not None and len(mask) != 4:
        raise ValueError(f"mask must be the 4 bytes of a masking key, not {len(mask)}")
    if isinstance(payload, str):
        data = encode(payload)
    else:
        data = payload_bytes(payload, "a payload is str (text) or bytes-like (binary)")
    size = len(data) if length is None else length
    bits = sum(bit for bit, is_set in zip(_RSV, (rsv1, rsv2, rsv3), strict=True) if is_set)
    first = (FIN if fin else 0) | bits | opcode
    header = _header(first, size, 0 if mask is None else MASKED, length_bits)
    return header + data if mask is None else header + mask + apply_mask(data, mask)


def _header(first: int, size: int, mask_bit: int, bits: int | None) -> bytes:
    if bits is None:
        bits = 64
        if 0 <= size < 1 << 64:
            return encode_header(first, size, mask_bit)
    elif bits not in _WIDTHS:
        raise ValueError(f"length_bits must be 7, 16, 64 or None for the shortest, not {bits!r}")
    most = MAX_CONTROL if bits == 7 else (1 << bits) - 1
    if not 0 <= size <= most:
        raise ValueError(f"a length field of {bits} bits holds 0 to {most}, not {size!r}")
    width, marker = _WIDTHS[bits]
    return bytes([first, mask_bit | (marker or size)]) + (size.to_bytes(width) if width else b"")
