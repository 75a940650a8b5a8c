"""Messages that are exchanged between us and another implementation."""

import random
from collections.abc import Sequence

import pytest
from meeting import Meeting

noise = random.Random(6455).randbytes

# 1 MiB is the longest that both accept by default.
MESSAGES: list[str | bytes] = [
    "",
    "text",
    "Straße, 日本語, 𐍈 ☺",
    "Straße, 日本語, 𐍈 ☺" * 200,
    "a" * 125 + "€",
    b"",
    bytes(range(256)),
    bytes(range(256)) * 20,
    noise(65536),
    "日本" * (2**20 // 6) + "text",
    bytes(range(256)) * 2**12,
    noise(2**20),
    "and after that",
]

# From how many bytes on everybody compresses.
THRESHOLD = 1024


def size(message: str | bytes) -> int:
    return len(message.encode() if isinstance(message, str) else message)


def expect(received: str | bytes, sent: str | bytes) -> None:
    """Compare; pytest would take minutes to explain how two messages of 1 MiB differ."""
    if received != sent:
        pytest.fail(
            f"{sent[:50]!r}, {len(sent)} long, arrived as {received[:50]!r}, {len(received)} long"
        )


async def exchange(meet: Meeting, messages: Sequence[str | bytes]) -> None:
    """Send each message from either end, and see it arrive."""
    for message in messages:
        await meet.ours.send(message)
        expect(await meet.theirs.receive(), message)
        await meet.theirs.send(message)
        expect(await meet.ours.receive(), message)
