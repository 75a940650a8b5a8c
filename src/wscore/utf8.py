"""UTF-8 as it arrives and goes out (RFC 6455 section 8.1)."""

from codecs import utf_8_decode

from .speedups import accelerated

_SURROGATE = b"\xed\xa0"
_BEYOND = b"\xee"


@accelerated
def decode(data: bytes, final: bool) -> tuple[str, int]:
    """Decode `data` up to an incomplete code point at its end, unless `final`.

    Returns the text and how many bytes it took; the rest belongs before the next data.
    Raises UnicodeDecodeError at the first byte that no continuation could make valid.
    """
    text, used = utf_8_decode(data, "strict", final)
    # Of a surrogate CPython wants to see the third byte, too, though the second is impossible.
    if _SURROGATE <= data[used:] < _BEYOND:
        raise UnicodeDecodeError("utf-8", data, used, used + 2, "surrogate")
    return text, used


@accelerated
def encode(text: str) -> bytes:
    """Encode `text`. Raises UnicodeEncodeError at a surrogate."""
    return text.encode()
