"""Rooms in one process: members get all messages, in order, until they leave."""

import sys
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_each_loop, on_memory
from kit.rooms import FakeBroker, hall
from wscore.extensions import NegotiatedExtension
from wscore.extensions.negotiated import NegotiatedExtensions
from wstransports import Client, ConnectionClosed, WebSocketServer
from wstransports.rooms import BrokerLost, Position, Rooms


@on_each_loop
async def test_members_get_what_is_published(loop: Loop) -> None:
    async with hall(loop) as house:
        ada, ada_client, joined = await house.join()
        bob, _, _ = await house.join()
        other, _, _ = await house.join("sports")
        assert not joined.resumed
        news = house.rooms["news"]
        first = await news.publish("one")
        second = await house.rooms.publish("news", b"two")
        assert first == Position(joined.position.epoch, 1)
        assert second == Position(joined.position.epoch, 2)
        for peer in (ada, bob):
            assert await peer.message() == "one"
            assert await peer.message() == b"two"
        await other.nothing()
        assert await news.leave(ada_client)
        assert not await news.leave(ada_client)
        await news.publish(bytearray(b"three"))
        await ada.nothing()
        assert await bob.message() == b"three"


@on_each_loop
async def test_a_room_knows_its_members(loop: Loop) -> None:
    async with hall(loop) as house:
        news = house.rooms["news"]
        assert len(news) == 0
        peer, client, _ = await house.join()
        _, other, _ = await house.join()
        _, stranger = await house.connect()
        assert list(news) == [client, other]
        assert len(news) == 2
        assert client in news
        assert stranger not in news
        assert repr(news) == "<Room 'news'>"
        assert not await house.rooms["empty"].leave(client)
        peer.close()
        await loop.until(lambda: client not in news)
        assert list(house.rooms["news"]) == [other]


