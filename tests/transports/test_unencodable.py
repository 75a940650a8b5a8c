"""What cannot be encoded raises where it is given, and leaves the connection as it was."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from test_writer import only_client

from kit.frames import CONTINUATION, FIN, TEXT, Frame
from kit.loops import Loop, on_each_loop
from wscore.sending import Sender
from wstransports import Client, ConnectionClosed, DataType, broadcast

# As json.loads('"\\ud800"') makes it.
SURROGATE = "\ud800"


@pytest.mark.parametrize("before", [[], ["one"], ["one", "two"]])
@on_each_loop
async def test_the_last_part_of_a_message(loop: Loop, before: list[str]) -> None:
    """It raises at its own send; the message that has begun is broken off with 1011."""
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        reached = False
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            async with client.writer.fragment() as stream:
                for part in before:
                    await stream.send(part)
                try:
                    await stream.send(SURROGATE)
                except UnicodeEncodeError:
                    reached = True
                    raise
        assert reached
        if not before:
            await client.writer.send("undisturbed")
            assert await peer.message() == "undisturbed"
            return
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("too late")
        assert (caught.value.code, caught.value.reason) == (1011, "a message was broken off")
        frames = [await peer.frame() for _ in before[:-1]]
        assert frames == [Frame(TEXT, part.encode()) for part in before[:-1]]
        assert await peer.closed() == (1011, "a message was broken off")


@on_each_loop
async def test_a_part_whose_error_is_caught_is_left_out(loop: Loop) -> None:
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        async with client.writer.fragment() as stream:
            for part in (SURROGATE, "one", SURROGATE, "two"):
                try:
                    await stream.send(part)
                except UnicodeEncodeError:
                    continue
        assert [await peer.frame() for _ in range(2)] == [
            Frame(TEXT, b"one"),
            Frame(FIN | CONTINUATION, b"two"),
        ]


@pytest.mark.parametrize("fails_at", [0, 1])
@on_each_loop
async def test_an_extension_that_fails_in_the_block(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Also with the last part, which is sent as the block ends."""
    send_fragment = Sender.send_fragment
    left = [None] * fails_at

    def fail(core: Sender, *args: Any, **more: Any) -> None:
        if not left:
            raise KeyError("broken")
        left.pop()
        send_fragment(core, *args, **more)

    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        monkeypatch.setattr(Sender, "send_fragment", fail)
        with pytest.raises(KeyError, match="broken"):
            async with client.writer.fragment() as stream:
                await stream.send("one")
                await stream.send("two")
        monkeypatch.undo()
        for _ in range(fails_at):
            assert (await peer.frame()).payload == b"one"
        assert await peer.closed() == (1011, "a message was broken off")


async def pieces(*given: str) -> AsyncIterator[str]:
    for piece in given:
        yield piece


@on_each_loop
async def test_other_ways_to_send(loop: Loop) -> None:
    ways: dict[str, Any] = {
        "send": lambda client: client.writer.send(SURROGATE),
        "send compressed": lambda client: client.writer.send(SURROGATE, compress=True),
        "send long": lambda client: client.writer.send("x" * 300_000 + SURROGATE),
        "feed": lambda client: client.writer.feed([SURROGATE, "x"]),
        "feed async": lambda client: client.writer.feed(pieces(SURROGATE)),
        "feed as binary": lambda client: client.writer.feed([SURROGATE], DataType.BINARY),
        "broadcast": lambda client: broadcast([client], SURROGATE),
        "close": lambda client: client.close(1000, SURROGATE),
    }
    async with loop.serving() as server:
        peer = await loop.connect(server)
        client = await only_client(loop, server)
        for name, way in ways.items():
            with pytest.raises(UnicodeEncodeError):
                await way(client)
            await client.writer.send(name)
            assert await peer.message() == name


@pytest.mark.parametrize("one_by_one", [False, True])
@on_each_loop
async def test_a_later_piece_of_a_feed_breaks_the_message_off(loop: Loop, one_by_one: bool) -> None:
    async def on_connection(client: Client) -> None:
        given: Any = pieces("begun", SURROGATE) if one_by_one else ["begun", SURROGATE]
        with pytest.raises(UnicodeEncodeError):
            await client.writer.feed(given)
        with pytest.raises(ConnectionClosed) as caught:
            await client.writer.send("too late")
        assert caught.value.code == 1011

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        assert await peer.frame() == Frame(TEXT, b"begun")
        assert await peer.closed() == (1011, "a message was broken off")
