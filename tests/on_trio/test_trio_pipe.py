"""Pipes on trio where the system, or the order of tasks, does what it seldom does."""

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, NoReturn, cast

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
import trustme

from kit.certificates import client_context, server_context
from wstransports import Client, WebSocketServer, connect
from wstransports.address import Address
from wstransports.runtime import Sink, running
from wstransports.testing import joined
from wstransports.testing.end import End


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test for a bounded time."""

    async def bounded() -> None:
        with trio.fail_after(10):
            await main()

    trio.run(bounded)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[End, End]]:
    """Two ends that are connected; their streams are over when the block ends."""
    runtime = running()
    a, b = End(), End()
    async with runtime.task_group() as group:
        await joined(runtime, Address("127.0.0.1", 0), group)(cast(Sink, a), cast(Sink, b))
        await until(lambda: b.is_connected)
        yield a, b
        a.abort()
        b.abort()
    for end in (a, b):
        end.check()
        assert end.lost


def spurious(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Have sockets wake who reads once when there is nothing; returns how often, by descriptor."""
    wait_readable = trio.lowlevel.wait_readable
    woken: Counter[int] = Counter()

    async def wait(sock: Any) -> None:
        fd = sock if isinstance(sock, int) else sock.fileno()
        woken[fd] += 1
        if woken[fd] % 2:
            await trio.lowlevel.checkpoint()
        else:
            await wait_readable(sock)

    monkeypatch.setattr("trio.lowlevel.wait_readable", wait)
    return woken


@pytest.mark.parametrize("tls", [False, True])
def test_a_socket_that_wakes_for_nothing(tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        server = WebSocketServer("127.0.0.1", 0, server_tls)

        @server.connection
        async def on_connection(client: Client) -> None:
            async for message in client:
                await client.writer.send(message)

        woken = spurious(monkeypatch)
        async with server:
            uri = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.port}"
            async with connect(uri, ssl=client_tls) as client:
                await client.writer.send("x")
                assert await client.receive() == "x"
        assert len(woken) >= 3  # the listener, the server's end, the client's

    server_tls: ssl.SSLContext | None = None
    client_tls: ssl.SSLContext | None = None
    if tls:
        authority = trustme.CA()
        server_tls = server_context(authority, "127.0.0.1")
        client_tls = client_context(authority)
    run(main)


def test_a_full_batch_of_clients_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wstransports.adapters.socket_listener.AT_ONCE", 2)

    async def main() -> None:
        accepted: list[End] = []

        def make_sink() -> Sink:
            accepted.append(End())
            return cast(Sink, accepted[-1])

        runtime = running()
        listener = await runtime.listen(Address("127.0.0.1", 0), make_sink)
        peers = [socket.create_connection(listener.address()) for _ in range(2)]
        await until(lambda: len(accepted) == 2)
        peers.append(socket.create_connection(listener.address()))
        await until(lambda: len(accepted) == 3 and all(end.is_connected for end in accepted))
        listener.close()
        for peer in peers:
            peer.close()
        for end in accepted:
            end.abort()
        await until(lambda: all(end.lost for end in accepted))

    run(main)


def test_timers_that_are_due_together_cancel_each_other() -> None:
    """trio runs their tasks in any order: the first one calls, and the other does not."""

    async def main() -> None:
        calls: list[int] = []

        def call(this: int) -> None:
            calls.append(this)
            timers[1 - this].cancel()

        async with pair() as (a, _):
            timers = [
                a.pipe.call_at(trio.current_time(), lambda this=this: call(this))  # type: ignore[misc]
                for this in range(2)
            ]
            await until(lambda: calls)
            await trio.testing.wait_all_tasks_blocked()
            assert len(calls) == 1

    run(main)


def test_what_is_started_after_the_loss_runs() -> None:
    async def main() -> None:
        async with pair() as (a, b):
            a.abort()
            await until(lambda: a.lost and b.at_eof)
            await trio.testing.wait_all_tasks_blocked()  # the stream's own nursery is closed
            ran = trio.Event()

            async def late() -> None:
                ran.set()

            a.pipe.start(late(), copy_context())
            await ran.wait()

    run(main)


def test_a_sink_that_drops_the_stream_at_its_last_bytes_sees_no_end() -> None:
    """Bytes and the end of TLS may come in one read."""

    async def main() -> None:
        authority = trustme.CA()
        where = Address("127.0.0.1", 0, tls=server_context(authority, "127.0.0.1"))
        end = End()
        end.on_data = lambda: end.pipe.abort()
        listener = await running().listen(where, lambda: cast(Sink, end))
        tcp = await trio.open_tcp_stream(*listener.address())
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = client_context(authority).wrap_bio(incoming, outgoing, False, "127.0.0.1")
        while True:
            try:
                peer.do_handshake()
                break
            except ssl.SSLWantReadError:
                await tcp.send_all(outgoing.read())
                incoming.write(await tcp.receive_some())
        peer.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            peer.unwrap()
        await tcp.send_all(outgoing.read())
        await until(lambda: end.lost)
        listener.close()
        await tcp.aclose()
        end.check()
        assert end.received == b"last"
        assert not end.at_eof

    run(main)


class KnowsNoName(trio.abc.HostnameResolver):
    """The names of an empty world."""

    async def getaddrinfo(self, *arguments: object, **options: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "unknown here")

    async def getnameinfo(self, *arguments: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "unknown here")


def test_an_unknown_name_is_raised_as_the_resolver_does() -> None:
    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(KnowsNoName())
        with pytest.raises(socket.gaierror, match="unknown here") as caught:
            await running().connect(Address("nobody.invalid", 80), cast(Sink, End()))
        assert caught.value.errno == socket.EAI_NONAME

    run(main)
