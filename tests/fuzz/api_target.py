"""Fuzzes a server of the API, on the loop in memory: whole connections, from bytes to bytes."""

import logging
import zlib

from frame_reference import TAIL, Reading, read
from frame_target import rules_of

from kit.frames import BINARY, CLOSE, PING, PONG, RSV1, TEXT, Frame
from kit.loops.base import echo
from kit.loops.memory import MemoryLoop
from kit.peer import Peer
from wscore import Deflate

# How long a server may take to end a connection whose peer has left, in seconds of its clock.
LONG = 1000


class Records(logging.Handler):
    """What the library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """As a Handler."""
        self.records.append(record)

    def check(self) -> None:
        """Each record must be one line, and none an error."""
        for record in self.records:
            assert record.levelno < logging.ERROR, record
            assert record.exc_info is None, record
            assert record.getMessage().isprintable(), record


def api(data: bytes) -> None:
    """Any bytes after a handshake, or from the first on; the first two choose rules and cuts."""
    if len(data) < 2:
        return
    records = Records()
    logger = logging.getLogger("wstransports")
    logger.addHandler(records)
    propagates, logger.propagate = logger.propagate, False
    try:
        loop = MemoryLoop()
        loop.runtime.chunk = data[1] or 2**20
        loop.run(lambda: _talk(loop, data[0], data[2:]))
    finally:
        logger.removeHandler(records)
        logger.propagate = propagates
    records.check()


async def _talk(loop: MemoryLoop, choice: int, data: bytes) -> None:
    """One connection to an echo server, from its beginning to its end."""
    rules = rules_of(choice & ~1)
    rules = rules._replace(limit=rules.limit or 2**20)
    async with loop.serving(
        echo,
        max_message_size=rules.limit,
        compression=Deflate(peer_window_bits=15) if rules.deflate else None,
    ) as server:
        offered = Deflate(window_bits=15, takeover=rules.takeover, peer_takeover=rules.takeover)
        peer = await loop.dial(server, extensions=[offered] if rules.deflate else [])
        peer.answers_close = peer.answers_eof = False
        if choice & 1 == 0:
            peer.handshake()
            await loop.settle()
        peer.raw(data)
        await loop.settle()
        peer.end()
        await loop.advance(LONG)
        assert peer.lost
        assert not server.clients
        if choice & 1 == 0:
            _compare(peer, read(data, rules))


def _compare(peer: Peer, expected: Reading) -> None:
    """Compare what an echo sent with what it was sent."""
    sent = [*peer.frames]
    complete = [(one.opcode, one.data) for one in expected.messages if one.complete]
    assert _messages(sent) == complete, (sent, expected.messages)
    pings = iter([one.payload for one in expected.controls if one.opcode == PING])
    pongs = [frame.payload for frame in sent if frame.opcode == PONG]
    assert all(payload in pings for payload in pongs)  # in order; not each needs an answer
    closes = [frame.payload for frame in sent if frame.opcode == CLOSE]
    if expected.closed:
        assert closes == [expected.controls[-1].payload]
    elif expected.failed:
        assert len(closes) == 1
        assert int.from_bytes(closes[0][:2]) in expected.failed, (closes, expected.failed)
    assert len(closes) <= 1
    assert not closes or sent[-1].opcode == CLOSE


def _messages(frames: list[Frame]) -> list[tuple[int, bytes]]:
    """The messages in these frames, inflated."""
    stream = zlib.decompressobj(-15)
    found: list[tuple[int, bytes]] = []
    opcode, compressed, payload = 0, False, b""
    for frame in frames:
        if frame.opcode in (TEXT, BINARY):
            opcode, compressed, payload = frame.opcode, bool(frame.first & RSV1), b""
        elif frame.opcode != 0:
            continue
        payload += frame.payload
        if frame.last:
            found.append((opcode, stream.decompress(payload + TAIL) if compressed else payload))
    return found
