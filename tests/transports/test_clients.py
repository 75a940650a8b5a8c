"""`server.clients`: who is in it, when, and what iterating over it does."""

from collections.abc import Iterable

import pytest
from harness import Log, MemoryWorld, World, echo

from wscore import State
from wstransports import Client, ConnectionClosed, WebSocketReader


async def test_a_client_is_found_by_address_and_port(real: World) -> None:
    async with real.serving() as server:
        peer = await real.connect(server)
        await real.until(lambda: server.clients)
        [(key, client)] = server.clients.items()
        assert key == (client.addr, client.port)
        assert client.addr == "127.0.0.1"
        assert server.clients[key] is client
        assert key in server.clients
        assert client in server.clients.values()
        assert list(server.clients) == [key]
        assert repr(server.clients) == f"Clients([<Client 127.0.0.1:{client.port} OPEN>])"
        with pytest.raises(KeyError):
            server.clients["127.0.0.1", 0]
        assert server.clients.get(("127.0.0.1", 0)) is None
        peer.close()
        await peer.closed()
        assert len(server.clients) == 0


async def test_inside_on_connection_it_holds_all_the_others(world: World) -> None:
    before: list[int] = []

    async with world.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            assert client.state is State.OPEN
            assert client not in server.clients.values()
            before.append(len(server.clients))

        for _ in range(3):
            await world.connect(server)
            await world.until(lambda: len(server.clients) == len(before))
    assert before == [0, 1, 2]


async def test_a_client_enters_when_on_connection_has_returned(world: World) -> None:
    may_return = world.signal()

    async def on_connection(client: Client) -> None:
        await client.writer.send("begun")
        await may_return.wait()

    async with world.serving(on_connection) as server:
        peer = await world.connect(server)
        assert await peer.message() == "begun"
        await peer.nothing()
        assert not server.clients
        may_return.set()
        await world.until(lambda: len(server.clients) == 1)


@pytest.mark.parametrize("form", ["receive", "async for"])
async def test_a_client_enters_at_its_first_receive(world: World, form: str) -> None:
    may_receive = world.signal()
    ended: list[bool] = []

    async def on_connection(client: Client) -> None:
        await may_receive.wait()
        if form == "receive":
            await client.receive()
        else:
            async for _ in client:
                break
        ended.append(True)

    async with world.serving(on_connection) as server:
        peer = await world.connect(server)
        await peer.nothing()
        assert not server.clients
        may_receive.set()
        await world.until(lambda: len(server.clients) == 1)
        assert not ended
        peer.send("done")
        await world.until(lambda: ended)
        assert len(server.clients) == 1


async def test_a_client_leaves_when_its_state_leaves_open(memory: MemoryWorld) -> None:
    seen: list[tuple[State, int]] = []

    async with memory.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await reader.get()
                seen.append((client.state, len(server.clients)))
                closing = memory.spawn(client.close())
                await memory.checkpoint()
                seen.append((client.state, len(server.clients)))
                await closing.wait()
                seen.append((client.state, len(server.clients)))

        peer = await memory.connect(server)
        peer.send("close me")
        assert await peer.closed() == (1000, "")
        await memory.settle()
        assert seen == [(State.OPEN, 1), (State.CLOSING, 0), (State.CLOSED, 0)]


async def test_a_client_leaves_as_soon_as_the_peers_close_is_here(world: World) -> None:
    may_return = world.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_return.wait()

    async with world.serving(on_connection) as server:
        peer = await world.connect(server)
        await world.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.send("wait")
        peer.close()
        await world.until(lambda: not server.clients)
        assert client.state is State.CLOSING
        may_return.set()
        assert await peer.closed() == (1000, "")


