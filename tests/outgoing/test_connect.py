"""`async with connect(...)`: what is asked, and what the client can do."""

import sys
from collections.abc import AsyncIterator
from importlib.metadata import version

import pytest

from kit.connecting import connecting, failure, uri_of
from kit.frames import Parsed
from kit.loops import Loop, MemoryLoop, echo, on, on_each_loop, on_memory
from kit.raw_server import CLOSE_1000, End
from wscore import DataType, Deflate, Reasons, Response
from wscore.extensions import Parameters
from wscore.extensions.deflate import Inflater, NegotiatedDeflate
from wstransports import Client, ConnectionClosed, HandshakeError, WebSocketReader, connect
from wstransports.receiving.buffer import Buffer


async def asked(loop: Loop, target: str = "/", userinfo: str = "", **options: object) -> list[str]:
    """The lines of the request that `connect` sends."""
    heads: list[bytes] = []

    async def talk(end: End) -> None:
        heads.append(await end.accept())

    async with loop.listening(talk) as raw:
        uri = f"ws://{userinfo}127.0.0.1:{raw.port}{target}"
        async with connect(uri, close_timeout=0.01, **options) as client:  # type: ignore[arg-type]
            assert client.state.name == "OPEN"
            raw.ends[0].pipe.abort()
            with pytest.raises(ConnectionClosed):
                await client.receive()
    [head] = heads
    lines = head.decode("latin-1").split("\r\n")
    return [line.replace(f":{raw.port}", ":PORT") for line in lines]


# What is asked.


@on_each_loop
async def test_the_request(loop: Loop) -> None:
    lines = await asked(loop, "/chat?room=1&x=%20", compression=None)
    assert lines[0] == "GET /chat?room=1&x=%20 HTTP/1.1"
    names = sorted(line.partition(": ")[0].lower() for line in lines[1:] if line)
    assert names == [
        *("connection", "host", "sec-websocket-key", "sec-websocket-version", "upgrade"),
        "user-agent",
    ]
    assert "Host: 127.0.0.1:PORT" in lines
    python = ".".join(map(str, sys.version_info[:2]))
    assert f"User-Agent: Python/{python} wstransports/{version('wstransports')}" in lines


@on_memory
async def test_the_user_agent_can_be_replaced_or_left_out(loop: MemoryLoop) -> None:
    for options, sent in (
        ({"user_agent_header": "robot/1"}, ["User-Agent: robot/1"]),
        ({"headers": {"user-agent": "robot/2"}}, ["user-agent: robot/2"]),
        ({"headers": {"user-agent": "robot/3"}, "user_agent_header": "x"}, ["user-agent: robot/3"]),
        ({"user_agent_header": None}, []),
    ):
        lines = await asked(loop, **options)
        assert [line for line in lines if line.lower().startswith("user-agent")] == sent
    with pytest.raises(ValueError, match="the value of header User-Agent has line breaks"):
        connect("ws://h/", user_agent_header="a\r\nb: c")


