"""Clients that come, talk and vanish, each in its own way; what they sent and got is counted."""

import asyncio
import random
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from raw import DEFLATE, frame, request

from kit.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, parse

# Seconds. The server's timeout drops silent clients before.
PATIENCE = 30

TAIL = b"\x00\x00\xff\xff"


@dataclass
class Account:
    """What the visitors of a server have seen, in all."""

    visits: int = 0
    sent: int = 0
    """Messages, or parts of one."""
    echoed: int = 0
    kept: int = 0
    """Messages of the clients that stayed until everything was echoed."""
    faults: list[str] = field(default_factory=list)


class Visitor:
    """One connection."""

    def __init__(self, account: Account, number: int) -> None:
        self.account = account
        self.random = random.Random(number)
        self.sent: list[bytes] = []
        self.echoed = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.compresses = self.random.random() < 0.3
        self._buffer = bytearray()
        self._message = b""
        self._inflater = zlib.decompressobj(-15)
        self._deflated = False

    async def connect(self, port: int, tls: ssl.SSLContext | None) -> None:
        """Open the TCP connection, and TLS."""
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname=None if tls is None else "localhost"
        )

    async def handshake(self) -> None:
        """Do the opening handshake."""
        self.writer.write(request("/echo", DEFLATE if self.compresses else b""))
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def send(self) -> None:
        """Send a message, whole or in fragments, compressed or not."""
        size = self.random.choice((0, 10, 100, 1000, 20_000, 200_000))
        message = b"%d " % len(self.sent) + b"soak" * (size // 4)
        first = TEXT if self.random.random() < 0.5 else BINARY
        data = message
        if self.compresses and self.random.random() < 0.5:
            deflater = zlib.compressobj(1, zlib.DEFLATED, -12)
            data = (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]
            first |= RSV1
        if self.random.random() < 0.3:
            half = len(data) // 2
            self.writer.write(frame(first, data[:half]) + frame(FIN | CONTINUATION, data[half:]))
        else:
            self.writer.write(frame(FIN | first, data))
        self.sent.append(message)
        self.account.sent += 1

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        while (parsed := parse(self._buffer)) is None:
            data = await self.reader.read(65536)
            if not data:
                raise ConnectionResetError("the server ended the stream")
            self._buffer += data
        del self._buffer[: parsed.size]
        return parsed.frame.first, parsed.frame.payload

    async def receive(self) -> int:
        """Handle frames up to the end of a message, or a Close; returns the last one's opcode."""
        while True:
            first, payload = await self.frame()
            opcode = first & 0x0F
            if opcode == CLOSE:
                return opcode
            if opcode == PING:
                self.writer.write(frame(FIN | PONG, payload))
            if opcode >= CLOSE:
                continue
            if opcode:
                self._message, self._deflated = b"", bool(first & RSV1)
            self._message += payload
            if first & FIN:
                break
        message = self._message
        if self._deflated:
            message = self._inflater.decompress(message + TAIL)
        if self.echoed >= len(self.sent) or message != self.sent[self.echoed]:
            self.account.faults.append(f"echo {self.echoed} is not what was sent")
        self.echoed += 1
        self.account.echoed += 1
        return opcode

    async def talk(self) -> None:
        """Send some messages, and see them come back."""
        for _ in range(self.random.randrange(1, 8)):
            for _ in range(self.random.randrange(1, 5)):
                self.send()
            await self.writer.drain()
            while self.echoed < len(self.sent):
                if await self.receive() == CLOSE:
                    self.account.faults.append("the server closed")
                    return
            await asyncio.sleep(self.random.random() * 0.1)

    def lose(self, reset: bool) -> None:
        """Close the socket, with a reset or an end."""
        found: socket.socket = self.writer.get_extra_info("socket")
        if reset:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def end(self) -> None:
        """Wait until the server has ended the stream."""
        try:
            while await self.reader.read(65536):
                continue
        except ConnectionError:
            return


# What visitors do once they are connected.

Visit = Callable[[Visitor], Awaitable[None]]


async def cleanly(visitor: Visitor) -> None:
    """Talk, and close."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    visitor.writer.write(frame(FIN | CLOSE, (1000).to_bytes(2) + b"bye"))
    while await visitor.receive() != CLOSE:
        continue
    await visitor.end()


async def with_an_end(visitor: Visitor) -> None:
    """Talk, and end the stream without a Close."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    visitor.lose(reset=False)


async def with_a_reset(visitor: Visitor) -> None:
    """Talk, and reset the connection."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    visitor.lose(reset=True)


async def silently(visitor: Visitor) -> None:
    """Talk, and then say nothing, not even a pong: the server drops us."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    await visitor.end()


async def with_answers_unread(visitor: Visitor) -> None:
    """Send, and leave without reading."""
    await visitor.handshake()
    for _ in range(10):
        visitor.send()
    await asyncio.sleep(visitor.random.random())
    visitor.lose(reset=visitor.random.random() < 0.5)


async def in_a_message(visitor: Visitor) -> None:
    """Leave in the middle of a frame, or of a message."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    visitor.account.sent += 1
    data = frame(TEXT, b"a") + frame(FIN | CONTINUATION, b"b" * 70_000)
    visitor.writer.write(data[: visitor.random.randrange(1, len(data))])
    await asyncio.sleep(visitor.random.random())
    visitor.lose(reset=visitor.random.random() < 0.5)


async def in_the_handshake(visitor: Visitor) -> None:
    """Leave in the middle of the request."""
    data = request("/echo")
    visitor.writer.write(data[: visitor.random.randrange(len(data))])
    await asyncio.sleep(visitor.random.random())
    visitor.lose(reset=visitor.random.random() < 0.5)


async def without_a_word(visitor: Visitor) -> None:
    """Say nothing, or half a request, until the server ends it."""
    visitor.writer.write(request("/echo")[: visitor.random.choice((0, 10))])
    await visitor.end()


async def with_a_violation(visitor: Visitor) -> None:
    """Talk, and break a rule."""
    await visitor.handshake()
    await visitor.talk()
    visitor.account.kept += len(visitor.sent)
    visitor.writer.write(frame(FIN | 3, b"an opcode that nobody knows"))
    await visitor.end()


VISITS: dict[Visit, int] = {
    cleanly: 8,
    with_an_end: 3,
    with_a_reset: 3,
    silently: 1,
    with_answers_unread: 3,
    in_a_message: 3,
    in_the_handshake: 2,
    without_a_word: 1,
    with_a_violation: 2,
}


async def visit(account: Account, port: int, tls: ssl.SSLContext | None, number: int) -> None:
    """Come once, in a way that the number chooses."""
    account.visits += 1
    visitor = Visitor(account, number)
    [way] = visitor.random.choices(list(VISITS), list(VISITS.values()))
    try:
        async with asyncio.timeout(PATIENCE):
            await visitor.connect(port, tls)
            try:
                await way(visitor)
            finally:
                visitor.writer.transport.abort()
    except (OSError, asyncio.IncompleteReadError, TimeoutError, AssertionError) as error:
        account.faults.append(f"visit {number}, {way.__name__}: {error!r}")
