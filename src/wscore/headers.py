"""HTTP header fields, and the three little list grammars that the handshake reads out of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

# RFC 9110 section 5.6.2. One character class and fullmatch: linear, nothing to backtrack into.
_TCHAR = r"[-!#$%&'*+.^_`|~0-9A-Za-z]"
_TOKEN = re.compile(f"{_TCHAR}+")
# RFC 9110 section 7.8: an Upgrade element is protocol-name ["/" protocol-version].
_PROTOCOL = re.compile(f"{_TCHAR}+(?:/{_TCHAR}+)?")
_FORBIDDEN_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
# RFC 6455 section 9.1: up to the next comma outside of quotation marks.
_EXTENSION = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?+)++')
_ESCAPE = re.compile(r"\\(.)")

HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]
ExtensionElement = tuple[str, list[tuple[str, str | None]]]


class MalformedHeader(ValueError):
    """A header that should be a list does not follow its grammar; the message names it."""


class Headers(Mapping[str, str]):
    """Header fields: names without regard to case, in order, repeats kept.

    `headers[name]` joins the values of a repeated field with ", " (RFC 9110 section 5.3);
    `get_all(name)` keeps them apart, as Set-Cookie needs. Iteration yields each name once, in
    lower case; `pairs` has every field as it was written.

    Arguments: a mapping, or an iterable of (name, value) pairs, of str. Blanks around values
    are dropped. Raises TypeError where a field is no pair of str, ValueError where a name is no
    token or a value has characters that would break the line (RFC 9110 section 5.5).
    """

    # The field lines as they go on the wire, and the values by name. Pairs are read where somebody
    # asks for them: that takes a tenth of the instructions off decoding a browser's head.
    __slots__ = ("_lines", "_values")

    def __init__(self, headers: HeaderFields = ()) -> None:
        if isinstance(headers, Headers):
            lines = headers._lines
        else:
            pairs = headers.items() if isinstance(headers, Mapping) else headers
            checked = [_checked_pair(pair) for pair in pairs]
            # No f-string: in one a member of an enumeration says its own name, not its value.
            text = "".join([name + ": " + value + "\r\n" for name, value in checked])
            lines = text.encode("latin-1")
        self._take(lines)

    @classmethod
    def decode(cls, lines: bytes) -> "Headers":
        """Read back what `encode` wrote. The bytes are trusted: a parser has checked them."""
        self = cls.__new__(cls)
        self._take(lines)
        return self

    def encode(self) -> bytes:
        """The field lines as they go on the wire, each with its CRLF, without the blank line."""
        return self._lines

    def _take(self, lines: bytes) -> None:
        self._lines = lines
        values: dict[str, list[str]] = {}
        for line in lines.decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            values.setdefault(name.lower(), []).append(value)
        self._values = values

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every field as it was written, in order."""
        lines = self._lines.decode("latin-1").split("\r\n")[:-1]
        return tuple([(name, value) for name, _, value in [line.partition(": ") for line in lines]])

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """The values of every field called `name`, in order; an empty list where there is none."""
        return list(self._values.get(name.lower(), ()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # a value that nobody keys by

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"


def _checked_pair(pair: tuple[str, str]) -> tuple[str, str]:
    if not (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], str)
    ):
        raise TypeError(f"a header must be a pair (name, value) of str, not {pair!r}")
    name, value = pair
    if not _TOKEN.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a header: use letters, digits and - only (RFC 9110, 5.6.2)"
        )
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ValueError(
            f"the value of header {name} has line breaks, control characters or characters "
            "beyond Latin-1: remove or encode them (RFC 9110, 5.5)"
        )
    return name, value.strip(" \t")


