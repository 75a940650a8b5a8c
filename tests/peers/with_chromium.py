"""Chromium, headless: page.html."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chromium import Page
from keys import Keys
from meeting import Peer, Refused, Theirs

PAGE = Path(__file__).with_name("page.html").as_uri()


class ChromiumEnd(Theirs):
    """Their end: `end` in the page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def evaluate(self, expression: str, *values: object) -> Any:
        """The value of an expression, with `%s` for values; asked for in a thread, as it blocks."""
        expression %= tuple(json.dumps(value) for value in values)
        return await asyncio.to_thread(self._page.evaluate, expression)

    async def open(self, url: str, subprotocols: Sequence[str]) -> None:
        """Connect. Raises Refused."""
        opened = await self.evaluate("end = new End(%s, %s), end.opened()", url, list(subprotocols))
        if opened is None:
            raise Refused(None)
        subprotocol, extensions = opened
        self.subprotocol = subprotocol or None
        self.compresses = extensions.startswith("permessage-deflate")

    async def send(self, data: str | bytes) -> None:
        value = data if isinstance(data, str) else {"base64": b64encode(data).decode()}
        await self.evaluate("end.socket.send(decoded(%s))", value)

    async def receive(self) -> str | bytes:
        data = await self.evaluate("end.next('message')")
        message: str | bytes = data if isinstance(data, str) else b64decode(data["base64"])
        return message

    async def close(self, code: int, reason: str) -> None:
        await self.evaluate("end.socket.close(%s, %s)", code, reason)

    async def closed(self) -> tuple[int, str]:
        code, reason = await self.evaluate("end.next('close')")
        return code, reason


class ChromiumPeer(Peer):
    """The browser, at PAGE; it is a client only, and always offers compression."""

    tells_status = False

    def __init__(self, page: Page) -> None:
        self._page = page

    @asynccontextmanager
    async def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool, keys: Keys | None = None
    ) -> AsyncIterator[Theirs]:
        assert compress
        end = ChromiumEnd(self._page)
        await end.open(url, subprotocols)
        try:
            yield end
        finally:
            await end.evaluate("end.socket.close()")
