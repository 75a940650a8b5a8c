"""How many descriptors, connections and clients peers make the server keep."""

import time
from collections.abc import Callable

from attack import Figure, attack
from raw import close_all, connect, echoed, frame, request, reset, vanish
from target import Target

from kit.frames import BINARY, FIN

# Connections that are refused end at once; some may be on their way out.
ON_THE_WAY = 20


def _storm(target: Target, send: bytes, most: int) -> list[Figure]:
    """500 connections, which are kept open for 2 s."""
    with target.watched(target.descriptors) as samples:
        peers = [target.dial() for _ in range(500)]
        for peer in peers:
            try:
                peer.sendall(send)
            except OSError:  # refused already
                continue
        time.sleep(2)
        kept = target.descriptors() - samples[0]
    close_all(peers)
    return [Figure("descriptors kept", kept, most)]


@attack("500 handshakes, max_connections=50", max_connections=50)
def refused(target: Target) -> list[Figure]:
    """Clients that are refused and do not leave."""
    return _storm(target, request("/echo"), 50 + ON_THE_WAY)


@attack("500 silent connections, max_connections=50", max_connections=50)
def silent(target: Target) -> list[Figure]:
    """Connections on which nothing is said."""
    return _storm(target, b"", 50 + ON_THE_WAY)


@attack("500 silent TLS handshakes, max_connections=50", tls=True, max_connections=50)
def silent_tls(target: Target) -> list[Figure]:
    """Connections that do not begin with TLS."""
    return _storm(target, b"\x16", 50 + ON_THE_WAY)


@attack("200 handshakes a byte at a time, open_timeout=2", open_timeout=2, close_timeout=1)
def slow_handshakes(target: Target) -> list[Figure]:
    """Requests that trickle in."""
    before = target.descriptors()
    peers = [target.dial() for _ in range(200)]
    head, end = request("/echo"), time.monotonic() + 5
    position = 0
    while time.monotonic() < end:
        for peer in peers:
            try:
                peer.sendall(head[position : position + 1])
            except OSError:
                continue
        position += 1
        time.sleep(0.25)
    kept = target.descriptors() - before
    close_all(peers)
    return [Figure("descriptors kept", kept, 2), Figure("log lines", len(target.log_lines()), 202)]


def _gone(target: Target, leave: Callable[..., None], path: str) -> list[Figure]:
    """20 peers that leave while what they have sent waits unread."""
    before = target.descriptors()
    peers = [connect(target, path) for _ in range(20)]
    for peer in peers:
        peer.setblocking(False)
        for _ in range(50):
            try:
                peer.send(frame(FIN | BINARY, bytes(16_000)))
            except BlockingIOError:
                break
        peer.settimeout(5)
    time.sleep(0.5)
    for peer in peers:
        leave(peer)
    seconds = target.wait(lambda: target.stats()["clients"] == 0, 8)
    return [
        Figure("clients kept", target.stats()["clients"], 0),
        Figure("descriptors kept", target.descriptors() - before, 1),
        Figure("seconds until they were gone", seconds, 7),
    ]


@attack("resets at a callback that hangs, timeout=4", timeout=4)
def resets(target: Target) -> list[Figure]:
    """Peers that reset the connection."""
    return _gone(target, reset, "/hang")


@attack("vanished at a callback that hangs, timeout=4", timeout=4)
def vanished(target: Target) -> list[Figure]:
    """Peers that are gone without a word."""
    return _gone(target, vanish, "/hang")


@attack("vanished while answers wait, timeout=4", timeout=4)
def vanished_while_answers_wait(target: Target) -> list[Figure]:
    """Peers that are gone without a word, and have read nothing."""
    return _gone(target, vanish, "/echo")


@attack("no descriptor left")
def no_descriptor(target: Target) -> list[Figure]:
    """More clients than the server may have descriptors, for 5 s."""
    target.limit_descriptors(target.descriptors() + 20)
    peers = [target.dial() for _ in range(60)]
    for peer in peers:
        peer.sendall(request("/echo"))
    seconds = 5
    time.sleep(seconds)
    lines = len(target.log_lines())
    close_all(peers)
    time.sleep(1.5)
    quiet = len(target.log_lines())
    time.sleep(1)
    after = len(target.log_lines()) - quiet
    peer = connect(target, "/echo")
    served = echoed(peer)
    peer.close()
    return [
        Figure("log lines a second", lines / seconds, 1.5),
        Figure("log lines afterwards", after, 0),
        Figure("clients not served", not served, 0),
    ]
