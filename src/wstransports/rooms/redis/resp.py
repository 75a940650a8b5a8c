"""RESP3, what Redis and Valkey speak, without I/O: commands to bytes, bytes to replies.

The specification is https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

import re
from typing import Any

# The most that one reply may take, in bytes, with ELEMENT for each value in it.
MOST = 64 * 1024 * 1024
ELEMENT = 64

# The most bytes of a line: a number, a length, a simple string or an error.
MOST_LINE = 16 * 1024

# How deep replies may lie in each other; those to our commands lie three deep.
MOST_DEPTH = 8

# What a command takes as an argument.
Argument = bytes | str | int

# None, bool, int, float, bytes for each kind of string, list (for a set too), dict, ErrorReply, or
# Push.
Reply = Any

_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")
_BIG = re.compile(rb"[+-]?[0-9]{1,1000}")
_DOUBLE = re.compile(rb"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,4})?|inf|nan)")
_COUNT = re.compile(rb"[0-9]{1,10}")

# What stands before the data of a message on a channel, which comes most often.
_MESSAGE = re.compile(
    rb">3\r\n\$7\r\nmessage\r\n\$([0-9]{1,5})\r\n([^\r\n]*)\r\n\$([0-9]{1,10})\r\n"
)

_BULK = b"$=!"
_AGGREGATES = b"*%~>|"
_PAIRED = b"%|"  # of which the count is that of pairs
_BOOLEANS = {b"t": True, b"f": False}


class ErrorReply(Exception):
    """The server answered with an error: `code` is its first word, such as NOAUTH."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code: str = text.partition(" ")[0]


class Push(list[Any]):
    """What the server sends without a command that it answers; the first element is its kind."""


class _Malformed(Exception):
    """The bytes are not RESP3, or too much of it; raised and caught in here."""


class _Open:
    """An aggregate whose elements are still arriving."""

    __slots__ = ("count", "items", "kind")

    def __init__(self, kind: int, count: int) -> None:
        self.kind = kind
        self.count = count
        self.items: list[Reply] = []

    def value(self) -> Reply:
        """What it is when all elements are there."""
        if self.kind == ord(">"):
            return Push(self.items)
        if self.kind != ord("%"):
            return self.items
        try:
            return dict(zip(self.items[::2], self.items[1::2], strict=True))
        except TypeError:
            raise _Malformed("a map has an aggregate for a key") from None


