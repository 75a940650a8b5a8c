"""`client.close_nowait()`: a Close without waiting for the end."""

import pytest

from kit.loops import Loop, on_each_loop, on_memory, state_of
from wscore import State
from wstransports import Client, ConnectionClosed


@on_each_loop
async def test_it_closes_after_what_is_sent_and_returns_at_once(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await client.receive()
        await client.writer.send("last")
        client.close_nowait(4000, "enough")
        states.append(state_of(client))
        client.close_nowait(4001)
        with pytest.raises(ConnectionClosed):
            await client.writer.send("too late")
        await client.wait_closed()
        states.append(state_of(client))
        client.close_nowait()

    states: list[State] = []
    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        with peer.in_one_write():
            peer.send("one")
            peer.send("two")
        assert await peer.message() == "last"
        assert await peer.closed() == (4000, "enough")
        await loop.until(lambda: len(states) == 2)
    assert states == [State.CLOSING, State.CLOSED]


@on_each_loop
async def test_it_takes_no_task(loop: Loop) -> None:
    """Any function may call it, such as one that handles a signal."""
    async with loop.serving() as server:
        peers = [await loop.connect(server) for _ in range(3)]
        await loop.until(lambda: len(server.clients) == 3)
        for client in [*server.clients.values()]:
            client.close_nowait()
        assert not server.clients
        for peer in peers:
            assert await peer.closed() == (1000, "")


@on_memory
async def test_what_must_not_be_sent(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        [client] = server.clients.values()
        with pytest.raises(ValueError, match="1005 must not be sent in a Close"):
            client.close_nowait(1005)
        with pytest.raises(ValueError, match="at most 123 bytes"):
            client.close_nowait(1000, "x" * 124)
        await peer.nothing()
