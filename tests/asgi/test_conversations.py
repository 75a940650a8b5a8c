"""What an application gets of its connection, and what the client gets of the application."""

from typing import Any, cast

import pytest
from serving_app import ACCEPT, CLOSE, serving, text

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on, on_memory
from wstransports.asgi.application import Message, Receive, Send
from wstransports.asgi.exchange import ClientDisconnected
from wstransports.asgi.scope import Scope

pytestmark = pytest.mark.usefixtures("log")

on_loops = on("memory", "asyncio", "trio")


async def accepted(receive: Receive, send: Send) -> None:
    """Accepts."""
    assert await receive() == {"type": "websocket.connect"}
    await send(ACCEPT)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each message back."""
    await accepted(receive, send)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def disconnected(code: int, reason: str | None = "") -> Message:
    """The event of a client that has left; the reason is missing where there was no Close."""
    event = {"type": "websocket.disconnect", "code": code}
    return event if reason is None else {**event, "reason": reason}


@on_loops
async def test_what_it_learns_of_the_request(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await accepted(receive, send)

    scopes: list[dict[str, Any]] = []
    async with serving(loop, app, root_path="/api", asgi_version="2.0") as served:
        headers = [("Cookie", "a=b: c"), ("X-Some", "1"), ("X-Some", "\xe9")]
        target = "/caf%C3%A9/%2F?q=%20x&y"
        peer = await served.connect(target=target, headers=headers, subprotocols=["v2", "v1"])
        assert await peer.closed() == (1000, "")
        ours = f"{served.addr}:{served.port}".encode()
    [scope] = scopes
    key = scope["headers"].pop(3)
    assert key[0] == b"sec-websocket-key"
    server, client = scope.pop("server"), scope.pop("client")
    if loop.has_addresses:
        assert server == (served.addr, served.port)
        assert client[0] == "127.0.0.1"
        assert client[1] > 0
    else:
        assert server is client is None
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "2.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "root_path": "/api",
        "path": "/api/café//",
        "raw_path": b"/api/caf%C3%A9/%2F",
        "query_string": b"q=%20x&y",
        "headers": [
            (b"host", ours),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"v2, v1"),
            (b"cookie", b"a=b: c"),
            (b"x-some", b"1"),
            (b"x-some", b"\xe9"),
        ],
        "subprotocols": ["v2", "v1"],
        "state": {"of": "the lifespan"},
        "extensions": {"websocket.http.response": {}},
    }


@on_loops
async def test_messages_of_both_types_both_ways(loop: Loop) -> None:
    async with serving(loop, echo) as served:
        peer = await served.connect()
        for message in "text ☺", b"\x00\xff", "", b"", "x" * 70_000:
            peer.send(message)
            assert await peer.message() == message


@pytest.mark.parametrize(
    ("leave", "event"),
    [
        (lambda peer: peer.close(4001, "enough"), disconnected(4001, "enough")),
        (lambda peer: peer.close(None), disconnected(1005)),
        (lambda peer: peer.end(), disconnected(1006, "the peer disconnected without a Close")),
        (lambda peer: peer.raw(b"\x83\x80abcd"), disconnected(1002, "unknown opcode 3")),
    ],
    ids=["Close", "Close without a code", "end", "violation"],
)
@on_loops
async def test_how_the_client_leaves(loop: Loop, leave: Any, event: Message, log: Log) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        events.extend([await receive(), await receive(), await receive()])
        with pytest.raises(ClientDisconnected):
            await send(text("too late"))

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.send("last")
        leave(peer)
        await loop.until(lambda: len(events) == 3)
    assert events == [{"type": "websocket.receive", "text": "last"}, event, event]
    violation = event["code"] == 1002
    assert log.lines() == ["failed with 1002, unknown opcode 3"] * violation


@on("asyncio", "trio")  # in memory there is no reset
async def test_a_client_that_is_lost_before_the_answer(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        events.extend([await receive(), await receive()])
        for message in (ACCEPT, CLOSE, text("x"), {"type": "websocket.http.response.start"}):
            with pytest.raises(ClientDisconnected):
                await send(message)

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        await loop.until(lambda: served.exchanges)
        peer.reset()
        await loop.until(lambda: len(events) == 2)
    assert events == [{"type": "websocket.connect"}, disconnected(1006, None)]
    assert served.exchanges[0].answers == []


@on_loops
async def test_what_comes_before_the_answer_waits_for_it(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        core: Any = served.exchanges[0]._session.core
        await loop.until(lambda: core._handshake.trailing_data)
        await send(ACCEPT)
        await send({**await receive(), "type": "websocket.send"})

    async with serving(loop, app) as served:
        peer = await served.dial()
        peer.raw(b"\x81\x82abcd" + bytes([ord("h") ^ ord("a"), ord("i") ^ ord("b")]))
        assert (await peer.answer()).status == 101
        assert await peer.message() == "hi"
        assert await peer.closed() == (1000, "")


@on_memory
async def test_a_request_for_something_else(loop: Loop) -> None:
    async with serving(loop, echo) as served:
        peer = await loop.dial(cast(Any, served))
        peer.raw(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 426 ")


@on_memory
async def test_a_handshake_that_fails(loop: Loop, log: Log) -> None:
    async with serving(loop, echo) as served:
        peer = await loop.dial(cast(Any, served))
        peer.raw(b"hello\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 400 ")
        [exchange] = served.exchanges
        assert exchange.is_client(exchange)
        assert not exchange.is_client(None)
    assert log.lines() == ["handshake failed: this is not an HTTP/1.1 request"]


# Accepting.


@on_loops
async def test_subprotocol_and_headers(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**ACCEPT, "subprotocol": "v1", "headers": [(b"x-two", b"\xe9")]})

    async with serving(loop, app, headers=lambda: [(b"x-one", b"1")]) as served:
        peer = await served.connect(subprotocols=["v2", "v1"])
        assert peer.subprotocol == "v1"
        assert peer.head.endswith(b"x-one: 1\r\nx-two: \xe9")
    assert served.exchanges[0].answers == ["[accepted]"]


@on_loops
async def test_the_subprotocol_as_a_header(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**ACCEPT, "headers": [(b"Sec-WebSocket-Protocol", b"v1")]})

    async with serving(loop, app) as served:
        peer = await served.connect(subprotocols=["v2", "v1"])
        assert peer.subprotocol == "v1"


MISTAKES: list[tuple[Message, str]] = [
    ({"subprotocol": "v3"}, r"the client did not offer the subprotocol 'v3': choose from \['v1'"),
    ({"headers": [(b"upgrade", b"x")]}, "the handshake writes the upgrade header itself"),
    ({"headers": [(b"x", b"a\r\nb")]}, "the value of header x has line breaks"),
    ({"headers": [("x", "y")]}, "headers must be a list of .* pairs of bytes"),
    ({"headers": [b"x"]}, "headers must be a list of .* pairs of bytes"),
    ({"headers": 3}, "headers must be a list of .* pairs of bytes"),
]


@pytest.mark.parametrize(("message", "says"), MISTAKES, ids=[says for _, says in MISTAKES])
@on_memory
async def test_after_a_mistake_it_may_accept_as_it_should(
    loop: Loop, message: Message, says: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises((ValueError, TypeError), match=says):
            await send({**ACCEPT, **message})
        await send(ACCEPT)

    async with serving(loop, app) as served:
        peer = await served.connect(subprotocols=["v1"])
        assert peer.subprotocol is None


@pytest.mark.parametrize(
    ("message", "error", "says"),
    [
        ({}, ValueError, r"an ASGI event needs 'type', but has only \[\]: add it"),
        ({"text": "x"}, ValueError, r"an ASGI event needs 'type', but has only \['text'\]"),
        (None, TypeError, "an ASGI event is a dict with a 'type', not NoneType"),
        (
            {"type": "websocket.http.response.start", "headers": []},
            ValueError,
            r"websocket\.http\.response\.start needs 'status', but has only \['headers', 'type'\]",
        ),
    ],
)
@on_memory
async def test_an_event_without_what_it_needs(
    loop: Loop, message: Any, error: type[Exception], says: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(error, match=says):
            await send(message)
        await send(ACCEPT)
        if "type" not in (message or {}):
            with pytest.raises(error, match=says):
                await send(message)
        await send(text("as it should be"))

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.message() == "as it should be"


# Sending.


@pytest.mark.parametrize(
    "message", [{}, {"text": b"x"}, {"bytes": "x"}, {"text": 3}, {"text": None, "bytes": None}]
)
@on_memory
async def test_what_is_not_a_message(loop: Loop, message: Message) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        with pytest.raises(TypeError, match="must have bytes as 'bytes' or a str as 'text'"):
            await send({"type": "websocket.send", **message})
        await send({"type": "websocket.send", "bytes": b"bytes", "text": None})
        await send({"type": "websocket.send", "bytes": None, "text": "text"})

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert [await peer.message(), await peer.message()] == [b"bytes", "text"]


@on_loops
async def test_a_slow_client_holds_up_its_application_alone(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        with pytest.raises(ClientDisconnected):
            while True:
                await send({"type": "websocket.send", "bytes": bytes(100_000)})
                sent.append(1)

    sent: list[int] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.stop_reading()
        await loop.until(lambda: served.exchanges[0]._session.pipe.full)
        before = len(sent)
        for _ in range(100):
            await loop.checkpoint()
        assert len(sent) <= before + 1
        peer.reset()


@on_memory
async def test_the_answers_to_one_read_leave_in_few_writes(
    loop: MemoryLoop, unhurried: None
) -> None:
    async with serving(loop, echo) as served:
        peer = await served.connect()
        await peer.nothing()
        reads = peer.reads
        with peer.in_one_write():
            for number in range(64):
                peer.send(str(number))
        assert [await peer.message() for _ in range(64)] == [str(n) for n in range(64)]
        assert peer.reads - reads <= 2  # the last has none after it, and may leave alone


# Closing.


@pytest.mark.parametrize(
    ("message", "closed"),
    [
        ({}, (1000, "")),
        ({"code": None}, (1000, "")),
        ({"code": 4000, "reason": None}, (4000, "")),
        ({"code": 3999, "reason": "é" * 62}, (3999, "é" * 61)),
        ({"code": 1001, "reason": "x" * 124}, (1001, "x" * 123)),
        ({"code": 1001, "reason": "x" * 121 + "☺"}, (1001, "x" * 121)),
    ],
)
@on_memory
async def test_it_closes(loop: Loop, message: Message, closed: tuple[int, str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        await send({**CLOSE, **message})
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.closed() == closed
    assert events == [disconnected(*closed)]


@on_memory
async def test_a_code_and_a_reason_that_must_not_be_sent(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        for code in (1005, 1006, 999, "1000"):
            with pytest.raises(ValueError, match=f"{code} must not be sent in a Close"):
                await send({**CLOSE, "code": code})
        with pytest.raises(TypeError, match="a close reason must be a str, not bytes"):
            await send({**CLOSE, "reason": b"enough"})
        await send(text("still open"))

    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.message() == "still open"


@on_loops
async def test_close_before_accept_is_a_403(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(CLOSE)
        events.append(await receive())

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.dial()
        assert (await peer.answer()).status == 403
        await peer.eof()
    assert events == [disconnected(1006, None)]
    assert served.exchanges[0].answers == ["403"]


@on_loops
async def test_a_task_that_waits_for_a_message_sees_the_close_of_another(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        waiting = loop.spawn(receive())
        await loop.checkpoint()
        await send({**CLOSE, "code": 4002})
        events.append(await waiting.wait())

    events: list[Message] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        peer.answers_close = False
        await loop.until(lambda: events)
    assert events == [disconnected(4002)]


# Several receivers.


@on_loops
async def test_each_event_goes_to_one_of_the_tasks_that_wait(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        waiting = [loop.spawn(receive()) for _ in range(2)]
        await loop.checkpoint()
        await send(ACCEPT)
        waiting += [loop.spawn(receive()) for _ in range(5)]
        for task in waiting:
            events.append(await task.wait())

    events: list[Any] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        for number in range(3):
            peer.send(str(number))
        peer.close(4000)
        await loop.until(lambda: len(events) == 7)
    assert events.count({"type": "websocket.connect"}) == 1
    assert sorted(event["text"] for event in events if "text" in event) == ["0", "1", "2"]
    assert events.count(disconnected(4000)) == 3


@on_loops
async def test_a_cancelled_receiver_loses_nothing(loop: Loop) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await accepted(receive, send)
        first, second = loop.spawn(receive()), loop.spawn(receive())
        third = loop.spawn(receive())
        await loop.checkpoint()
        for task in (second, first):
            task.cancel()
            with pytest.raises(loop.cancelled):
                await task.wait()
        await send(text("cancelled"))
        events.append(await third.wait())

    events: list[Any] = []
    async with serving(loop, app) as served:
        peer = await served.connect()
        assert await peer.message() == "cancelled"
        peer.send("for the third")
        await loop.until(lambda: events)
    assert events == [{"type": "websocket.receive", "text": "for the third"}]
