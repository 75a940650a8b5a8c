"""Coming back with `since`: each message once, or the client is informed that it missed some."""

from typing import Any

import pytest

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from kit.rooms import FakeBroker, Hall, hall
from wstransports import ConnectionClosed
from wstransports.rooms import BrokerLost, History, Joined, Position, Publication
from wstransports.rooms.local import LocalBroker


async def texts(peer: Peer, count: int) -> list[str | bytes]:
    """The next messages."""
    return [await peer.message() for _ in range(count)]


async def resumed(house: Hall, since: Any, room: str = "news") -> tuple[Peer, Joined]:
    """A new client that joins with `since`."""
    peer, _, joined = await house.join(room, since=since)
    return peer, joined


@on_each_loop
async def test_a_client_gets_what_it_missed_and_all_that_follows(loop: Loop) -> None:
    async with hall(loop) as house:
        first = await house.rooms.publish("news", "1")
        await house.rooms.publish("news", "2")
        last = await house.rooms.publish("news", b"3")
        peer, joined = await resumed(house, str(first))
        assert joined == Joined(True, last)
        await house.rooms.publish("news", "4")
        assert await texts(peer, 3) == ["2", b"3", "4"]
        again, joined = await resumed(house, last)
        assert joined.resumed
        assert await texts(again, 1) == ["4"]


@on_each_loop
async def test_history_outlasts_the_last_member(loop: Loop) -> None:
    async with hall(loop) as house:
        peer, client, joined = await house.join()
        await house.rooms["news"].leave(client)
        await house.rooms.publish("news", "1")
        again, joined = await resumed(house, joined.position)
        assert joined.resumed
        assert await texts(again, 1) == ["1"]
        await peer.nothing()


@pytest.mark.parametrize(
    "since",
    ["", "nonsense", "k.1", "k.99999999999999999999", "\ud800", "x" * 10_000, Position("k", 1)],
)
@on_memory
async def test_any_other_token_resumes_nothing(loop: MemoryLoop, since: Any) -> None:
    async with hall(loop) as house:
        await house.rooms.publish("news", "1")
        peer, joined = await resumed(house, since)
        assert not joined.resumed
        assert joined.position.offset == 1
        await house.rooms.publish("news", "2")
        assert await texts(peer, 1) == ["2"]


@on_memory
async def test_a_position_that_is_not_reached_yet_resumes_nothing(loop: MemoryLoop) -> None:
    """A forged token."""
    async with hall(loop) as house:
        epoch, _ = await house.rooms.publish("news", "1")
        _, joined = await resumed(house, Position(epoch, 2**62))
        assert joined == Joined(False, Position(epoch, 1))


@pytest.mark.parametrize("offset", [-1, 2**63])
@on_memory
async def test_an_impossible_position_is_not_asked_for(loop: MemoryLoop, offset: int) -> None:
    """Redis would call it an error, which would look like a lost broker."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        epoch, _ = await house.rooms.publish("news", "1")
        _, joined = await resumed(house, Position(epoch, offset))
        assert joined == Joined(False, Position(epoch, 1))
        assert broker.count("read") == 0


@on_memory
async def test_history_is_limited_in_number_and_in_time(loop: MemoryLoop) -> None:
    async with hall(loop, history=2, seconds=60) as house:
        first = await house.rooms.publish("news", "1")
        second = await house.rooms.publish("news", "2")
        await house.rooms.publish("news", "3")
        await house.rooms.publish("news", "4")
        assert not (await resumed(house, first))[1].resumed
        peer, joined = await resumed(house, second)
        assert joined.resumed
        assert await texts(peer, 2) == ["3", "4"]
        await loop.advance(61)
        assert not (await resumed(house, second))[1].resumed
        assert (await resumed(house, joined.position))[1].resumed


@on_memory
async def test_without_history_only_the_newest_position_resumes(loop: MemoryLoop) -> None:
    async with hall(loop, history=0) as house:
        first = await house.rooms.publish("news", "1")
        assert (await resumed(house, first))[1].resumed
        last = await house.rooms.publish("news", "2")
        assert (await resumed(house, first))[1] == Joined(False, last)
        assert not (await resumed(house, Position(last.epoch, 3)))[1].resumed


@on_memory
async def test_rooms_that_nobody_uses_are_forgotten(loop: MemoryLoop) -> None:
    """And another epoch begins, so that no old position fits."""
    broker = LocalBroker()
    async with hall(loop, broker=broker, seconds=60) as house:
        old = await house.rooms.publish("news", "1", key="a")
        _, member, _ = await house.join("stays", info="Ada")
        await house.rooms.publish("stays", "1")
        await loop.advance(100)
        for number in range(5):
            await house.rooms.publish(f"other {number % 2}", "1")
        assert "news" not in broker._streams
        assert "stays" in broker._streams
        assert (await house.rooms.publish("news", "1", key="a")).epoch != old.epoch
        assert member in house.rooms["stays"]


@on_memory
async def test_the_history_of_a_member_s_room_is_trimmed_while_nothing_happens(
    loop: MemoryLoop,
) -> None:
    broker = LocalBroker()
    async with hall(loop, broker=broker, seconds=60) as house:
        await house.join()
        await house.rooms.publish("news", "1", key="a")
        await loop.advance(100)
        stream = broker._streams["news"]
        assert not stream.kept
        assert not stream.keys
        assert stream.position.offset == 1


# Over a broker, whose answers and pushes come in any order.


@on_memory
async def test_history_beyond_this_process_comes_once(loop: MemoryLoop) -> None:
    """The history has more than this process has got: that comes to all members later."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        member, _, _ = await house.join()
        start = broker.engine.publish("news", "1")
        broker.engine.publish("news", "2")
        broker.holds = True
        broker.engine.publish("news", "3")
        peer, joined = await resumed(house, Position(start.epoch, 0))
        assert joined == Joined(True, Position(start.epoch, 2))
        assert await texts(peer, 2) == ["1", "2"]
        broker.release()
        assert await texts(peer, 1) == ["3"]
        assert await texts(member, 3) == ["1", "2", "3"]
        await peer.nothing()


