"""ConnectionClosedOK and ConnectionClosedError: which connections were closed cleanly."""

import pytest

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wscore import CloseFrame, Reasons, State
from wstransports import (
    Client,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    WebSocketReader,
)


class Ending:
    """A loop over the messages of a client, how it ended, and what receive() raises then."""

    def __init__(self, loop: Loop) -> None:
        self.client: Client | None = None
        self.may_begin = loop.signal()
        self.closed: ConnectionClosed | None = None
        self.silently = False

    async def on_connection(self, client: Client) -> None:
        self.client = client
        await self.may_begin.wait()
        try:
            async for _ in client:
                pass
            self.silently = True
        except ConnectionClosedError:
            pass
        try:
            await client.receive()
        except ConnectionClosed as closed:
            self.closed = closed


def check(ending: Ending, clean: bool, code: int, frames: list[tuple[bool, int]]) -> None:
    closed = ending.closed
    assert type(closed) is (ConnectionClosedOK if clean else ConnectionClosedError)
    assert ending.silently == clean
    assert closed.code == code
    assert [(frame.sent, frame.code) for frame in closed.close_frames] == frames


@pytest.mark.parametrize(
    ("code", "clean"),
    [(1000, True), (1001, True), (None, True), (1002, False), (1012, False), (4000, False)],
)
@on_each_loop
async def test_a_close_of_the_peer(loop: Loop, code: int | None, clean: bool) -> None:
    ending = Ending(loop)
    async with loop.serving(ending.on_connection) as server:
        peer = await loop.connect(server)
        ending.may_begin.set()
        peer.close(code)
        await peer.closed()
        await loop.until(lambda: ending.closed)
    shown = code or 1005
    check(ending, clean, shown, [(False, shown), (True, shown)])


@pytest.mark.parametrize(
    ("ours", "theirs", "clean"),
    [
        (1000, 1000, True),
        (1001, 1000, True),
        (1000, None, True),
        (1008, 1000, False),
        (1008, 1008, False),
        (1000, 1011, False),
        (4000, None, False),
    ],
)
@on_each_loop
async def test_a_close_of_ours_counts_too(
    loop: Loop, ours: int, theirs: int | None, clean: bool
) -> None:
    ending = Ending(loop)
    async with loop.serving(ending.on_connection) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        await loop.until(lambda: ending.client)
        assert ending.client is not None
        closing = loop.spawn(ending.client.close(ours, "ours"))
        assert (await peer.frame()).payload == ours.to_bytes(2) + b"ours"
        peer.close(theirs)
        await closing.wait()
        ending.may_begin.set()
        await loop.until(lambda: ending.closed)
    shown = theirs or 1005
    check(ending, clean, shown, [(True, ours), (False, shown)])


@on_each_loop
async def test_a_close_in_our_own_words_after_the_peers_counts_too(loop: Loop) -> None:
    ending = Ending(loop)
    async with loop.serving(ending.on_connection) as server:
        peer = await loop.connect(server)
        peer.send("holds the answer")
        peer.close(1000)
        await loop.until(lambda: ending.client and ending.client.state is not State.OPEN)
        assert ending.client is not None
        await ending.client.close(1011, "failed")
        assert await peer.closed() == (1011, "failed")
        ending.may_begin.set()
        await loop.until(lambda: ending.closed)
    check(ending, False, 1000, [(False, 1000), (True, 1011)])
    assert str(ending.closed) == (
        "1000 (normal closure); this end sent 1011 (unexpected condition): failed"
    )


@on_each_loop
async def test_a_lost_connection_is_not_closed_cleanly(loop: Loop) -> None:
    ending = Ending(loop)
    async with loop.serving(ending.on_connection) as server:
        peer = await loop.connect(server)
        ending.may_begin.set()
        peer.reset()
        await loop.until(lambda: ending.closed)
    check(ending, False, 1006, [])


@on_memory
async def test_a_close_that_the_peer_never_answers_is_not_clean(loop: MemoryLoop) -> None:
    ending = Ending(loop)
    async with loop.serving(ending.on_connection) as server:
        peer = await loop.connect(server)
        peer.answers_close = False
        await loop.until(lambda: ending.client)
        assert ending.client is not None
        closing = loop.spawn(ending.client.close())
        await loop.settle()
        with pytest.raises(ConnectionClosedOK, match=r"^1000"):  # so far
            await ending.client.writer.send("x")
        await peer.frame()
        await loop.advance(30)
        await closing.wait()
        ending.may_begin.set()
        await loop.until(lambda: ending.closed)
    check(ending, False, 1006, [(True, 1000)])


@on_each_loop
async def test_a_reader_raises_the_same(loop: Loop) -> None:
    caught: list[ConnectionClosed] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            for _ in range(2):
                try:
                    await reader.get()
                except ConnectionClosed as closed:
                    caught.append(closed)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        peer.part("half")
        peer.close(1001, "leaving")
        assert await peer.closed() == (1001, "leaving")
    assert [type(one) for one in caught] == [ConnectionClosedOK] * 2
    assert caught[1].close_frames == (CloseFrame(False, Reasons.GOING_AWAY, "leaving"),)
