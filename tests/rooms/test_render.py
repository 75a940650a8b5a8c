"""`@rooms.render` makes the message of a publication, once for all members."""

import json

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from kit.rooms import hall
from wstransports.log_limit import LogLimit
from wstransports.rooms import Publication, Rooms
from wstransports.rooms import rendering as rendering_module


@on_each_loop
async def test_it_is_called_once_and_knows_the_position(loop: Loop) -> None:
    async with hall(loop) as house:
        calls = []

        @house.rooms.render
        def render(publication: Publication) -> str:
            calls.append(publication)
            said = {"since": str(publication.position), "text": publication.data}
            return json.dumps({**said, "room": publication.room})

        assert callable(render)
        first, _, joined = await house.join()
        second, _, _ = await house.join()
        position = await house.rooms.publish("news", "1")
        for peer in (first, second):
            got = json.loads(await peer.message())
            assert got == {"since": str(position), "text": "1", "room": "news"}
        third, _, resumed = await house.join(since=joined.position)
        assert resumed.resumed
        assert json.loads(await third.message())["since"] == str(position)
        assert len(calls) == 1


@on_memory
async def test_it_may_return_bytes(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        house.rooms.render(lambda publication: b"rendered")
        peer, _, _ = await house.join()
        await house.rooms.publish("news", "1")
        assert await peer.message() == b"rendered"


@on_memory
async def test_one_that_raises_harms_nobody(loop: MemoryLoop, log: Log) -> None:
    async with hall(loop) as house:

        @house.rooms.render
        def render(publication: Publication) -> str:
            return str(json.loads(publication.data)["text"])

        peer, client, joined = await house.join()
        for data in ('{"text": "1"}', "not JSON", "{}", '{"text": "2"}'):
            await house.rooms.publish("news", data)
        assert await peer.message() == "1"
        assert await peer.message() == "2"
        assert client in house.rooms["news"]
        one, other = log.taken()
        epoch = joined.position.epoch
        assert one.getMessage() == (
            f"rooms.render raised for {epoch}.2 of room 'news': no member here gets that message"
        )
        assert one.exc_info is not None
        assert isinstance(one.exc_info[1], ValueError)
        assert other.exc_info is not None
        assert isinstance(other.exc_info[1], KeyError)
        again, _, resumed = await house.join(since=joined.position)
        assert resumed.resumed
        assert await again.message() == "1"
        assert await again.message() == "2"
        log.taken()


@on_memory
async def test_one_that_returns_anything_else_is_logged(loop: MemoryLoop, log: Log) -> None:
    async with hall(loop) as house:
        house.rooms.render(lambda publication: None)  # type: ignore[type-var]
        peer, _, _ = await house.join()
        await house.rooms.publish("news", "1")
        await peer.nothing()
        [record] = log.taken()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], TypeError)


@on_memory
async def test_one_that_always_raises_does_not_fill_the_log(
    loop: MemoryLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hall(loop) as house:
        limit = LogLimit(loop.now)
        monkeypatch.setattr(house.rooms._rendering, "_limit", limit)
        house.rooms.render(lambda publication: str(1 / 0))
        await house.join()
        for _ in range(15):
            await house.rooms.publish("news", "1")
        assert len(log.taken()) == 10
        await loop.advance(2)
        await house.rooms.publish("news", "1")
        [record] = log.taken()
        assert record.getMessage().endswith("(5 such lines were left out)")


@on_memory
async def test_what_is_kept_of_messages_is_bounded(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering_module, "MOST", 3)
    monkeypatch.setattr(rendering_module, "MOST_BYTES", 100)
    async with hall(loop) as house:
        peer, _, _ = await house.join()
        for number in range(10):
            await house.rooms.publish("news", str(number))
            assert await peer.message() == str(number)
        made = house.rooms._rendering._made
        assert [message.data for message in made.values()] == ["7", "8", "9"]
        await house.rooms.publish("news", "x" * 99)
        assert len(made) == 2
        await house.rooms.publish("news", "x" * 1000)
        assert not made
        assert house.rooms._rendering._bytes == 0


@pytest.mark.parametrize("wrong", [None, "text", "async"])
def test_it_must_be_a_plain_function(wrong: object) -> None:
    async def render(publication: Publication) -> str:
        return ""

    with pytest.raises(TypeError, match="render must be a plain function"):
        Rooms().render(render if wrong == "async" else wrong)  # type: ignore[type-var]
