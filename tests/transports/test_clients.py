"""`server.clients`: who is in it, when, and what iterating over it does."""

from collections.abc import Iterable

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory, on_sockets
from wscore import State
from wstransports import Client, ConnectionClosed, WebSocketReader


@on_sockets
async def test_a_client_is_found_by_address_and_port(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [(key, client)] = server.clients.items()
        assert key == (client.addr, client.port)
        assert client.addr == "127.0.0.1"
        assert server.clients[key] is client
        assert key in server.clients
        assert client in server.clients.values()
        assert list(server.clients) == [key]
        assert repr(server.clients) == f"Clients([{client!r}])"
        with pytest.raises(KeyError):
            server.clients["127.0.0.1", 0]
        assert server.clients.get(("127.0.0.1", 0)) is None
        peer.close()
        await peer.closed()
        assert len(server.clients) == 0


@on_each_loop
async def test_inside_on_connection_it_holds_all_the_others(loop: Loop) -> None:
    before: list[int] = []

    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            assert client.state is State.OPEN
            assert client not in server.clients.values()
            before.append(len(server.clients))

        for _ in range(3):
            await loop.connect(server)
            await loop.until(lambda: len(server.clients) == len(before))
    assert before == [0, 1, 2]


@on_each_loop
async def test_a_client_enters_when_on_connection_has_returned(loop: Loop) -> None:
    may_return = loop.signal()

    async def on_connection(client: Client) -> None:
        await client.writer.send("begun")
        await may_return.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        assert await peer.message() == "begun"
        await peer.nothing()
        assert not server.clients
        may_return.set()
        await loop.until(lambda: len(server.clients) == 1)


@pytest.mark.parametrize("form", ["receive", "async for"])
@on_each_loop
async def test_a_client_enters_at_its_first_receive(loop: Loop, form: str) -> None:
    may_receive = loop.signal()
    ended: list[bool] = []

    async def on_connection(client: Client) -> None:
        await may_receive.wait()
        if form == "receive":
            await client.receive()
        else:
            async for _ in client:
                break
        ended.append(True)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await peer.nothing()
        assert not server.clients
        may_receive.set()
        await loop.until(lambda: len(server.clients) == 1)
        assert not ended
        peer.send("done")
        await loop.until(lambda: ended)
        assert len(server.clients) == 1


@on_memory
async def test_a_client_leaves_when_its_state_leaves_open(loop: MemoryLoop) -> None:
    seen: list[tuple[State, int]] = []

    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                await reader.get()
                seen.append((client.state, len(server.clients)))
                closing = loop.spawn(client.close())
                await loop.checkpoint()
                seen.append((client.state, len(server.clients)))
                await closing.wait()
                seen.append((client.state, len(server.clients)))

        peer = await loop.connect(server)
        peer.send("close me")
        assert await peer.closed() == (1000, "")
        await loop.settle()
        assert seen == [(State.OPEN, 1), (State.CLOSING, 0), (State.CLOSED, 0)]


@on_each_loop
async def test_a_client_leaves_as_soon_as_the_peers_close_is_here(loop: Loop) -> None:
    may_return = loop.signal()

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await may_return.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.send("wait")
        peer.close()
        await loop.until(lambda: not server.clients)
        assert client.state is State.CLOSING
        may_return.set()
        assert await peer.closed() == (1000, "")


@on_each_loop
async def test_one_that_is_gone_before_on_connection_returns_never_enters(loop: Loop) -> None:
    may_return = loop.signal()
    left: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            left.append(code)

        await may_return.wait()

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.reset()
        await loop.until(lambda: left)
        may_return.set()
        other = await loop.connect(server)
        await other.nothing()
        assert len(server.clients) == 1
    assert left[0] == 1006


@on_each_loop
async def test_iterating_steps_over_a_snapshot(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peers = [await loop.connect(server) for _ in range(4)]
        await loop.until(lambda: len(server.clients) == 4)
        clients = list(server.clients.values())
        leaver = peers[2]
        met: list[Client] = []
        for client in server.clients.values():
            met.append(client)
            if client is clients[0]:
                leaver.close()
                await leaver.closed()  # leaves in the middle
                await loop.connect(server)  # comes in the middle
                await loop.until(lambda: len(server.clients) == 4)
        assert met == [clients[0], clients[1], clients[3]]


@pytest.mark.parametrize("view", ["values", "items", "keys", "itself"])
@on_each_loop
async def test_every_way_of_iterating_skips_who_has_left(loop: Loop, view: str) -> None:
    async with loop.serving(echo) as server:
        peers = [await loop.connect(server) for _ in range(3)]
        await loop.until(lambda: len(server.clients) == 3)
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


@on_each_loop
async def test_a_broadcast_survives_one_that_leaves_and_one_that_is_gone(
    loop: Loop, log: Log
) -> None:
    """The loop of the user's document, over clients of which one leaves meanwhile."""
    async with loop.serving() as server:

        @server.connection
        async def on_connection(client: Client) -> None:
            for other in server.clients.values():
                await other.writer.send("You are a client connected to my server.")
                if leavers:
                    leaver = leavers.pop()
                    leaver.close()
                    await leaver.closed()

        leavers = []
        first = await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 1)
        second = await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 2)
        third = await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 3)
        for peer, greetings in ((first, 2), (second, 1)):
            for _ in range(greetings):
                assert await peer.message() == "You are a client connected to my server."
            await peer.nothing()
        leavers.append(second)
        fourth = await loop.connect(server)
        await loop.until(lambda: len(server.clients) == 3)
        assert await first.message() == "You are a client connected to my server."
        assert await third.message() == "You are a client connected to my server."
        await third.nothing()
        await fourth.nothing()
        assert log.lines() == []


@on_each_loop
async def test_a_send_to_one_that_is_gone_ends_the_callback_alone(loop: Loop, log: Log) -> None:
    others: list[Client] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            await others[0].writer.send(message)

        others.append(client)

    async with loop.serving(on_connection) as server:
        gone, staying = await loop.connect(server), await loop.connect(server)
        gone.close()
        await gone.closed()
        staying.send("anybody there?")
        await staying.nothing()
        assert log.lines() == [
            "on_message ended because another client is closed: 1000 (normal closure)"
        ]
        others.reverse()
        staying.send("echo, then")
        assert await staying.message() == "echo, then"


@on_each_loop
async def test_two_servers_have_clients_of_their_own(loop: Loop) -> None:
    async with loop.serving() as one, loop.serving() as other:
        await loop.connect(one)
        await loop.until(lambda: one.clients)
        assert not other.clients


@on_each_loop
async def test_sends_to_a_client_that_left_raise(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        await loop.until(lambda: server.clients)
        [client] = server.clients.values()
        peer.close(4321, "bye")
        await peer.closed()
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("too late")
        assert (caught.value.code, caught.value.reason) == (4321, "bye")
        assert caught.value.client is client
        assert str(caught.value) == "4321 (private code): bye"
