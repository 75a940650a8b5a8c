"""What a broker loses: each member still gets each message once, or is closed with 1012."""

from random import Random

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.peer import Peer
from kit.rooms import Engine, FakeBroker, hall
from wstransports import WebSocketServer
from wstransports.rooms import BrokerLost, History, Position, Publication, Rooms
from wstransports.rooms.crew import MOST as TASKS
from wstransports.rooms.hub import GRACE, PERIOD

MISSED = (1012, "messages of a room were missed")


async def texts(peer: Peer, count: int) -> list[str | bytes]:
    """The next messages."""
    return [await peer.message() for _ in range(count)]


@on_each_loop
async def test_a_message_that_was_lost_is_read_when_the_next_comes(loop: Loop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.engine.publish("news", "1")
        broker.loses = True
        broker.engine.publish("news", "2")
        broker.engine.publish("news", "3")
        broker.loses = False
        broker.engine.publish("news", "4")
        assert await texts(peer, 4) == ["1", "2", "3", "4"]


@on_memory
async def test_the_last_message_is_missed_too(loop: MemoryLoop) -> None:
    """No other follows that would show it: hence the look from time to time."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "1")
        await loop.advance(PERIOD)
        assert await texts(peer, 1) == ["1"]


@on_memory
async def test_doubled_and_disordered_messages_come_once_and_in_order(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, joined = await house.join()
        broker.holds = True
        for number in range(1, 6):
            broker.engine.publish("news", str(number))
        broker._pushes.reverse()
        broker._pushes.extend(list(broker._pushes))
        broker.release()
        assert await texts(peer, 5) == ["1", "2", "3", "4", "5"]
        old = Publication("news", Position("an older epoch", 6), "old")
        broker.subscriber.published(old)
        await loop.settle()
        broker.holds = False
        broker.engine.publish("news", "6")
        assert await texts(peer, 1) == ["6"]
        assert broker.count("read") == 2


@on_memory
async def test_doubled_messages_alone_are_no_gap(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.holds = True
        broker.engine.publish("news", "1")
        broker._pushes.extend(list(broker._pushes))
        broker.release()
        assert await texts(peer, 1) == ["1"]
        await peer.nothing()
        assert broker.count("read") == 0


@on_memory
async def test_messages_that_come_while_others_are_read_follow_them(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "1")
        broker.loses = False
        broker.after["read"] = lambda: [broker.engine.publish("news", text) for text in "34"]
        broker.engine.publish("news", "2")
        assert await texts(peer, 4) == ["1", "2", "3", "4"]
        assert broker.count("read") == 1  # nothing was missing any more


@on_memory
async def test_a_late_message_that_is_being_read_comes_once(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.holds = True
        broker.engine.publish("news", "1")
        broker.engine.publish("news", "2")
        broker._pushes.rotate()
        gate = broker.gates["read"] = loop.runtime.signal()
        broker.release(1)
        await loop.settle()
        broker.release(1)
        assert await texts(peer, 1) == ["1"]
        gate.set()
        assert await texts(peer, 1) == ["2"]
        await peer.nothing()


@on_memory
async def test_many_that_come_meanwhile_are_read_again(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "0")
        broker.loses = False
        gate = broker.gates["read"] = loop.runtime.signal()
        for number in range(1, 700):
            broker.engine.publish("news", str(number))
        await loop.settle()
        gate.set()
        assert await texts(peer, 700) == [str(number) for number in range(700)]


@pytest.mark.parametrize("history", [0, 1000])
@on_memory
async def test_a_gap_that_cannot_be_filled_closes_the_members(
    loop: MemoryLoop, history: int, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, over the time to drain; and nothing reaches them meanwhile."""
    # With others, once in some 700 runs, none of 40 is due in the first or the next 5 seconds.
    monkeypatch.setattr("wstransports.rooms.farewell.random", Random(1).random)
    broker = FakeBroker()
    async with hall(loop, broker=broker, history=history, drain=30) as house:
        peers = [(await house.join(info="x"))[0] for _ in range(40)]
        other, _, _ = await house.join("sports")
        await house.rooms.publish("news", "1")
        broker.loses = True
        await house.rooms.publish("news", "2")
        broker.loses = False
        broker.engine.cut()
        await house.rooms.publish("news", "3")
        await loop.settle()
        assert len(house.rooms["news"]) == 0
        late, _, joined = await house.join()
        assert joined.position.offset == 3
        await house.rooms.publish("news", "4")
        for peer in peers:
            assert await peer.message() == "1"
        closed = []
        for _ in range(6):
            await loop.advance(5)
            closed.append(sum(bool(peer.frames) for peer in peers))
        due = [40 * (number + 1) / 6 for number in range(6)]
        assert closed == pytest.approx(due, abs=1)
        await loop.advance(1)
        for peer in peers:
            assert await peer.closed() == MISSED
        assert await texts(late, 1) == ["4"]
        await other.nothing()
        assert await house.rooms["news"].present() == {}
    [record] = log.taken()
    assert record.getMessage() == (
        "40 members of room 'news' missed messages: they are closed with 1012"
    )


@on_memory
async def test_a_member_that_is_to_be_closed_may_leave_before(loop: MemoryLoop, log: Log) -> None:
    """Also the server: its end does not wait for the time to drain."""
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=1000) as house:
        first, _, _ = await house.join()
        second, _, _ = await house.join()
        broker.engine.forget()
        broker.engine.publish("news", "1")
        await loop.settle()
        assert len(house.rooms["news"]) == 0
        first.close(1000)
        assert await first.closed() == (1000, "")
    assert await second.closed() == (1001, "")
    log.taken()


