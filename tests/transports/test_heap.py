"""The memory of large messages stays with the process, where the C library is glibc."""

import platform
import subprocess
import sys

import pytest
from harness import MemoryWorld, World
from test_reader import get, reading

from wstransports import WebSocketReader
from wstransports.heap import LARGE
from wstransports.receiving import reader

# Messages come and go: in pieces, joined, and held by several connections. How often a page of them
# was touched for the first time, before and after.
PROGRAM = """
import resource, sys
from wstransports import heap

SIZE, HELD = map(int, sys.argv[1:])

def faults():
    for turn in range(22):
        if turn == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = [b"".join([bytes([turn]) * 2**20] * (SIZE // 2**20)) for _ in range(HELD)]
        pieces = [bytes([turn]) * 2**20 for _ in range(SIZE // 2**20)]
        held.clear()
        whole = b"".join(pieces)
        del pieces, whole
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
heap.keep(SIZE)
print(without, faults())
"""

# What is asked for takes no memory itself, in whichever order.
ASKING = """
import resource, sys
from wstransports import heap

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in map(int, sys.argv[1:]):
    heap.keep(size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only glibc keeps more when a larger block is freed (its dynamic mmap threshold)",
)
@pytest.mark.parametrize(("size", "held"), [(2**20, 4), (2**24, 1)])
def test_no_page_is_taken_anew_for_each_message(size: int, held: int) -> None:
    without, kept = run(PROGRAM, size, held)
    assert kept < without / 10


@pytest.mark.parametrize("sizes", [(2**20, 2**21, 2**24, 2**17), (2**25, 2**20), (2**30, 2**24)])
def test_to_ask_takes_no_memory(sizes: tuple[int, ...]) -> None:
    [faults] = run(ASKING, *sizes)
    assert faults < 100


def run(program: str, *arguments: int) -> list[int]:
    """The numbers that it prints."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    return [int(number) for number in ended.stdout.split()]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is asked for: the sizes."""
    sizes: list[int] = []
    monkeypatch.setattr(reader, "keep", sizes.append)
    return sizes


@pytest.mark.parametrize("kind", [str, bytes])
async def test_a_large_message_has_it_kept(
    world: World, kind: type[str] | type[bytes], kept: list[int]
) -> None:
    half = b"x" * (LARGE // 2)
    part = half if kind is bytes else half.decode()
    async with reading(world, get, get) as (peer, _, _):
        peer.part(part)
        peer.part(part[1:], last=True)
        assert await peer.message() == "next"
        assert kept == []
        peer.part(part)
        peer.part(part, last=True)
        assert await peer.message() == "next"
        assert kept == [LARGE]


async def test_so_does_one_that_comes_whole(memory: MemoryWorld, kept: list[int]) -> None:
    memory.runtime.chunk = 2 * LARGE
    async with reading(memory, get) as (peer, _, _):
        peer.send(bytes(LARGE))
        assert await peer.message() == "next"
        assert kept == [LARGE]


async def test_so_does_one_that_is_read_as_it_comes(memory: MemoryWorld, kept: list[int]) -> None:
    async def pieces(reader: WebSocketReader) -> list[int]:
        return [len(piece) async for piece in reader]

    memory.runtime.chunk = 2 * LARGE
    async with reading(memory, pieces) as (peer, _, _):
        peer.part(b"x")
        peer.part(bytes(LARGE), last=True)
        assert await peer.message() == "next"
        assert kept == [LARGE]
