"""The opening handshake as the server's user sees it: requests, answers, subprotocols, origins."""

import email.utils
import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from kit.frames import masked
from kit.log import Log
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from wstransports import Client, Request, Response, WebSocketServer, http_date


@on_each_loop
async def test_the_clients_request(loop: Loop) -> None:
    requests: list[Request] = []

    async def on_connection(client: Client) -> None:
        requests.append(client.request)

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server, target="/chat?room=1", headers={"X-Token": "abc"})
        await peer.nothing()
        [request] = requests
        assert request.path == "/chat"
        assert request.query == "room=1"
        assert request.headers["x-token"] == request.headers["X-TOKEN"] == "abc"


@on_each_loop
async def test_process_request_sees_every_request(loop: Loop) -> None:
    seen: list[tuple[str, str, bool]] = []

    def process_request(request: Request) -> None:
        seen.append((request.path, request.query, request.is_upgrade))

    async with loop.serving(echo, process_request=process_request) as server:
        peer = await loop.connect(server, target="/a?b")
        peer.send("through")
        assert await peer.message() == "through"
        plain = await loop.dial(server)
        plain.raw(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
        await plain.eof()
        assert seen == [("/a", "b", True), ("/page", "", False)]


def respond(answer: Any, asynchronous: bool) -> Callable[[Request], Any]:
    """A process_request that returns the answer, or raises it."""

    def now(request: Request) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def later(request: Request) -> Any:
        return now(request)

    return later if asynchronous else now


@pytest.fixture(params=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


@on_each_loop
async def test_a_response_is_the_answer(loop: Loop, asynchronous: bool) -> None:
    answer = Response(401, {"WWW-Authenticate": "Basic"}, "who are you?")
    async with loop.serving(echo, process_request=respond(answer, asynchronous)) as server:
        peer = await loop.dial(server)
        peer.handshake()
        response = await peer.answer()
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Basic"
        assert response.headers["Connection"] == "close"
        assert response.body == b"who are you?"
        await peer.eof()
        assert not server.clients


@on_each_loop
async def test_a_page_for_an_ordinary_request(loop: Loop, asynchronous: bool) -> None:
    answer = Response(200, {"Content-Type": "text/html"}, "<p>hello")
    async with loop.serving(echo, process_request=respond(answer, asynchronous)) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 200 ")
        assert peer.head.endswith(b"\r\n\r\n<p>hello")


@on_each_loop
async def test_an_ordinary_request_that_nobody_answers_is_a_426(
    loop: Loop, asynchronous: bool
) -> None:
    async with loop.serving(echo, process_request=respond(None, asynchronous)) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 426 ")


@on_each_loop
async def test_none_goes_on(loop: Loop, asynchronous: bool) -> None:
    async with loop.serving(echo, process_request=respond(None, asynchronous)) as server:
        peer = await loop.connect(server)
        peer.send("through")
        assert await peer.message() == "through"


@on_each_loop
async def test_an_exception_is_a_500(loop: Loop, asynchronous: bool, log: Log) -> None:
    error = KeyError("mine")
    async with loop.serving(echo, process_request=respond(error, asynchronous)) as server:
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        assert b"mine" not in (await peer.answer()).body
        await peer.eof()
        assert log.tracebacks() == [("process_request raised", error)]


@pytest.mark.parametrize("answer", [200, "page", b"page", True, {"status": 200}])
@on_each_loop
async def test_anything_else_is_a_500_too(
    loop: Loop, asynchronous: bool, log: Log, answer: Any
) -> None:
    async with loop.serving(echo, process_request=respond(answer, asynchronous)) as server:
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        await peer.eof()
        [(what, error)] = log.tracebacks()
        assert what == "process_request raised"
        assert isinstance(error, TypeError)
        assert repr(answer) in str(error)


@pytest.mark.parametrize("status", [100, 101, 199])
@on_each_loop
async def test_an_answer_that_is_not_final_is_a_500_too(
    loop: Loop, asynchronous: bool, log: Log, status: int
) -> None:
    process_request = respond(Response(status), asynchronous)
    async with loop.serving(echo, process_request=process_request) as server:
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        await peer.eof()
        [(what, error)] = log.tracebacks()
        assert what == "process_request raised"
        assert str(status) in str(error)


@on_each_loop
async def test_state_is_handed_on(loop: Loop) -> None:
    async def process_request(request: Request) -> None:
        await loop.checkpoint()
        request.state.user = "ann"

    async def on_connection(client: Client) -> None:
        await client.writer.send(client.request.state.user)

    async with loop.serving(on_connection, process_request=process_request) as server:
        peer = await loop.connect(server)
        assert await peer.message() == "ann"


@on_each_loop
async def test_frames_sent_before_an_answer_that_takes_its_time_are_kept(loop: Loop) -> None:
    may_answer = loop.signal()

    async def process_request(request: Request) -> None:
        await may_answer.wait()

    async with loop.serving(echo, process_request=process_request) as server:
        peer = await loop.dial(server)
        peer.handshake()
        with peer.in_one_write():
            for number in range(600):  # more than the core handles in one go
                peer.raw(early(str(number)))
        await loop.checkpoint()
        may_answer.set()
        for number in range(600):
            assert await peer.message() == str(number)


@on_each_loop
async def test_frames_in_the_same_read_as_the_request(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        peer = await loop.dial(server)
        with peer.in_one_write():
            peer.handshake()
            peer.raw(b"".join(early(str(number)) for number in range(600)))
        for number in range(600):
            assert await peer.message() == str(number)


def early(text: str) -> bytes:
    """A message, made by hand: a ClientConnection would not send it before the answer."""
    return masked(0x81, text.encode())


@on_memory
async def test_slower_than_open_timeout_is_a_503(loop: MemoryLoop, log: Log) -> None:
    story: list[str] = []

    async def process_request(request: Request) -> None:
        try:
            await loop.runtime.sleep(100)
        except loop.cancelled:
            story.append("cancelled")
            raise

    options = {"process_request": process_request, "open_timeout": 5}
    async with loop.serving(echo, **options) as server:
        peer = await loop.dial(server)
        peer.handshake()
        await loop.advance(4.9)
        assert peer.response is None
        await loop.advance(0.2)
        assert (await peer.answer()).status == 503
        await peer.eof()
        assert story == ["cancelled"]
        assert log.lines() == [
            "handshake failed: the server did not respond to the request in time"
        ]


@on_memory
async def test_a_request_that_never_comes_whole_is_a_408(loop: MemoryLoop, log: Log) -> None:
    async with loop.serving(echo, open_timeout=5) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\n")
        for _ in range(5):  # that bytes trickle in does not help
            await loop.advance(0.99)
            peer.raw(b"X: y\r\n")
        assert not peer.at_eof
        await loop.advance(0.1)
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 408 ")
        assert log.lines() == ["handshake failed: the request did not arrive in time"]


@on_memory
async def test_without_open_timeout_there_is_all_the_time(loop: MemoryLoop) -> None:
    async with loop.serving(echo, open_timeout=0) as server:
        peer = await loop.dial(server)
        await loop.advance(100_000)
        peer.handshake()
        assert (await peer.answer()).status == 101


@on_memory
async def test_process_request_ends_with_a_lost_connection(loop: MemoryLoop, log: Log) -> None:
    """Nobody waits for the answer any more: it must not hold on to anything for longer."""
    story: list[str] = []

    async def process_request(request: Request) -> None:
        story.append("asked")
        try:
            await loop.runtime.sleep(1000)
        except loop.cancelled:
            story.append(f"cancelled at {loop.now():g}")
            raise

    async with loop.serving(echo, process_request=process_request, open_timeout=5) as server:
        peer = await loop.dial(server)
        peer.handshake()
        await loop.settle()
        peer.reset()
        await loop.advance(5)
        assert story == ["asked", "cancelled at 0"]
        assert log.lines() == [
            "handshake failed: the connection was lost during the opening handshake"
        ]


# --- Subprotocols


@pytest.mark.parametrize(
    ("spoken", "offered", "chosen"),
    [
        ([], [], None),
        ([], ["chat"], None),
        (["chat"], [], None),
        (["chat"], ["chat"], "chat"),
        (["v2", "v1"], ["v1", "v2"], "v2"),
        (["v2", "v1"], ["v1", "v0"], "v1"),
        (["v2"], ["v1"], None),
    ],
)
@on_each_loop
async def test_the_first_of_ours_that_was_offered(
    loop: Loop, spoken: list[str], offered: list[str], chosen: str | None
) -> None:
    async def on_connection(client: Client) -> None:
        await client.writer.send(json.dumps(client.subprotocol))

    async with loop.serving(on_connection, subprotocols=spoken) as server:
        peer = await loop.connect(server, subprotocols=offered)
        assert json.loads(str(await peer.message())) == chosen
        assert (await peer.answer()).headers.get("Sec-WebSocket-Protocol") == chosen


# --- Refusals


def age(response: Response) -> float:
    """The seconds since a response's one Date."""
    [date] = response.headers.get_all("Date")
    assert date.endswith(" GMT")
    return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()


@on_each_loop
async def test_every_refusal_has_a_date(loop: Loop, log: Log) -> None:
    """RFC 9110 section 6.6.1, for every refusal."""

    def process(request: Request) -> Response | None:
        if request.path == "/dated":
            return Response(404, {"date": "Sun, 06 Nov 1994 08:49:37 GMT"})
        return Response(403) if request.path == "/" else None

    async with loop.serving(process_request=process) as server:
        asked = await loop.dial(server)
        asked.handshake()
        answer = await asked.answer()
        assert (answer.status, age(answer) < 60) == (403, True)
        dated = await loop.dial(server, target="/dated")
        dated.handshake()
        assert (await dated.answer()).headers.get_all("Date") == ["Sun, 06 Nov 1994 08:49:37 GMT"]
        malformed = await loop.dial(server)
        malformed.raw(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await malformed.answer()
        assert (answer.status, age(answer) < 60) == (405, True)
    async with loop.serving(max_connections=1) as server:
        other = await loop.connect(server)
        assert "Date" not in (await other.answer()).headers
        full = await loop.dial(server)
        answer = await full.answer()
        assert (answer.status, age(answer) < 60) == (503, True)
    log.lines()


def test_the_date_is_formatted_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([784111777.0, 784111777.9, 784111778.1])
    formatted: list[float] = []

    def formatdate(seconds: float, usegmt: bool) -> str:
        formatted.append(seconds)
        return email.utils.formatdate(seconds, usegmt=usegmt)

    monkeypatch.setattr(http_date, "time", SimpleNamespace(time=lambda: next(times)))
    monkeypatch.setattr(http_date, "formatdate", formatdate)
    assert [http_date.http_date() for _ in range(3)] == [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:38 GMT",
    ]
    assert formatted == [784111777, 784111778]


@on_each_loop
async def test_an_empty_line_before_the_request_is_ignored(loop: Loop) -> None:
    """RFC 9112 section 2.2."""
    async with loop.serving(echo) as server:
        peer = await loop.dial(server)
        peer.raw(b"\r\n")
        peer.handshake()
        assert (await peer.answer()).status == 101


# --- The limits of a head


@pytest.mark.parametrize("size", [400, 200_000])
@on_each_loop
async def test_the_limits_of_the_head_are_settings(loop: Loop, log: Log, size: int) -> None:
    async with loop.serving(echo, max_head_size=size, max_head_fields=7) as server:
        for more, status in ((-200, 101), (1, 431)):
            peer = await loop.dial(server, headers={"X": "y" * (size + more)})
            peer.handshake()
            assert (await peer.answer()).status == status
        peer = await loop.dial(server, headers=[("X", "y")] * 3)
        peer.handshake()
        assert (await peer.answer()).status == 431
        assert log.lines() == [
            f"handshake failed: the head is longer than {size} bytes",
            "handshake failed: the head has more than 7 header lines",
        ]


# --- Origins


@pytest.mark.parametrize("origin", ["https://example.com/", "https://example.com:443", "*"])
def test_an_origin_that_matches_nobody_is_refused_at_the_call(origin: str) -> None:
    with pytest.raises(ValueError, match="matches no client"):
        WebSocketServer("127.0.0.1", 0, origins=["https://other.example", origin])


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, "https://anywhere.example", 101),
        (None, None, 101),
        (["https://example.com"], "https://example.com", 101),
        (["https://example.com"], "https://evil.example", 403),
        (["https://example.com"], None, 403),
        (["https://example.com", None], None, 101),
        ([], "https://example.com", 403),
    ],
)
@on_each_loop
async def test_origins(
    loop: Loop, log: Log, origins: list[str | None] | None, origin: str | None, status: int
) -> None:
    async with loop.serving(echo, origins=origins) as server:
        peer = await loop.dial(server, origin=origin)
        peer.handshake()
        assert (await peer.answer()).status == status
        if status == 403:
            await peer.eof()
            assert log.lines() == ["handshake failed: this origin is not allowed"]
