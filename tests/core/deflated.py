"""A peer made of plain zlib and RFC 7692, and connections that agreed on extensions with it."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Unpack

import pytest
from wire import AnyConnection, Settings

from kit.handshake import acceptance
from wscore import Accepted, ClientConnection, Deflate, Event, RequestReceived, ServerConnection
from wscore.extensions import Extension
from wscore.extensions.engine import Engine

# zlib, and what is like it: who deflates and inflates for us.
ENGINES = [zlib.__name__, "zlib_ng.zlib_ng"]
each_engine = pytest.mark.parametrize(
    "engine", [ENGINES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in ENGINES[1:])]
)

FIREFOX = "permessage-deflate"
CHROMIUM = "permessage-deflate; client_max_window_bits"
NO_TAKEOVER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

TAIL = b"\x00\x00\xff\xff"

# Repetitive and longer than the default threshold.
SENTENCE = b"The quick brown fox jumps over the lazy dog. " * 40

# zlib's own, because tests replace them to see what is asked of them.
_compressobj, _decompressobj = zlib.compressobj, zlib.decompressobj


def engine_named(name: str) -> Engine:
    """One of `ENGINES`; without it the test is left out."""
    engine: Engine = pytest.importorskip(name)
    return engine


class Peer:
    """The other end's half of RFC 7692 section 7.2, in both directions."""

    def __init__(
        self,
        bits: int = 15,
        takeover: bool = True,
        their_bits: int = 15,
        their_takeover: bool = True,
    ) -> None:
        self.bits = bits
        self.takeover = takeover
        self.their_bits = their_bits
        self.their_takeover = their_takeover
        self._deflater = self.new_deflater()
        self._inflater = _decompressobj(-their_bits)

    def new_deflater(self) -> "zlib._Compress":
        """Of the best level, so that it makes use of the window."""
        # With 8 bits zlib deflates nothing; with 9 its distances are 512 - 262 at most.
        return _compressobj(9, zlib.DEFLATED, -max(self.bits, 9), 9)

    def deflate(self, *parts: bytes) -> list[bytes]:
        """A message's payload, a fragment of it for each part (section 7.2.1)."""
        if not self.takeover:
            self._deflater = self.new_deflater()
        fragments = [
            self._deflater.compress(part) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
            for part in parts
        ]
        assert fragments[-1].endswith(TAIL)
        fragments[-1] = fragments[-1][:-4]
        return fragments

    def inflate(self, payload: bytes) -> bytes:
        """A message out of its payload (section 7.2.2)."""
        if not self.their_takeover:
            self._inflater = _decompressobj(-self.their_bits)
        # A little at a time, for zlib looks at its window only for what it gave before.
        payload += TAIL
        data = b"".join(
            self._inflater.decompress(payload[start : start + 100])
            for start in range(0, len(payload), 100)
        )
        # At a block's end, and so ready for the next message.
        probe = self._inflater.copy()
        probe.decompress(b"\x03\x00")
        assert probe.eof
        return data


def deflated(data: bytes) -> bytes:
    """A message's payload, referring to nothing before it."""
    return b"".join(Peer().deflate(data))


def request(*offers: str) -> bytes:
    """A client's request, with a Sec-WebSocket-Extensions header for each of the offers."""
    lines = [
        "GET / HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *(f"Sec-WebSocket-Extensions: {offer}" for offer in offers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def extensions_in(head: bytes) -> str | None:
    """The Sec-WebSocket-Extensions header of a request or a response."""
    found = [
        value
        for name, _, value in (line.partition(": ") for line in head.decode().split("\r\n"))
        if name == "Sec-WebSocket-Extensions"
    ]
    assert len(found) < 2
    return found[0] if found else None


def serve(
    extensions: Sequence[Extension], *offers: str, **settings: Unpack[Settings]
) -> tuple[ServerConnection, str | None]:
    """A server's connection, and what it answers to these offers."""
    server = ServerConnection(extensions=extensions, **settings)
    [event] = server.receive_data(request(*offers))
    assert isinstance(event, RequestReceived)
    server.accept()
    return server, extensions_in(server.data_to_send())


def answered(
    extensions: Sequence[Extension], *answers: str, **settings: Unpack[Settings]
) -> tuple[ClientConnection, Event]:
    """A client's connection, and what it makes of the server's answers."""
    client = ClientConnection("example.com", extensions=extensions, **settings)
    lines = "".join(f"Sec-WebSocket-Extensions: {answer}\r\n" for answer in answers)
    head = acceptance(client.data_to_send(), lines.encode("latin-1"))
    [event] = client.receive_data(head)
    return client, event


def agreed(
    role: str,
    header: str | None = None,
    extensions: Iterable[Extension] | None = None,
    **settings: Unpack[Settings],
) -> AnyConnection:
    """One end of an open connection; `header` is what its peer offers, or answers.

    By default both sides may use 15 bits, and take over contexts.
    """
    used = [Deflate(window_bits=15, peer_window_bits=15)] if extensions is None else [*extensions]
    if role == "server":
        server, answer = serve(used, header or CHROMIUM, **settings)
        assert answer is not None
        return server
    client, event = answered(used, header or "permessage-deflate", **settings)
    assert isinstance(event, Accepted)
    return client
