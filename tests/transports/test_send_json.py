"""`writer.send_json()`: messages of JSON."""

import json
from typing import Any

import pytest
from test_writer import only_client

from kit.blocking_echo import PATIENCE, Echo, uri_of
from kit.frames import FIN, TEXT, Frame
from kit.in_thread import serving
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wstransports import Deflate, sync


@pytest.mark.parametrize("data", [{"a": [1, None]}, [], "é", 1.5, None, True])
@on_each_loop
async def test_it_is_one_text_message(loop: Loop, data: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.send_json(data)
        assert await peer.frame() == Frame(FIN | TEXT, json.dumps(data).encode())


@pytest.mark.parametrize(
    "dumped", ['"é"', '"é"'.encode(), bytearray('"é"'.encode()), memoryview('"é"'.encode())]
)
@on_memory
async def test_another_serializer_may_return_bytes(loop: MemoryLoop, dumped: Any) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        await client.writer.send_json("é", dumps=lambda data: dumped)
        assert await peer.frame() == Frame(FIN | TEXT, '"é"'.encode())


@pytest.mark.parametrize(
    ("data", "dumps", "error", "message"),
    [
        (object(), json.dumps, TypeError, "not JSON serializable"),
        ("x", lambda data: None, TypeError, "dumps must return JSON as str or bytes, not NoneType"),
        ("x", lambda data: b"\xff", UnicodeDecodeError, "utf-8"),
        ("x", lambda data: "\ud800", UnicodeEncodeError, "surrogates"),
    ],
    ids=["not serializable", "None", "not UTF-8", "not Unicode"],
)
@on_memory
async def test_what_cannot_be_sent_raises_and_the_connection_stays(
    loop: MemoryLoop, data: Any, dumps: Any, error: type[Exception], message: str
) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        with pytest.raises(error, match=message):
            await client.writer.send_json(data, dumps=dumps)
        await peer.nothing()
        await client.writer.send_json("fine")
        assert await peer.message() == '"fine"'


@on_memory
async def test_it_may_be_compressed(loop: MemoryLoop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server, extensions=[Deflate()])
        client = await only_client(loop, server)
        for compress in True, False:
            await client.writer.send_json("x", compress=compress)
            assert (await peer.frame()).compressed is compress


def test_without_async() -> None:
    server = Echo()
    with serving(server), sync.connect(uri_of(server)) as client:
        client.send_json({"a": 1}, compress=True)
        assert client.receive(timeout=PATIENCE) == '{"a": 1}'
        client.send_json(["b"], dumps=lambda data: json.dumps(data).encode())
        assert client.receive_json(timeout=PATIENCE) == ["b"]
        with pytest.raises(TypeError, match="dumps must return"):
            client.send_json(1, dumps=lambda data: data)
