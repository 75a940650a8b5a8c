"""The memory of large messages stays with the process, where the C library is glibc."""

import platform
import subprocess
import sys

import pytest
from harness import MemoryWorld, World
from test_reader import get, reading

from wstransports import WebSocketReader, heap

# Blocks come and go as large messages do; and how often a page of them was touched for the first
# time, before and after.
PROGRAM = """
import resource
from wstransports import WebSocketReader, heap

def faults():
    blocks = []
    for turn in range(22):
        if turn == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [bytes([turn]) * 2**20 for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

without = faults()
heap.keep()
print(without, faults())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="only glibc keeps more when a larger block is freed (its dynamic mmap threshold)",
)
def test_no_page_is_taken_anew_for_each_message() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=20
    )
    without, kept = map(int, run.stdout.split())
    assert kept < without / 10


@pytest.mark.parametrize("kind", [str, bytes])
async def test_the_first_large_message_has_it_kept(
    world: World, kind: type[str] | type[bytes]
) -> None:
    half = b"x" * (heap.LARGE // 2)
    part = half if kind is bytes else half.decode()
    heap.keep.cache_clear()
    async with reading(world, get, get) as (peer, _, _):
        peer.part(part)
        peer.part(part[1:], last=True)
        assert await peer.message() == "next"
        assert heap.keep.cache_info().currsize == 0
        peer.part(part)
        peer.part(part, last=True)
        assert await peer.message() == "next"
        assert heap.keep.cache_info().currsize == 1


async def test_so_does_one_that_comes_whole(memory: MemoryWorld) -> None:
    memory.runtime.chunk = 2 * heap.LARGE
    heap.keep.cache_clear()
    async with reading(memory, get) as (peer, _, _):
        peer.send(bytes(heap.LARGE))
        assert await peer.message() == "next"
        assert heap.keep.cache_info().currsize == 1


async def test_so_does_one_that_is_read_as_it_comes(memory: MemoryWorld) -> None:
    async def pieces(reader: WebSocketReader) -> list[int]:
        return [len(piece) async for piece in reader]

    memory.runtime.chunk = 2 * heap.LARGE
    heap.keep.cache_clear()
    async with reading(memory, pieces) as (peer, _, _):
        peer.part(b"x")
        peer.part(bytes(heap.LARGE), last=True)
        assert await peer.message() == "next"
        assert heap.keep.cache_info().currsize == 1
