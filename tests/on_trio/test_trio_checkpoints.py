"""Every public await is a checkpoint: it lets others run, and can be cancelled.

`USES` holds one use or more of each, those where there is nothing to wait for above all; what is
public is found out, so that none is forgotten.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, get_origin

import pytest

pytest.importorskip("trio", reason="trio is not installed")

import trio
import trio.testing
from test_trio_basics import echo_server

import wstransports
import wstransports.anyio as over_anyio
from kit.in_process import InProcessRuntime, stream_pair
from wstransports import (
    Buffer,
    Client,
    WebSocketReader,
    WebSocketServer,
    broadcast,
    connect,
)
from wstransports.adapters.listening import Listening
from wstransports.runtime import Runtime


class Ends:
    """A connection, and the one await that a test is about."""

    server: WebSocketServer
    client: Client
    """Its client's end; the messages "first" and "second" wait there."""
    theirs: Client
    """Its server's end."""
    reader: WebSocketReader
    """A message "hello" that the server's end has got."""

    def __init__(self, cancels: bool, runtime: Runtime | None) -> None:
        self.checked = 0
        self.scope = trio.CancelScope()
        self._cancels = cancels
        self._runtime = runtime

    def new_server(self) -> WebSocketServer:
        """One more."""
        return echo_server(runtime=self._runtime)

    def connect(self, **options: Any) -> connect:
        """To the server."""
        uri = f"ws://127.0.0.1:{self.server.port}"
        return connect(uri, runtime=self._runtime, **options)

    async def check(self, use: Awaitable[object]) -> Any:
        """Await it in a cancelled scope, or see that others could run."""
        self.checked += 1
        if self._cancels:
            self.scope.cancel()
            await use
            raise AssertionError("it was not cancelled")
        with trio.testing.assert_checkpoints():
            return await use


@asynccontextmanager
async def connected(cancels: bool, runtime: Runtime | None) -> AsyncIterator[Ends]:
    """What each use needs."""
    ends = Ends(cancels, runtime)
    ends.server = WebSocketServer("127.0.0.1", 0, runtime=runtime)
    ready, over = trio.Event(), trio.Event()

    @ends.server.connection
    async def on_connection(client: Client) -> None:
        if ready.is_set():  # a use's own
            return

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            ends.theirs, ends.reader = client, reader
            await client.writer.send("first")
            await client.writer.send("second")
            ready.set()
            await over.wait()

    async with ends.server, ends.connect(close_timeout=1) as ends.client:
        await ends.client.writer.send("hello")
        await ready.wait()
        await trio.testing.wait_all_tasks_blocked()
        yield ends
        over.set()


# How each is used: awaits `ends.check` once.
Use = Callable[[Ends], Awaitable[object]]
USES: dict[str, list[Use]] = {}


def use(name: str) -> Callable[[Use], Use]:
    """Register a use of what has this name."""

    def register(use: Use) -> Use:
        USES.setdefault(name, []).append(use)
        return use

    return register


def uses(name: str, *calls: Callable[[Ends], Awaitable[object]]) -> None:
    """Register calls that need no others before or after."""

    def checking(call: Use) -> Use:
        return lambda ends: ends.check(call(ends))

    for call in calls:
        use(name)(checking(call))


uses(
    "broadcast",
    lambda ends: broadcast([], "x"),
    lambda ends: broadcast([ends.client], "x"),
    lambda ends: broadcast([ends.client], "x", slow="drop"),
)
uses("Client.close", lambda ends: ends.client.close())
uses("WebSocketWriter.close", lambda ends: ends.client.writer.close())
uses("WebSocketServer.disconnect_client", lambda ends: ends.server.disconnect_client(ends.theirs))
uses(
    "Client.receive",
    lambda ends: ends.client.receive(),
    lambda ends: ends.client.receive(bytes, timeout=10),
)
uses("Client.receive_json", lambda ends: ends.client.receive_json(loads=str))
uses("Client.__anext__", lambda ends: anext(ends.client))
uses("WebSocketWriter.send", lambda ends: ends.client.writer.send("x"))
uses("WebSocketWriter.send_json", lambda ends: ends.client.writer.send_json("x"))
uses("WebSocketWriter.ping", lambda ends: ends.client.writer.ping())


@use("WebSocketWriter.ping")
async def await_a_pong(ends: Ends) -> None:
    await ends.check(await ends.client.writer.ping())


@use("WebSocketWriter.ping")
async def await_a_pong_that_is_here(ends: Ends) -> None:
    pong = await ends.client.writer.ping()
    await pong
    await ends.check(pong)


