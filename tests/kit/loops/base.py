"""What a test can do on any event loop."""

import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kit.jobs import Job
from kit.peer import Peer
from kit.raw_server import End, RawServer, Talk
from wscore import ClientConnection, State
from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.address import Address
from wstransports.runtime import Signal, Waiter, running

T = TypeVar("T")

OnConnection = Callable[[Client], Awaitable[object]]
Main = Callable[[], Coroutine[Any, Any, None]]

# How long a test may take on a real loop, in seconds: no test waits for a clock there.
PATIENCE = 20


class Loop(ABC):
    """An event loop, with servers and peers on it."""

    name: str
    cancelled: type[BaseException]
    """What a cancelled task sees."""
    has_addresses = True
    """Whether a stream knows the addresses of its ends."""
    cancels_woken_tasks = True
    """Whether a cancellation still reaches a task that is about to run."""
    peer_class: type[Peer] = Peer

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    @abstractmethod
    def run(self, main: Main) -> None:
        """Run a test to its end, for a bounded time; fails if the library leaves anything open."""

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Job[T]:
        """Run a coroutine next to the others."""

    @abstractmethod
    async def until(self, condition: Callable[[], object]) -> None:
        """Let the others run until the condition holds; fails if it never does."""

    @abstractmethod
    async def dial(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer whose stream is connected, and which has sent nothing yet.

        `request` as for a ClientConnection. On sockets, `unix_path` and `tls` say how to connect,
        and `at_once` is sent in the same moment as the stream is connected.
        """

    def hold(self, seconds: float) -> None:
        """Hold up the loop, as a computation does."""
        time.sleep(seconds)

    def signal(self) -> Signal:
        """Something to wait for."""
        return running().signal()

    def waiter(self) -> Waiter:
        """Something to wait for again and again."""
        return running().waiter()

    async def checkpoint(self) -> None:
        """Let the others run once."""
        await running().checkpoint()

    async def connect(self, server: WebSocketServer, **request: Any) -> Peer:
        """A peer that has done its opening handshake; `request` as for `dial`."""
        peer = await self.dial(server, **request)
        peer.handshake()
        response = await peer.answer()
        assert response.status == 101, response
        return peer

    def server(self, host: str = "127.0.0.1", **options: Any) -> WebSocketServer:
        """A server of this loop, on a free port."""
        return WebSocketServer(host, 0, **options)

    @asynccontextmanager
    async def serving(
        self, on_connection: OnConnection | None = None, **options: Any
    ) -> AsyncIterator[WebSocketServer]:
        """A server that listens."""
        server = self.server(**options)
        if on_connection is not None:
            server.connection(on_connection)
        await server.__aenter__()
        try:
            yield server
        finally:
            await self.leave(server)

    async def leave(self, server: WebSocketServer) -> None:
        """End a server's block; the peers that are left do what it waits for."""
        for peer in self._peers:
            peer.relent()
        await server.__aexit__(None, None, None)

    @asynccontextmanager
    async def listening(
        self, talk: Talk, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[RawServer]:
        """A raw server, which does with each connection what `talk` says."""
        jobs: list[Job[None]] = []
        runtime = running()
        listener = await runtime.listen(Address(host, 0, tls=tls), lambda: make_end())
        raw = RawServer(*listener.address())

        def make_end() -> End:
            end = End(lambda end: jobs.append(self.spawn(talk(end))))
            raw.ends.append(end)
            return end

        try:
            yield raw
        finally:
            listener.close()
            for job in jobs:
                if not job.done:
                    job.cancel()
            for end in raw.ends:
                if end.pipe is not None and not end.lost:
                    end.pipe.abort()
        for job in jobs:
            try:
                await job.wait()
            except self.cancelled:
                continue

    def _peer(self, server: WebSocketServer, **request: Any) -> Peer:
        target = request.pop("target", "/")
        peer = self.peer_class(ClientConnection(f"{server.addr}:{server.port}", target, **request))
        self._peers.append(peer)
        return peer

    def _reset_peers(self) -> None:
        for peer in self._peers:
            if not peer.lost and hasattr(peer, "wire"):
                peer.reset()

    def _all_lost(self) -> bool:
        return all(peer.lost for peer in self._peers)


async def echo(client: Client) -> None:
    """An on_connection that sends each message back."""

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


def state_of(client: Client) -> State:
    """The client's state now: a call, so that type checkers do not remember the last one."""
    return client.state
