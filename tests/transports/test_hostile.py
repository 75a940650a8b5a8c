"""Peers that break rules: one log line at most, no hang, and no other client is disturbed."""

import logging
import random
import socket
import ssl
import struct
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import wstransports.batch
from kit.frames import CLOSE, FIN, masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, on_sockets
from kit.peer import Peer
from wscore import Deflate
from wstransports import Client, ConnectionClosed, Request, WebSocketReader, WebSocketServer
from wstransports.log_limit import MOST

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

# As many zeros, as the payload of a compressed message.
MEBIBYTE = zlib.compress(bytes(2**20), wbits=-15) + b"\0"


class Scene:
    """A server, a client that behaves, and what on_closed got for all others."""

    def __init__(self, loop: Loop, server: WebSocketServer, bystander: Peer) -> None:
        self.loop = loop
        self.server = server
        self.bystander = bystander
        self.reported: list[tuple[int, str]] = []

    async def undisturbed(self) -> None:
        """A client that behaves is served."""
        self.bystander.send("still served?")
        assert await self.bystander.message() == "still served?"
        assert len(self.server.clients) == 1


@asynccontextmanager
async def scene(loop: Loop, on_message: Any = None, **options: Any) -> AsyncIterator[Scene]:
    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            if client.request.path != "/bystander":
                current.reported.append((int(code), reason))

        @client.message
        async def answer(reader: WebSocketReader) -> None:
            if on_message is None or client.request.path == "/bystander":
                await client.writer.send(await reader.get())
            else:
                await on_message(client, reader)

    async with loop.serving(on_connection, **options) as server:
        bystander = await loop.connect(server, target="/bystander")
        await loop.until(lambda: len(server.clients) == 1)
        current = Scene(loop, server, bystander)
        yield current


# --- Instead of a handshake


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 400),
        (b"\x00" * 1000, 400),
        (bytes(range(256)), 400),
        (b"\r\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (REQUEST.replace(b": 13", b": 8"), 426),
        (REQUEST.replace(b"AAAA==", b"AAA"), 400),
        (REQUEST.replace(b"Connection: Upgrade", b"Connection: close"), 400),
        (REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: x-a; b=\r\n\r\n"), 400),
        (REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol:\r\n\r\n"), 400),
        (b"\r\n\r\n" + REQUEST, 400),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 40_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"G" * 40_000, 431),
        (masked(0x81, b"a frame"), 400),
    ],
)
@on_each_loop
async def test_garbage_is_a_4xx_and_one_line(
    loop: Loop, log: Log, garbage: bytes, status: int
) -> None:
    async with scene(loop) as here:
        peer = await loop.dial(here.server)
        peer.raw(garbage)
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close" in peer.head
        [line] = log.lines()
        assert line.startswith("handshake failed: ")
        await here.undisturbed()


@pytest.mark.parametrize("size", [1, 3])
@on_memory
async def test_garbage_that_trickles_in(loop: MemoryLoop, log: Log, size: int) -> None:
    loop.runtime.chunk = size
    async with scene(loop) as here:
        peer = await loop.dial(here.server)
        peer.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 400 ")
        assert len(log.lines()) == 1
        await here.undisturbed()


@on_each_loop
async def test_a_body_too_long_to_be_read_after_a_refusal(loop: Loop) -> None:
    """What the peer goes on sending must not turn our answer into a reset."""
    async with scene(loop) as here:
        peer = await loop.dial(here.server)
        peer.answers_eof = False
        peer.raw(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
        )
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 405 ")
        assert not peer.lost
        peer.end()
        await here.undisturbed()


@on_each_loop
async def test_more_than_64_kib_before_the_answer(loop: Loop, log: Log) -> None:
    forever = loop.signal()

    async def process_request(request: Request) -> None:
        if request.path != "/bystander":
            await forever.wait()

    async with scene(loop, process_request=process_request) as here:
        peer = await loop.dial(here.server)
        peer.raw(REQUEST + bytes(200_000))
        peer.end()
        if isinstance(loop, MemoryLoop):
            # Reading is paused meanwhile.
            await loop.settle()
            assert peer.waiting() > 60_000
        await here.undisturbed()
        forever.set()
        await loop.until(lambda: peer.at_eof)
        log.lines()
        peer.frames.clear()


@on_each_loop
async def test_half_a_handshake_and_gone(loop: Loop, log: Log) -> None:
    async with scene(loop) as here:
        for end in (Peer.end, Peer.reset):
            for size in (0, 1, 20, len(REQUEST) - 1):
                peer = await loop.dial(here.server)
                peer.raw(REQUEST[:size])
                end(peer)
        await here.undisturbed()
        # A peer that comes and goes is not an error; the loops differ in what they notice.
        assert all(line.startswith("handshake failed: ") for line in log.lines())