uses("WebSocketWriter.pong", lambda ends: ends.client.writer.pong(0, b""))
uses(
    "WebSocketWriter.feed",
    lambda ends: ends.client.writer.feed([]),
    lambda ends: ends.client.writer.feed(["x", "y"]),
    lambda ends: ends.client.writer.feed(filled(b"x")),
)
uses("WebSocketReader.get", lambda ends: ends.reader.get(), lambda ends: ends.reader.get(bytes))
uses("WebSocketReader.json", lambda ends: ends.reader.json(loads=str))
uses("WebSocketReader.__anext__", lambda ends: anext(ends.reader))
uses("Fragment.__aenter__", lambda ends: ends.client.writer.fragment().__aenter__())


def filled(data: bytes) -> Buffer:
    """A Buffer that has ended after these bytes."""
    buffer = Buffer()
    buffer._add(data)
    buffer.feed_eof()
    return buffer


uses(
    "Buffer.read",
    lambda ends: filled(b"x").read(),
    lambda ends: filled(b"x").read(0),
    lambda ends: filled(b"").read(),
    lambda ends: filled(b"").read(0),
)
uses(
    "Buffer.read_into",
    lambda ends: filled(b"x").read_into(bytearray(1), 1),
    lambda ends: filled(b"x").read_into(bytearray(), 0),
    lambda ends: filled(b"").read_into(bytearray(1), 1),
)
uses("Buffer.read_into_exactly", lambda ends: filled(b"x").read_into_exactly(bytearray(1), 1))
uses("Buffer.read_into_exactly", lambda ends: filled(b"").read_into_exactly(bytearray(), 0))
uses("Buffer.write", lambda ends: Buffer().write(b""), lambda ends: Buffer().write(b"x"))


@use("Client.close")
async def close_again(ends: Ends) -> None:
    await ends.client.close()
    await ends.check(ends.client.close())


@use("Client.wait_closed")
async def wait_for_a_closed_client(ends: Ends) -> None:
    await ends.client.close()
    await ends.check(ends.client.wait_closed())


@use("Client.receive")
async def receive_again(ends: Ends) -> None:
    await ends.client.receive()
    await ends.check(ends.client.receive())


@use("WebSocketReader.get")
async def get_again(ends: Ends) -> None:
    await ends.reader.get()
    await ends.check(ends.reader.get())


@use("Fragment.send")
async def send_the_first_part(ends: Ends) -> None:
    async with ends.client.writer.fragment() as stream:
        await ends.check(stream.send("x"))


@use("Fragment.send")
async def send_another_part(ends: Ends) -> None:
    async with ends.client.writer.fragment() as stream:
        await stream.send("x")
        await ends.check(stream.send("y"))


@use("Fragment.__aexit__")
async def leave_a_fragment(ends: Ends) -> None:
    fragment = await ends.client.writer.fragment().__aenter__()
    await fragment.send("x")
    await ends.check(fragment.__aexit__(None, None, None))


@use("Fragment.__aexit__")
async def leave_an_empty_fragment(ends: Ends) -> None:
    fragment = await ends.client.writer.fragment().__aenter__()
    await ends.check(fragment.__aexit__(None, None, None))


def uses_block(name: str, make: Callable[[Ends], AbstractAsyncContextManager[object]]) -> None:
    """Register a block's begin and its end."""

    @use(f"{name}.__aenter__")
    async def enter(ends: Ends) -> None:
        block = make(ends)
        await ends.check(block.__aenter__())
        await block.__aexit__(None, None, None)

    @use(f"{name}.__aexit__")
    async def leave(ends: Ends) -> None:
        block = make(ends)
        await block.__aenter__()
        await ends.check(block.__aexit__(None, None, None))


uses_block("connect", Ends.connect)
uses_block("WebSocketServer", Ends.new_server)


@use("connect.__aexit__")
async def leave_a_closed_connection(ends: Ends) -> None:
    connection = ends.connect()
    await (await connection.__aenter__()).close()
    await ends.check(connection.__aexit__(None, None, None))


@use("Reconnection.__anext__")
async def reconnect(ends: Ends) -> None:
    connections = aiter(ends.connect())
    await ends.check(anext(connections))


@use("Reconnection.aclose")
async def end_reconnecting(ends: Ends) -> None:
    connections = aiter(ends.connect())
    await anext(connections)
    await ends.check(connections.aclose())


@use("Reconnection.aclose")
async def end_reconnecting_before_it_began(ends: Ends) -> None:
    await ends.check(aiter(ends.connect()).aclose())


@use("ListeningServer.__aenter__")
async def enter_a_listener(ends: Ends) -> None:
    async with ends.new_server() as listening:
        await ends.check(listening.__aenter__())


