"""What a peer makes the server log."""

import time

from attack import Figure, attack
from raw import close_all, connect, echoed, flood, frame, request
from target import Target

from kit.frames import BINARY, CLOSE, FIN, PING, TEXT
from wstransports.log_limit import MOST

# Forges a line, and colours a terminal.
FORGED = b"bye\r\n2026-01-01 CRITICAL forged\x1b[31m\xc2\x9b31m"

# Seconds.
FLOOD = 3
LINGER = 0.5
SECONDS = 5  # that an attack takes, at most


@attack("forged log lines")
def forged_lines(target: Target) -> list[Figure]:
    """Close reasons, headers and garbage that look like lines of the log."""
    peers = [connect(target, "/raise") for _ in range(5)]
    for peer in peers:
        peer.sendall(frame(FIN | TEXT, b"answer me"))
        peer.sendall(frame(FIN | CLOSE, (4000).to_bytes(2) + FORGED))
    heads = [b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n", b"%b\r\n\r\n"]
    heads.append(request("/").replace(b"Upgrade: websocket", b"Upgrade: web\x1b[31msocket"))
    for head in heads:
        peer = target.dial()
        peer.sendall(head % FORGED if b"%b" in head else head)
        peers.append(peer)
    time.sleep(2 * LINGER)
    close_all(peers)
    log = target.log.read_bytes()
    lines = log.splitlines()
    forged = sum(line.startswith(b"2026-01-01 CRITICAL") for line in lines)
    raw = sum(log.count(code) for code in (b"\x1b", b"\xc2\x9b"))
    return [Figure("forged lines", forged, 0), Figure("raw control characters", raw, 0)]


@attack("pings to a callback that raises")
def raising_callback(target: Target) -> list[Figure]:
    """Pings, of which the first makes a callback raise."""
    peer = connect(target, "/ping")
    flood([peer], frame(FIN | PING, b"x") * 1000, FLOOD, 2**24)
    time.sleep(LINGER)
    peer.close()
    return [Figure("log lines", len(target.log_lines()), 40)]


@attack("a log handler that raises", logging_raises=True)
def raising_handler(target: Target) -> list[Figure]:
    """Peers about whom there is something to log, where logging fails."""
    for _ in range(10):
        peer = connect(target, "/echo")
        peer.sendall(frame(FIN | 3, b"an opcode that nobody knows"))
        peer.close()
        garbage = target.dial()
        garbage.sendall(b"SSH-2.0-x\r\n")
        garbage.close()
    time.sleep(LINGER)
    if not target.alive:
        return [Figure("clients not served", 1, 0)]
    peer = connect(target, "/echo")
    served = echoed(peer)
    peer.close()
    return [Figure("clients not served", not served, 0)]


@attack("garbage for a handshake")
def garbage(target: Target) -> list[Figure]:
    """100 peers that speak another protocol."""
    peers = [target.dial() for _ in range(100)]
    for number, peer in enumerate(peers):
        peer.sendall(bytes([number]) * 1000 + b"\r\n\r\n")
    time.sleep(2 * LINGER)
    close_all(peers)
    time.sleep(LINGER)
    return _lines_for(target, 100)


@attack("garbage for TLS", tls=True)
def garbage_for_tls(target: Target) -> list[Figure]:
    """100 peers that do not speak TLS."""
    peers = [target.dial() for _ in range(100)]
    for peer in peers:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(2 * LINGER)
    close_all(peers)
    time.sleep(LINGER)
    # The reason must be there to find.
    missing = 100 - len(target.log_lines())
    return [*_lines_for(target, 100), Figure("peers without a line", missing, 0)]


@attack("violations")
def violations(target: Target) -> list[Figure]:
    """100 peers that break a rule."""
    peers = [connect(target, "/echo") for _ in range(100)]
    for number, peer in enumerate(peers):
        peer.sendall(frame(FIN | (number & 0x7F) | 3, b"x") + frame(FIN | BINARY, b"x") * 100)
    time.sleep(2 * LINGER)
    close_all(peers)
    time.sleep(LINGER)
    return _lines_for(target, 100)


def _lines_for(target: Target, peers: int) -> list[Figure]:
    """One line for each peer, few of them above INFO, and no traceback."""
    lines = [line for line in target.log_lines() if "more lines were logged" not in line]
    tracebacks = sum("Traceback" in line for line in lines)
    loud = sum(" INFO " not in line for line in lines)
    return [
        Figure("log lines a peer", len(lines) / peers, 1),
        Figure("log lines above INFO", loud, MOST * SECONDS),
        Figure("tracebacks", tracebacks, 0),
    ]