@on_memory
async def test_a_member_that_leaves_in_a_loop_over_members_is_left_out(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        for _ in range(3):
            await house.join()
        seen = []
        for client in house.rooms["news"]:
            seen.append(client)
            await house.rooms["news"].leave(house.clients[1])
        assert seen == [house.clients[0], house.clients[2]]


@on_each_loop
async def test_a_client_joins_in_its_callback_and_publishes_in_another(loop: Loop) -> None:
    """As programs are written: what `join` returns comes before what is published."""
    server = loop.server()
    rooms = Rooms(server)

    @server.connection
    async def on_connection(client: Client) -> None:
        joined = await rooms["news"].join(client)
        await client.writer.send(f"you are at {joined.position.offset}")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            await rooms.publish("news", f"left with {code}")

        await rooms.publish("news", "joined")

    await server.__aenter__()
    try:
        ada = await loop.connect(server)
        assert [await ada.message() for _ in range(2)] == ["you are at 0", "joined"]
        bob = await loop.connect(server)
        assert [await bob.message() for _ in range(2)] == ["you are at 1", "joined"]
        assert await ada.message() == "joined"
        bob.close(1000)
        assert await ada.message() == "left with 1000"
    finally:
        await loop.leave(server)  # on_closed publishes, in rooms that are open still


@on_each_loop
async def test_rooms_open_again_with_their_server(loop: Loop) -> None:
    """What is kept in memory outlives the block."""
    server = loop.server()
    rooms = Rooms(server)
    async with server:
        first = await rooms.publish("news", "one")
    with pytest.raises(RuntimeError, match="not open: enter the server's block first"):
        await rooms.publish("news", "two")
    async with server:
        assert await rooms.publish("news", "two") == Position(first.epoch, 2)


@on_each_loop
async def test_rooms_without_a_server_publish(loop: Loop) -> None:
    rooms = Rooms()
    with pytest.raises(RuntimeError, match="not open: enter `async with rooms` first"):
        await rooms.publish("news", "early")
    async with rooms as entered:
        assert entered is rooms
        assert (await rooms.publish("news", "one")).offset == 1
        with pytest.raises(RuntimeError, match="open already: create others for another block"):
            await rooms.__aenter__()
        assert (await rooms.publish("news", "two")).offset == 2
    with pytest.raises(ZeroDivisionError):
        async with rooms:
            raise ZeroDivisionError


@on_each_loop
async def test_one_key_publishes_once(loop: Loop) -> None:
    async with hall(loop) as house:
        peer, _, _ = await house.join()
        first = await house.rooms.publish("news", "one", key="a")
        assert await house.rooms.publish("news", "one", key="a") == first
        await house.rooms.publish("news", "two", key="b")
        assert await peer.message() == "one"
        assert await peer.message() == "two"
        assert await house.rooms.publish("sports", "one", key="a") != first


@on_each_loop
async def test_many_members_get_all_in_order(loop: Loop) -> None:
    """Messages are sent in slices, and one after another overtakes none."""
    async with hall(loop) as house:
        peers = [(await house.join())[0] for _ in range(30)]

        async def publish(first: int) -> None:
            for number in range(first, first + 20):
                await house.rooms.publish("news", str(number))

        jobs = [loop.spawn(publish(100 * place)) for place in range(3)]
        for job in jobs:
            await job.wait()
        got = [[await peer.message() for _ in range(60)] for peer in peers]
        assert all(one == got[0] for one in got)
        for place in range(3):
            mine = [text for text in got[0] if int(text) // 100 == place]
            assert mine == [str(number) for number in range(100 * place, 100 * place + 20)]


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast pauses after each client."""
    module = sys.modules["wstransports.broadcast"]  # the package has the function by its name
    send_slice = module.Sending.send_slice
    monkeypatch.setattr(module.Sending, "send_slice", lambda sending, _: send_slice(sending, 0.0))
    monkeypatch.setattr(module, "_STEP", 1)


@pytest.mark.usefixtures("small_slices")
@on_each_loop
async def test_slices_keep_the_order(loop: Loop) -> None:
    async with hall(loop) as house:
        peers = [(await house.join())[0] for _ in range(8)]
        await house.join("alone")
        jobs = [loop.spawn(house.rooms.publish("news", str(number))) for number in range(5)]
        jobs.append(loop.spawn(house.rooms.publish("alone", "1")))
        for job in jobs:
            await job.wait()
        for number in range(5, 10):
            await house.rooms.publish("news", str(number))
        got = [[await peer.message() for _ in range(10)] for peer in peers]
        assert all(sorted(map(int, one)) == list(range(10)) for one in got)
        assert all(one == got[0] for one in got)


@pytest.mark.usefixtures("small_slices")
@on_memory
async def test_a_publisher_waits_until_its_message_has_gone_to_all(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        peers = [(await house.join())[0] for _ in range(8)]
        await house.rooms.publish("news", "1")
        assert all([await peer.message() for peer in peers])
        assert not loop.runtime.batch.unfinished


@pytest.mark.usefixtures("small_slices")
@on_each_loop
async def test_a_member_that_left_gets_no_more(loop: Loop) -> None:
    """What is on its way to it comes before: if it came back, it would get that twice."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        members = [await house.join() for _ in range(8)]
        broker.engine.publish("news", "1")
        peer, client, _ = members[-1]
        assert await house.rooms["news"].leave(client)
        await client.writer.send("left")
        assert [await peer.message() for _ in range(2)] == ["1", "left"]
        await house.rooms.publish("news", "2")
        for other, _, _ in members[:-1]:
            assert [await other.message() for _ in range(2)] == ["1", "2"]


@pytest.mark.usefixtures("small_slices")
@on_memory
async def test_many_messages_at_once_do_not_pile_up(loop: MemoryLoop) -> None:
    """A broker brings them in one go: those beyond a bound are sent to all at once."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peers = [(await house.join())[0] for _ in range(4)]
        for number in range(100):
            broker.engine.publish("news", str(number))
        assert len(loop.runtime.batch.unfinished) == 16
        for peer in peers:
            assert [await peer.message() for _ in range(100)] == list(map(str, range(100)))


@on_memory
async def test_messages_that_come_at_once_begin_with_one_member_each(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first: else many of them would take a slice each before others run."""
    sending = sys.modules["wstransports.broadcast"].Sending
    monkeypatch.setattr(sys.modules["wstransports.broadcast"], "_STEP", 1)
    send = vars(sending)["_send"]

    def taking_time(message: Any, clients: list[Client]) -> None:
        loop.hold(0.00015 * len(clients))
        send(message, clients)

    monkeypatch.setattr(sending, "_send", taking_time)
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peers = [(await house.join())[0] for _ in range(8)]
        begin = loop.now()
        for number in range(10):
            broker.engine.publish("news", str(number))
        assert loop.now() - begin == pytest.approx((3 + 9) * 0.00015)
        for peer in peers:
            assert [await peer.message() for _ in range(10)] == list(map(str, range(10)))


class Failing(NegotiatedExtensions):
    """An extension that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.cache_key = ((NegotiatedExtension, "failing"),)

    def encode_stateless(self, data: bytes, compress: bool | None) -> tuple[int, bytes]:
        raise ZeroDivisionError


@pytest.mark.usefixtures("small_slices")
@on_memory
async def test_an_error_of_an_extension_harms_its_own_client_only(
    loop: MemoryLoop, log: Log
) -> None:
    async with hall(loop) as house:
        peers = [(await house.join())[0] for _ in range(3)]
        house.clients[1]._session.core._negotiated = Failing()
        await house.rooms.publish("news", "1")
        await house.rooms.publish("news", "2")
        assert list(house.rooms["news"]) == [house.clients[0], house.clients[2]]
        for peer in (peers[0], peers[2]):
            assert [await peer.message() for _ in range(2)] == ["1", "2"]
        [(_, error)] = log.tracebacks()
        assert isinstance(error, ZeroDivisionError)


@on_memory
async def test_a_slow_member_is_closed_with_1013(loop: MemoryLoop) -> None:
    async with hall(loop, max_waiting=100_000) as house:
        slow, client, _ = await house.join()
        fast, _, _ = await house.join()
        slow.stop_reading()
        for number in range(40):
            text = f"{number}".ljust(8192)
            await house.rooms.publish("news", text)
            assert await fast.message() == text
        assert client not in house.rooms["news"]
        slow.start_reading()
        got = []
        while (frame := await slow.frame()).first != 0x88:
            got.append(int(frame.payload))
        assert int.from_bytes(frame.payload[:2]) == 1013
        assert got == list(range(len(got)))  # nothing is missing before the Close


@on_memory
async def test_slow_members_may_miss_messages_if_you_say_so(loop: MemoryLoop) -> None:
    async with hall(loop, slow="drop") as house:
        slow, client, _ = await house.join()
        slow.stop_reading()
        for number in range(40):
            await house.rooms.publish("news", f"{number}".ljust(8192))
        assert client in house.rooms["news"]
        slow.start_reading()
        await house.rooms.publish("news", "last")
        await loop.settle()
        assert 2 < len(slow.frames) < 41
        slow.frames.clear()


@on_memory
async def test_publishing_without_a_pause_lets_members_read(loop: MemoryLoop) -> None:
    """Nobody is slow because the publisher does not wait for anything."""
    async with hall(loop, max_waiting=200_000) as house:
        peer, client, _ = await house.join()
        for _ in range(60):
            await house.rooms.publish("news", bytes(16384))
        assert client in house.rooms["news"]
        await loop.settle()
        assert len(peer.frames) == 60
        peer.frames.clear()


@on_memory
async def test_what_a_closed_client_would_get_goes_nowhere(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        _, client, _ = await house.join()
        _, other = await house.connect()
        client.close_nowait()
        other.close_nowait()
        assert client not in house.rooms["news"]
        assert (await house.rooms.publish("news", "one")).offset == 1
        with pytest.raises(ConnectionClosed):
            await house.rooms["news"].join(other)


@on_memory
async def test_a_client_may_leave_while_it_joins(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        _, client = await house.connect()
        joining = loop.spawn(house.rooms["news"].join(client, info="Ada"))
        await loop.checkpoint()
        client.close_nowait()
        with pytest.raises(ConnectionClosed):
            await joining.wait()
        assert len(house.rooms["news"]) == 0
        await loop.settle()
        assert await house.rooms["news"].present() == {}


@on_each_loop
async def test_rooms_whose_broker_cannot_be_reached_do_not_open(loop: Loop) -> None:
    broker = FakeBroker()
    rooms = Rooms(broker=broker)
    broker.fails["open"] = BrokerLost("connection refused")
    with pytest.raises(BrokerLost, match="connection refused"):
        await rooms.__aenter__()
    broker.fails.clear()
    async with rooms:
        await rooms.publish("news", "1")


@on_memory
async def test_a_client_may_leave_one_of_its_rooms(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        peer, client, _ = await house.join()
        await house.rooms["sports"].join(client)
        await house.rooms["news"].leave(client)
        await house.rooms.publish("news", "1")
        await house.rooms.publish("sports", "2")
        assert await peer.message() == "2"


@on_memory
async def test_clients_may_leave_after_the_rooms_have_closed(loop: MemoryLoop) -> None:
    """Where they take longer than a server waits for them."""
    async with hall(loop) as house:
        _, client, _ = await house.join()
    house.server._acceptor.parts.client_left(client)


@on_memory
async def test_rooms_are_made_before_the_server_listens(loop: MemoryLoop) -> None:
    server = WebSocketServer("127.0.0.1", 0, runtime=loop.runtime)
    async with server:
        with pytest.raises(RuntimeError, match="create its rooms before its block"):
            Rooms(server)


@pytest.mark.parametrize("stuck", [False, True])
@on("memory", "asyncio", "trio", slow={"asyncio", "trio"})
async def test_a_client_that_joins_while_the_rooms_close(loop: Loop, stuck: bool) -> None:
    """Its task may be no callback of the server's: it waits no longer, whatever the broker does."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, client = await house.connect()
        broker.gates["subscribe"] = loop.signal()
        joining = loop.spawn(house.rooms["news"].join(client))
        await loop.until(lambda: broker.count("subscribe"))
        if stuck:
            del broker.gates["subscribe"]  # its `close` does not end what waits
    with pytest.raises(BrokerLost, match="room 'news': "):
        await joining.wait()