@use("ListeningServer.__aexit__")
async def leave_a_listener(ends: Ends) -> None:
    async with ends.new_server() as listening:
        await ends.check(listening.__aexit__(None, None, None))


@use("ListeningServer.start_serving")
async def start_serving(ends: Ends) -> None:
    async with ends.new_server() as listening:
        await ends.check(listening.start_serving())


@use("ListeningServer.serve_forever")
async def serve_on_a_listener(ends: Ends) -> None:
    async with ends.new_server() as listening:
        assert isinstance(listening, Listening)
        listening._closed.set()
        await ends.check(listening.serve_forever())


@use("ListeningServer.wait_closed")
async def wait_for_a_closed_listener(ends: Ends) -> None:
    async with ends.new_server() as listening:
        listening.close()
        await ends.check(listening.wait_closed())


@use("WebSocketServer.drain")
async def drain(ends: Ends) -> None:
    server = ends.new_server()
    async with server:
        await ends.check(server.drain(0.01))


@use("WebSocketServer.serve")
async def serve(ends: Ends) -> None:
    async with trio.open_nursery() as nursery:
        await ends.check(nursery.start(ends.new_server().serve))
        nursery.cancel_scope.cancel()


@use("WebSocketServer.serve_forever")
async def serve_forever(ends: Ends) -> None:
    server = ends.new_server()

    async def until_it_listens() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def end() -> None:
                    while not server.port:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(end)
                await server.serve_forever()

    await ends.check(until_it_listens())


@use("connect_stream.__aenter__")
async def enter_connect_stream(ends: Ends) -> None:
    async with over_a_stream() as entering:
        await ends.check(entering.__aenter__())
        await entering.__aexit__(None, None, None)


@use("connect_stream.__aexit__")
async def leave_connect_stream(ends: Ends) -> None:
    async with over_a_stream() as entering:
        await entering.__aenter__()
        await ends.check(entering.__aexit__(None, None, None))


async def do_nothing(client: Client) -> None:
    """With a client."""


@asynccontextmanager
async def over_a_stream() -> AsyncIterator[AbstractAsyncContextManager[Client]]:
    """A connection over a stream, whose other end is served."""
    ours, theirs = stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(over_anyio.serve_stream, theirs, do_nothing))
        yield over_anyio.connect_stream(ours, "ws://h/")


@use("serve_stream")
async def serve_a_stream_that_has_ended(ends: Ends) -> None:
    ours, theirs = stream_pair()
    await ours.aclose()
    await ends.check(over_anyio.serve_stream(theirs, do_nothing))


# Whether each is there.


def is_awaited(function: object) -> bool:
    """Whether what it gives is to be awaited."""
    annotations = getattr(function, "__annotations__", {})
    return inspect.iscoroutinefunction(function) or (
        get_origin(annotations.get("return")) in (Awaitable, Coroutine)
    )


def public_awaits() -> Iterator[str]:
    """The names of all: exported functions, methods of exported classes and of what those give."""
    found: list[Any] = [getattr(wstransports, name) for name in wstransports.__all__]
    found += [getattr(over_anyio, name) for name in over_anyio.__all__ if name.islower()]
    for thing in found:
        if inspect.isclass(thing) and thing.__module__.startswith("wstransports"):
            for name, method in inspect.getmembers(thing, inspect.isfunction):
                ours = method.__module__.startswith("wstransports")
                if not ours or (name.startswith("_") and not name.startswith("__")):
                    continue
                given = method.__annotations__.get("return")
                if inspect.isclass(given) and given not in found:
                    found.append(given)
                if is_awaited(method):
                    yield method.__qualname__
        elif is_awaited(thing):
            yield thing.__name__
        elif get_origin(getattr(thing, "__annotations__", {}).get("return")) is (
            AbstractAsyncContextManager
        ):
            yield f"{thing.__name__}.__aenter__"
            yield f"{thing.__name__}.__aexit__"


def test_each_public_await_is_used_here() -> None:
    assert sorted(USES) == sorted(set(public_awaits()))


@pytest.mark.parametrize(
    "over", [nullcontext, InProcessRuntime], ids=["sockets", "anyio's streams"]
)
@pytest.mark.parametrize("cancels", [False, True], ids=["lets others run", "is cancelled"])
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(use, id=f"{name} {number}")
        for name, found in USES.items()
        for number, use in enumerate(found)
    ],
)
def test_it_is_a_checkpoint(
    use: Use, cancels: bool, over: Callable[[], AbstractAsyncContextManager[Runtime | None]]
) -> None:
    async def main() -> None:
        async with over() as runtime, connected(cancels, runtime) as ends:
            with ends.scope:
                await use(ends)
            assert ends.checked == 1
            assert ends.scope.cancelled_caught is cancels

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