def encode(arguments: tuple[Argument, ...]) -> bytes:
    """A command as bytes: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


class ReplyParser:
    """Parses what a server sends, cut anywhere, into replies and pushes.

    Nothing that a server sends raises: after bytes that are not RESP3, or a reply that is too
    large, `failure` says what is wrong, and nothing more is parsed.
    """

    def __init__(self, most: int = MOST) -> None:
        self.failure: str = ""
        self._most = most
        self._left = most  # for the reply that is arriving
        self._buffer = b""
        self._at = 0  # where the next value begins in it
        self._rest = bytearray()  # the beginning of a value, between two calls of `feed`
        self._needed = 0  # the bytes that the whole value takes at least
        self._stack: list[_Open] = []
        self._done: Reply = None  # the reply that is complete

    def feed(self, data: bytes | memoryview) -> list[Reply]:
        """Take bytes in; returns the replies and pushes that they complete, in order."""
        replies: list[Reply] = []
        if self.failure:
            return replies
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return replies
        self._buffer, self._at, self._needed = bytes(self._rest or data), 0, 0
        try:
            self._parse(replies)
        except _Malformed as fault:  # the replies before it count
            self.failure = str(fault)
            self._at = len(self._buffer)
            self._stack.clear()
        self._rest = bytearray(self._buffer[self._at :])
        self._buffer = b""
        return replies

    def _parse(self, replies: list[Reply]) -> None:
        """Append the replies that are complete."""
        while True:
            if not self._stack:
                self._take_messages(replies)
            line = self._line()
            if line is None:
                return
            kind, text = line
            begin = self._at + len(text) + 3
            if kind in _AGGREGATES and text != b"-1":
                opened = self._open(kind, text)
                self._at = begin
                if opened.count:
                    self._left -= ELEMENT
                    self._stack.append(opened)
                    continue
                value = opened.value()
                if kind == ord("|"):
                    continue
            elif kind in _BULK and text != b"-1":
                size = self._size(text)
                if len(self._buffer) < begin + size + 2:
                    self._needed = begin + size + 2 - self._at
                    return
                value = self._string(kind, begin, begin + size)
                self._at = begin + size + 2
            else:
                value = self._scalar(kind, text)
                self._at = begin
            self._left -= ELEMENT
            if self._left < 0:
                raise self._too_large()
            if self._complete(value):
                self._left = self._most
                replies.append(self._done)

    def _take_messages(self, replies: list[Reply]) -> None:
        """Append the messages on channels that come next, in a quarter of the time that their parts
        take. What is not all there, or has a fault, is left."""
        buffer, at = self._buffer, self._at
        while (head := _MESSAGE.match(buffer, at)) is not None:
            size, channel, length = head.groups()
            begin = head.end()
            end = begin + int(length)
            whole = len(channel) == int(size) and buffer[end : end + 2] == b"\r\n"
            if not whole or end - at + 4 * ELEMENT > self._most:
                break
            replies.append(Push((b"message", channel, buffer[begin:end])))
            at = end + 2
        self._at = at

    def _complete(self, value: Reply) -> bool:
        """Add a value to what it is part of; returns whether a whole reply is in `_done`."""
        stack = self._stack
        while stack:
            top = stack[-1]
            top.items.append(value)
            if len(top.items) < top.count:
                return False
            stack.pop()
            if top.kind == ord("|"):  # attributes say something about the reply that follows
                return False
            value = top.value()
        self._done = value
        return True

    def _line(self) -> tuple[int, bytes] | None:
        """The first byte of the next value, and the rest of its line; None until it is there."""
        buffer, at = self._buffer, self._at
        end = buffer.find(b"\r\n", at, at + MOST_LINE)
        if end > at:
            return buffer[at], buffer[at + 1 : end]
        if end == at:
            raise _Malformed("a line is empty")
        if len(buffer) - at >= MOST_LINE:
            raise _Malformed(f"a line is longer than {MOST_LINE} bytes")
        return None

    def _open(self, kind: int, text: bytes) -> _Open:
        count = self._count(text) * (2 if kind in _PAIRED else 1)
        if len(self._stack) >= MOST_DEPTH:
            raise _Malformed(f"a reply is nested more than {MOST_DEPTH} deep")
        if kind == ord(">") and (self._stack or not count):
            raise _Malformed("a push is empty or inside a reply")
        if count * ELEMENT > self._left:
            raise self._too_large()
        return _Open(kind, count)

    def _size(self, text: bytes) -> int:
        size = self._count(text)
        if size > self._left:
            raise self._too_large()
        return size

    def _too_large(self) -> _Malformed:
        return _Malformed(f"a reply takes more than {self._most} bytes")

    def _count(self, text: bytes) -> int:
        if not _COUNT.fullmatch(text):
            raise _Malformed(f"a length is not a number but {text[:40]!r}")
        return int(text)

    def _string(self, kind: int, begin: int, end: int) -> bytes | ErrorReply:
        if self._buffer[end : end + 2] != b"\r\n":
            raise _Malformed("a string is not as long as it says")
        self._left -= end - begin
        data = self._buffer[begin:end]
        if kind == ord("!"):
            return ErrorReply(data.decode(errors="replace"))
        if kind == ord("="):
            if data[3:4] != b":":
                raise _Malformed("a verbatim string does not say its format")
            return data[4:]
        return data

    def _scalar(self, kind: int, text: bytes) -> Reply:
        if kind in b"+-":
            if b"\r" in text or b"\n" in text:
                raise _Malformed("a line break is inside a line")
            self._left -= len(text)
            return text if kind == ord("+") else ErrorReply(text.decode(errors="replace"))
        if kind == ord(":") and _INTEGER.fullmatch(text):
            return int(text)
        if (kind == ord("_") and not text) or (kind in b"*$" and text == b"-1"):  # RESP2's nulls
            return None
        if kind == ord("#") and text in _BOOLEANS:
            return _BOOLEANS[text]
        if kind == ord(",") and _DOUBLE.fullmatch(text):
            return float(text)
        if kind == ord("(") and _BIG.fullmatch(text):
            return int(text)
        raise _Malformed(f"not a reply of RESP3: {bytes([kind]) + text[:40]!r}")
