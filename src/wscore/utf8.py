"""UTF-8 as it arrives (RFC 6455 section 8.1)."""

from codecs import utf_8_decode


def decode(data: bytes, final: bool) -> tuple[str, int]:
    """Decode `data` up to an incomplete code point at its end, unless `final`.

    Returns the text and how many bytes it took; the rest belongs before the next data.
    Raises UnicodeDecodeError at the first byte that no continuation could make valid.
    """
    return utf_8_decode(data, "strict", final)
