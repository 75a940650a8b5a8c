"""What is measured: the table of scenarios."""

from dataclasses import dataclass
from typing import Literal

from .contestants import CONTESTANTS

Kind = Literal["echo", "broadcast", "handshake", "idle", "stream", "sans-io"]

EVERYBODY = tuple(CONTESTANTS)
ON_ASYNCIO = ("ours", "picows", "picows.websockets", "websockets", "aiohttp", "node")
COMPRESSING = tuple(name for name in ON_ASYNCIO if name != "picows")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: who does what, on how many connections, with how large a message.

    `in_flight` is how many messages are under way on each connection. `warm_up` messages go
    before what is measured. With `deflate` compression is agreed on, `takeover` says whether
    with a context kept between messages. `frame` is the size of a stream's frames, 0 for one.
    """

    name: str
    title: str
    kind: Kind
    who: tuple[str, ...]
    connections: int = 1
    in_flight: int = 1
    size: int = 32
    text: bool = True
    warm_up: int = 500
    deflate: bool = False
    takeover: bool = True
    frame: int = 0

    def load(self) -> list[str]:
        """The load's arguments."""
        return [
            f"--connections={self.connections}",
            f"--in-flight={self.in_flight}",
            f"--size={self.size}",
            f"--frame={self.frame}",
            *["--text"] * self.text,
            *["--deflate"] * self.deflate,
            *["--no-takeover"] * (not self.takeover),
        ]


KIB, MIB, GIB = 2**10, 2**20, 2**30

_MESSAGES = [
    Scenario("16x256", "16 connections, 256 B text", "echo", EVERYBODY, 16, 1, 256, warm_up=2000),
    Scenario("100x1K", "100 connections, 1 KiB text", "echo", EVERYBODY, 100, 1, KIB, warm_up=2000),
    Scenario("1x64", "1 connection, 64 in flight, 32 B text", "echo", EVERYBODY, 1, 64, 32, warm_up=4000),
    Scenario("16x4x16K", "16 connections, 4 in flight, 16 KiB binary", "echo", EVERYBODY, 16, 4, 16 * KIB, text=False),
    Scenario("16x4x16K-text", "16 connections, 4 in flight, 16 KiB text", "echo", EVERYBODY, 16, 4, 16 * KIB),
    Scenario("4x1M", "4 connections, 1 MiB binary", "echo", EVERYBODY, 4, 1, MIB, text=False, warm_up=12),
    Scenario("4x1M-text", "4 connections, 1 MiB text", "echo", EVERYBODY, 4, 1, MIB, warm_up=12),
]

SCENARIOS = {scenario.name: scenario for scenario in [*_MESSAGES]}
