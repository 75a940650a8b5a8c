"""What callers do wrong raises at the call: the value, the mistake, and how to mend it."""

from typing import Any

import pytest

from kit.loops import MemoryLoop, on_memory
from kit.rooms import hall
from wscore import PreparedMessage
from wstransports import connect
from wstransports.rooms import Rooms


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"server": 80}, TypeError, "Rooms() takes a WebSocketServer, or None, not 80"),
        (
            {"broker": "redis://localhost"},
            TypeError,
            "broker must be a Broker, such as RedisBroker(url), not 'redis://localhost'",
        ),
        ({"history": 1.5}, TypeError, "history must be a number of messages, not 1.5"),
        ({"history": True}, TypeError, "history must be a number of messages, not True"),
        ({"history": -1}, ValueError, "history must be 0 messages or more, not -1"),
        ({"seconds": -1}, ValueError, "seconds must be a number of seconds, 0 or more, not -1"),
        ({"seconds": "5"}, ValueError, "seconds must be a number of seconds, 0 or more, not '5'"),
        ({"drain": float("inf")}, ValueError, "drain must be a number of seconds, 0 or more"),
        ({"slow": "wait"}, ValueError, 'slow must be "close" or "drop", not \'wait\''),
        ({"max_waiting": -1}, ValueError, "max_waiting (bytes) and max_seconds must be numbers"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Rooms(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (5, TypeError, "a room's name is a str, not 5"),
        (None, TypeError, "a room's name is a str, not None"),
        ("", ValueError, "a room's name has 1 to 255 bytes in UTF-8, but '' has 0"),
        ("é" * 128, ValueError, "a room's name has 1 to 255 bytes in UTF-8, but 'éé"),
        ("a\ud800", ValueError, "a room's name is not Unicode: '\\ud800' at index 1"),
    ],
)
def test_wrong_names(name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Rooms()[name]
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


def test_any_other_text_is_a_name() -> None:
    assert Rooms()["news/é 日本\n"].name == "news/é 日本\n"
    assert Rooms()["x" * 255].name == "x" * 255


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (5, TypeError, "data must be str (text) or bytes-like (binary), not int: publish what the"),
        ({"a": 1}, TypeError, "data must be str (text) or bytes-like (binary), not dict"),
        (PreparedMessage("x"), TypeError, "data must be str (text) or bytes-like (binary), not Pr"),
        ("a\udcff", ValueError, "data is not Unicode: '\\udcff' at index 1"),
    ],
)
@on_memory
async def test_wrong_data(
    loop: MemoryLoop, data: Any, error: type[Exception], message: str
) -> None:
    async with hall(loop) as house:
        with pytest.raises(error) as caught:
            await house.rooms.publish("news", data)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (5, TypeError, "key must be a str that names the message, not 5"),
        ("", ValueError, "key has 1 to 255 bytes in UTF-8, but '' has 0"),
        ("x" * 256, ValueError, "key has 1 to 255 bytes in UTF-8, but 'xxx"),
    ],
)
@on_memory
async def test_wrong_keys(loop: MemoryLoop, key: Any, error: type[Exception], message: str) -> None:
    async with hall(loop) as house:
        with pytest.raises(error) as caught:
            await house.rooms.publish("news", "1", key=key)
        assert str(caught.value).startswith(message)


@on_memory
async def test_wrong_ways_to_join(loop: MemoryLoop) -> None:
    async with hall(loop) as house, hall(loop) as other:
        news = house.rooms["news"]
        _, client, _ = await house.join()
        _, stranger = await other.connect()
        _, fresh = await house.connect()
        with pytest.raises(TypeError, match=r"join\(\) takes a client of the server, not 'Ada'"):
            await news.join("Ada")  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="is in room 'news' already: join it once, or leave"):
            await news.join(client)
        with pytest.raises(ValueError, match="not a client of the server that these rooms belong"):
            await news.join(stranger)
        with pytest.raises(TypeError, match="since must be a Position, or its str, not 5"):
            await news.join(fresh, since=5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="info must be str, such as a name or JSON, not b'Ada'"):
            await news.join(fresh, info=b"Ada")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="info is not Unicode"):
            await news.join(fresh, info="\ud800")
        joining = loop.spawn(news.join(fresh))
        await loop.checkpoint()
        with pytest.raises(RuntimeError, match="is in room 'news' already"):
            await news.join(fresh)
        await joining.wait()
        uri = f"ws://127.0.0.1:{house.server.port}"
        async with connect(uri, runtime=loop.runtime) as outgoing:
            with pytest.raises(ValueError, match="not a client of the server"):
                await news.join(outgoing)


@on_memory
async def test_rooms_without_a_server_have_no_members(loop: MemoryLoop) -> None:
    async with hall(loop) as house:
        _, client = await house.connect()
        async with Rooms() as rooms:
            assert list(rooms["news"]) == []
            with pytest.raises(ValueError, match="not a client of the server"):
                await rooms["news"].join(client)
        with pytest.raises(RuntimeError, match="open with their server: enter the server's block"):
            await house.rooms.__aenter__()
    for call in (house.rooms["news"].join(client), house.rooms["news"].leave(client)):
        with pytest.raises(RuntimeError, match="not open: enter the server's block first"):
            await call
