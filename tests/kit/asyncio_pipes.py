"""Pipes of asyncio's kind without a server: the loops that have them, and a sink."""

import asyncio
from typing import Any, cast

import pytest

from wstransports.identity import Identity

ASYNCIO_LOOPS = ["asyncio", "uvloop", "aiofastnet"]


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """A loop with the transports of that name."""
    if name == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        return cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())
    loop = asyncio.SelectorEventLoop()
    if name == "aiofastnet":
        try:
            pytest.importorskip("aiofastnet", reason="aiofastnet is not installed").patch_loop(loop)
        except BaseException:
            loop.close()
            raise
    return loop


class WatchesNoSockets(asyncio.SelectorEventLoop):
    """As the loop that asyncio has on Windows: these raise NotImplementedError."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer


class PipeSink:
    """A Sink that has its pipe, and notes how the stream ended."""

    identity = Identity.__new__(Identity)

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pipe: asyncio.Future[Any] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()

    def connected(self, pipe: Any) -> None:
        """As a Sink."""
        self.pipe.set_result(pipe)

    def data_received(self, data: bytes | memoryview) -> None:
        """As a Sink."""

    def eof_received(self) -> None:
        """As a Sink."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As a Sink."""
        self.lost.set_result(exc)
