"""What peers do to others that are served: delays, drops, lost answers."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from attack import Figure, attack
from raw import DEFLATE, close_all, compressed, connect, flood, frame, read_all
from target import Target
from tls_client import TlsClient

from kit.frames import BINARY, FIN, PING, TEXT

HERE = Path(__file__).parent

# Seconds.
FLOOD = 5

# Milliseconds that an echo may take in 99 of 100 cases, however the server is flooded.
P99 = 50

# How often an echo's p99 is measured in a crowd, without broadcasts and with them.
ROUNDS = 5

# Milliseconds by which broadcasts may raise it. An echo waits for the rest of a slice, and while
# echoes come, a slice takes 0.1 ms. Slices of 0.5 ms raised it by 0.28 to 0.6.
MORE = 0.2


def _latency(target: Target, meanwhile: Callable[[], object] = lambda: None) -> dict[str, float]:
    """The p99 and the longest latency of echoes in ms, as a process of its own sees it."""
    command = [sys.executable, str(HERE / "bystander.py"), str(target.port), str(FLOOD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bystander:
        try:
            meanwhile()
            assert bystander.stdout is not None
            took: dict[str, float] = json.loads(bystander.stdout.readline())
        finally:
            bystander.kill()
    return took


def _next_to(target: Target, path: str, data: bytes, fields: bytes = b"") -> list[Figure]:
    """The latency next to 16 flooders."""
    peers = [connect(target, path, fields) for _ in range(16)]
    took = _latency(target, lambda: flood(peers, data, FLOOD + 2, 2**40))
    close_all(peers)
    return [
        Figure("p99 of an echo in ms", took["p99"], P99),
        Figure("longest in ms", took["longest"], 10 * P99),
    ]


@attack("16 flooders with small messages")
def small(target: Target) -> list[Figure]:
    """Messages of 8 bytes that are read."""
    return _next_to(target, "/sink", frame(FIN | BINARY, b"12345678") * 10_000)


@attack("16 flooders with pings")
def pings(target: Target) -> list[Figure]:
    """Pings, whose pongs nobody takes."""
    return _next_to(target, "/sink", frame(FIN | PING) * 10_000)


@attack("16 flooders with long messages")
def long(target: Target) -> list[Figure]:
    """Messages of 1 MiB that are read."""
    return _next_to(target, "/sink", frame(FIN | TEXT, b"x" * (2**20 - 16)))


@attack("16 flooders with compressed messages")
def bombs(target: Target) -> list[Figure]:
    """Messages of 1 MiB in 1 KiB that are read."""
    return _next_to(target, "/sink", compressed(bytes(2**20 - 1)) * 100, DEFLATE)


@attack("a peer that reads nothing, in a broadcast")
def broadcast(target: Target) -> list[Figure]:
    """The longest pause between two messages of a broadcast, for a client that reads."""
    stuck = connect(target, "/broadcast", receive_buffer=4096)
    reading = connect(target, "/broadcast")
    longest, before, end = 0.0, time.monotonic(), time.monotonic() + 8
    while time.monotonic() < end:
        reading.settimeout(end - time.monotonic() + 0.1)
        with suppress(TimeoutError):
            assert reading.recv(65536), "the one that reads was dropped"
        longest = max(longest, time.monotonic() - before)
        before = time.monotonic()
    close_all([stuck, reading])
    return [Figure("longest pause in s", longest, 2)]


@attack("broadcasts to 4,000 clients")
def crowd(target: Target) -> list[Figure]:
    """Five short messages a second to each. The p99 is compared with that of an echo next to the
    same clients without broadcasts; both are measured in turn, and the medians count."""
    peers = [connect(target, "/crowd") for _ in range(4000)]
    without, during = [], []
    for _ in range(ROUNDS):
        without.append(_latency(target))
        broadcasting = connect(target, "/crowd/broadcast")
        during.append(_latency(target))
        close_all([broadcasting])
        read_all(peers)
    close_all(peers)
    before, after = (median(took["p99"] for took in each) for each in (without, during))
    return [
        Figure("p99 of an echo in ms without broadcasts", before, P99),
        Figure("p99 during them", after, before + MORE),
        Figure("longest in ms during them", max(took["longest"] for took in during), 10 * P99),
    ]


@attack("a peer that reads slowly, timeout=2", timeout=2)
def slow_reader(target: Target) -> list[Figure]:
    """Reads 250 kB a second: slow, but steady. A ping waits behind megabytes."""
    peer = connect(target, "/big", receive_buffer=32 * 1024)
    peer.sendall(frame(FIN | BINARY, b"go"))
    end = time.monotonic() + 9
    while time.monotonic() < end:
        time.sleep(0.1)
        with suppress(OSError):
            peer.recv(25_000)
    # The peer does not see it: what the kernel has comes after a drop, too.
    drops = 1 - target.stats()["clients"]
    peer.close()
    return [Figure("drops", drops, 0)]


@attack("SIGTERM while 100 callbacks run")
def shutdown(target: Target) -> list[Figure]:
    """Messages that callbacks were given, and whose answers did not arrive."""
    peers = [connect(target, "/slow") for _ in range(100)]
    for peer in peers:
        peer.sendall(frame(FIN | BINARY, b"answer me"))
    target.wait(lambda: target.stats()["begun"] == 100, 5)
    answers = [0] * len(peers)

    def read(number: int) -> None:
        data = b""
        with suppress(OSError):
            while more := peers[number].recv(65536):
                data += more
                if (close := data.find(b"\x88")) >= 0:
                    peers[number].sendall(frame(FIN | 8, data[close + 2 : close + 4]))
        answers[number] = data.count(b"answer me")

    for peer in peers:
        peer.sendall(frame(FIN | BINARY, b"answer me"))
    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(peers))]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    seen = target.stop()
    seconds = time.monotonic() - start
    for thread in threads:
        thread.join(10)
    close_all(peers)
    return [
        Figure("answers lost", seen["begun"] - sum(answers), 0),
        Figure("seconds to end", seconds, 5),
    ]


@attack("a shutdown with peers that answer nothing", close_timeout=3)
def silent_shutdown(target: Target) -> list[Figure]:
    """The time that it takes to end next to peers that do not answer the Close."""
    peers = [connect(target, "/echo") for _ in range(50)]
    start = time.monotonic()
    target.stop()
    seconds = time.monotonic() - start
    close_all(peers)
    return [Figure("seconds to end", seconds, 5)]


@attack("TLS key updates, nothing read", tls=True)
def key_updates(target: Target) -> list[Figure]:
    """Requests for new keys, whose answers nobody takes, of three peers, which stay. What there is
    for all, such as the buffer for large reads, is made with the first, or with another."""
    growths: list[float] = []
    with ExitStack() as stack:
        for _ in range(3):
            before = target.memory()
            peer = TlsClient(target.port)
            stack.callback(peer.close)
            updates = peer.update_keys(seconds=FLOOD, most=200_000)
            growths.append((target.memory() - before) / 2**20)
    return [Figure(f"MiB after {updates} updates", min(growths[1:]), 1)]


@attack("a server that answers wrongly and stays")
def jilted(target: Target) -> list[Figure]:
    """connect() to a server whose 101 is not valid, and that does not leave."""
    command = [sys.executable, str(HERE / "jilted.py"), target.loop]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = json.loads(ended.stdout)
    return [
        Figure("seconds for 5 failures", found["seconds"], 2),
        Figure("tasks left", found["tasks"], 0),
        Figure("descriptors left", found["descriptors"], 1),
    ]
