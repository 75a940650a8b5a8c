"""`basic_auth`: which clients may connect, and what hostile credentials get."""

import hmac
import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from kit.log import Log
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory
from wstransports import Client, Request, Response, WebSocketServer

ANN = ("ann", "pass:word")


def basic(text: str | bytes, scheme: str = "Basic") -> dict[str, str]:
    """The header with these credentials."""
    data = text.encode() if isinstance(text, str) else text
    return {"Authorization": f"{scheme} {b64encode(data).decode()}"}


async def welcome(client: Client) -> None:
    """An on_connection."""
    await client.writer.send(f"hello {client.request.username}")


async def status_for(loop: Loop, server: WebSocketServer, headers: Any) -> int:
    """The status of the response to a request with these headers."""
    peer = await loop.dial(server, headers=headers)
    peer.handshake()
    response = await peer.answer()
    if response.status == 101:
        peer.reset()
    else:
        await peer.eof()
    return response.status


async def checking(username: str, password: str) -> bool:
    return (username, password) == ANN


@pytest.mark.parametrize(
    "allowed",
    [
        ANN,
        [("bob", "x"), ANN],
        {("bob", "x"), ANN},
        iter([ANN]),
        lambda username, password: (username, password) == ANN,
        checking,
    ],
)
@on_memory
async def test_a_client_with_the_password_is_accepted(loop: MemoryLoop, allowed: Any) -> None:
    async with loop.serving(welcome, basic_auth=allowed) as server:
        for _ in range(2):
            peer = await loop.connect(server, headers=basic("ann:pass:word"))
            assert await peer.message() == "hello ann"
        for wrong in ("ann:password", "ann:", "bob:pass:word", ":pass:word", "ann:pass:word "):
            assert await status_for(loop, server, basic(wrong)) == 401


@on_each_loop
async def test_nobody_else_is(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wstransports")
    realm = 'the "inner" \\ circle'
    async with loop.serving(welcome, basic_auth=ANN, realm=realm) as server:
        peer = await loop.dial(server)
        peer.handshake()
        response = await peer.answer()
        assert response.status == 401
        challenge = 'Basic realm="the \\"inner\\" \\\\ circle", charset="UTF-8"'
        assert response.headers["WWW-Authenticate"] == challenge
        await peer.eof()
        assert await status_for(loop, server, basic("ann:wrong")) == 401
        let_in = await loop.connect(server, headers=basic("ann:pass:word", "bAsIc"))
        assert await let_in.message() == "hello ann"
    refused = [one for one in caplog.records if "basic authentication failed" in one.getMessage()]
    assert [one.levelno for one in refused] == [logging.INFO] * 2
    assert not any("word" in line or "wrong" in line for line in caplog.messages)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic "},
        {"Authorization": "Bearer YW5uOnBhc3M6d29yZA=="},
        {"Authorization": "Basic YW5uOnBhc3M6d29yZA== more"},
        {"Authorization": "Basic YW5u!OnBhc3M6d29yZA=="},
        {"Authorization": "Basic YW5uOnBhc3M6d29yZA="},
        {"Authorization": "Basic A"},
        {"Authorization": "Basic ===="},
        {"Authorization": "Basic " + "A" * 20_000},
        {"Authorization": "\xff\xfe"},
        basic(b"\xff\xfe:\xc3"),
        basic("no colon"),
        basic("ann\n:pass:word"),
        basic("ann:pass\0word"),
        [*basic("ann:pass:word").items(), *basic("ann:pass:word").items()],
    ],
)
@on_memory
async def test_hostile_credentials_are_a_401(loop: MemoryLoop, headers: Any) -> None:
    async with loop.serving(welcome, basic_auth=lambda *_: True) as server:
        assert await status_for(loop, server, headers) == 401
        assert await status_for(loop, server, basic("any:body")) == 101


@on_each_loop
async def test_credentials_are_utf_8(loop: Loop) -> None:
    async with loop.serving(welcome, basic_auth=[("Zoë", "☺")]) as server:
        peer = await loop.connect(server, headers=basic("Zoë:☺"))
        assert await peer.message() == "hello Zoë"


@pytest.mark.parametrize("check_later", [False, True])
@pytest.mark.parametrize("process_later", [False, True])
@on_each_loop
async def test_process_request_sees_only_who_is_let_in(
    loop: Loop, check_later: bool, process_later: bool
) -> None:
    seen: list[str | None] = []

    def check(username: str, password: str) -> bool:
        return password == "sesame"

    def process(request: Request) -> Response:
        seen.append(request.username)
        return Response(200, body="well")

    def later(hook: Callable[..., Any]) -> Callable[..., Any]:
        async def hook_later(*args: Any) -> Any:
            await loop.checkpoint()
            return hook(*args)

        return hook_later

    options = {
        "basic_auth": later(check) if check_later else check,
        "process_request": later(process) if process_later else process,
    }
    async with loop.serving(welcome, **options) as server:
        assert await status_for(loop, server, basic("ann:abracadabra")) == 401
        assert await status_for(loop, server, basic("ann:sesame")) == 200
    assert seen == ["ann"]


@pytest.mark.parametrize("later", [False, True])
@on_each_loop
async def test_a_check_that_raises_is_a_500(loop: Loop, log: Log, later: bool) -> None:
    error = KeyError("mine")

    def check(*_: str) -> bool:
        raise error

    async def check_later(*_: str) -> bool:
        raise error

    async with loop.serving(welcome, basic_auth=check_later if later else check) as server:
        assert await status_for(loop, server, basic("ann:x")) == 500
    assert log.tracebacks() == [("basic_auth raised", error)]


@on_memory
async def test_every_pair_is_compared_in_constant_time(
    loop: MemoryLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many comparisons for every client, each by the function that takes the same time."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    pairs = [("ann", "1"), ("bob", "2"), ("cyd", "3")]
    async with loop.serving(welcome, basic_auth=pairs) as server:
        for text, status in (("ann:1", 101), ("cyd:3", 101), ("eve:3", 401), ("bob:1", 401)):
            compared.clear()
            assert await status_for(loop, server, basic(text)) == status
            assert len(compared) == 6


@pytest.mark.parametrize(
    ("allowed", "realm", "error", "text"),
    [
        ("ann:secret", "x", TypeError, "a pair .* not str"),
        (7, "x", TypeError, "a pair .* not int"),
        ([("ann", b"secret")], "x", TypeError, "one element is not such a pair"),
        (["ann", "secret"], "x", TypeError, "one element is not such a pair"),
        ([("ann", "secret", "x")], "x", TypeError, "one element is not such a pair"),
        ([("a:nn", "secret")], "x", ValueError, "no colon"),
        ([], "x", ValueError, "nobody could connect"),
        (ANN, "two\nlines", ValueError, "realm must be"),
        (ANN, "é", ValueError, "realm must be"),
        (ANN, 7, ValueError, "realm must be"),
    ],
)
def test_what_cannot_be_is_refused_without_showing_passwords(
    allowed: Any, realm: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        WebSocketServer("127.0.0.1", 0, basic_auth=allowed, realm=realm)
    assert "secret" not in str(caught.value)
