"""HTTP header fields, and the lists that the opening handshake reads from them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

# RFC 9110 section 5.6.2. With one character class and fullmatch, matching never backtracks.
_TCHAR = r"[-!#$%&'*+.^_`|~0-9A-Za-z]"
_TOKEN = re.compile(f"{_TCHAR}+")
# RFC 9110 section 7.8: protocol-name ["/" protocol-version].
_PROTOCOL = re.compile(f"{_TCHAR}+(?:/{_TCHAR}+)?")
_FORBIDDEN_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
# RFC 6455 section 9.1: up to the next comma that is not quoted.
_EXTENSION = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?+)++')
_ESCAPE = re.compile(r"\\(.)")

# Fields whose values no repr shows.
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})

HeaderFields = Mapping[str, str] | Iterable[tuple[str, str]]
ExtensionElement = tuple[str, list[tuple[str, str | None]]]


class MalformedHeader(ValueError):
    """A header does not follow its grammar; the message names it."""


class Headers(Mapping[str, str]):
    """Header fields in order; names are case-insensitive, and repeated fields are kept.

    `headers[name]` joins the values of a repeated field with ", " (RFC 9110 section 5.3);
    `get_all(name)` returns them separately, as Set-Cookie needs. Iteration yields each name once,
    in lower case; `pairs` are all fields as written.

    `headers` is a mapping or an iterable of (name, value) pairs of str. Whitespace around values is
    removed. Raises TypeError for a field that is not a pair of str, ValueError for a name that is
    not a token or a value with characters that are not allowed (RFC 9110 section 5.5).
    """

    # The field lines as sent, and the values by name in lower case, which the handshake reads: its
    # rules take 27k instructions less than through the methods. `pairs` is computed on access only,
    # which saves a tenth of the instructions of decoding a browser's head.
    __slots__ = ("_lines", "_values")

    def __init__(self, headers: HeaderFields = ()) -> None:
        if isinstance(headers, Headers):
            lines = headers._lines
        else:
            pairs = headers.items() if isinstance(headers, Mapping) else headers
            checked = [_checked_pair(pair) for pair in pairs]
            # Not an f-string, which would format a member of a str enumeration as its name.
            text = "".join([name + ": " + value + "\r\n" for name, value in checked])
            lines = text.encode("latin-1")
        self._take(lines)

    @classmethod
    def decode(cls, lines: bytes) -> "Headers":
        """The fields from lines that `encode` wrote or a parser has checked."""
        self = cls.__new__(cls)
        self._take(lines)
        return self

    def encode(self) -> bytes:
        """The field lines as sent, each with its CRLF, without the blank line."""
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
        """All fields as written, in order."""
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
        """The values of all fields called `name`, in order; an empty list if there are none."""
        return list(self._values.get(name.lower(), ()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._values == other._values

    def __repr__(self) -> str:
        return f"Headers({shown_pairs(self)!r})"


def shown_pairs(headers: Headers) -> list[tuple[str, str]]:
    """The fields for a repr: with "..." for credentials and cookies."""
    return [(name, "..." if is_secret(name) else value) for name, value in headers.pairs]


def is_secret(name: str) -> bool:
    """Whether a header with this name holds credentials or cookies, which no repr shows."""
    return name.strip().lower() in _SECRET


def _checked_pair(pair: tuple[str, str]) -> tuple[str, str]:
    if not (
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], str)
    ):
        raise TypeError(f"a header must be a pair (name, value) of str, not {_kind(pair)}")
    name, value = pair
    if not _TOKEN.fullmatch(name):
        before, colon, _ = name.partition(":")
        raise ValueError(
            f"{before + colon!r} is not a header name: use letters, digits and - only"
            " (RFC 9110, 5.6.2)"
        )
    if _FORBIDDEN_IN_VALUE.search(value):
        raise ValueError(
            f"the value of header {name} has line breaks, control characters or characters "
            "outside Latin-1: remove or encode them (RFC 9110, 5.5)"
        )
    return name, value.strip(" \t")


def _kind(pair: object) -> str:
    """What was given instead of a header, without its value, which may be a password."""
    if isinstance(pair, (tuple, list)):
        return f"({', '.join([type(part).__name__ for part in pair])})"
    return type(pair).__name__


def checked_tokens(what: str, tokens: Sequence[str]) -> tuple[str, ...]:
    """The caller's list of tokens, such as subprotocols, checked (RFC 6455 section 4.1, item 10).

    `what` names the `tokens` in error messages, in the plural. Raises TypeError for a str instead
    of a list and for elements that are not str, ValueError for elements that are not tokens or
    are repeated.
    """
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"{what} must be a list of str, not {tokens!r}: write [{tokens!r}]")
    checked = tuple(tokens)
    for token in checked:
        if not isinstance(token, str):
            raise TypeError(f"{what} must be a list of str, but {token!r} is not a str")
        if not _TOKEN.fullmatch(token):
            raise ValueError(
                f"{token!r} is not allowed in {what}: use letters, digits and !#$%&'*+-.^_`|~ only"
            )
    if len(set(checked)) != len(checked):
        raise ValueError(f"{what} must be different: {list(checked)!r} has repeated ones")
    return checked


def token_list(headers: Headers, name: str) -> list[str]:
    """The tokens of a comma-separated header, in all its fields (RFC 9110 section 5.6.1).

    Empty elements are skipped. Raises MalformedHeader for an element that is not a token.
    """
    return _elements(headers, name, _TOKEN)


def subprotocol_list(headers: Headers) -> list[str]:
    """The tokens of the Sec-WebSocket-Protocol header (RFC 6455 section 4.3).

    Raises MalformedHeader for an element that is not a token, and for a header without any.
    """
    if "sec-websocket-protocol" not in headers._values:
        return []
    tokens = _elements(headers, "Sec-WebSocket-Protocol", _TOKEN)
    if not tokens:
        raise MalformedHeader("malformed Sec-WebSocket-Protocol header: it is empty")
    return tokens


def upgrade_list(headers: Headers) -> list[str]:
    """The protocols of the Upgrade header, in lower case (RFC 9110 section 7.8).

    Raises MalformedHeader for an element that is neither `name` nor `name/version`.
    """
    return [element.lower() for element in _elements(headers, "Upgrade", _PROTOCOL)]


def _elements(headers: Headers, name: str, pattern: re.Pattern[str]) -> list[str]:
    elements = []
    for value in headers._values.get(name.lower(), ()):
        if pattern.fullmatch(value):  # most often there is one
            elements.append(value)
            continue
        for part in value.split(","):
            element = part.strip(" \t")
            if not element:
                continue
            if not pattern.fullmatch(element):
                raise MalformedHeader(f"malformed {name} header: {element[:40]!r} is not a token")
            elements.append(element)
    return elements


def extension_list(headers: Headers) -> list[ExtensionElement]:
    """The extensions of the Sec-WebSocket-Extensions header (RFC 6455 section 9.1).

    Each is a name and its parameters in order; the value of a parameter without one is None.
    Raises MalformedHeader for a malformed element, and for a header without any.

    A quoted value must be a token once unquoted, so it cannot contain a semicolon: splitting there
    finds all valid parameters, and half a quoted string, which is not a token, of an invalid one.
    """
    extensions: list[ExtensionElement] = []
    values = headers._values.get("sec-websocket-extensions", ())
    for value in values:
        read = _known_extensions if len(value) < _CACHED_BELOW else _extensions
        extensions += [(name, [*parameters]) for name, parameters in read(value)]
    if values and not extensions:
        raise MalformedHeader("malformed Sec-WebSocket-Extensions header: it is empty")
    return extensions


def _extensions(value: str) -> tuple[ExtensionElement, ...]:
    """The elements of one field of that header."""
    extensions: list[ExtensionElement] = []
    # Browsers quote nothing, and splitting takes 0.1 us instead of 1.1.
    for part in _EXTENSION.findall(value) if '"' in value else value.split(","):
        if not part.strip(" \t"):
            continue
        name, *parameters = part.split(";")
        extensions.append((_token(name.strip(" \t")), [_parameter(text) for text in parameters]))
    return tuple(extensions)


# Browsers always send the same: looking it up takes 7k instructions, parsing it 18k. Longer values
# are not cached, because a peer chooses them.
_CACHED_BELOW = 128
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
            f"malformed Sec-WebSocket-Extensions header: {text[:40]!r} is not a token"
        )
    return text