@on_memory
async def test_lines_about_many_rooms_are_limited(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        for number in range(15):
            await house.join(str(number))
        for number in range(15):
            broker.engine.forget(str(number))
            broker.engine.publish(str(number), "1")
        await loop.settle()
        assert len(log.taken()) == 10
        await loop.advance(2)
        await house.join("another")
        broker.engine.forget("another")
        broker.engine.publish("another", "1")
        await loop.settle()
    [record] = log.taken()
    assert record.getMessage().endswith("(5 such lines were left out)")


@on_memory
async def test_without_history_a_message_may_be_late(loop: MemoryLoop) -> None:
    """A look finds it before it comes: that is no gap."""
    broker = FakeBroker()
    async with hall(loop, broker=broker, history=0, drain=0) as house:
        peer, _, _ = await house.join()
        broker.holds = True
        await house.rooms.publish("news", "1")
        await loop.advance(PERIOD)
        broker.release()
        await loop.advance(GRACE)
        assert await texts(peer, 1) == ["1"]
        await peer.nothing()
        await house.rooms.publish("news", "lost")
        broker._pushes.clear()
        await loop.advance(PERIOD + GRACE)
        assert await peer.closed() == MISSED


@on_memory
async def test_the_server_may_end_while_a_late_message_is_waited_for(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, history=0) as house:
        peer, _, _ = await house.join()
        broker.holds = True
        await house.rooms.publish("news", "1")
        await loop.advance(PERIOD)
        before = loop.now()
    assert loop.now() - before < GRACE
    await loop.advance(1)
    assert await peer.closed() == (1001, "")


# The broker is lost and comes back.


@on_each_loop
async def test_members_stay_while_the_broker_is_lost(loop: Loop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, client, _ = await house.join()
        broker.lose()
        with pytest.raises(BrokerLost, match="it is cut off"):
            await house.rooms.publish("news", "not published")
        broker.engine.publish("news", "1")
        broker.engine.publish("news", "2")
        await peer.nothing()
        assert client in house.rooms["news"]
        broker.recover()
        assert await texts(peer, 2) == ["1", "2"]
    [record] = log.taken()
    assert record.getMessage() == "the rooms' broker is lost, and is tried again: it was cut off"


@on_memory
async def test_what_comes_at_once_after_the_return_is_in_order(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.lose()
        broker.engine.publish("news", "1")
        broker.recover()
        broker.engine.publish("news", "2")
        assert await texts(peer, 2) == ["1", "2"]
        broker.lose()
        broker.recover()
        broker.engine.publish("news", "3")
        assert await texts(peer, 1) == ["3"]
    log.taken()


@on_memory
async def test_a_broker_without_its_data_closes_the_members(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        peer, _, _ = await house.join()
        quiet, _, _ = await house.join("sports")
        broker.engine.publish("news", "1")
        broker.lose()
        broker.engine.streams.clear()
        broker.recover()
        assert await texts(peer, 1) == ["1"]
        assert await peer.closed() == MISSED
        assert await quiet.closed() == MISSED  # something may have been published there
        again, _, joined = await house.join()
        await house.rooms.publish("news", "1 of the next epoch")
        assert await texts(again, 1) == ["1 of the next epoch"]
        assert joined.position.epoch != "e1"
    log.taken()


@on_memory
async def test_a_recovery_that_fails_is_tried_again(loop: MemoryLoop, log: Log) -> None:
    """The broker is back, but it does not answer each call."""
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join(info="Ada")
        broker.lose()
        broker.engine.publish("news", "1")
        broker.engine.present.clear()
        broker.fails = {name: BrokerLost("no answer") for name in ("read", "enter", "positions")}
        broker.recover()
        await loop.advance(PERIOD)
        await peer.nothing()
        del broker.fails["positions"]
        await loop.advance(PERIOD)
        await peer.nothing()
        assert not broker.engine.present
        broker.fails.clear()
        await loop.advance(PERIOD)
        assert await texts(peer, 1) == ["1"]
        assert list((await house.rooms["news"].present()).values()) == ["Ada"]
    lost, *others = [record.getMessage() for record in log.taken()]
    assert lost.startswith("the rooms' broker is lost")
    assert others == ["the rooms' broker did not say how far its rooms are: no answer"] * 2


@on_memory
async def test_looks_at_a_lost_broker_are_not_logged(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        await house.join()
        broker.lose()
        await loop.advance(10 * PERIOD)
        assert len(log.taken()) == 1


@on_memory
async def test_a_loss_during_a_recovery_is_recovered_too(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.lose()
        broker.engine.publish("news", "1")

        def lose_again() -> None:
            broker.lose()
            broker.engine.publish("news", "2")
            broker.recover()

        broker.after["positions"] = lose_again
        broker.recover()
        assert await texts(peer, 2) == ["1", "2"]
    log.taken()


@on_memory
async def test_an_error_in_the_background_is_no_gap(loop: MemoryLoop, log: Log) -> None:
    """A broker raises what it must not: the members are closed, and the room begins again."""
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        peer, _, _ = await house.join(info="Ada")
        broker.loses = True
        broker.engine.publish("news", "1")
        broker.loses = False
        broker.fails["read"] = ZeroDivisionError("a bug")
        broker.engine.publish("news", "2")
        assert await peer.closed() == MISSED
        await loop.settle()
        del broker.fails["read"]
        again, _, joined = await house.join()
        assert joined.position.offset == 2
        broker.engine.publish("news", "3")
        assert await texts(again, 1) == ["3"]
        failed, missed = log.taken()
        assert failed.getMessage() == (
            "the broker failed in room 'news': its members are closed with 1012"
        )
        assert failed.exc_info is not None
        assert isinstance(failed.exc_info[1], ZeroDivisionError)
        assert missed.getMessage().startswith("1 members of room 'news' missed messages")


@pytest.mark.parametrize("ends", [True, False])
@on_memory
async def test_a_broker_that_raises_anything_has_no_subscription_left(
    loop: MemoryLoop, log: Log, ends: bool
) -> None:
    """Nobody uses the room again: what the broker reports would go nowhere, for ever."""
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "1")
        broker.loses = False
        broker.fails["read"] = ZeroDivisionError("a bug")
        if not ends:
            broker.fails["unsubscribe"] = ZeroDivisionError("another")
        broker.engine.publish("news", "2")
        assert await peer.closed() == MISSED
        await loop.settle()
        assert not broker.subscribed
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms
    log.taken()


@on_memory
async def test_a_broker_that_raises_anything_fails_a_join(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        _, client = await house.connect()
        broker.fails["subscribe"] = ZeroDivisionError("a bug")
        with pytest.raises(BrokerLost, match="room 'news': a bug"):
            await house.rooms["news"].join(client)
        assert broker.calls[-1] == ("unsubscribe", "news")
        [record] = log.taken()
        assert record.exc_info is not None
        broker.fails["subscribe"] = BrokerLost("no answer")
        with pytest.raises(BrokerLost, match="room 'news': no answer"):
            await house.rooms["news"].join(client)
        await loop.settle()
        assert house.rooms._hub is not None
        assert not house.rooms._hub._rooms
        broker.fails.clear()
        await house.rooms["news"].join(client)


@on_memory
async def test_a_broker_that_raises_anything_at_a_look_is_looked_at_again(
    loop: MemoryLoop, log: Log
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "1")
        broker.fails["positions"] = ZeroDivisionError("a bug")
        await loop.advance(PERIOD)
        [record] = log.taken()
        assert record.getMessage() == "the rooms' broker failed"
        del broker.fails["positions"]
        await loop.advance(PERIOD)
        assert await texts(peer, 1) == ["1"]


@on_memory
async def test_a_history_that_does_not_follow_closes_the_members(
    loop: MemoryLoop, log: Log
) -> None:
    """The broker says that it is complete, and it is not."""
    broker = FakeBroker()
    async with hall(loop, broker=broker, drain=0) as house:
        peer, _, _ = await house.join()
        broker.loses = True
        broker.engine.publish("news", "1")
        broker.wrong = lambda history: History(history.position, (), complete=True)
        await loop.advance(PERIOD)
        assert await peer.closed() == MISSED
    log.taken()


@on_memory
async def test_many_rooms_catch_up_with_a_bounded_number_of_calls(
    loop: MemoryLoop, log: Log
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peers = [(await house.join(str(number)))[0] for number in range(TASKS + 5)]
        broker.lose()
        for number in range(TASKS + 5):
            broker.engine.publish(str(number), "1")
        gate = broker.gates["read"] = loop.runtime.signal()
        broker.recover()
        await loop.settle()
        assert broker.count("read") == TASKS
        gate.set()
        for peer in peers:
            assert await texts(peer, 1) == ["1"]
        assert broker.count("positions") == 1
    log.taken()


@on_memory
async def test_two_processes_share_rooms(loop: MemoryLoop) -> None:
    engine = Engine()
    async with hall(loop, broker=FakeBroker(engine)) as one:
        async with hall(loop, broker=FakeBroker(engine)) as two:
            first, _, _ = await one.join()
            second, _, _ = await two.join()
            await one.rooms.publish("news", "1")
            last = await two.rooms.publish("news", "2")
            assert await texts(first, 2) == await texts(second, 2) == ["1", "2"]
        await one.rooms.publish("news", "3")
        peer, _, joined = await one.join(since=str(last))  # it was a client of the other
        assert joined.resumed
        assert await texts(peer, 1) == ["3"]
        assert await texts(first, 1) == ["3"]


@on_memory
async def test_a_publish_without_an_answer_is_repeated_by_its_key(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join()
        broker.loses_replies = True
        with pytest.raises(BrokerLost):
            await house.rooms.publish("news", "1", key="a")
        broker.loses_replies = False
        assert (await house.rooms.publish("news", "1", key="a")).offset == 1
        await house.rooms.publish("news", "2")
        assert await texts(peer, 2) == ["1", "2"]
        assert broker.count("publish") == 3  # none was repeated by itself


# Opening and closing.


@on_each_loop
async def test_a_broker_that_cannot_be_reached_fails_the_server(loop: Loop) -> None:
    broker = FakeBroker()
    broker.fails["open"] = BrokerLost("connection refused")
    with pytest.raises(BrokerLost, match="connection refused"):
        async with hall(loop, broker=broker):
            raise AssertionError
    broker.fails.clear()
    async with hall(loop, broker=broker) as house:
        await house.join()


@on_memory
async def test_a_server_that_cannot_listen_closes_its_broker(loop: MemoryLoop) -> None:
    broker = FakeBroker()
    async with hall(loop) as house:
        taken = WebSocketServer("127.0.0.1", house.server.port, runtime=loop.runtime)
        Rooms(taken, broker=broker)
        with pytest.raises(OSError, match="in use already"):
            await taken.__aenter__()
    assert broker.calls == [("open",), ("close",)]


@on_memory
async def test_a_broker_that_fails_to_close_is_logged(loop: MemoryLoop, log: Log) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker):
        broker.fails["close"] = ZeroDivisionError("a bug")
    [record] = log.taken()
    assert record.getMessage() == "the rooms' broker failed to close"


@on_each_loop
async def test_the_broker_hears_who_left_before_it_closes(loop: Loop) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        await house.join(info="Ada")
    assert not broker.engine.present
    assert broker.calls[-3:] == [("leave", "news", 1), ("unsubscribe", "news"), ("close",)]


@on_memory
async def test_a_broker_that_does_not_answer_holds_up_the_end_for_a_bounded_time(
    loop: MemoryLoop,
) -> None:
    broker = FakeBroker()
    async with hall(loop, broker=broker) as house:
        peer, _, _ = await house.join(info="Ada")
        broker.gates["leave"] = loop.runtime.signal()
        before = loop.now()
    assert await peer.closed() == (1001, "")
    assert broker.calls[-2:] == [("leave", "news", 1), ("close",)]
    assert loop.now() > before