@pytest.mark.parametrize("size", [300, 100_000])
@on_each_loop
async def test_the_limits_of_the_responses_head_are_settings(loop: Loop, size: int) -> None:
    async def talk(end: End) -> None:
        await end.accept(headers=b"X: " + b"y" * (size - 200) + b"\r\n" + b"Y: z\r\n" * 10)

    async with loop.listening(talk) as raw:
        uri = f"ws://127.0.0.1:{raw.port}/"
        error = await failure(connect(uri, max_head_size=size // 2))
        assert f"the head is longer than {size // 2} bytes" in str(error)
        error = await failure(connect(uri, max_head_size=size * 2, max_head_fields=13))
        assert "the head has more than 13 header lines" in str(error)
        async with connect(
            uri, max_head_size=size * 2, max_head_fields=14, close_timeout=0.01
        ) as client:
            assert client.response is not None
            assert client.response.headers["Y"].startswith("z, z")
            raw.ends[-1].pipe.abort()


@on_memory
async def test_headers_cookies_and_origin_are_sent(loop: MemoryLoop) -> None:
    lines = await asked(
        loop,
        headers=[("Cookie", "a=1; b=2"), ("X-Twice", "1"), ("X-Twice", "2")],
        origin="https://example.com",
        subprotocols=["chat.v2", "chat.v1"],
    )
    assert "Cookie: a=1; b=2" in lines
    assert [line for line in lines if line.startswith("X-")] == ["X-Twice: 1", "X-Twice: 2"]
    assert "Origin: https://example.com" in lines
    assert "Sec-WebSocket-Protocol: chat.v2, chat.v1" in lines


@on_memory
@pytest.mark.parametrize(
    ("userinfo", "sent"),
    [
        ("user:secret@", "Basic dXNlcjpzZWNyZXQ="),
        ("user@", "Basic dXNlcjo="),
        # "a@b" and "p:w/é" in UTF-8: decoded, then encoded
        ("a%40b:p%3Aw%2F%C3%A9@", "Basic YUBiOnA6dy/DqQ=="),
    ],
)
async def test_user_and_password_go_into_a_header(
    loop: MemoryLoop, userinfo: str, sent: str
) -> None:
    lines = await asked(loop, userinfo=userinfo)
    assert f"Authorization: {sent}" in lines
    assert "Host: 127.0.0.1:PORT" in lines


@on_memory
async def test_compression_is_offered_unless_it_is_off(loop: MemoryLoop) -> None:
    lines = await asked(loop)
    [offer] = [line for line in lines if line.startswith("Sec-WebSocket-Extensions: ")]
    assert "permessage-deflate" in offer
    assert "permessage-deflate" not in "".join(await asked(loop, compression=None))


@on_each_loop
async def test_what_was_agreed_on(loop: Loop) -> None:
    async with (
        loop.serving(echo, subprotocols=["v1", "v2"]) as server,
        connecting(
            server, "/a?b", subprotocols=["v2", "v3"], headers={"X-Me": "1"}, compression=None
        ) as client,
    ):
        assert client.subprotocol == "v2"
        assert (client.request.path, client.request.query) == ("/a", "b")
        assert client.request.headers["x-me"] == "1"
        assert client.response is not None
        assert client.response.status == 101
        assert client.response.headers["Sec-WebSocket-Protocol"] == "v2"
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        if loop.has_addresses:
            assert (client.addr, client.port) == ("127.0.0.1", server.port)


# What the client can do.


@on_each_loop
async def test_a_client_talks(loop: Loop) -> None:
    async with loop.serving(echo) as server, connecting(server) as client:
        assert client.state.name == "OPEN"
        await client.writer.send("hello")
        assert await client.receive() == "hello"
        await client.writer.send(b"\0\1")
        assert await client.receive() == b"\0\1"
        big = "compressed " * 10_000
        await client.writer.send(big)
        assert await client.receive() == big
    assert client.state.name == "CLOSED"
    with pytest.raises(ConnectionClosed) as caught:
        await client.writer.send("too late")
    assert caught.value.code is Reasons.NORMAL
    assert caught.value.client is client


@on_each_loop
async def test_callbacks(loop: Loop) -> None:
    reported: list[object] = []
    all_told = loop.signal()

    async def on_connection(server_side: Client) -> None:
        @server_side.message
        async def on_message(reader: WebSocketReader) -> None:
            await server_side.writer.send(await reader.get())
            await server_side.writer.ping(b"are you there?")
            await server_side.writer.pong(3, b"yes")

        @server_side.pong
        async def on_pong(payload: bytes, length: int) -> None:
            reported.append(("answer", payload, length))
            await server_side.close(Reasons.GOING_AWAY, "enough")

    async with loop.serving(on_connection) as server, connecting(server) as client:

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            reported.append((reader.data_type, await reader.get()))

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            reported.append(("ping", payload, length))
            await client.writer.pong(length, payload)

        @client.pong
        async def on_pong(payload: bytes, length: int) -> None:
            reported.append(("pong", payload, length))

        @client.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            reported.append((code, reason))
            all_told.set()

        await client.writer.send("hello")
        await all_told.wait()
    # Pings and pongs are a sequence apart from that of the messages, and the server's is its own.
    reported.remove((DataType.TEXT, "hello"))
    reported.remove(("answer", b"are you there?", 14))
    assert reported == [
        ("ping", b"are you there?", 14),
        ("pong", b"yes", 3),
        (Reasons.GOING_AWAY, "enough"),
    ]


@on_each_loop
async def test_pings_are_answered_by_themselves(loop: Loop) -> None:
    async def talk(end: End) -> None:
        await end.accept(b"\x89\x02hi")
        assert (await end.frame())[:2] == (0x8A, b"hi")
        await end.close()

    async with loop.listening(talk) as raw, connect(raw.uri) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        assert caught.value.code is Reasons.NORMAL


@on_each_loop
async def test_async_for_ends_when_the_server_closes_in_good_order(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        for number in range(3):
            await client.writer.send(f"{number}")
        await client.close()

    async with loop.serving(on_connection) as server, connecting(server) as client:
        assert [message async for message in client] == ["0", "1", "2"]


@on_each_loop
async def test_messages_right_after_the_handshake_are_not_lost(loop: Loop) -> None:
    """Nor when the server leaves at once, and the reader comes late."""

    async def talk(end: End) -> None:
        await end.accept(b"\x81\x01a\x82\x01b" + CLOSE_1000)
        assert (await end.frame())[:2] == (0x88, b"\x03\xe8")
        end.pipe.close()

    async with loop.listening(talk) as raw:
        async with connect(raw.uri) as client:
            assert await client.receive() == "a"
            assert await client.receive() == b"b"
            with pytest.raises(ConnectionClosed):
                await client.receive()
        got: list[object] = []
        async with connect(raw.uri) as client:
            over = loop.signal()

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                got.append(await reader.get())

            @client.closed
            async def on_closed(code: Reasons | int, reason: str) -> None:
                got.append(code)
                over.set()

            await over.wait()
        assert got == ["a", b"b", Reasons.NORMAL]


@on_each_loop
async def test_fragments_and_feed(loop: Loop) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with loop.serving(echo) as server, connecting(server) as client:
        async with client.writer.fragment() as stream:
            await stream.send("Hello ")
            await stream.send("World!")
        assert await client.receive() == "Hello World!"
        await client.writer.feed(pieces())
        assert await client.receive() == b"one two"
        buffer = Buffer()
        await buffer.write(b"from a buffer")
        buffer.feed_eof()
        await client.writer.feed(buffer)
        assert await client.receive() == b"from a buffer"


@on_each_loop
async def test_a_reader_is_fed_on_as_it_arrives(loop: Loop) -> None:
    """The client is the echo, and the server the one that asks."""
    answers: list[object] = []
    over = loop.signal()

    async def on_connection(server_side: Client) -> None:
        for message in ("short", b"x" * 300_000):
            await server_side.writer.send(message, compress=False)
            answers.append(await server_side.receive() == message)
        over.set()

    async with loop.serving(on_connection) as server, connecting(server) as client:

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.feed(reader)

        await over.wait()
    assert answers == [True, True]


@on_each_loop
async def test_each_frame_has_a_mask_of_its_own(loop: Loop) -> None:
    """RFC 6455 section 5.3: unpredictable, chosen again for each frame."""
    frames: list[Parsed] = []
    count = 20

    async def talk(end: End) -> None:
        await end.accept()
        for _ in range(count):
            frames.append(await end.parsed())
        end.write(b"\x81\x02ok")
        await end.close()

    async with loop.listening(talk) as raw, connect(raw.uri) as client:
        for number in range(count):
            await client.writer.send("same" if number % 2 else "same, but longer" * 10)
        assert await client.receive() == "ok"
    assert {one.frame.payload for one in frames} == {b"same", b"same, but longer" * 10}
    assert len({one.key for one in frames}) == count


@on_memory
async def test_keepalive_pings_a_silent_server_and_gives_up(loop: MemoryLoop) -> None:
    reported: list[object] = []
    frames: list[tuple[int | bytes, ...]] = []

    async def talk(end: End) -> None:
        await end.accept()
        first, payload, *_ = await end.frame()
        frames.append((first, payload))
        end.write(bytes([0x8A, len(payload)]) + payload)
        frames.append((await end.frame())[:2])
        await end.gone()

    async with loop.listening(talk) as raw, connect(raw.uri, timeout=60) as client:

        @client.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            reported.append((code, reason, loop.now()))

        await loop.advance(29)
        assert not frames
        await loop.advance(1)  # its ping, and the server's pong
        assert [first for first, _ in frames] == [0x89]
        assert client.latency == 0
        await loop.advance(30)  # the next one, which is not answered
        assert client.state.name == "OPEN"
        await loop.advance(30)
        assert [first for first, _ in frames] == [0x89, 0x89]
        assert raw.ends[0].lost
    assert reported == [(Reasons.ABNORMAL_CLOSE, "keepalive: nothing was received for 60 s", 90)]


@on_each_loop
async def test_what_the_server_may_not_send_fails_the_connection(loop: Loop) -> None:
    async def talk(end: End) -> None:
        await end.accept(b"\x81\x80abcd")  # a server must not mask
        first, payload, *_ = await end.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xea")
        end.pipe.close()

    async with loop.listening(talk) as raw, connect(raw.uri) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        assert caught.value.code is Reasons.PROTOCOL_ERROR


# The block's end.


@on_each_loop
async def test_the_blocks_end_closes_with_1000(loop: Loop) -> None:
    reported: list[object] = []
    over = loop.signal()

    async def on_connection(server_side: Client) -> None:
        @server_side.closed
        async def on_closed(code: Reasons | int, reason: str) -> None:
            reported.append((code, reason))
            over.set()

    async with loop.serving(on_connection) as server:
        connection = connecting(server)
        async with connection as client:

            @client.closed
            async def on_closed(code: Reasons | int, reason: str) -> None:
                reported.append(("ours", code, reason))

        assert client.state.name == "CLOSED"
        await over.wait()
        assert set(reported) == {("ours", Reasons.NORMAL, ""), (Reasons.NORMAL, "")}
        assert len(reported) == 2
        with pytest.raises(RuntimeError, match="async with"):
            await connection.__aexit__(None, None, None)


@on_each_loop
@pytest.mark.parametrize(
    ("last", "code"),
    [
        (b"\x88\x02\x0b\xb8", 3000),  # the server's Close
        (b"\x83\x00", 1002),  # no frame there is
        (b"\x81\x01\xff", 1007),  # no UTF-8
    ],
)
async def test_the_blocks_end_answers_what_came_before(loop: Loop, last: bytes, code: int) -> None:
    """Even where nobody has looked at it, and where somebody waits to send."""
    answers: list[tuple[int, bytes]] = []

    waiting = loop.signal()

    async def talk(end: End) -> None:
        await end.accept(b"\x81\x06unread")
        await waiting.wait()
        end.write(last)
        while (frame := (await end.frame())[:2])[0] != 0x88:
            assert frame == (0x01, b"part")
        answers.append((frame[0], frame[1][:2]))
        end.pipe.close()

    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await stream.send("another")
            await loop.signal().wait()

    async with loop.listening(talk) as raw:
        async with connect(raw.uri) as client:
            parting = loop.spawn(part(client))
            await loop.until(lambda: client._session.outbox.lock.holder)
            sending = loop.spawn(client.writer.send("after"))
            await loop.until(lambda: client._session.outbox.lock._waiting)
            waiting.set()
            await loop.until(lambda: client.state.name == "CLOSING")
        with pytest.raises(ConnectionClosed):
            await sending.wait()
        parting.cancel()
        with pytest.raises(loop.cancelled):
            await parting.wait()
    assert answers == [(0x88, code.to_bytes(2))]


@on_each_loop
async def test_an_exception_in_the_block_closes_too(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        with pytest.raises(ZeroDivisionError):
            async with connecting(server) as client:
                raise ZeroDivisionError
        assert client.state.name == "CLOSED"
        await loop.until(lambda: not server.clients)


@on_each_loop
async def test_a_block_may_follow_another(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        connection = connecting(server)
        for _ in range(2):
            async with connection as client:
                await client.writer.send("hello")
                assert await client.receive() == "hello"
                with pytest.raises(RuntimeError, match="entered already"):
                    await connection.__aenter__()


@on("memory", "asyncio", "uvloop")  # a task of trio's may not leave what another entered
async def test_two_tasks_do_not_enter_one_block(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        connection = connecting(server)
        first, second = (loop.spawn(connection.__aenter__()) for _ in range(2))
        with pytest.raises(RuntimeError, match="entered already"):
            await second.wait()
        await first.wait()
        await connection.__aexit__(None, None, None)


@on_each_loop
async def test_a_block_that_could_not_be_entered_may_be_tried_again(loop: Loop) -> None:
    busy = iter([Response(503), None])
    async with loop.serving(echo, process_request=lambda request: next(busy)) as server:
        connection = connecting(server)
        with pytest.raises(HandshakeError):
            await connection.__aenter__()
        async with connection as client:
            await client.writer.send("hello")


@on_memory
async def test_a_server_that_never_answers_our_close_is_waited_for_in_bounds(
    loop: MemoryLoop,
) -> None:
    closes: list[bytes] = []

    async def talk(end: End) -> None:
        await end.accept()
        closes.append((await end.frame()).payload)

    async def use(uri: str) -> None:
        async with connect(uri, close_timeout=7) as client:
            await client.writer.send("")
            clients.append(client)

    clients: list[Client] = []
    async with loop.listening(lambda end: talk(end)) as raw:
        using = loop.spawn(use(raw.uri))
        await loop.settle()
        await loop.advance(6.9)
        assert not using.done
        await loop.advance(0.1)
        assert using.done
        await using.wait()
        assert raw.ends[0].lost
        assert clients[0].state.name == "CLOSED"


@on_memory
async def test_a_callback_that_runs_on_is_cancelled_in_the_end(loop: MemoryLoop) -> None:
    cancelled: list[float] = []

    async def use(uri: str) -> None:
        async with connect(uri, close_timeout=5) as client:

            @client.message
            async def on_message(reader: WebSocketReader) -> None:
                try:
                    await loop.signal().wait()
                except loop.cancelled:
                    cancelled.append(loop.now())
                    raise

            await client.writer.send("go on")
            await loop.until(lambda: client._session.inbox._workers)

    async with loop.serving(echo) as server:
        using = loop.spawn(use(f"ws://127.0.0.1:{server.port}"))
        await loop.settle()
        assert not using.done
        await loop.advance(5)
        assert using.done
        await using.wait()
    assert cancelled == [5]


# An extension that raises, or zlib for want of memory.


def one_error(caplog: pytest.LogCaptureFixture) -> BaseException | None:
    [record] = caplog.records
    assert "dropped because of an error in handling the connection" in record.getMessage()
    assert record.exc_info
    return record.exc_info[1]


@on_each_loop
async def test_an_extension_that_cannot_decode(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A receiver gets the error, and the block ends as ever."""

    def decode(self: Inflater, data: bytes, last: bool, most: int) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Inflater, "decode", decode)
    async with loop.serving(echo) as server, connecting(server) as client:
        await client.writer.send("x" * 2000, compress=False)  # its echo is compressed
        with pytest.raises(ConnectionClosed, match="1006"):
            await client.receive()
    assert isinstance(one_error(caplog), MemoryError)


@on_each_loop
async def test_an_extension_that_cannot_agree(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def agree(self: Deflate, answer: Parameters) -> NegotiatedDeflate:
        raise MemoryError

    monkeypatch.setattr(Deflate, "agree", agree)
    async with loop.serving(echo) as server:
        error = await failure(connecting(server))
        assert isinstance(error, ConnectionResetError)
        assert f"{uri_of(server)}: the opening handshake failed: " in str(error)
    assert isinstance(one_error(caplog), MemoryError)
