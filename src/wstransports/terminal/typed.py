"""What is typed or piped: lines from a terminal, or all of stdin."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib.util import find_spec

_CHUNK = 65536


class Interrupted(Exception):
    """Ctrl-C at the prompt."""


def can_prompt() -> bool:
    """Whether prompt_toolkit is installed."""
    return find_spec("prompt_toolkit") is not None


async def prompted_lines() -> AsyncGenerator[str, None]:
    """The lines that are typed at a prompt, with history; Ctrl-D ends them.

    Raises Interrupted at Ctrl-C.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    # Each line is erased: it appears again as a message that was sent.
    session: PromptSession[str] = PromptSession("> ", erase_when_done=True)
    with patch_stdout(raw=True):
        while True:
            try:
                line = await session.prompt_async()
            except EOFError:
                return
            except KeyboardInterrupt:
                raise Interrupted from None
            yield line


async def lines(descriptor: int) -> AsyncGenerator[bytes, None]:
    """The lines of a pipe, a file or a terminal, without their line breaks, as they come."""
    line = bytearray()
    async with aclosing(chunks(descriptor)) as source:
        async for chunk in source:
            first, *others = chunk.split(b"\n")
            line += first
            for other in others:
                yield bytes(line).removesuffix(b"\r")
                line = bytearray(other)
    if line:
        yield bytes(line)


async def chunks(descriptor: int) -> AsyncGenerator[bytes, None]:
    """What can be read, as it comes. No more is read than what is taken."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    wanted = threading.Semaphore(1)
    ended = threading.Event()

    def read() -> None:
        while True:
            wanted.acquire()
            if ended.is_set():
                return
            # Not sys.stdin, whose lock would be held at the end of the program.
            try:
                data = os.read(descriptor, _CHUNK)
            except OSError:
                data = b""  # a terminal that hung up
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, data)
            except RuntimeError:
                return  # the loop is closed
            if not data:
                return

    # No loop can wait for a file, and a thread that waits for a terminal must not hold up the end.
    threading.Thread(target=read, daemon=True).start()
    try:
        while data := await arrived.get():
            yield data
            wanted.release()
    finally:
        ended.set()
        wanted.release()
