"""The `websockets` package; and `picows`, which has an API of the same names."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from keys import Keys
from meeting import Listening, Peer, Refused, Theirs

# Theirs is the limit of what comes from us: more than the tests send, so that none is met.
MAX_SIZE = 2**22


class WebsocketsEnd(Theirs):
    """Their end."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._end: tuple[int, str] | None = None
        self.subprotocol = connection.subprotocol
        # What was agreed on is whatever their server answered, and they say so to both ends.
        self.compresses = "Sec-WebSocket-Extensions" in connection.response.headers

    async def send(self, data: str | bytes) -> None:
        await self._connection.send(data)

    async def send_parts(self, parts: Sequence[bytes], text: bool) -> None:
        await self._connection.send(parts, text=text)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self._connection.recv()
        return message

    async def ping(self, payload: bytes) -> None:
        await (await self._connection.ping(payload))

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    async def closed(self) -> tuple[int, str]:
        await self._connection.wait_closed()
        if self._end is None:
            code = self._connection.close_code
            if code is None:  # picows, where no Close came
                code = 1006
            self._end = int(getattr(code, "value", code)), self._connection.close_reason or ""
        return self._end


class WebsocketsListening(Listening):
    """Their server."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[WebsocketsEnd] = asyncio.Queue()

    async def handle(self, connection: Any) -> None:
        """Their handler: the connection ends when it returns."""
        end = WebsocketsEnd(connection)
        self._accepted.put_nowait(end)
        # Asked now: picows closes after this, and then tells of 1000, lost as the connection is.
        await end.closed()

    async def accepted(self) -> Theirs:
        return await self._accepted.get()


class WebsocketsPeer(Peer):
    """The package of that name, or one that looks like it."""

    def __init__(self, module: str) -> None:
        self._api: Any = import_module(module)

    @asynccontextmanager
    async def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool, keys: Keys | None = None
    ) -> AsyncIterator[Theirs]:
        try:
            connection = await self._api.connect(
                url,
                subprotocols=subprotocols or None,
                compression="deflate" if compress else None,
                max_size=MAX_SIZE,
                proxy=None,
                ssl=keys and keys.client,
            )
        except self._api.InvalidStatus as error:
            raise Refused(error.response.status_code) from error
        try:
            yield WebsocketsEnd(connection)
        finally:
            await connection.close()

    @asynccontextmanager
    async def serving(
        self,
        subprotocols: Sequence[str],
        compress: bool,
        refuse: int | None,
        keys: Keys | None = None,
    ) -> AsyncIterator[Listening]:
        def process_request(connection: Any, request: object) -> object:
            return None if refuse is None else connection.respond(refuse, "go away\n")

        listening = WebsocketsListening()
        async with self._api.serve(
            listening.handle,
            "127.0.0.1",
            0,
            subprotocols=subprotocols or None,
            compression="deflate" if compress else None,
            max_size=MAX_SIZE,
            process_request=process_request,
            ssl=keys and keys.server,
        ) as server:
            listening.port = next(iter(server.sockets)).getsockname()[1]
            yield listening
