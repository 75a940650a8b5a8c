"""`reader.json()` and `client.receive_json()`: messages of JSON."""

import json
from typing import Any, assert_type

import pytest

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wstransports import Client, WebSocketReader

# What raises ValueError, by json or by us, and never anything else.
NOT_JSON = ["", "{", '{"a": 1', "nonsense", "[" * 200_000, b"\xff", b"", "9" * 5000]


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        (b'{"a": [1, null]}', {"a": [1, None]}),
        ('"é"', "é"),
        ('"é"'.encode(), "é"),
        (" 1 ", 1),
    ],
)
@on_each_loop
async def test_text_and_binary_are_parsed(loop: Loop, message: str | bytes, value: object) -> None:
    got: list[Any] = []

    async def on_connection(client: Client) -> None:
        if client.request.path == "/loop":
            got.append(await client.receive_json())
        else:

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                got.append(await reader.json())

    async with loop.serving(on_connection) as server:
        for target in "/loop", "/callback":
            peer = await loop.connect(server, target=target)
            peer.part(message[:3])
            peer.part(message[3:], last=True)
        await loop.until(lambda: len(got) == 2)
    assert got == [value, value]


@pytest.mark.parametrize("message", NOT_JSON, ids=lambda message: repr(message[:8]))
@on_memory
async def test_what_is_not_json_raises_value_error_and_the_connection_stays(
    loop: MemoryLoop, message: str | bytes
) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(ValueError):
            await client.receive_json()
        assert await client.receive_json() == "next"
        await client.writer.send("fine")

    async def on_other_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            with pytest.raises(ValueError):
                await reader.json()
            assert await reader.get() == message[:0]  # all is read
            await client.writer.send("fine")

    for callback in on_connection, on_other_connection:
        async with loop.serving(callback) as server:
            peer = await loop.connect(server)
            peer.send(message)
            if callback is on_connection:
                peer.send('"next"')
            assert await peer.message() == "fine"


@on_memory
async def test_another_parser_decides_the_type(loop: MemoryLoop) -> None:
    got: list[tuple[str, int]] = []

    def loads(message: str | bytes) -> tuple[str, int]:
        return type(message).__name__, len(message)

    async def on_connection(client: Client) -> None:
        if client.request.path == "/loop":
            assert_type(await client.receive_json(), Any)
            got.append(assert_type(await client.receive_json(loads=loads), tuple[str, int]))
            return

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append(assert_type(await reader.json(loads=loads), tuple[str, int]))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server, target="/loop")
        peer.send("null")
        peer.send("text")
        peer = await loop.connect(server, target="/callback")
        peer.send(b"binary")
        await loop.until(lambda: len(got) == 2)
    assert sorted(got) == [("bytes", 6), ("str", 4)]


@on_each_loop
async def test_a_time_limit_loses_no_message(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await client.receive_json(timeout=0)
        await client.writer.send("nothing came")
        await client.writer.send(json.dumps(await client.receive_json(timeout=10)))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        if isinstance(loop, MemoryLoop):
            await loop.advance(0)
        assert await peer.message() == "nothing came"
        peer.send("[1]")
        assert await peer.message() == "[1]"