@on_memory
async def test_a_hundred_half_handshakes(
    loop: MemoryLoop, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    async with scene(loop, open_timeout=5) as here:
        peers = [await loop.dial(here.server) for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.raw(REQUEST[:number])
        await loop.advance(5)
        for peer in peers:
            await peer.eof()
            assert peer.head.startswith(b"HTTP/1.1 408 ")
        late = caplog.text.count("handshake failed: the request did not arrive in time")
        assert late == len(peers)
        assert len(log.lines()) == MOST
        await here.undisturbed()


# --- Violations


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (masked(0xC1, b"x"), 1002),
        (masked(0xA1, b"x"), 1002),
        (masked(0x91, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x8B, b"x"), 1002),
        (masked(0x80, b"x"), 1002),  # a continuation of nothing
        (masked(0x01, b"x") + masked(0x81, b"y"), 1002),
        (masked(0x09, b"x"), 1002),  # a fragmented ping
        (masked(0x89, b"x" * 126), 1002),
        (masked(0x88, b"\x03"), 1002),
        (masked(0x88, b"\x03\xee"), 1002),  # 1006
        (masked(0x88, b"\x03\xe8\xff"), 1007),
        (masked(0x81, b"\xff"), 1007),
        (masked(0x01, b"\xc3") + masked(0x80, b"x"), 1007),
        (masked(0x81, b"\xed\xa0\x80"), 1007),
        (b"\x82\xff\xff" + bytes(11), 1002),  # the top bit of the length
        (b"\x82\xfe\x00\x05" + bytes(9), 1002),  # not the shortest form
        (b"\x82\xff\x7f" + b"\xff" * 7 + bytes(4), 1009),
    ],
)
@on_each_loop
async def test_a_violation_is_a_close_and_one_line(
    loop: Loop, log: Log, frames: bytes, code: int
) -> None:
    async with scene(loop) as here:
        peer = await loop.connect(here.server)
        peer.raw(frames)
        got, reason = await peer.closed()
        assert got == code
        await loop.until(lambda: here.reported)
        assert here.reported == [(code, reason)]
        assert log.lines() == [f"failed with {code}, {reason}"]
        await here.undisturbed()


@on_each_loop
async def test_a_ping_and_a_violation_after_our_close(loop: Loop, log: Log) -> None:
    """The connection has failed before the Ping is handled: no Pong may follow our Close."""
    async with scene(loop) as here:
        peer = await loop.connect(here.server)
        await loop.until(lambda: len(here.server.clients) == 2)
        [client] = [one for one in here.server.clients.values() if one.request.path != "/bystander"]
        peer.answers_close = False
        client.close_nowait()
        assert (await peer.frame()).first == FIN | CLOSE
        peer.raw(masked(0x89, b"?") + masked(0x83))
        await peer.eof()
        assert not peer.frames
        await loop.until(lambda: here.reported)
        assert len(log.lines()) == 1
        await here.undisturbed()


@on_each_loop
async def test_a_violation_and_everything_after_it(loop: Loop, log: Log) -> None:
    async with scene(loop) as here:
        peer = await loop.connect(here.server)
        peer.raw(masked(0x83) + masked(0x83) * 10_000 + bytes(500_000))
        assert (await peer.closed())[0] == 1002
        assert len(log.lines()) == 1
        await here.undisturbed()


@on_each_loop
async def test_frames_after_the_close(loop: Loop, log: Log) -> None:
    async with scene(loop) as here:
        peer = await loop.connect(here.server)
        peer.answers_eof = False
        peer.close(1000, "bye")
        assert await peer.closed() == (1000, "bye")
        for _ in range(10):
            peer.raw(masked(0x81, b"I am still here") * 100)
            await loop.checkpoint()
        peer.end()
        await loop.until(lambda: here.reported)
        assert here.reported == [(1000, "bye")]
        assert log.lines() == []
        await here.undisturbed()


@on_each_loop
async def test_random_bytes_after_the_handshake(loop: Loop, log: Log) -> None:
    generator = random.Random(6455)
    async with scene(loop) as here:
        for _ in range(50):
            peer = await loop.connect(here.server)
            peer.raw(generator.randbytes(generator.randrange(1, 200)))
            peer.end()
        await loop.until(lambda: len(here.reported) == 50)
        lines = log.lines()
        assert all(line.startswith("failed with ") for line in lines)
        assert len(lines) <= 50
        await here.undisturbed()


