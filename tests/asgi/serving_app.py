"""An ASGI application that serves raw clients on any event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kit.loops import Loop, MemoryLoop
from kit.peer import Peer
from wscore import ServerHandshake
from wstransports.address import Address
from wstransports.asgi.application import Message, Receive, Send, Settings
from wstransports.asgi.exchange import ClientDisconnected, Exchange
from wstransports.asgi.scope import Scope
from wstransports.connection.session import Session
from wstransports.options import ConnectionOptions
from wstransports.runtime import running

App = Callable[[Scope, Receive, Send], Awaitable[object]]

ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}
START: Message = {"type": "websocket.http.response.start", "status": 401, "headers": []}
BODY: Message = {"type": "websocket.http.response.body", "body": b"no"}


def text(data: str) -> Message:
    """Sends a text message."""
    return {"type": "websocket.send", "text": data}


async def take_one(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, takes one event, and returns."""
    await receive()
    await send(ACCEPT)
    await receive()


def ticking(loop: MemoryLoop, seconds: float) -> App:
    """An application that takes one event, then sends until the client has left."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await take_one(scope, receive, send)
        with pytest.raises(ClientDisconnected):
            while True:
                await send(text("tick"))
                await loop.runtime.sleep(seconds)

    return app


class Recorded(Exchange):
    """An Exchange that notes its answers, and its end."""

    __slots__ = ("answers", "over")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.answers: list[str] = []
        self.over = False

    def answered(self, answer: str) -> None:
        """Note it."""
        super().answered(answer)
        self.answers.append(answer)

    def finished(self, session: Session) -> None:
        """Note it."""
        super().finished(session)
        self.over = True


class Served:
    """Where the application is served, and its exchanges in the order of connecting."""

    def __init__(self, loop: Loop, settings: Settings) -> None:
        self.loop = loop
        self.settings = settings
        self.exchanges: list[Recorded] = []
        self.addr = ""
        self.port = 0

    def accept(self) -> Session:
        """Make the session of a connection."""
        exchange = Recorded(self.settings, {"of": "the lifespan"}, running())
        self.exchanges.append(exchange)
        return exchange._session

    async def dial(self, **request: Any) -> Peer:
        """A peer that has sent its request."""
        where: Any = self  # a server's address is all that the kit looks at
        peer = await self.loop.dial(where, **request)
        peer.handshake()
        return peer

    async def connect(self, **request: Any) -> Peer:
        """A peer that the application has accepted."""
        peer = await self.dial(**request)
        response = await peer.answer()
        assert response.status == 101, response
        return peer


@asynccontextmanager
async def serving(loop: Loop, app: App, **options: Any) -> AsyncIterator[Served]:
    """Serve an application; the end of the block waits for all its calls."""
    settings = {
        name: options.pop(name)
        for name in ("ping_interval", "root_path", "asgi_version", "headers")
        if name in options
    }
    checked = ConnectionOptions(**{"timeout": 0, "open_timeout": 0, **options})
    handshake = ServerHandshake(extensions=checked.extensions())
    served = Served(loop, Settings(app, checked, handshake, **settings))
    runtime = running()
    async with runtime.task_group() as group:
        listener = await runtime.listen(Address("127.0.0.1", 0), served.accept, group)
        served.addr, served.port = listener.address()
        try:
            yield served
        finally:
            listener.close()
            for exchange in served.exchanges:
                exchange.shutdown()
            for peer in loop._peers:
                peer.relent()
            if isinstance(loop, MemoryLoop):
                await loop.advance(1000)
            await loop.until(lambda: all(one.over for one in served.exchanges))
