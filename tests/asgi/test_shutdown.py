"""How the connections of a server that stops end, and those of clients that are silent."""

import pytest
from serving_app import ACCEPT, serving, take_one, text, ticking

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.asgi.application import Message, Receive, Send
from wstransports.asgi.exchange import ClientDisconnected
from wstransports.asgi.scope import Scope

on_loops = on("memory", "asyncio", "trio")


@on_loops
async def test_a_request_without_an_answer_is_refused(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.extend([await receive(), await receive()])
        with pytest.raises(ClientDisconnected):
            await send(ACCEPT)

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        await loop.until(lambda: served.exchanges and served.exchanges[0]._connect_taken)
        served.exchanges[0].shutdown()
        response = await peer.answer()
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert events[1] == {"type": "websocket.disconnect", "code": 1006}


@on_loops
async def test_a_client_is_closed_with_1012(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        events.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send(text("too late"))

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        await peer.nothing()
        served.exchanges[0].shutdown()
        served.exchanges[0].shutdown()
        assert await peer.closed() == (1012, "")
    assert events == [{"type": "websocket.disconnect", "code": 1012}]


@pytest.mark.parametrize("ends", [False, True])
@on_loops
async def test_1012_follows_the_answer_to_a_message_that_is_being_handled(
    loop: Loop, ends: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        asked.append(await receive())
        await may_answer.wait()
        await send(text("answer"))
        if not ends:
            asked.append(await receive())

    asked: list[Message] = []
    may_answer = loop.signal()
    async with serving(loop, app) as served:
        peer = await served.connect()
        with peer.in_one_write():
            peer.send("question")
            peer.send("another")
        await loop.until(lambda: asked)
        served.exchanges[0].shutdown()
        await peer.nothing()
        may_answer.set()
        assert await peer.message() == "answer"
        assert await peer.closed() == (1012, "")
    assert asked[1:] == [{"type": "websocket.disconnect", "code": 1012}][ends:]


@on_memory
async def test_1012_follows_after_half_a_second_at_the_latest(loop: MemoryLoop) -> None:
    async with serving(loop, ticking(loop, 0.4)) as served:
        peer = await served.connect()
        peer.send("begin")
        await loop.settle()
        served.exchanges[0].shutdown()
        await loop.advance(0.45)
        assert [await peer.message(), await peer.message()] == ["tick", "tick"]
        await loop.advance(0.1)
        assert await peer.closed() == (1012, "")
        await loop.advance(1)


@on_memory
async def test_a_stopping_server_shortens_the_time_after_a_client_s_close(loop: MemoryLoop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await take_one(scope, receive, send)
        await loop.runtime.sleep(3)

    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.send("begin")
        peer.close(4000)
        await loop.settle()
        served.exchanges[0].shutdown()
        await loop.advance(0.4)
        assert not peer.frames
        await loop.advance(0.2)
        assert await peer.closed() == (4000, "")
        await loop.advance(3)


@on_memory
async def test_a_client_that_does_not_answer_is_dropped(loop: MemoryLoop) -> None:
    async with serving(loop, take_one) as served:
        peer = await served.connect()
        peer.answers_close = peer.answers_eof = False
        served.exchanges[0].shutdown()
        await loop.advance(1.9)
        assert not served.exchanges[0].over
        await loop.advance(0.2)
        assert served.exchanges[0].over


# Silent clients.


@on_memory
async def test_ping_interval_and_timeout(loop: MemoryLoop, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app, timeout=25, ping_interval=20) as served:
        peer = await served.connect()
        await loop.advance(19.9)
        assert not peer.frames
        await loop.advance(0.2)
        assert (await peer.frame()).first == 0x89
        await loop.advance(4.7)
        assert not events
        await loop.advance(0.3)
    reason = "keepalive: nothing was received for 25 s"
    assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": reason}]
    assert log.lines() == [f"dropped, {reason}"]


@on_memory
async def test_no_keepalive(loop: MemoryLoop) -> None:
    async with serving(loop, take_one) as served:
        peer = await served.connect()
        await loop.advance(10_000)
        await peer.nothing()