@on_memory
async def test_random_frames(loop: MemoryLoop, log: Log) -> None:
    generator = random.Random(6455)
    async with scene(loop, read_limit=500, max_message_size=2000) as here:
        for _ in range(100):
            loop.runtime.chunk = generator.choice([1, 7, 100, 65536])
            peer = await loop.connect(here.server)
            for _ in range(generator.randrange(1, 30)):
                first = generator.choice([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88])
                peer.raw(masked(first, b"x" * generator.choice([0, 2, 100, 125, 126, 1000])))
            generator.choice([Peer.end, Peer.reset])(peer)
            await loop.settle()
        assert len(here.reported) == 100
        assert all(line.startswith("failed with ") for line in log.lines())
        loop.runtime.chunk = 65536
        await here.undisturbed()


# --- Floods


@pytest.mark.parametrize("kind", ["messages", "fragments", "pings", "pongs"])
@on_each_loop
async def test_a_flood_of_tiny_frames(loop: Loop, kind: str) -> None:
    count = 5000

    async with scene(loop, max_message_size=None) as here:
        peer = await loop.connect(here.server)
        frames = {
            "messages": masked(0x81) * count,
            "fragments": masked(0x01) + masked(0x00) * (count - 2) + masked(0x80),
            "pings": masked(0x89) * count,
            "pongs": masked(0x8A) * count,
        }[kind]
        peer.raw(frames)
        here.bystander.send("in between")
        assert await here.bystander.message() == "in between"
        answers = {"messages": count, "fragments": 1, "pings": count, "pongs": 0}[kind]
        await loop.until(lambda: len(peer.frames) >= answers)
        assert len(peer.frames) == answers
        peer.frames.clear()
        await peer.nothing()


@on_each_loop
async def test_too_many_tiny_fragments_are_charged_for_their_bookkeeping(
    loop: Loop, log: Log
) -> None:
    async with scene(loop, max_message_size=100_000) as here:
        peer = await loop.connect(here.server)
        peer.raw(masked(0x01) + masked(0x00) * 5000)
        assert await peer.closed() == (1009, "a message has too many small fragments")
        assert len(log.lines()) == 1
        await here.undisturbed()


FORGED = "bye\n#99 127.0.0.1:1: forged\r\x1b[2J\u2028\u202e"


@on_each_loop
async def test_a_close_reason_forges_no_log_line(loop: Loop, log: Log) -> None:
    """Neither by its own line nor in a traceback."""

    async def on_connection(client: Client) -> None:
        try:
            await client.receive()
        except ConnectionClosed as closed:
            assert closed.reason == FORGED
            raise RuntimeError("the application failed") from closed

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.close(4000, FORGED)
        await peer.closed()
        await loop.until(lambda: log.records)
    [(what, error)] = log.tracebacks()
    assert what == "on_connection raised"
    lines = "".join(traceback.format_exception(error)).split("\n")
    assert all(line.isprintable() for line in lines)
    assert any("bye\\n#99 127.0.0.1:1: forged\\r\\x1b[2J\\u2028\\u202e" in line for line in lines)


@pytest.mark.parametrize("end", [Peer.reset, Peer.end])
@on_each_loop
async def test_a_flood_and_gone(
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    log: Log,
    end: Callable[[Peer], None],
) -> None:
    """Many turns of the loop after the loss there are still messages to hand out, and these
    callbacks send: into nothing, and without a sound."""
    monkeypatch.setattr(wstransports.batch, "WORK_AT_ONCE", 0)
    begun = 0

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        nonlocal begun
        begun += 1
        await client.writer.send("answer")

    async with scene(loop, on_message, read_limit=10**7) as here:
        peer = await loop.connect(here.server)
        with peer.in_one_write():
            peer.raw(masked(0x82, b"x") * 9000)
        await loop.until(lambda: begun)
        end(peer)
        await loop.until(lambda: here.reported)
        assert here.reported[0][0] == 1006
        assert log.lines() == []
        await here.undisturbed()


# --- Reset at every stage


async def stage_handshake(loop: Loop, here: Scene) -> Peer:
    peer = await loop.dial(here.server)
    peer.handshake()
    return peer


async def stage_open(loop: Loop, here: Scene) -> Peer:
    return await loop.connect(here.server)