def checked_tokens(what: str, tokens: Sequence[str]) -> tuple[str, ...]:
    """The caller's list of tokens, say of subprotocols, checked (RFC 6455 section 4.1, item 10).

    Arguments: `what` they are, in the plural, for the message; the `tokens`. Raises TypeError
    for a bare str or what is no str, ValueError for what is no token or stands there twice.
    """
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"{what} must be a list of str, not {tokens!r}: write [{tokens!r}]")
    checked = tuple(tokens)
    for token in checked:
        if not isinstance(token, str):
            raise TypeError(f"{what} must be a list of str; {token!r} is none")
        if not _TOKEN.fullmatch(token):
            raise ValueError(
                f"{token!r} cannot be one of {what}: use letters, digits and !#$%&'*+-.^_`|~ only"
            )
    if len(set(checked)) != len(checked):
        raise ValueError(f"{what} must differ from each other: {list(checked)!r} has repeats")
    return checked


def token_list(headers: Headers, name: str) -> list[str]:
    """The tokens of a comma-separated header, over all its lines (RFC 9110 section 5.6.1).

    Empty elements are skipped. Raises MalformedHeader where an element is no token.
    """
    return _elements(headers, name, _TOKEN)


def upgrade_list(headers: Headers) -> list[str]:
    """The protocols of the Upgrade header, in lower case (RFC 9110 section 7.8).

    Raises MalformedHeader where an element is neither `name` nor `name/version`.
    """
    return [element.lower() for element in _elements(headers, "Upgrade", _PROTOCOL)]


def _elements(headers: Headers, name: str, pattern: re.Pattern[str]) -> list[str]:
    elements = []
    for value in headers.get_all(name):
        for part in value.split(","):
            element = part.strip(" \t")
            if not element:
                continue
            if not pattern.fullmatch(element):
                raise MalformedHeader(f"malformed {name} header: {element[:40]!r} is no token")
            elements.append(element)
    return elements


def extension_list(headers: Headers, skip_malformed: bool = False) -> list[ExtensionElement]:
    """The extensions of the Sec-WebSocket-Extensions header (RFC 6455 section 9.1).

    Each is a name and its parameters in order, a parameter's value None where it has none.
    Raises MalformedHeader for what the grammar does not allow, or leaves that element out.

    A quoted value must be a token once unquoted, so it never holds a semicolon: splitting there
    finds all valid parameters, and leaves half a quotation, which is no token, of an invalid one.
    """
    extensions: list[ExtensionElement] = []
    for value in headers.get_all("Sec-WebSocket-Extensions"):
        read = _known_extensions if len(value) < _SHORT else _extensions
        extensions += [(name, [*parameters]) for name, parameters in read(value, skip_malformed)]
    return extensions


def _extensions(value: str, skip_malformed: bool) -> tuple[ExtensionElement, ...]:
    """The elements of one line of that header."""
    extensions: list[ExtensionElement] = []
    # Browsers quote nothing: 0.1 us instead of 1.1.
    for part in _EXTENSION.findall(value) if '"' in value else value.split(","):
        if not part.strip(" \t"):
            continue
        name, *parameters = part.split(";")
        try:
            extensions.append(
                (_token(name.strip(" \t")), [_parameter(text) for text in parameters])
            )
        except MalformedHeader:
            if not skip_malformed:
                raise
    return tuple(extensions)


# Browsers send the same again and again: 7k instructions, 18k to read it anew. What is longer may
# be anything, and is not remembered.
_SHORT = 128
_known_extensions = lru_cache(64)(_extensions)


def format_extension(name: str, parameters: Iterable[tuple[str, str | None]]) -> str:
    """One element of the Sec-WebSocket-Extensions header."""
    texts = [text if value is None else f"{text}={value}" for text, value in parameters]
    return "; ".join([name, *texts])


def _parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    name = _token(name.strip(" \t"))
    if not equals:
        return name, None
    value = value.strip(" \t")
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _ESCAPE.sub(r"\1", value[1:-1])
    return name, _token(value)


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise MalformedHeader(
            f"malformed Sec-WebSocket-Extensions header: {text[:40]!r} is no token"
        )
    return text
