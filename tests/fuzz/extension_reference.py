"""The Sec-WebSocket-Extensions header (RFC 6455 section 9.1), read one character at a time.

The fuzzer holds the core against this file, so it must be as simple as the grammar. It does not use
the library.
"""

import string

TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")

Element = tuple[str, list[tuple[str, str | None]]]


class Malformed(Exception):
    """The header does not follow its grammar."""


class Text:
    """A field's value, and how much of it was read."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.at = 0

    @property
    def next(self) -> str:
        """The next character, "" at the end."""
        return self.value[self.at : self.at + 1]

    def skip(self, characters: str) -> bool:
        """Skip all of these characters that follow; returns whether there were any."""
        start = self.at
        while self.next and self.next in characters:
            self.at += 1
        return self.at > start

    def take(self, character: str) -> bool:
        """Skip this character if it follows; returns whether it did."""
        if self.next != character:
            return False
        self.at += 1
        return True

    def token(self) -> str:
        """A token."""
        start = self.at
        while self.next and self.next in TOKEN:
            self.at += 1
        if self.at == start:
            raise Malformed
        return self.value[start : self.at]

    def quoted(self) -> str:
        """What a quoted string says, which must be a token; its opening quote was read."""
        content = ""
        while not self.take('"'):
            self.take("\\")
            if not self.next:
                raise Malformed
            content += self.next
            self.at += 1
        if not content or not set(content) <= TOKEN:
            raise Malformed
        return content


def extension_list(value: str) -> list[Element]:
    """The extensions of one field. Raises Malformed."""
    text = Text(value)
    elements: list[Element] = []
    while True:
        # RFC 9110 section 5.6.1.2: a recipient ignores empty elements.
        while text.skip(" \t") or text.take(","):
            pass
        if not text.next:
            return elements
        elements.append(extension(text))
        text.skip(" \t")
        if text.next and not text.take(","):
            raise Malformed


def extension_lists(values: list[str]) -> list[Element]:
    """The extensions of all fields. Raises Malformed, also for fields without any."""
    elements = [one for value in values for one in extension_list(value)]
    if values and not elements:
        raise Malformed
    return elements


def extension(text: Text) -> Element:
    """One extension."""
    name = text.token()
    parameters: list[tuple[str, str | None]] = []
    text.skip(" \t")
    while text.take(";"):
        text.skip(" \t")
        parameter, value = text.token(), None
        text.skip(" \t")
        if text.take("="):
            text.skip(" \t")
            value = text.quoted() if text.take('"') else text.token()
            text.skip(" \t")
        parameters.append((parameter, value))
    return name, parameters


def deflate_answer(elements: list[Element]) -> str | None:
    """What a server with default settings answers (RFC 7692 section 7.1); None for nothing."""
    for name, parameters in elements:
        names = [one for one, _ in parameters]
        if name == "permessage-deflate" and len(set(names)) == len(names):
            answer = answer_to(dict(parameters))
            if answer is not None:
                return "; ".join(["permessage-deflate", *answer])
    return None


def answer_to(offer: dict[str, str | None]) -> list[str] | None:
    """The parameters of the answer to one offer; None to decline it."""
    window = [str(bits) for bits in range(8, 16)]
    allowed: dict[str, list[str | None]] = {
        "server_no_context_takeover": [None],
        "client_no_context_takeover": [None],
        "server_max_window_bits": [*window],
        "client_max_window_bits": [None, *window],
    }
    if any(value not in allowed.get(name, []) for name, value in offer.items()):
        return None
    answer = [name for name in list(allowed)[:2] if name in offer]
    ours = min(12, int(offer.get("server_max_window_bits") or 15))
    answer.append(f"server_max_window_bits={ours}")
    if "client_max_window_bits" in offer:
        theirs = min(12, int(offer["client_max_window_bits"] or 15))
        answer.append(f"client_max_window_bits={theirs}")
    return answer