async def stage_during_a_frame(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.raw(masked(0x82, bytes(1000))[:500])
    await loop.checkpoint()
    return peer


async def stage_during_a_message(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.part("begun")
    await peer.nothing()
    return peer


async def stage_answers_on_their_way(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    for _ in range(100):
        peer.send(b"x" * 1000)
    return peer


async def stage_output_blocked(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.stop_reading()
    for _ in range(20):
        peer.send(b"x" * 500_000)
    for _ in range(100):
        await loop.checkpoint()
    return peer


async def stage_it_has_closed(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.answers_eof = False
    peer.close()
    return peer


async def stage_close_and_reset_in_one_go(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.raw(masked(0x81, b"x") + masked(0x88, b"\x03\xe8"))
    return peer


async def stage_we_have_closed(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.answers_close = False
    await loop.until(lambda: len(here.server.clients) == 2)
    [client] = [one for one in here.server.clients.values() if one.request.path == "/"]
    loop.spawn(client.close())
    assert (await peer.frame()).opcode == CLOSE
    return peer


async def stage_both_have_closed(loop: Loop, here: Scene) -> Peer:
    peer = await stage_we_have_closed(loop, here)
    peer.answers_eof = False
    peer.acknowledge()
    return peer


async def stage_half_closed(loop: Loop, here: Scene) -> Peer:
    peer = await loop.connect(here.server)
    peer.answers_eof = False
    peer.end()
    return peer


@pytest.mark.parametrize(
    "stage",
    [
        stage_handshake,
        stage_open,
        stage_during_a_frame,
        stage_during_a_message,
        stage_answers_on_their_way,
        stage_output_blocked,
        stage_it_has_closed,
        stage_close_and_reset_in_one_go,
        stage_we_have_closed,
        stage_both_have_closed,
        stage_half_closed,
    ],
)
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@on_each_loop
async def test_a_reset_at_every_stage(
    loop: Loop, log: Log, stage: Callable[[Loop, Scene], Awaitable[Peer]], turns: int
) -> None:
    async with scene(loop) as here:
        peer = await stage(loop, here)
        for _ in range(turns):
            await loop.checkpoint()
        peer.reset()
        await loop.until(lambda: len(here.server._acceptor._sessions) == 1)
        if stage is not stage_handshake:
            assert len(here.reported) == 1
            assert here.reported[0][0] in (1000, 1006)
        lines = log.lines()
        if stage is stage_handshake:
            lines = [line for line in lines if not line.startswith("handshake failed: ")]
        assert lines == []
        await here.undisturbed()


@on_each_loop
async def test_one_that_closes_and_is_gone_before_the_answer(
    loop: Loop, request: pytest.FixtureRequest, log: Log
) -> None:
    """Our Close is answered by a reset, so neither half is left to end."""
    may_go_on = loop.signal()

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        await may_go_on.wait()

    async with scene(loop, on_message) as here:
        peer = await loop.connect(here.server)
        peer.send("x")
        peer.close(1000, "bye")
        await loop.until(lambda: len(here.server.clients) == 1)
        peer.vanish()
        await loop.until(lambda: peer.lost)
        may_go_on.set()
        await loop.until(lambda: len(here.server._acceptor._sessions) == 1)
        assert here.reported == [(1000, "bye")]
        assert log.lines() == []
        await here.undisturbed()


@pytest.mark.parametrize("turns", range(6))
@on_each_loop
async def test_one_that_vanishes_at_once(loop: Loop, log: Log, turns: int) -> None:
    async with scene(loop) as here:
        for _ in range(20):
            peer = await loop.connect(here.server)
            peer.send("x")
            for _ in range(turns):
                await loop.checkpoint()
            peer.vanish()
        await loop.until(lambda: len(here.server._acceptor._sessions) == 1)
        assert [code for code, _ in here.reported] == [1006] * 20
        assert log.lines() == []
        await here.undisturbed()


@on_each_loop
async def test_a_reset_while_reading_is_paused(loop: Loop) -> None:
    """asyncio does not notice it then, uvloop does; nobody may depend on either."""
    may_go_on = loop.signal()
    raised: list[int] = []

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        await may_go_on.wait()
        try:
            for _ in range(3):
                await client.writer.send("x")
                await loop.checkpoint()
        except ConnectionClosed as closed:
            raised.append(closed.code)

    async with scene(loop, on_message, read_limit=1000) as here:
        peer = await loop.connect(here.server)
        for _ in range(10):
            peer.send("x" * 5000)
        for _ in range(10):
            await loop.checkpoint()
        peer.reset()
        for _ in range(10):
            await loop.checkpoint()
        may_go_on.set()
        await loop.until(lambda: here.reported)
        assert here.reported[0][0] == 1006
        await here.undisturbed()


@pytest.mark.parametrize(
    ("frame", "size"),
    [(masked(0x82), 0), (masked(0x82, bytes(1000)), 1000), (masked(0xC2, MEBIBYTE), 2**20)],
    ids=["empty", "plain", "inflated"],
)
@on_memory
async def test_a_reset_while_a_read_waits(
    loop: MemoryLoop, caplog: pytest.LogCaptureFixture, frame: bytes, size: int
) -> None:
    """What is within `read_limit` is handled still, and a slice more; the rest is dropped."""
    caplog.set_level(logging.INFO)
    loop.runtime.chunk = 2**18
    may_go_on = loop.signal()
    got = 0

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        nonlocal got
        await may_go_on.wait()
        assert len(await reader.get()) == size
        got += 1

    async with scene(loop, on_message) as here:
        peer = await loop.connect(here.server, extensions=[Deflate()])
        await loop.until(lambda: len(here.server.clients) == 2)
        [inbox] = [
            client._session.inbox
            for client in here.server.clients.values()
            if client.request.path != "/bystander"
        ]
        count = 2**18 // len(frame)
        peer.raw(frame * count)
        await loop.until(lambda: inbox.unread > 2**16)
        before = inbox.unread
        assert before < 2**19
        peer.reset()
        await loop.until(lambda: here.reported)
        assert here.reported == [(1006, "the connection was lost")]
        assert inbox.unread <= before
        may_go_on.set()
        await loop.until(lambda: len(here.server._acceptor._sessions) == 1)
        # A slice has 256 frames at most, and 256 KiB of what is inflated.
        if size == 2**20:
            assert got == 0
        else:
            assert 0 < got * (size + 256) <= 2**16 + 3 * 256 * (size + 256)
        dropped = "connection lost, input beyond read_limit is dropped" in caplog.text
        assert dropped is (got < count)
        await here.undisturbed()


@on_sockets
async def test_a_loop_of_sends_to_a_peer_that_is_gone_ends(loop: Loop, log: Log) -> None:
    """The transport takes what it is given, and tells of the loss on the loop's next turn: a
    loop that never let others run would not come to an end."""
    async with loop.serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(REQUEST)
            await loop.until(lambda: server.clients)
            [client] = server.clients.values()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            with pytest.raises(ConnectionClosed):
                for _ in range(1000):
                    await client.writer.send(b"x" * 100)
        finally:
            noise = [record.getMessage() for record in log.records]
            log.records.clear()
        assert not noise


@on_memory
async def test_also_within_a_read(loop: MemoryLoop) -> None:
    sent = 0

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        nonlocal sent
        peer.reset()
        for _ in range(100_000):
            await client.writer.send(b"x" * 1000)
            sent += 1

    async with scene(loop, on_message) as here:
        peer = await loop.connect(here.server)
        peer.send("x")
        await loop.settle()
        assert here.reported == [(1006, "the connection was lost")]
        assert sent < 2000
        await here.undisturbed()


# --- The same over TLS, where no half can be closed


@pytest.mark.parametrize("end", [Peer.end, Peer.reset, Peer.vanish, Peer.close])
@pytest.mark.parametrize("stage", ["open", "within a message", "answers on their way"])
@on_sockets
async def test_ends_over_tls(
    loop: Loop,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    log: Log,
    end: Callable[[Peer], None],
    stage: str,
) -> None:
    for_server, for_client = contexts
    reported: list[int] = []

    async def on_connection(client: Client) -> None:
        await echo(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append(code)

    async with loop.serving(on_connection, certs=for_server) as server:
        peer = await loop.connect(server, tls=for_client)
        if stage == "within a message":
            peer.part("begun")
        elif stage == "answers on their way":
            for _ in range(50):
                peer.send(b"x" * 10_000)
        end(peer)
        await loop.until(lambda: reported)
        assert reported[0] == (1000 if end is Peer.close else 1006)
        assert log.lines() == []


@on_sockets
async def test_a_reset_in_the_tls_handshake(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with loop.serving(certs=contexts[0]) as server:
        for start in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            peer = await loop.dial(server)
            peer.raw(start)
            await loop.checkpoint()
            peer.reset()
            await loop.until(lambda: peer.lost)  # noqa: B023
        assert not server.clients


# --- Callers who go on regardless


@on_each_loop
async def test_a_callback_that_ignores_the_end_gets_an_error_each_time(loop: Loop) -> None:
    raised = 0

    async def on_message(client: Client, reader: WebSocketReader) -> None:
        nonlocal raised
        while raised < 100:
            try:
                await client.writer.send("x")
                await loop.checkpoint()
            except ConnectionClosed:
                raised += 1

    async with scene(loop, on_message) as here:
        peer = await loop.connect(here.server)
        peer.send("go")
        assert await peer.message() == "x"
        peer.reset()
        await loop.until(lambda: raised == 100)
        await here.undisturbed()
