"""However many lines peers cause, few of them are more than INFO."""

import logging
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, on_each_loop
from kit.peer import Peer
from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.log_limit import MOST, LogLimit

PEERS = 3 * MOST


async def raising(client: Client) -> None:
    """An on_connection whose on_message raises."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        raise ZeroDivisionError


async def malformed(loop: Loop, server: WebSocketServer) -> Peer:
    """Garbage in place of a request."""
    peer = await loop.dial(server)
    peer.raw(b"SSH-2.0-x\r\n\r\n")
    return peer


async def refused(loop: Loop, server: WebSocketServer) -> Peer:
    """One client too many."""
    return await loop.dial(server)


async def violating(loop: Loop, server: WebSocketServer) -> Peer:
    """A reserved opcode."""
    peer = await loop.connect(server)
    peer.raw(b"\xff\xff")
    return peer


async def to_the_callback(loop: Loop, server: WebSocketServer) -> Peer:
    """A message that makes a callback raise."""
    peer = await loop.connect(server)
    peer.send("x")
    return peer


@pytest.mark.parametrize("attack", [malformed, refused, violating, to_the_callback])
@on_each_loop
async def test_a_flood_of_lines(
    loop: Loop, attack: Any, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    options = {"max_connections": 1} if attack is refused else {}
    clock = [0.0]
    async with loop.serving(raising, **options) as server:
        server._options.log_limit._now = lambda: clock[0]
        if attack is refused:
            await loop.connect(server)
        begun = len(caplog.records)

        async def attacked() -> None:
            before = len(caplog.records)
            peer = await attack(loop, server)
            await loop.until(lambda: len(caplog.records) > before)
            peer.reset()
            await loop.until(lambda: len(server._acceptor._sessions) <= (attack is refused))

        for _ in range(PEERS):
            await attacked()
        levels = [record.levelno for record in caplog.records[begun:]]
        loud = levels[0]
        assert loud > logging.INFO
        assert levels == [loud] * MOST + [logging.INFO] * (PEERS - MOST)
        clock[0] += 1
        await attack(loop, server)
        await loop.until(lambda: len(caplog.records) == begun + PEERS + 2)
        counted, last = caplog.records[-2:]
        assert counted.getMessage() == f"{PEERS - MOST} more lines were logged at INFO"
        assert (counted.levelno, last.levelno) == (loud, loud)
    assert len(log.taken()) == MOST + 1


def test_each_level_has_its_own_second() -> None:
    clock = [5.0]
    limit = LogLimit(lambda: clock[0])
    counted = [limit.count(logging.WARNING) for _ in range(MOST + 2)]
    assert counted == [0] * MOST + [None, None]
    assert limit.count(logging.ERROR) == 0
    clock[0] += 0.99
    assert limit.count(logging.WARNING) is None
    clock[0] += 0.01
    assert limit.count(logging.WARNING) == 3
    assert limit.count(logging.WARNING) == 0
