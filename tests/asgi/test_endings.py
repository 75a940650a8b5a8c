"""How a connection ends: with its application, before it, or with the server."""

import re
from typing import Any

import pytest
from serving_app import ACCEPT, BODY, START, serving, text, ticking

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.asgi.application import Message, Receive, Send
from wstransports.asgi.exchange import ClientDisconnected
from wstransports.asgi.scope import Scope

on_loops = on("memory", "asyncio", "trio")


def logged(log: Log) -> list[str]:
    """What was logged, without the connection's number, with the exceptions."""
    taken, log.records = log.records, []
    lines = []
    for record in taken:
        line = re.fullmatch(r"#\d+(?: 127\.0\.0\.1:\d+)?: (.+)", record.getMessage())
        assert line is not None, record.getMessage()
        error = record.exc_info and record.exc_info[1]
        lines.append(f"{line[1]}: {error!r}" if error else line[1])
    return lines


# The client leaves before the answer.


@on_loops
async def test_one_that_can_send_no_close_is_not_waited_for(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.extend([await receive(), await receive()])

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        peer.end()
        await loop.until(lambda: served.exchanges[0].over)
    assert events[1] == {"type": "websocket.disconnect", "code": 1006}


@on_loops
async def test_one_that_has_begun_to_read_a_denial_gets_all_of_it(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({**BODY, "more_body": True})
        await loop.until(lambda: served.exchanges[0]._session.core.input_ended)
        await send(BODY)

    async with serving(loop, app) as served:
        peer = await served.dial()
        await loop.until(lambda: served.exchanges[0].answers)
        peer.end()
        assert (await peer.answer()).body == b"nono"


# The application ends.


@on_loops
async def test_an_error_closes_with_1011(loop: Loop, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send(text("first"))
        raise ValueError("oops")

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.message() == "first"
        assert await peer.closed() == (1011, "")
    assert logged(log) == ["Exception in ASGI application: ValueError('oops')"]


@on_loops
async def test_a_return_closes_with_1000(loop: Loop, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> int:
        await send(ACCEPT)
        return 3

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.closed() == (1000, "")
    assert logged(log) == ["ASGI callable should return None, but returned '3'."]


@pytest.mark.parametrize("begins", [[], [START]])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (None, "ASGI callable returned without completing handshake."),
        (ValueError("oops"), "Exception in ASGI application: ValueError('oops')"),
    ],
    ids=["a return", "an error"],
)
@on_loops
async def test_an_end_without_an_answer_is_a_500(
    loop: Loop, begins: list[Message], error: Exception | None, line: str, log: Log
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in begins:
            await send(message)
        if error is not None:
            raise error

    async with serving(loop, app) as served:
        peer = await served.dial()
        response = await peer.answer()
        assert (response.status, response.body) == (500, b"Internal Server Error")
        await peer.eof()
    assert served.exchanges[0].answers == ["500"]
    assert logged(log) == [line]


@on_loops
async def test_an_error_in_a_response_cuts_it_off(loop: Loop, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({**BODY, "more_body": True})
        await loop.until(lambda: peer.head)
        raise ValueError("oops")

    async with serving(loop, app) as served:
        peer = await served.dial()
        while not peer.lost:
            await loop.checkpoint()
        assert peer.head.endswith(b"\r\n\r\n2\r\nno\r\n")  # and no last chunk
    assert logged(log) == ["Exception in ASGI application: ValueError('oops')"]


@pytest.mark.parametrize(
    "error", [ClientDisconnected(), ExceptionGroup("", [ClientDisconnected()])], ids=["", "group"]
)
@on_loops
async def test_that_the_client_has_left_is_not_an_error(
    loop: Loop, error: Exception, log: Log
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        raise error

    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.close(4000)
        assert await peer.closed() == (4000, "")
    assert logged(log) == []


@on_loops
async def test_another_error_in_the_group_is_one(loop: Loop, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise ExceptionGroup("two", [ClientDisconnected(), ValueError("oops")])

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.closed() == (1011, "")
    [line] = logged(log)
    assert "ValueError('oops')" in line


# A response that denies.


@on_loops
async def test_a_response_in_one_piece(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({**START, "headers": [(b"x", b"\xe9"), (b"content-length", b"99")]})
        await send(BODY)
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        response = await peer.answer()
        assert (response.status, response.body) == (401, b"no")
        assert response.headers["X"] == "\xe9"
        assert response.headers["Content-Length"] == "2"
    assert events == [{"type": "websocket.disconnect", "code": 1006}]
    assert served.exchanges[0].answers == ["401"]


@on_loops
async def test_a_response_in_pieces(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = loop.spawn(receive())
        await send(START)
        for number in range(3):
            await send({**BODY, "body": b"%d " % number, "more_body": True})
            await arrived(b"%d \r\n" % number)
        await send({"type": "websocket.http.response.body"})
        events.append(await waiting.wait())

    async def arrived(end: bytes) -> None:
        await loop.until(lambda: peer.head.endswith(end))

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        response = await peer.answer()
        assert (response.status, response.body) == (401, b"0 1 2 ")
        await peer.eof()
    assert events == [{"type": "websocket.disconnect", "code": 1006}]
    assert served.exchanges[0].answers == ["401"]


@on_loops
async def test_a_client_that_does_not_read_its_response(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        with pytest.raises(ClientDisconnected):
            while True:
                await send({**BODY, "body": bytes(100_000), "more_body": True})
        ended.append(1)

    ended: list[int] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        peer.stop_reading()
        await loop.until(lambda: served.exchanges[0]._session.pipe.full)
        peer.reset()
        await loop.until(lambda: ended)


@on_memory
async def test_a_client_that_reads_nothing_of_its_response_is_dropped(loop: MemoryLoop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        with pytest.raises(ClientDisconnected):
            while True:
                await send({**BODY, "body": bytes(100_000), "more_body": True})
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app, timeout=20) as served:
        peer = await served.dial()
        peer.stop_reading()
        await loop.advance(19)
        assert not events
        await loop.advance(2)
        assert events == [{"type": "websocket.disconnect", "code": 1006}]
        assert served.exchanges[0].over


@pytest.mark.parametrize("body", ["text", 5, None])
@on_memory
async def test_a_body_that_is_not_bytes(loop: Loop, body: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with pytest.raises(TypeError, match=r"websocket\.http\.response\.body must be bytes, not"):
            await send({**BODY, "body": body})
        await send({**BODY, "body": bytearray(b"as it should be")})

    async with serving(loop, app) as served:
        peer = await served.dial()
        assert (await peer.answer()).body == b"as it should be"


@pytest.mark.parametrize("status", [101, 99, 1000, "200"])
@on_memory
async def test_a_status_that_is_none(loop: Loop, status: Any) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises((ValueError, TypeError), match="status"):
            await send({**START, "status": status})
        await send(ACCEPT)

    async with serving(loop, app) as served:
        await served.connect()


# The client's Close.


@on_loops
async def test_answers_to_earlier_messages_precede_the_close(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while (event := await receive())["type"] == "websocket.receive":
            await loop.checkpoint()
            await send(text(event["text"]))

    async with serving(loop, app) as served:
        peer = await served.connect()
        with peer.in_one_write():
            for number in range(3):
                peer.send(str(number))
            peer.close(4000, "enough")
        assert [await peer.message() for _ in range(3)] == ["0", "1", "2"]
        assert await peer.closed() == (4000, "enough")


@on_memory
async def test_an_application_that_only_sends_is_closed_at_once(loop: MemoryLoop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        with pytest.raises(ClientDisconnected):
            while True:
                await send(text("tick"))
                await loop.runtime.sleep(1)

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.message() == "tick"
        peer.close(4000)
        await loop.settle()
        assert await peer.closed() == (4000, "")
        await loop.advance(1)


@on_memory
async def test_an_application_that_has_received_has_two_seconds(loop: MemoryLoop) -> None:
    async with serving(loop, ticking(loop, 0.9)) as served:
        peer = await served.connect()
        peer.send("begin")
        peer.close(4000)
        await loop.settle()
        await loop.advance(1.9)
        assert [await peer.message() for _ in range(3)] == ["tick"] * 3
        assert not peer.frames
        await loop.advance(0.2)
        assert await peer.closed() == (4000, "")
        await loop.advance(1)


@on_memory
async def test_to_close_what_the_client_has_closed(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await loop.until(lambda: not served.exchanges[0]._session.core.may_send)
        await send({"type": "websocket.close", "code": 4000})
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.answers_eof = False
        peer.close(4001)
        await loop.until(lambda: events)
    assert events == [{"type": "websocket.connect"}]
