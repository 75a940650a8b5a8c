"""Encoding of frames (RFC 6455 section 5.2)."""

from .enums import DataType
from .masking import apply_mask
from .speedups import accelerated

FIN = 0x80
MASKED = 0x80

# A Close's or a Ping's payload at most (RFC 6455 section 5.5).
MAX_CONTROL = 125

# From so many bytes on a payload is written by itself: joining it to its header copies it. That
# takes 0.87 of the time for an echo of 64 KiB, and as long as a second write for 256.
LARGE = 2**18

# The headers of short unmasked frames, ready-made: 60 ns instead of 170 for each message sent.
_SHORT = {
    FIN | opcode: tuple(bytes((FIN | opcode, size)) for size in range(126))
    for opcode in (DataType.TEXT, DataType.BINARY)
}
SHORT_TEXT = _SHORT[FIN | DataType.TEXT]
SHORT_BINARY = _SHORT[FIN | DataType.BINARY]


def encode_header(first: int, size: int, mask_bit: int) -> bytes:
    """The first bytes of a frame, its masking key excepted.

    `first` is FIN, RSV bits and opcode; `size` the payload's length in bytes, in the fewest
    bytes that hold it; `mask_bit` is MASKED or 0.
    """
    if size < 126:
        return (first << 8 | mask_bit | size).to_bytes(2)
    if size < 65536:
        return ((first << 8 | mask_bit | 126) << 16 | size).to_bytes(4)
    return ((first << 8 | mask_bit | 127) << 64 | size).to_bytes(10)


@accelerated
def message_frame(data: object, below: int) -> bytes | None:
    """The unmasked frame of a whole message of less than `below` bytes.

    None where `data` is longer or may be (a character that is not ASCII counts four bytes), for
    LARGE bytes, and for what is neither str nor bytes. Text is copied in any case: it is encoded.
    """
    if data.__class__ is str:
        assert isinstance(data, str)
        if 4 * len(data) >= below and not data.isascii():
            return None
        payload = data.encode()
        short = SHORT_TEXT
    elif data.__class__ is bytes:
        assert isinstance(data, bytes)
        if len(data) >= LARGE:
            return None
        payload = data
        short = SHORT_BINARY
    else:
        return None
    size = len(payload)
    if size >= below:
        return None
    return (short[size] if size < 126 else encode_header(short[0][0], size, 0)) + payload


def encode_frame(first: int, payload: bytes, key: bytes | None) -> list[bytes]:
    """A frame as pieces to be joined: a large payload is not copied here.

    `key` is the client's masking key, None on the server's side.
    """
    if key is None:
        return [encode_header(first, len(payload), 0), payload]
    return [encode_header(first, len(payload), MASKED) + key, apply_mask(payload, key)]


def payload_bytes(data: object, rule: str) -> bytes:
    """What a caller gave as bytes, bytearray or memoryview; TypeError, with the rule, else."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"{rule}, not {type(data).__name__}")


@accelerated
def readable(data: object) -> bytes | memoryview:
    """Input as whatever takes it is content with: a copy here, compiled the memoryview itself."""
    return payload_bytes(data, "input is bytes-like")


def truncated_reason(text: str) -> str:
    """As much of a close reason as a Close has room for."""
    return text.encode()[: MAX_CONTROL - 2].decode(errors="ignore")


def close_payload(code: int | None, reason: str) -> bytes:
    """The body of a Close frame: nothing for None, else the code and the reason in UTF-8.

    Raises TypeError where the reason is no str, ValueError where it is longer than 123 bytes
    (RFC 6455 section 5.5.1).
    """
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is str, not {type(reason).__name__}")
    if code is None:
        return b""
    text = reason.encode()
    if len(text) > MAX_CONTROL - 2:
        raise ValueError(
            f"a close reason holds at most {MAX_CONTROL - 2} bytes of UTF-8,"
            f" this one has {len(text)}: shorten it"
        )
    return code.to_bytes(2) + text
