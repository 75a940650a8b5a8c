"""Callbacks begin before what arrives next, in whatever order the back end begins its tasks."""

from collections import deque

import pytest

pytest.importorskip("anyio", reason="anyio is not installed")

from anyio import BrokenResourceError
from anyio.lowlevel import checkpoint

from kit.in_process import MemoryStream, on_each_backend, stream_pair
from wscore import ClientConnection
from wstransports import Client
from wstransports.anyio import serve_stream

# trio begins tasks in one of two orders: so often it has taken each.
TIMES = 20

EMPTY_PING = b"\x89\x80\0\0\0\0"


class InParts(MemoryStream):
    """What arrives on it is one part a read, and then it breaks."""

    def __init__(self, *parts: bytes) -> None:
        super().__init__()
        _, self._peer = stream_pair()
        self._parts = deque(parts)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        if not self._parts:
            raise BrokenResourceError
        return self._parts.popleft()


@on_each_backend
async def test_on_connection_registers_what_the_next_read_and_the_end_are_for(backend: str) -> None:
    for _ in range(TIMES):
        reported: list[str] = []

        async def on_connection(client: Client, reported: list[str] = reported) -> None:
            @client.ping
            async def on_ping(payload: bytes, length: int) -> None:
                reported.append("ping")

            @client.closed
            async def on_closed(code: int, reason: str) -> None:
                reported.append("closed")

        request = ClientConnection("localhost", "/").data_to_send()
        await serve_stream(InParts(request, EMPTY_PING), on_connection)
        assert sorted(reported) == ["closed", "ping"]
        await serve_stream(InParts(request), on_connection)
        assert sorted(reported) == ["closed", "closed", "ping"]
