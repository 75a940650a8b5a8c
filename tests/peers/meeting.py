"""A connection between us and another implementation, and what the tests ask of either end."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, NamedTuple

from keys import Keys
from our_loop import OurLoop
from recorder import Stream, Wire, recorded

from wstransports import Client, Deflate, Response, WebSocketReader, WebSocketServer, connect

Compression = Literal["deflate"] | Deflate | None


class Refused(Exception):
    """Their client was refused."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status
        """None where their API does not tell."""


class Theirs(ABC):
    """Their end of a connection."""

    subprotocol: str | None
    """What was agreed on, as their API says."""
    compresses: bool
    """Whether compression was, as their API says."""

    @abstractmethod
    async def send(self, data: str | bytes) -> None:
        """Send a message."""

    async def send_parts(self, parts: Sequence[bytes], text: bool) -> None:
        """Send a message in fragments; a part of a text may end within a character."""
        raise NotImplementedError

    @abstractmethod
    async def receive(self) -> str | bytes:
        """The next message."""

    async def ping(self, payload: bytes) -> None:
        """Send a ping, and wait for its pong where their API can."""
        raise NotImplementedError

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Close."""

    @abstractmethod
    async def closed(self) -> tuple[int, str]:
        """Wait for the end; the code and reason of the Close that came, (1006, "") for none."""


class Listening(ABC):
    """Their server."""

    port: int

    @abstractmethod
    async def accepted(self) -> Theirs:
        """The next client that connects."""


class Peer(ABC):
    """Another implementation."""

    tells_status = True
    """Whether their client tells the status it was refused with."""

    @abstractmethod
    def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool, keys: Keys | None = None
    ) -> AbstractAsyncContextManager[Theirs]:
        """Their client, connected; with `keys` over TLS. Raises Refused."""

    def serving(
        self,
        subprotocols: Sequence[str],
        compress: bool,
        refuse: int | None,
        keys: Keys | None = None,
    ) -> AbstractAsyncContextManager[Listening]:
        """Their server on a free port of 127.0.0.1; it refuses with a status if one is given.

        With `keys` it serves over TLS.
        """
        raise NotImplementedError


class Ours:
    """Our end: a Client whose callbacks keep what comes. It is made where our end runs."""

    def __init__(self, client: Client, loop: OurLoop) -> None:
        self.subprotocol = client.subprotocol
        self._client = client
        self._loop = loop
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self._closed: asyncio.Future[tuple[int, str]] = loop.asyncio.create_future()

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            loop.tell(lambda: self._messages.put_nowait(message))

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            assert length == len(payload)
            loop.tell(lambda: self._pongs.put_nowait(payload))

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            loop.tell(lambda: self._closed.set_result((code, reason)))

    async def send(self, data: str | bytes) -> None:
        """Send a message."""
        await self._loop.run(lambda: self._client.writer.send(data))

    async def send_parts(self, texts: Sequence[str]) -> None:
        """Send a message of so many fragments, and an empty last one."""

        async def send() -> None:
            async with self._client.writer.fragment() as stream:
                for text in texts:
                    await stream.send(text)

        await self._loop.run(send)

    async def feed(self, data: Sequence[bytes]) -> None:
        """Send a message from an iterable."""
        await self._loop.run(lambda: self._client.writer.feed(data))

    async def ping(self, payload: bytes) -> None:
        """Send a ping."""
        await self._loop.run(lambda: self._client.writer.ping(payload))

    async def close(self, code: int, reason: str) -> None:
        """Close."""
        await self._loop.run(lambda: self._client.close(code, reason))

    async def receive(self) -> str | bytes:
        """The next message."""
        return await self._messages.get()

    async def pong(self) -> bytes:
        """The next pong's payload."""
        return await self._pongs.get()

    async def closed(self) -> tuple[int, str]:
        """What on_closed got."""
        return await self._closed


class Side(NamedTuple):
    """Who meets us, in which role, and where we run."""

    peer: Peer
    we_serve: bool
    our_loop: Callable[[], AbstractAsyncContextManager[OurLoop]]


class Meeting(NamedTuple):
    """A connection: its two ends, and what is between them."""

    ours: Ours
    theirs: Theirs
    wire: Wire
    from_us: Stream
    from_them: Stream


@asynccontextmanager
async def meeting(
    side: Side,
    compression: Compression = "deflate",
    they_compress: bool = True,
    *,
    our_subprotocols: Sequence[str] = (),
    their_subprotocols: Sequence[str] = (),
    refuse: int | None = None,
    keys: Keys | None = None,
) -> AsyncIterator[Meeting]:
    """Connect; with `refuse` the server answers with that status; with `keys` over TLS.

    Raises Refused where we refuse, HandshakeError where they do.
    """
    async with side.our_loop() as loop:
        if side.we_serve:
            server = WebSocketServer(
                "127.0.0.1",
                0,
                keys and keys.server,
                compression=compression,
                subprotocols=our_subprotocols,
                process_request=lambda _: (
                    None if refuse is None else Response(refuse, body="go away\n")
                ),
            )
            accepted: asyncio.Queue[Ours] = asyncio.Queue()
            async with (
                loop.entered(_serving(server, loop, accepted)) as port,
                recorded(port) as wire,
                side.peer.connecting(
                    _url(wire, keys), their_subprotocols, they_compress, keys
                ) as theirs,
            ):
                yield Meeting(await accepted.get(), theirs, wire, wire.server, wire.client)
            return
        async with (
            side.peer.serving(their_subprotocols, they_compress, refuse, keys) as listening,
            recorded(listening.port) as wire,
            loop.entered(
                _connected(
                    connect(
                        _url(wire, keys),
                        ssl=keys and keys.client,
                        compression=compression,
                        subprotocols=our_subprotocols,
                    ),
                    loop,
                )
            ) as ours,
        ):
            yield Meeting(ours, await listening.accepted(), wire, wire.client, wire.server)


@asynccontextmanager
async def _serving(
    server: WebSocketServer, loop: OurLoop, accepted: asyncio.Queue[Ours]
) -> AsyncIterator[int]:
    """Serve; gives the port."""

    @server.connection
    async def on_connection(client: Client) -> None:
        ours = Ours(client, loop)
        loop.tell(lambda: accepted.put_nowait(ours))

    async with server:
        yield server.port


@asynccontextmanager
async def _connected(connecting: connect, loop: OurLoop) -> AsyncIterator[Ours]:
    async with connecting as client:
        yield Ours(client, loop)


def _url(wire: Wire, keys: Keys | None) -> str:
    return f"{'ws' if keys is None else 'wss'}://127.0.0.1:{wire.port}/meet"