async def test_one_that_is_gone_before_on_connection_returns_never_enters(world: World) -> None:
    may_return = world.signal()
    left: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            left.append(code)

        await may_return.wait()

    async with world.serving(on_connection) as server:
        peer = await world.connect(server)
        peer.reset()
        await world.until(lambda: left)
        may_return.set()
        other = await world.connect(server)
        await other.nothing()
        assert len(server.clients) == 1
    assert left[0] == 1006


async def test_iterating_steps_over_a_snapshot(world: World) -> None:
    async with world.serving(echo) as server:
        peers = [await world.connect(server) for _ in range(4)]
        await world.until(lambda: len(server.clients) == 4)
        clients = list(server.clients.values())
        leaver = peers[2]
        met: list[Client] = []
        for client in server.clients.values():
            met.append(client)
            if client is clients[0]:
                leaver.close()
                await leaver.closed()  # leaves in the middle
                await world.connect(server)  # comes in the middle
                await world.until(lambda: len(server.clients) == 4)
        assert met == [clients[0], clients[1], clients[3]]


@pytest.mark.parametrize("view", ["values", "items", "keys", "itself"])
async def test_every_way_of_iterating_skips_who_has_left(world: World, view: str) -> None:
    async with world.serving(echo) as server:
        peers = [await world.connect(server) for _ in range(3)]
        await world.until(lambda: len(server.clients) == 3)
        clients = server.clients
        views: dict[str, Iterable[object]] = {
            "values": clients.values(),
            "items": clients.items(),
            "keys": clients.keys(),
            "itself": clients,
        }
        met = 0
        for _ in views[view]:
            met += 1
            if met == 1:
                for peer in peers[1:]:
                    peer.close()
                    await peer.closed()
        assert met == 1


async def test_a_broadcast_survives_one_that_leaves_and_one_that_is_gone(
    world: World, log: Log
) -> None:
    """The loop of the user's document, over clients of which one leaves meanwhile."""
    async with world.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            for other in server.clients.values():
                await other.writer.send("You are a client connected to my server.")
                if leavers:
                    leaver = leavers.pop()
                    leaver.close()
                    await leaver.closed()

        leavers = []
        first = await world.connect(server)
        await world.until(lambda: len(server.clients) == 1)
        second = await world.connect(server)
        await world.until(lambda: len(server.clients) == 2)
        third = await world.connect(server)
        await world.until(lambda: len(server.clients) == 3)
        for peer, greetings in ((first, 2), (second, 1)):
            for _ in range(greetings):
                assert await peer.message() == "You are a client connected to my server."
            await peer.nothing()
        leavers.append(second)
        fourth = await world.connect(server)
        await world.until(lambda: len(server.clients) == 3)
        assert await first.message() == "You are a client connected to my server."
        assert await third.message() == "You are a client connected to my server."
        await third.nothing()
        await fourth.nothing()
        assert log.lines() == []


async def test_a_send_to_one_that_is_gone_ends_the_callback_alone(world: World, log: Log) -> None:
    others: list[Client] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            await others[0].writer.send(message)

        others.append(client)

    async with world.serving(on_connection) as server:
        gone, staying = await world.connect(server), await world.connect(server)
        gone.close()
        await gone.closed()
        staying.send("anybody there?")
        await staying.nothing()
        assert log.lines() == [
            "on_message ended because another client is gone: 1000 (normal closure)"
        ]
        others.reverse()
        staying.send("echo, then")
        assert await staying.message() == "echo, then"


async def test_two_servers_have_clients_of_their_own(world: World) -> None:
    async with world.serving() as one, world.serving() as other:
        await world.connect(one)
        await world.until(lambda: one.clients)
        assert not other.clients


async def test_sends_to_a_client_that_left_raise(world: World) -> None:
    async with world.serving() as server:
        peer = await world.connect(server)
        await world.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.close(4321, "bye")
        await peer.closed()
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("too late")
        assert (caught.value.code, caught.value.reason) == (4321, "bye")
        assert caught.value.client is client
        assert str(caught.value) == "4321 (private code): bye"