@on_memory
async def test_a_client_that_is_further_than_this_process_gets_nothing_twice(
    loop: MemoryLoop,
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        member, _, _ = await house.join()
        broker.holds = True
        broker.engine.publish("news", "1")
        further = broker.engine.publish("news", "2")
        peer, joined = await resumed(house, further)  # it was connected to another process
        assert joined == Joined(True, further)
        broker.release()
        broker.holds = False
        broker.engine.publish("news", "3")
        assert await texts(peer, 1) == ["3"]
        assert await texts(member, 3) == ["1", "2", "3"]


@on_memory
async def test_without_history_a_client_that_is_further_harms_no_member(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, history=0) as house:
        member, _, _ = await house.join()
        broker.holds = True
        await house.rooms.publish("news", "1")
        further = await house.rooms.publish("news", "2")
        _, joined = await resumed(house, further)
        assert joined == Joined(False, Position(further.epoch, 0))
        broker.release()
        assert await texts(member, 2) == ["1", "2"]


@on_memory
async def test_a_client_of_the_next_epoch_comes_to_a_process_of_the_last(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        member, _, old = await house.join()
        broker.engine.forget()
        broker.loses = True
        broker.engine.publish("news", "1")
        newest = broker.engine.publish("news", "2")
        broker.loses = False
        peer, joined = await resumed(house, Position(newest.epoch, 1))
        assert joined == Joined(True, newest)
        assert await texts(peer, 1) == ["2"]
        await loop.advance(1)
        assert await member.closed() == (1012, "messages of a room were missed")
        assert not (await resumed(house, old.position))[1].resumed


@on_memory
async def test_long_histories_are_read_in_pages(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 300):
            broker.engine.publish("news", str(number))
        peer, joined = await resumed(house, start)
        assert joined == Joined(True, Position(start.epoch, 300))
        assert await texts(peer, 299) == [str(number) for number in range(1, 300)]
        assert broker.count("read") == 3


@on_memory
async def test_messages_during_a_long_replay_come_after_it(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 300):
            broker.engine.publish("news", str(number))
        broker.after["read"] = lambda: broker.engine.publish("news", "300")
        peer, joined = await resumed(house, start)
        assert joined == Joined(True, Position(start.epoch, 301))
        assert await texts(peer, 300) == [str(number) for number in range(1, 301)]


@on_memory
async def test_history_that_goes_during_a_replay_closes_with_1012(loop: MemoryLoop) -> None:
    """The client has got a part: what it got is without a gap."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 300):
            broker.engine.publish("news", str(number))
        broker.after["read"] = lambda: broker.engine.cut(keep=10)
        peer, client = await house.connect()
        with pytest.raises(ConnectionClosed, match="1012"):
            await house.rooms["news"].join(client, since=start)
        assert await texts(peer, 128) == [str(number) for number in range(1, 129)]
        assert await peer.closed() == (1012, "messages of a room were missed")
        assert client not in house.rooms["news"]


@on_memory
async def test_a_client_that_leaves_during_a_replay_is_no_member(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 300):
            broker.engine.publish("news", str(number))
        peer, client = await house.connect()
        broker.after["read"] = lambda: client.close_nowait(1000)
        with pytest.raises(ConnectionClosed, match="1000"):
            await house.rooms["news"].join(client, since=start)
        assert await peer.closed() == (1000, "")
        await loop.settle()
        assert not broker.subscribed
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms


@on_memory
async def test_a_broker_that_is_lost_during_a_replay_is_reported(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        broker.engine.publish("news", "1")
        broker.fails["read"] = BrokerLost("no answer")
        _, client = await house.connect()
        for since in (start, Position(start.epoch, 7)):
            with pytest.raises(BrokerLost, match="no answer"):
                await house.rooms["news"].join(client, since=since)
        del broker.fails["read"]
        assert (await house.rooms["news"].join(client, since=start)).resumed


@pytest.mark.parametrize("gap", ["a hole", "another epoch", "nothing", "went back", "too far"])
@on_memory
async def test_a_history_with_a_gap_resumes_nothing(loop: MemoryLoop, gap: str) -> None:
    """Whatever a broker says of it."""

    def wrong(history: History) -> History:
        newest, publications = history.position, list(history.publications)
        if gap == "a hole":
            del publications[1]
        elif gap == "another epoch":
            newest = Position("other", newest.offset)
        elif gap == "nothing":
            publications = []
        elif gap == "went back":
            newest, publications = Position(newest.epoch, 0), []
        else:
            newest = Position(newest.epoch, 1)
        return History(newest, publications, complete=True)

    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        start = broker.engine.publish("news", "0")
        for number in range(1, 4):
            broker.engine.publish("news", str(number))
        broker.wrong = wrong
        peer, joined = await resumed(house, start)
        assert not joined.resumed
        broker.engine.publish("news", "4")
        assert await texts(peer, 1) == ["4"]


@on_memory
async def test_a_slow_client_does_not_lose_its_replay(loop: MemoryLoop) -> None:
    """It is sent as fast as the client reads: no limit closes the client for that."""
    async with hall(loop, max_waiting=100_000) as house:
        start = await house.rooms.publish("news", "0")
        for number in range(1, 100):
            await house.rooms.publish("news", f"{number}".ljust(16_384))
        peer, client = await house.connect()
        peer.stop_reading()
        joining = loop.spawn(house.rooms["news"].join(client, since=start))
        await loop.settle()
        assert not joining.done
        peer.start_reading()
        assert (await joining.wait()).resumed
        assert [int(text) for text in await texts(peer, 99)] == list(range(1, 100))


@on_memory
async def test_several_clients_that_join_share_one_subscription(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        gate = broker.gates["subscribe"] = loop.runtime.signal()
        peers = [await house.connect() for _ in range(3)]
        jobs = [loop.spawn(house.rooms["news"].join(client)) for _, client in peers]
        await loop.settle()
        jobs[0].cancel()  # as a callback's end does
        await loop.settle()
        gate.set()
        for job in jobs[1:]:
            assert not (await job.wait()).resumed
        assert broker.count("subscribe") == 1
        assert list(house.rooms["news"]) == [client for _, client in peers[1:]]
        with pytest.raises(loop.cancelled):
            await jobs[0].wait()


@on_memory
async def test_what_is_published_during_a_subscription_comes_once(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, history=0) as house:
        broker.after["subscribe"] = lambda: broker.engine.publish("news", "1", history=0)
        peer, _, joined = await house.join()
        assert joined.position.offset == 1  # it came before the client was a member
        await house.rooms.publish("news", "2")
        assert await texts(peer, 1) == ["2"]
        assert broker.count("read") == 0


@on_memory
async def test_much_that_is_published_during_a_subscription_is_read(loop: MemoryLoop) -> None:
    broker = FakeBroker()

    def publish() -> None:
        for number in range(600):
            broker.engine.publish("news", str(number))

    async with hall(loop, broker=broker) as house:
        broker.after["subscribe"] = publish
        peer, _, joined = await house.join()
        await loop.settle()
        await house.rooms.publish("news", "last")
        got = await texts(peer, 601 - joined.position.offset)
        assert got == [*map(str, range(joined.position.offset, 600)), "last"]


@on_memory
async def test_a_room_that_is_left_and_joined_at_once_is_subscribed_again(
    loop: MemoryLoop,
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, first, _ = await house.join()
        gate = broker.gates["unsubscribe"] = loop.runtime.signal()
        await house.rooms["news"].leave(first)
        await loop.settle()
        peer, second = await house.connect()
        joining = loop.spawn(house.rooms["news"].join(second))
        await loop.settle()
        broker.engine.publish("news", "missed by all")
        gate.set()
        assert (await joining.wait()).position.offset == 1
        broker.engine.publish("news", "1")
        assert await texts(peer, 1) == ["1"]


@on_memory
async def test_pushes_of_a_room_that_was_left_go_nowhere(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, client, joined = await house.join()
        await house.rooms["news"].leave(client)
        await loop.settle()
        late = Publication("news", Position(joined.position.epoch, 1), "late")
        broker.subscriber.published(late)
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms


@on_memory
async def test_pushes_during_the_end_of_a_subscription_go_nowhere(loop: MemoryLoop) -> None:
    """And a room that is left twice meanwhile is forgotten once."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, first, joined = await house.join(info="Ada")
        _, second, _ = await house.join()
        gates = {name: loop.runtime.signal() for name in ("leave", "unsubscribe")}
        broker.gates.update(gates)
        leaving = loop.spawn(house.rooms["news"].leave(first))
        await loop.settle()
        leaving_too = loop.spawn(house.rooms["news"].leave(second))
        await loop.settle()
        gates["leave"].set()
        await loop.settle()
        broker.subscriber.published(Publication("news", Position("other", 5), "late"))
        gates["unsubscribe"].set()
        assert await leaving.wait()
        assert await leaving_too.wait()
        await loop.settle()
        assert [call[0] for call in broker.calls].count("unsubscribe") == 1
        assert broker.count("read") == 0
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms
