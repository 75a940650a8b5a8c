"""The heads of the opening handshake (RFC 9112, RFC 6455 section 4), read slowly and all at once.

The fuzzer holds the core against this file, so it must be as simple as the RFCs. It does not use
the library, nor h11.
"""

import re
from typing import NamedTuple

from extension_reference import Element, Malformed, deflate_answer, extension_lists

from kit.handshake import accept_value

MAX_FIELDS = 128

TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
TOKEN = re.compile(f"{TCHAR}+")
# RFC 9110 section 5.5: a recipient may retain control characters, but neither NUL nor line breaks.
VALUE = re.compile(r"[^\0\n\r]*")
REQUEST_LINE = re.compile(f"({TCHAR}+) ([\x21-\x7e]+) HTTP/1\\.([0-9])")
STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([0-9]{3})(?: .*)?", re.DOTALL)
TARGET = re.compile(r"/[^#]*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#]+([/?][^#]*)?")
HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]+")
KEY = re.compile(r"[A-Za-z0-9+/]{22}==")


class Bad(Exception):
    """What is wrong with a head."""


class Head(NamedTuple):
    """A head: its first line, its fields with their names in lower case, and what follows it."""

    line: str
    fields: list[tuple[str, str]]
    rest: bytes

    def all(self, name: str) -> list[str]:
        """The values of all fields of this name."""
        return [value for one, value in self.fields if one == name]

    def only(self, name: str) -> str:
        """The value of the only field of this name."""
        values = self.all(name)
        if len(values) != 1:
            raise Bad(f"{len(values)} fields {name}")
        return values[0]

    def tokens(self, name: str, pattern: str = f"{TCHAR}+") -> list[str]:
        """The elements of a list (RFC 9110 section 5.6.1)."""
        elements = [one.strip(" \t") for value in self.all(name) for one in value.split(",")]
        found = [one for one in elements if one]
        if not all(re.fullmatch(pattern, one) for one in found):
            raise Bad(f"{name} is not a list")
        return found

    def protocols(self) -> list[str]:
        """What Upgrade lists (RFC 9110 section 7.8)."""
        return [one.lower() for one in self.tokens("upgrade", f"{TCHAR}+(?:/{TCHAR}+)?")]

    def extensions(self) -> list[Element]:
        """What Sec-WebSocket-Extensions lists (RFC 6455 section 9.1)."""
        try:
            return extension_lists(self.all("sec-websocket-extensions"))
        except Malformed:
            raise Bad("Sec-WebSocket-Extensions") from None


def split(data: bytes) -> Head | None:
    """The head that `data` begins with; None if it is incomplete. Raises Bad."""
    end = re.search(rb"\n\r?\n", data)
    if end is None:
        return None
    head = data[: end.start() + 1].decode("latin-1")
    if "\r" in head.replace("\r\n", "") or re.search("[\0\v\f]", head):
        raise Bad("a control character")
    lines = head.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) - 1 > MAX_FIELDS:
        raise Bad("too many fields")
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        if line[0] in " \t":  # a folded line (RFC 9112 section 5.2)
            if not fields:
                raise Bad("nothing to fold")
            name, value = fields.pop()
            fields.append((name, f"{value} {line}".strip(" \t")))
            continue
        name, colon, value = line.partition(":")
        if not colon or not TOKEN.fullmatch(name):
            raise Bad("not a field")
        fields.append((name.lower(), value.strip(" \t")))
    if any(value and not VALUE.fullmatch(value) for _, value in fields):
        raise Bad("not a value")
    lengths = {one.strip(" \t") for name, value in fields if name == "content-length"
               for one in value.split(",")}  # fmt: skip
    if len(lengths) > 1 or any(not re.fullmatch("[0-9]{1,20}", one) for one in lengths):
        raise Bad("not a length")
    codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
    if codings not in ([], ["chunked"]):
        raise Bad("a coding")
    return Head(lines[0], fields, data[end.end() :])


class Asked(NamedTuple):
    """A request that a server must take: what a 101 says, "" and None for a page's request."""

    accept: str
    subprotocol: str | None
    extensions: str | None


def request(data: bytes, subprotocols: list[str]) -> Asked | None:
    """What a request asks for; None if it is incomplete. Raises Bad if it must be refused."""
    # RFC 9112 section 2.2: one empty line before the request is ignored.
    head = split(data.removeprefix(b"\r\n" if data.startswith(b"\r") else b"\n"))
    if head is None:
        return None
    line = REQUEST_LINE.fullmatch(head.line)
    if line is None:
        raise Bad("the request line")
    method, target, minor = line.groups()
    hosts = head.all("host")
    if len(hosts) > 1 or (minor != "0" and not hosts) or not all(map(HOST.fullmatch, hosts)):
        raise Bad("Host")
    if not TARGET.fullmatch(target):
        raise Bad("the target")
    if head.all("transfer-encoding") or "".join(head.all("content-length")).strip("0, "):
        raise Bad("a body")
    offered = head.tokens("sec-websocket-protocol")
    if head.all("sec-websocket-protocol") and not offered:
        raise Bad("Sec-WebSocket-Protocol")
    if "websocket" not in head.protocols():
        if method not in ("GET", "HEAD") or head.all("sec-websocket-key"):
            raise Bad("neither a page nor a WebSocket")
        return Asked("", None, None)
    if method != "GET" or minor == "0":
        raise Bad("no way to ask for a WebSocket")
    if "upgrade" not in [one.lower() for one in head.tokens("connection")]:
        raise Bad("Connection")
    key = head.only("sec-websocket-key")
    if not KEY.fullmatch(key) or head.only("sec-websocket-version") != "13":
        raise Bad("key or version")
    if len(head.all("origin")) > 1:
        raise Bad("Origin")
    elements = head.extensions()
    chosen = next((one for one in subprotocols if one in offered), None)
    return Asked(accept_value(key.encode()).decode(), chosen, deflate_answer(elements))


class Answered(NamedTuple):
    """A response that a client must take: its status, and the subprotocol that it chooses."""

    status: int
    subprotocol: str | None


def response(data: bytes, accept: str, subprotocols: list[str]) -> Answered | None:
    """What a response says; None if it is incomplete. Raises Bad if it must fail the connection.

    What was offered has no extensions. Up to 8 interim responses may come first.
    """
    for _ in range(9):
        head = split(data)
        if head is None:
            return None
        line = STATUS_LINE.fullmatch(head.line)
        if line is None:
            raise Bad("the status line")
        minor, status = line[1], int(line[2])
        if status < 100:
            raise Bad("the status")
        if status >= 200:
            return Answered(status, None)
        if status == 101:
            return switched(head, minor, accept, subprotocols)
        data = head.rest
    raise Bad("too many interim responses")


def switched(head: Head, minor: str, accept: str, subprotocols: list[str]) -> Answered:
    """Judge a 101 (RFC 6455 section 4.1)."""
    if minor == "0" or head.protocols() != ["websocket"]:
        raise Bad("Upgrade")
    if "upgrade" not in [one.lower() for one in head.tokens("connection")]:
        raise Bad("Connection")
    if head.only("sec-websocket-accept") != accept:
        raise Bad("Sec-WebSocket-Accept")
    if head.extensions():
        raise Bad("an extension that was not offered")
    chosen = head.all("sec-websocket-protocol")
    if len(chosen) > 1 or not set(chosen) <= set(subprotocols):
        raise Bad("Sec-WebSocket-Protocol")
    return Answered(101, chosen[0] if chosen else None)
