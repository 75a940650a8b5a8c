"""A connection between us and another implementation, and what the tests ask of either end."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, NamedTuple

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
        """Send a message in fragments; a part of a text may end amid a character."""
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
        """Whoever connects next."""


class Peer(ABC):
    """Another implementation."""

    tells_status = True
    """Whether their client tells the status it was refused with."""

    @abstractmethod
    def connecting(
        self, url: str, subprotocols: Sequence[str], compress: bool
    ) -> AbstractAsyncContextManager[Theirs]:
        """Their client, connected. Raises Refused."""

    def serving(
        self, subprotocols: Sequence[str], compress: bool, refuse: int | None
    ) -> AbstractAsyncContextManager[Listening]:
        """Their server on a free port of 127.0.0.1; it refuses with a status if one is given."""
        raise NotImplementedError


class Ours:
    """Our end: a Client whose callbacks keep what comes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.writer = client.writer
        self.pongs: asyncio.Queue[bytes] = asyncio.Queue()
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._closed: asyncio.Future[tuple[int, str]] = asyncio.Future()

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            self._messages.put_nowait(await reader.get())

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            assert length == len(payload)
            self.pongs.put_nowait(payload)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            self._closed.set_result((code, reason))

    async def receive(self) -> str | bytes:
        """The next message."""
        return await self._messages.get()

    async def closed(self) -> tuple[int, str]:
        """What on_closed was told."""
        return await self._closed


class Side(NamedTuple):
    """Who meets us, and in which role."""

    peer: Peer
    we_serve: bool


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
) -> AsyncIterator[Meeting]:
    """Connect; with `refuse` whoever serves answers with that status.

    Raises Refused where we refuse, HandshakeError where they do.
    """
    if not side.we_serve:
        async with (
            side.peer.serving(their_subprotocols, they_compress, refuse) as listening,
            recorded(listening.port) as wire,
            connect(
                f"ws://127.0.0.1:{wire.port}/meet",
                compression=compression,
                subprotocols=our_subprotocols,
            ) as client,
        ):
            ours, theirs = Ours(client), await listening.accepted()
            yield Meeting(ours, theirs, wire, wire.client, wire.server)
        return

    server = WebSocketServer(
        "127.0.0.1",
        0,
        compression=compression,
        subprotocols=our_subprotocols,
        process_request=lambda _: None if refuse is None else Response(refuse, body="go away\n"),
    )
    accepted: asyncio.Queue[Ours] = asyncio.Queue()

    @server.connection
    async def on_connection(client: Client) -> None:
        accepted.put_nowait(Ours(client))

    async with server, recorded(server.port) as wire:
        url = f"ws://127.0.0.1:{wire.port}/meet"
        async with side.peer.connecting(url, their_subprotocols, they_compress) as theirs:
            yield Meeting(await accepted.get(), theirs, wire, wire.server, wire.client)
