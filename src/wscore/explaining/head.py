"""An explained HTTP head: the opening handshake before the frames (RFC 6455 section 4)."""

import re
from collections.abc import Iterator

from ..events import HandshakeFailed
from ..extensions.deflate import RSV1, Deflate
from ..handshake.server import ServerHandshake
from ..headers import (
    Headers,
    MalformedHeader,
    extension_list,
    is_secret,
    token_list,
    upgrade_list,
)
from ..reasons import printable
from .explained import Explained, shown_text
from .frame import Sender

# No valid frame begins like this: "HT" and "GE" have reserved opcodes or a fragmented Close.
_START = re.compile(rb"(?:\r?\n)?(?:HTTP/\d|GET |[A-Z]{3,20} [^\r\n]{1,8000} HTTP/\d)")
END_OF_HEAD = re.compile(rb"\n\r?\n")
_ACCEPT = re.compile(r"[A-Za-z0-9+/]{27}=")

# What any extension may set, if one is negotiated that we do not know.
_ALL_BITS = 0x70
NO_HEAD_BITS = RSV1

_DEFLATE = Deflate.name


def begins_head(data: bytes, offset: int) -> bool:
    """Whether an HTTP head begins at `offset`."""
    return _START.match(data, offset) is not None


class ExplainedHead:
    """The head at `offset`, up to its blank line or the end of `data`.

    `parts` are its lines, `stop` is where it ends. `sender` sent it. `opens` says whether frames
    follow, `bits` which reserved bits they may have.
    """

    def __init__(self, data: bytes, offset: int) -> None:
        end = END_OF_HEAD.search(data, offset + 2)
        self.stop: int = len(data) if end is None else end.end()
        lines = data[offset : self.stop].splitlines(keepends=True)
        skipped = len(lines.pop(0)) if lines[0] in (b"\n", b"\r\n") else 0
        start, *rest = lines
        self.sender: Sender = "server" if start.startswith(b"HTTP/") else "client"
        self.opens: bool = False
        self.bits: int = NO_HEAD_BITS
        faults: list[str] = []
        if end is None:
            faults.append("the head is cut short: its blank line is missing (RFC 9112, 2.1)")
        elif self.sender == "client":
            self._judge_request(data[offset : self.stop], rest, faults)
        else:
            self._judge_response(start, rest, faults)
        self.parts: list[Explained] = list(self._lines(offset, skipped, start, rest, faults))

    def _lines(
        self, offset: int, skipped: int, start: bytes, rest: list[bytes], faults: list[str]
    ) -> Iterator[Explained]:
        """A part for each line; the faults of the whole head are those of its first."""
        kind = "request" if self.sender == "client" else "response"
        shown = {"line": printable(_text(start), 200)}
        yield Explained(offset, skipped + len(start), kind, shown, tuple(faults))
        offset += skipped + len(start)
        name = ""
        for line in rest:
            if line.strip(b"\r\n"):
                if b":" in line and not line.startswith((b" ", b"\t")):  # else it is folded
                    name = _pair(line)[0]
                yield Explained(offset, len(line), "header", _shown_header(name, line))
            else:
                yield Explained(offset, len(line), "end of head", {})
            offset += len(line)

    def _judge_request(self, head: bytes, rest: list[bytes], faults: list[str]) -> None:
        """What a server would say of it."""
        if head.lstrip().startswith(b"CONNECT "):  # to a proxy: another head follows
            return
        event = ServerHandshake().receive_data(head)
        if isinstance(event, HandshakeFailed):
            faults.append(f"{event.reason} (RFC 6455, 4.2.1)")
            self.opens = b"\nsec-websocket-key:" in head.lower()
            return
        assert event is not None  # the head is complete
        self.opens = event.request.is_upgrade
        self._take_extensions(event.request.headers)

    def _judge_response(self, start: bytes, rest: list[bytes], faults: list[str]) -> None:
        """What a client would say of it, but for the key, which is in the other direction."""
        self.opens = start.split()[1:2] == [b"101"]
        if not self.opens:
            return
        try:
            headers = Headers([_pair(line) for line in rest if line.strip(b"\r\n")])
            if upgrade_list(headers) != ["websocket"]:
                faults.append("the Upgrade header of the response is not websocket (RFC 6455, 4.1)")
            if "upgrade" not in [token.lower() for token in token_list(headers, "Connection")]:
                faults.append(
                    "the Connection header of the response does not name upgrade (RFC 6455, 4.1)"
                )
            if not _ACCEPT.fullmatch(", ".join(headers.get_all("Sec-WebSocket-Accept"))):
                faults.append(
                    "the Sec-WebSocket-Accept header is not base64 of 20 bytes (RFC 6455, 4.1)"
                )
            if len(headers.get_all("Sec-WebSocket-Protocol")) > 1:
                faults.append("the server chose more than one subprotocol (RFC 6455, 4.1)")
            self._take_extensions(headers)
        except MalformedHeader as error:
            faults.append(f"{printable(str(error))} (RFC 6455, 9.1)")
        except ValueError:
            faults.append("malformed HTTP response: a header line is not valid (RFC 9112, 5)")

    def _take_extensions(self, headers: Headers) -> None:
        names = {name for name, _ in extension_list(headers)}
        self.bits = RSV1 if _DEFLATE in names else 0
        if names - {_DEFLATE}:
            self.bits = _ALL_BITS


def _text(line: bytes) -> str:
    return line.rstrip(b"\r\n").decode("latin-1")


def _pair(line: bytes) -> tuple[str, str]:
    name, _, value = _text(line).partition(":")
    return name, value


def _shown_header(belongs_to: str, line: bytes) -> dict[str, str]:
    """A header by name, its value left out if it is a secret, as in the reprs of `Headers`."""
    name, value = _pair(line)
    if is_secret(belongs_to):
        return {printable(belongs_to): '"..."'}
    return {printable(name): shown_text(value.strip(" \t"))}
