"""Clients that talk to an application: ours, the `websockets` package's, and a browser's."""

import json
import ssl
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from chromium import Page
from websockets.asyncio.client import connect as connect_theirs
from websockets.exceptions import ConnectionClosed as TheirConnectionClosed
from websockets.exceptions import InvalidStatus

from wstransports import Client, ConnectionClosed, HandshakeError, connect

MAX_SIZE = 2**22
OFFERED = ["chat.v1", "chat.v2"]


class Refused(Exception):
    """The server did not accept; its status and body, which a browser does not show."""


class End(ABC):
    """The client's end of a connection."""

    subprotocol: str | None

    @abstractmethod
    async def send(self, data: str | bytes) -> None:
        """Send a message."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """The next message."""

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Close."""

    @abstractmethod
    async def closed(self) -> tuple[int, str]:
        """Wait for the Close that comes next; its code and reason."""


# Connects: to a URI, with the value of a Cookie header or None.
Connect = Callable[[str, str | None], AbstractAsyncContextManager[End]]


class Ours(End):
    """Of this library, on any loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.subprotocol = client.subprotocol

    async def send(self, data: str | bytes) -> None:
        await self._client.writer.send(data)

    async def receive(self) -> str | bytes:
        return await self._client.receive()

    async def close(self, code: int, reason: str) -> None:
        await self._client.close(code, reason)

    async def closed(self) -> tuple[int, str]:
        try:
            message = await self._client.receive()
        except ConnectionClosed as end:
            return end.code, end.reason
        raise AssertionError(f"a message in place of a Close: {message!r}")


class Theirs(End):
    """Of the `websockets` package."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.subprotocol = connection.subprotocol

    async def send(self, data: str | bytes) -> None:
        await self._connection.send(data)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self._connection.recv()
        return message

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    async def closed(self) -> tuple[int, str]:
        try:
            message = await self._connection.recv()
        except TheirConnectionClosed as end:
            assert end.rcvd is not None, "the connection was lost"
            return end.rcvd.code, end.rcvd.reason
        raise AssertionError(f"a message in place of a Close: {message!r}")


class Browsers(End):
    """Of a page that tests/peers/page.html is the source of; its calls block."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def evaluate(self, expression: str, *values: object) -> Any:
        """The value of an expression, with `%s` for values."""
        return self._page.evaluate(expression % tuple(json.dumps(value) for value in values))

    async def send(self, data: str | bytes) -> None:
        value = data if isinstance(data, str) else {"base64": b64encode(data).decode()}
        self.evaluate("end.socket.send(decoded(%s))", value)

    async def receive(self) -> str | bytes:
        data = self.evaluate("end.next('message')")
        return data if isinstance(data, str) else b64decode(data["base64"])

    async def close(self, code: int, reason: str) -> None:
        self.evaluate("end.socket.close(%s, %s)", code, reason)

    async def closed(self) -> tuple[int, str]:
        code, reason = self.evaluate("end.next('close')")
        return code, reason


def ours(trusted: ssl.SSLContext | None) -> Connect:
    """Connects with this library."""

    @asynccontextmanager
    async def connecting(uri: str, cookie: str | None) -> AsyncIterator[End]:
        headers = {} if cookie is None else {"Cookie": cookie}
        try:
            client = await connect(uri, headers=headers, subprotocols=OFFERED, ssl=trusted)
        except HandshakeError as error:
            raise Refused(error.status, error.body.decode()) from error
        try:
            yield Ours(client)
        finally:
            await client.close()

    return connecting


def theirs(trusted: ssl.SSLContext | None) -> Connect:
    """Connects with the `websockets` package."""

    @asynccontextmanager
    async def connecting(uri: str, cookie: str | None) -> AsyncIterator[End]:
        headers = {} if cookie is None else {"Cookie": cookie}
        options: dict[str, Any] = {"subprotocols": OFFERED, "ssl": trusted, "proxy": None}
        try:
            async with connect_theirs(uri, additional_headers=headers, **options) as connection:
                yield Theirs(connection)
        except InvalidStatus as error:
            response = error.response
            raise Refused(response.status_code, response.body.decode()) from error

    return connecting


def a_browsers(page: Page) -> Connect:
    """Connects from a page, with the cookies that it has."""

    @asynccontextmanager
    async def connecting(uri: str, cookie: str | None) -> AsyncIterator[End]:
        end = Browsers(page)
        opened = end.evaluate("end = new End(%s, %s), end.opened()", uri, OFFERED)
        if opened is None:
            raise Refused
        end.subprotocol = opened[0] or None
        try:
            yield end
        finally:
            end.evaluate("end.socket.close()")

    return connecting
