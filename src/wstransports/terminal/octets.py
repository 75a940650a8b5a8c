"""Bytes in the forms of the command line: hex, base64, a Python literal, a dump, or raw."""

import ast
import re
from base64 import b64decode
from binascii import Error

from wscore.explaining.head import begins_head

FORMS = ("auto", "hex", "base64", "raw")

_TEXT = re.compile(rb"[\t\r\n -~]*")
_LITERAL = re.compile(rb"""\s*b(['"]).*\1\s*""", re.DOTALL)
# What stands between digits: 81:85, 0x81, \x81, commas.
_BETWEEN = re.compile(r"[\s:,]|0x|\\x", re.IGNORECASE)
# Lines of xxd and of hexdump -C: offset, bytes, characters.
_XXD = re.compile(r"[0-9a-f]+: ((?:[0-9a-f]{2,} )*[0-9a-f]{2,}) ? .*", re.IGNORECASE)
_HEXDUMP = re.compile(r"[0-9a-f]{8}(?:  ([0-9a-f ]+)  \|.*\|)?", re.IGNORECASE)


def octets(data: bytes, form: str = "auto") -> bytes:
    """The bytes that `data` says, in one of FORMS. Raises ValueError if it is in another.

    "auto" takes text for hex, a dump, a literal or base64, whatever it is, and the rest for raw
    bytes. No frame that a peer may send looks like such text.
    """
    if form == "raw":
        return data
    if form == "hex":
        return _hex(data)
    if form == "base64":
        return _base64(data)
    if not _TEXT.fullmatch(data) or begins_head(data, 0):
        return data
    if _LITERAL.fullmatch(data):
        return _literal(data)
    for read in (_hex, _base64):
        try:
            return read(data)
        except ValueError:
            continue
    return data


def _hex(data: bytes) -> bytes:
    text = data.decode("latin-1").strip()
    for pattern in (_XXD, _HEXDUMP):
        matches = [pattern.fullmatch(line.rstrip()) for line in text.splitlines()]
        if matches and all(matches) and any(match and match[1] for match in matches):
            text = "".join([match[1] or "" for match in matches if match])
            break
    digits = _BETWEEN.sub("", text)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError("this is not hex: write two digits for each byte") from None


def _base64(data: bytes) -> bytes:
    try:
        return b64decode(b"".join(data.split()), validate=True)
    except Error as error:
        raise ValueError(f"this is not base64: {error}") from None


def _literal(data: bytes) -> bytes:
    try:
        value = ast.literal_eval(data.decode("ascii").strip())
    except (SyntaxError, ValueError):
        raise ValueError("this is not a Python bytes literal") from None
    assert isinstance(value, bytes)
    return value
