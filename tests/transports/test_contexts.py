"""Context variables: all callbacks of a client share one context, and no other sees it."""

from contextvars import ContextVar
from typing import Any

import pytest

from kit.connecting import connecting
from kit.loops import Loop, echo, on_each_loop, on_sockets
from wstransports import Client, Request, WebSocketReader
from wstransports.adapters.far_timers import FAR
from wstransports.runtime import running

trail: ContextVar[str] = ContextVar("trail", default="nothing")


def step(name: str) -> str:
    """Add a step to the trail, and return the whole trail."""
    trail.set(f"{trail.get()}, {name}")
    return trail.get()


async def leave_a_trail(client: Client, seen: list[str]) -> None:
    """An on_connection whose callbacks all go on with one trail."""
    step("connection")

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        message = await reader.get(str)
        step(message)
        await client.writer.send("taken")  # a checkpoint
        seen.append(step(f"after {message}"))

    @client.ping
    async def on_ping(payload: bytes, length: int) -> None:
        seen.append(step(f"ping {payload.decode()}"))
        await client.writer.pong(length, payload)

    @client.pong
    async def on_pong(payload: bytes, length: int) -> None:
        seen.append(step("pong"))

    @client.closed
    async def on_closed(code: int, reason: str) -> None:
        seen.append(step("closed"))


@pytest.mark.parametrize("asynchronous", [False, True])
@on_each_loop
async def test_the_callbacks_of_a_client_share_a_context(loop: Loop, asynchronous: bool) -> None:
    seen: list[str] = []

    def process_request(request: Request) -> None:
        step("request")

    async def process_later(request: Request) -> None:
        await loop.checkpoint()
        step("request")

    async def on_connection(client: Client) -> None:
        await leave_a_trail(client, seen)

    process = process_later if asynchronous else process_request
    async with loop.serving(on_connection, process_request=process) as server:
        peer = await loop.connect(server)
        peer.send("a")
        assert await peer.message() == "taken"
        await loop.until(lambda: len(seen) == 1)
        peer.ping(b"b")
        await peer.frame()
        peer.pong()
        await loop.until(lambda: len(seen) == 3)
        peer.close()
        await loop.until(lambda: len(seen) == 4)
        assert seen[-1] == "nothing, request, connection, a, after a, ping b, pong, closed"
        assert await peer.closed() == (1000, "")
    assert trail.get() == "nothing"


@pytest.mark.parametrize("in_one_write", [False, True])
@on_each_loop
async def test_however_the_input_is_cut(loop: Loop, in_one_write: bool) -> None:
    seen: list[str] = []

    async def on_connection(client: Client) -> None:
        await leave_a_trail(client, seen)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if in_one_write:
            with peer.in_one_write():
                for message in "abc":
                    peer.send(message)
        else:
            for number, message in enumerate("abc", 1):
                peer.send(message)
                await loop.until(lambda number=number: len(seen) == number)  # type: ignore[misc]
        await loop.until(lambda: len(seen) == 3)
        assert seen[-1] == "nothing, connection, a, after a, b, after b, c, after c"
        peer.frames.clear()


@on_each_loop
async def test_no_client_sees_what_another_sets(loop: Loop) -> None:
    seen: dict[str, list[str]] = {"/ann": [], "/bob": []}

    async def on_connection(client: Client) -> None:
        step(client.request.path)
        await leave_a_trail(client, seen[client.request.path])

    async with loop.serving(on_connection) as server:
        ann = await loop.connect(server, target="/ann")
        bob = await loop.connect(server, target="/bob")
        for peer in (ann, bob, ann, bob):
            peer.send("x")
            assert await peer.message() == "taken"
        with ann.in_one_write():
            ann.send("last")
            ann.close()
        bob.reset()
        await loop.until(lambda: "closed" in seen["/ann"][-1] and "closed" in seen["/bob"][-1])
        for path in ("/ann", "/bob"):
            assert seen[path][-1].startswith(f"nothing, {path}, connection, x, after x, x")
        ann.frames.clear()


@on_each_loop
async def test_it_is_a_copy_of_the_context_in_which_the_server_was_entered(loop: Loop) -> None:
    seen: list[str] = []

    async def on_connection(client: Client) -> None:
        await leave_a_trail(client, seen)

    before = trail.set("the server's")
    async with loop.serving(on_connection) as server:
        trail.set("later")
        peer = await loop.connect(server)
        peer.pong()
        await loop.until(lambda: seen)
        assert seen == ["the server's, connection, pong"]
    trail.reset(before)


@on_each_loop
async def test_what_closes_another_client_runs_on_closed_in_its_own_context(loop: Loop) -> None:
    """It was that of the callback which closed it, on some loops."""
    seen: list[str] = []
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        step(client.request.path)
        clients.append(client)
        await leave_a_trail(client, seen)
        if client.request.path == "/killer":
            await clients[0].close()

    async with loop.serving(on_connection) as server:
        victim = await loop.connect(server, target="/victim")
        await loop.connect(server, target="/killer")
        assert await victim.closed() == (1000, "")
        await loop.until(lambda: seen)
        assert seen == ["nothing, /victim, connection, closed"]


@on_each_loop
async def test_outgoing_clients_have_one_too(loop: Loop) -> None:
    seen: list[str] = []
    before = trail.set("the caller's")
    async with loop.serving(echo) as server, connecting(server) as client:
        trail.set("later")

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            step(await reader.get(str))
            await loop.checkpoint()
            seen.append(step("and on"))

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            seen.append(step("closed"))

        for number, message in enumerate("ab", 1):
            await client.writer.send(message)
            await loop.until(lambda number=number: len(seen) == number)  # type: ignore[misc]
        await client.close()
        await loop.until(lambda: len(seen) == 3)
        assert seen[-1] == "the caller's, a, and on, b, and on, closed"
        assert trail.get() == "later"
    trail.reset(before)


@on_sockets
async def test_no_timer_runs_in_the_context_of_what_set_it(loop: Loop) -> None:
    """Connections share timers: one client's callback may set that of another client."""
    runtime: Any = running()
    trail.set("a client's")
    seen: list[str] = []
    for seconds in (0, FAR / 2, FAR * 2):
        runtime.timers.call_at(runtime.now() + seconds, lambda: seen.append(trail.get()))
    await loop.until(lambda: len(seen) == 3)
    assert seen == ["nothing"] * 3
