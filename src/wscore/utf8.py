"""UTF-8 of received and sent text (RFC 6455 section 8.1)."""

from codecs import utf_8_decode

from .speedups import accelerated

_SURROGATE = b"\xed\xa0"
_AFTER_SURROGATES = b"\xee"


@accelerated
def decode(data: bytes, final: bool, /) -> tuple[str, int]:
    """Decode `data`, up to an incomplete code point at its end unless it is `final`.

    Returns the text and how many bytes were decoded; put the others before the next data. Raises
    UnicodeDecodeError at the first byte after which no bytes could make the text valid.
    """
    text, used = utf_8_decode(data, "strict", final)
    # CPython waits for a surrogate's third byte, although its second is invalid already.
    if _SURROGATE <= data[used:] < _AFTER_SURROGATES:
        raise UnicodeDecodeError("utf-8", data, used, used + 2, "surrogate")
    return text, used


@accelerated
def encode(text: str, /) -> bytes:
    """Encode `text`. Raises UnicodeEncodeError for a surrogate."""
    return text.encode()
