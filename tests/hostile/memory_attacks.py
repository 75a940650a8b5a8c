"""What a peer makes the server hold."""

import socket
import time
from collections.abc import Callable

from attack import Figure, attack
from raw import DEFLATE, close_all, compressed, connect, echoed, flood, frame, reset
from target import Target

from kit.frames import BINARY, CONTINUATION, FIN, PING

KiB, MiB = 2**10, 2**20

PEERS = 16

# Seconds.
FLOOD = 4
LINGER = 1


def held(
    target: Target,
    path: str,
    attack_with: Callable[[list[socket.socket]], object],
    most: float,
    fields: bytes = b"",
    first: bytes = b"",
    number: int = PEERS,
) -> list[Figure]:
    """How many MiB the server holds for each of some peers, at the most."""
    peers = [connect(target, path, fields) for _ in range(number)]
    for peer in peers:
        if first:
            peer.sendall(first)
    time.sleep(LINGER)
    with target.watched(target.memory) as samples:
        attack_with(peers)
        time.sleep(LINGER)
    close_all(peers)
    growth = (max(samples) - samples[0]) / number / MiB
    return [Figure("MiB a peer", growth, most)]


def flooding(data: bytes, most: int) -> Callable[[list[socket.socket]], object]:
    """Send the same again and again, and read nothing."""
    return lambda peers: flood(peers, data, FLOOD, most)


# Keeps a callback busy that hangs.
START = frame(FIN | BINARY, b"x")

TINY = frame(CONTINUATION, b"x") * 10_000


@attack("pings, nothing read")
@attack("pings, nothing read, over TLS", tls=True)
def pings(target: Target) -> list[Figure]:
    """Empty pings, whose pongs nobody takes."""
    return held(target, "/echo", flooding(frame(FIN | PING) * 10_000, 8 * MiB), 1)


@attack("echoes, nothing read")
@attack("echoes, nothing read, over TLS", tls=True)
def echoes(target: Target) -> list[Figure]:
    """Messages whose answers nobody takes."""
    data = frame(FIN | BINARY, bytes(64 * KiB)) * 16
    return held(target, "/echo", flooding(data, 16 * MiB), 1)


@attack("small messages at a callback that hangs")
@attack("small messages at a callback that hangs, over TLS", tls=True)
def small_messages(target: Target) -> list[Figure]:
    """Messages of one byte that wait unread."""
    return held(target, "/hang", flooding(START * 10_000, 8 * MiB), 1)


@attack("compressed messages at a callback that hangs")
@attack("compressed messages at a callback that hangs, over TLS", tls=True)
def compressed_messages(target: Target) -> list[Figure]:
    """Messages of 1 MiB in 1 KiB that wait unread."""
    data = compressed(bytes(MiB - 1)) * 16
    return held(target, "/hang", flooding(data, MiB), 1, DEFLATE, START)


@attack("compressed messages, then a reset")
def inflated_at_the_loss(target: Target) -> list[Figure]:
    """16 MiB in 16 KiB, the last that a lost peer has sent, at a callback that goes on."""
    data = START + compressed(bytes(MiB - 1)) * 16

    def send_and_leave(peers: list[socket.socket]) -> None:
        for peer in peers:
            peer.sendall(data)
        time.sleep(LINGER)
        for peer in peers:
            reset(peer)
        time.sleep(LINGER)

    return held(target, "/chatter", send_and_leave, 1, DEFLATE)


@attack("fragments of one byte, unread, no limit", max_message_size=None)
def unread_fragments(target: Target) -> list[Figure]:
    """Fragments that wait for a callback that hangs."""
    return held(target, "/hang", flooding(TINY, 8 * MiB), 1, first=frame(BINARY, b"x"))


@attack("fragments of one byte, read by get(), no limit", max_message_size=None)
def gathered_fragments(target: Target) -> list[Figure]:
    """Fragments of a message of 1 MiB at most, which is get()'s own limit."""
    # The text, its pieces while they are joined, and the bytes of a read.
    return held(target, "/echo", flooding(TINY, 8 * MiB), 4, first=frame(BINARY, b"x"))


@attack("a frame in small reads, read by get()")
def dribbled_frame(target: Target) -> list[Figure]:
    """As much of one frame as can be sent a byte at a time in 8 s."""
    size = 400_000
    start = bytes([FIN | BINARY, 0xFF]) + size.to_bytes(8) + bytes(4)

    def dribble(peers: list[socket.socket]) -> None:
        for peer in peers:
            peer.sendall(start)
        end = time.monotonic() + 2 * FLOOD
        while time.monotonic() < end:
            for peer in peers:
                peer.sendall(bytes(1))

    return held(target, "/echo", dribble, 2, number=2)


@attack("200 idle connections over TLS", tls=True)
def idle_over_tls(target: Target) -> list[Figure]:
    """Connections that have echoed once. asyncio's own TLS keeps 256 KiB for each."""
    peers = [connect(target, "/echo") for _ in range(PEERS)]
    before = target.memory()
    peers += [connect(target, "/echo") for _ in range(200)]
    unserved = sum(not echoed(peer) for peer in peers)
    growth = (target.memory() - before) / 200 / KiB
    close_all(peers)
    return [Figure("KiB a connection", growth, 48), Figure("clients not served", unserved, 0)]


@attack("long heads", open_timeout=20)
def long_heads(target: Target) -> list[Figure]:
    """Heads that do not end."""
    peers = [target.dial() for _ in range(200)]
    with target.watched(target.memory) as samples:
        flood(peers, b"GET / HTTP/1.1\r\nX: ", 1, 18)
        flood(peers, b"x" * 4096, FLOOD, 60 * KiB)
        time.sleep(LINGER)
    close_all(peers)
    return [Figure("KiB a peer", (max(samples) - samples[0]) / 200 / KiB, 128)]
