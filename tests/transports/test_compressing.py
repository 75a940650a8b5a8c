"""`compress=`: what a call says about its message, and what applies where it says nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from test_writer import only_client

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wscore import Deflate
from wstransports import Buffer, WebSocketWriter

LONG = "x" * 2000


async def in_parts(writer: WebSocketWriter, text: str, **options: Any) -> None:
    """Send two parts."""
    async with writer.fragment(**options) as stream:
        await stream.send(text)
        await stream.send(text)


async def in_one_part(writer: WebSocketWriter, text: str, **options: Any) -> None:
    """Send a message of fragments that has a single one."""
    async with writer.fragment(**options) as stream:
        await stream.send(text)


async def from_a_list(writer: WebSocketWriter, text: str, **options: Any) -> None:
    """Feed two pieces."""
    await writer.feed([text, text], **options)


async def from_a_buffer(writer: WebSocketWriter, text: str, **options: Any) -> None:
    """Feed pieces of a buffer."""
    buffer = Buffer()
    await buffer.write(text.encode())
    buffer.feed_eof()
    await writer.feed(buffer, chunksize=2, **options)


WAYS = [WebSocketWriter.send, in_parts, in_one_part, from_a_list, from_a_buffer]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("text", "compress"), [("short", True), (LONG, False)])
@on_each_loop
async def test_the_caller_decides_for_a_message(
    loop: Loop, way: Callable[..., Awaitable[None]], text: str, compress: bool
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, extensions=[Deflate()])
        client = await only_client(loop, server)
        await way(client.writer, text, compress=compress)
        frames = [await peer.frame()]
        while not frames[-1].last:
            frames.append(await peer.frame())
        marks = [frame.compressed for frame in frames]
        assert marks == [compress] + [False] * (len(frames) - 1)


@pytest.mark.parametrize(
    ("way", "text", "compressed"),
    [
        (WebSocketWriter.send, "short", False),
        (WebSocketWriter.send, LONG, True),
        (in_one_part, "short", False),
        (in_one_part, LONG, True),
        (in_parts, "short", True),
        (from_a_list, "short", True),
        (from_a_buffer, "short", True),
    ],
)
@on_memory
async def test_the_threshold_applies_to_messages_of_a_single_frame(
    loop: MemoryLoop, way: Callable[..., Awaitable[None]], text: str, compressed: bool
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, extensions=[Deflate()])
        client = await only_client(loop, server)
        await way(client.writer, text)
        frame = await peer.frame()
        assert frame.compressed is compressed
        peer.frames.clear()
