"""What asyncio's own transports read into: one room for all, and one for large messages."""

import asyncio
from collections.abc import Iterator

import pytest

from wstransports.adapters.asyncio import LARGE_READ, READ_SIZE, BufferedPipe, Rooms
from wstransports.runtime import Pipe


class Taker:
    """A sink that takes what it is shown."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def connected(self, pipe: Pipe) -> None:
        raise AssertionError("there is no stream")

    def data_received(self, data: bytes | memoryview) -> None:
        self.taken.append(bytes(data))

    def eof_received(self) -> None:
        raise AssertionError("there is no stream")

    def connection_lost(self, exc: Exception | None) -> None:
        raise AssertionError("there is no stream")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def read(pipe: BufferedPipe, data: bytes) -> int:
    """Read as a transport does; returns how much there was room for."""
    room = pipe.get_buffer(-1)
    room[: len(data)] = data
    pipe.buffer_updated(len(data))
    return len(room)


def test_who_sends_much_at_once_gets_more_room(loop: asyncio.AbstractEventLoop) -> None:
    rooms, sink, other_sink = Rooms(), Taker(), Taker()
    pipe, other = BufferedPipe(loop, sink, rooms), BufferedPipe(loop, other_sink, rooms)
    reads = [b"few", b"x" * (LARGE_READ - 1), b"y" * LARGE_READ]
    assert [read(pipe, data) for data in reads] == [READ_SIZE] * 3
    large = read(pipe, b"z" * (READ_SIZE + 1))
    assert large > 2**20  # a message of the most that is let in by default, its header, and more
    assert read(pipe, b"few again") == large
    assert read(other, b"its own") == READ_SIZE
    assert sink.taken == [*reads, b"z" * (READ_SIZE + 1), b"few again"]
    assert other_sink.taken == [b"its own"]


def test_rooms_are_shared(loop: asyncio.AbstractEventLoop) -> None:
    """Ten thousand connections have no more of them than one."""
    rooms = Rooms()
    pipes = [BufferedPipe(loop, Taker(), rooms) for _ in range(3)]
    assert len({id(pipe.get_buffer(-1)) for pipe in pipes}) == 1
    for pipe in pipes:
        read(pipe, bytes(READ_SIZE))
    assert len({id(pipe.get_buffer(-1)) for pipe in pipes}) == 1
