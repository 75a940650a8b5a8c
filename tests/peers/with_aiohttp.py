"""The `aiohttp` package."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from keys import Keys
from meeting import Listening, Peer, Refused, Theirs

COMPRESS = 15  # window bits


class AiohttpEnd(Theirs):
    """Their end. Somebody has to receive for pings and Closes to be answered."""

    def __init__(
        self, socket: ClientWebSocketResponse | web.WebSocketResponse, subprotocol: str | None
    ) -> None:
        self._socket = socket
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._close: tuple[int, str] | None = None
        self.subprotocol = subprotocol
        self.compresses = bool(socket.compress)
        self.receiving = asyncio.create_task(self._receive())

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._messages.put_nowait(message.data)
            elif message.type is WSMsgType.CLOSE:
                self._close = int(message.data), str(message.extra or "")
            else:
                return

    async def send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            await self._socket.send_str(data)
        else:
            await self._socket.send_bytes(data)

    async def receive(self) -> str | bytes:
        return await self._messages.get()

    async def ping(self, payload: bytes) -> None:
        await self._socket.ping(payload)

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())
        # Their close() reads the answer itself, and keeps only its code.
        self._close = int(self._socket.close_code or 1006), ""

    async def closed(self) -> tuple[int, str]:
        await self.receiving
        return self._close or (1006, "")


class AiohttpListening(Listening):
    """Their server."""

    def __init__(self, subprotocols: Sequence[str], compress: bool, refuse: int | None) -> None:
        self._subprotocols = subprotocols
        self._compress = compress
        self._refuse = refuse
        self._accepted: asyncio.Queue[AiohttpEnd] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Their handler: the connection ends when it returns."""
        if self._refuse is not None:
            return web.Response(status=self._refuse, text="go away\n")
        socket = web.WebSocketResponse(protocols=self._subprotocols, compress=self._compress)
        await socket.prepare(request)
        end = AiohttpEnd(socket, socket.ws_protocol)
        self._accepted.put_nowait(end)
        await end.receiving
        return socket

    async def accepted(self) -> Theirs:
        return await self._accepted.get()


class AiohttpPeer(Peer):
    """The package of that name."""

    @asynccontextmanager
    async def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool, keys: Keys | None = None
    ) -> AsyncIterator[Theirs]:
        async with ClientSession() as session:
            try:
                socket = await session.ws_connect(
                    url,
                    protocols=subprotocols,
                    compress=COMPRESS if compress else 0,
                    ssl=True if keys is None else keys.client,
                )
            except WSServerHandshakeError as error:
                raise Refused(error.status) from error
            end = AiohttpEnd(socket, socket.protocol)
            yield end
            await socket.close()
            await end.receiving

    @asynccontextmanager
    async def serving(
        self,
        subprotocols: Sequence[str],
        compress: bool,
        refuse: int | None,
        keys: Keys | None = None,
    ) -> AsyncIterator[Listening]:
        listening = AiohttpListening(subprotocols, compress, refuse)
        application = web.Application()
        application.router.add_get("/meet", listening.handle)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            context = keys and keys.server
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            listening.port = runner.addresses[0][1]
            yield listening
        finally:
            await runner.cleanup()
