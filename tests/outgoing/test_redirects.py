"""Redirects: how many, where to, and what goes along."""

from base64 import b64encode
from collections.abc import Callable

import pytest

from kit.connecting import connecting, uri_of
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from kit.raw_server import End
from wscore import Request, Response
from wstransports import HandshakeError, WebSocketServer, connect

SECRETS = {
    "Authorization": "Bearer token",
    "Cookie": "session=1",
    "Proxy-Authorization": "Basic x",
}


def redirecting(
    where: Callable[[str], str | None], status: int = 302
) -> tuple[list[Request], Callable[[Request], Response | None]]:
    """A process_request that sends paths elsewhere, None for here; and what it was asked."""
    asked: list[Request] = []

    def process_request(request: Request) -> Response | None:
        asked.append(request)
        location = where(request.path)
        return None if location is None else Response(status, {"Location": location}, "moved")

    return asked, process_request


@on_each_loop
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(loop: Loop, status: int) -> None:
    _, process_request = redirecting(lambda path: "/new?x=1" if path == "/old" else None, status)
    async with (
        loop.serving(echo, process_request=process_request) as server,
        connecting(server, "/old") as client,
    ):
        assert (client.request.path, client.request.query) == ("/new", "x=1")
        await client.writer.send("hello")
        assert await client.receive() == "hello"


@on_memory
@pytest.mark.parametrize("status", [300, 304, 305, 306])
async def test_other_3xx_are_refusals(loop: MemoryLoop, status: int) -> None:
    _, process_request = redirecting(lambda path: "/new", status)
    async with loop.serving(echo, process_request=process_request) as server:
        with pytest.raises(HandshakeError) as caught:
            await connecting(server).__aenter__()
    assert caught.value.status == status


@on_memory
async def test_a_redirect_to_nowhere_is_a_refusal(loop: MemoryLoop) -> None:
    async with loop.serving(echo, process_request=lambda request: Response(302)) as server:
        with pytest.raises(HandshakeError, match="refused with 302 Found"):
            await connecting(server).__aenter__()


@on_memory
@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("c", "/a/c"),
        ("../c", "/c"),
        ("/c", "/c"),
        ("//127.0.0.1:{port}/c", "/c"),
        ("ws://127.0.0.1:{port}/c", "/c"),
        ("http://127.0.0.1:{port}/c", "/c"),
        ("http://127.0.0.1:{port}", "/"),
        ("/c#part", "/c"),
    ],
)
async def test_a_redirect_is_relative_or_absolute(
    loop: MemoryLoop, location: str, path: str
) -> None:
    asked, process_request = redirecting(
        lambda path: location.format(port=server.port) if path == "/a/b" else None
    )
    async with (
        loop.serving(echo, process_request=process_request) as server,
        connecting(server, "/a/b"),
    ):
        pass
    assert [request.path for request in asked] == ["/a/b", path]


@on_memory
@pytest.mark.parametrize(
    ("location", "mistake"),
    [
        ("ftp://h/", "not a WebSocket address"),
        ("javascript:alert(1)", "not a WebSocket address"),
        ("http://user:hunter2@[", "malformed"),
        ("http://h<st/", "malformed"),
        ("//h{}/", "malformed"),
        ("/with a blank", "percent-encode"),
        ("http://h:0/", "port 0"),
        ("http://user:hunter2@h:x/", "malformed"),
    ],
)
async def test_a_redirect_that_makes_no_sense(
    loop: MemoryLoop, location: str, mistake: str
) -> None:
    _, process_request = redirecting(lambda path: location)
    async with loop.serving(echo, process_request=process_request) as server:
        with pytest.raises(HandshakeError, match=mistake) as caught:
            await connecting(server).__aenter__()
        assert str(caught.value).startswith(f"{uri_of(server)}: ")
    assert caught.value.status == 302
    assert caught.value.body == b"moved"
    assert "hunter2" not in str(caught.value)


@on_each_loop
async def test_redirects_are_bounded(loop: Loop) -> None:
    asked, process_request = redirecting(lambda path: f"{path}x")
    async with loop.serving(echo, process_request=process_request) as server:
        with pytest.raises(HandshakeError) as caught:
            await connecting(server, "/").__aenter__()
        uri = uri_of(server)
        assert len(asked) == 1 + 5
        assert str(caught.value) == f"{uri} redirects more than 5 times"
        assert caught.value.status == 302
        asked.clear()
        with pytest.raises(HandshakeError, match="more than 1 times"):
            await connecting(server, "/", max_redirects=1).__aenter__()
        assert len(asked) == 2
        asked.clear()
        with pytest.raises(HandshakeError, match="more than 0 times") as caught:
            await connecting(server, "/", max_redirects=0).__aenter__()
        assert len(asked) == 1
        assert caught.value.headers["Location"] == "/x"  # for callers that follow it themselves


@on_memory
async def test_a_loop_of_redirects_ends(loop: MemoryLoop) -> None:
    asked, process_request = redirecting(lambda path: "/b" if path == "/a" else "/a")
    async with loop.serving(echo, process_request=process_request) as server:
        with pytest.raises(HandshakeError, match="more than 5"):
            await connecting(server, "/a").__aenter__()
    assert [request.path for request in asked] == ["/a", "/b"] * 3


@on_memory
async def test_all_redirects_together_have_open_timeout(loop: MemoryLoop) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await loop.runtime.sleep(3)
        end.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    async with loop.listening(talk) as raw:
        opening = loop.spawn(connect(raw.uri, open_timeout=10).__aenter__())
        await loop.advance(9.9)
        assert not opening.done
        await loop.advance(0.1)
        with pytest.raises(TimeoutError):
            await opening.wait()
        assert len(raw.ends) == 4


# What goes along.


def secrets(request: Request) -> dict[str, str]:
    """What a request has of what not everybody may know."""
    return {name: request.headers[name] for name in SECRETS if name in request.headers}


@on_memory
async def test_within_the_origin_all_goes_along(loop: MemoryLoop) -> None:
    asked, process_request = redirecting(lambda path: None if path == "/b" else "/b")
    headers = {**SECRETS, "X": "y"}
    async with (
        loop.serving(echo, process_request=process_request) as server,
        connecting(server, headers=headers, origin="http://me", subprotocols=["v1"]),
    ):
        pass
    assert [secrets(request) for request in asked] == [SECRETS, SECRETS]
    for request in asked:
        assert request.headers["X"] == "y"
        assert request.origin == "http://me"
        assert request.subprotocols == ("v1",)


@on_memory
async def test_another_origin_gets_no_secrets(loop: MemoryLoop) -> None:
    """And the first server, for which they were meant, gets them again."""
    there: list[WebSocketServer] = []
    asked_here, process_here = redirecting(
        lambda path: None if path == "/back" else uri_of(there[0])
    )
    asked_there, process_there = redirecting(lambda path: uri_of(here, "/back"))
    async with (
        loop.serving(echo, process_request=process_here) as here,
        loop.serving(echo, process_request=process_there) as other,
    ):
        there.append(other)
        async with connecting(here, headers={**SECRETS, "X": "y"}):
            pass
    assert [secrets(request) for request in asked_here] == [SECRETS, SECRETS]
    [request] = asked_there
    assert secrets(request) == {}
    assert request.headers["X"] == "y"


@on_memory
async def test_user_and_password_of_the_address_stay_with_its_origin(loop: MemoryLoop) -> None:
    there: list[WebSocketServer] = []
    asked_here, process_here = redirecting(
        lambda path: {"/a": "/b", "/b": uri_of(there[0])}.get(path)
    )
    asked_there, process_there = redirecting(lambda path: None)
    async with (
        loop.serving(echo, process_request=process_here) as here,
        loop.serving(echo, process_request=process_there) as other,
    ):
        there.append(other)
        async with connect(f"ws://user:pass@127.0.0.1:{here.port}/a"):
            pass
    basic = "Basic " + b64encode(b"user:pass").decode()
    assert [request.headers.get("Authorization") for request in asked_here] == [basic, basic]
    assert [request.headers.get("Authorization") for request in asked_there] == [None]


@on_memory
async def test_a_redirect_may_bring_a_user_of_its_own(loop: MemoryLoop) -> None:
    asked, process_request = redirecting(
        lambda path: f"ws://new:pass@127.0.0.1:{server.port}/b" if path == "/a" else None
    )
    async with (
        loop.serving(echo, process_request=process_request) as server,
        connect(f"ws://user:pass@127.0.0.1:{server.port}/a"),
    ):
        pass
    expected = ["Basic " + b64encode(b"%b:pass" % user).decode() for user in (b"user", b"new")]
    assert [request.headers.get("Authorization") for request in asked] == expected


@on_memory
async def test_a_redirects_own_user_takes_the_place_of_the_header(loop: MemoryLoop) -> None:
    asked, process_request = redirecting(
        lambda path: f"ws://new:pass@127.0.0.1:{server.port}/b" if path == "/a" else None
    )
    async with (
        loop.serving(echo, process_request=process_request) as server,
        connecting(server, "/a", headers={"Authorization": "Bearer token", "X": "y"}),
    ):
        pass
    basic = "Basic " + b64encode(b"new:pass").decode()
    given = [request.headers.get_all("Authorization") for request in asked]
    assert given == [["Bearer token"], [basic]]
    assert [request.headers.get("X") for request in asked] == ["y", "y"]


@on_memory
async def test_another_host_name_is_another_origin(loop: MemoryLoop) -> None:
    """As the port is, and the scheme."""
    asked, process_request = redirecting(
        lambda path: f"ws://localhost:{server.port}/b" if path == "/" else None
    )
    async with loop.serving(echo, process_request=process_request) as server:
        [(address, listener)] = loop.runtime._listeners.items()
        assert address == ("127.0.0.1", server.port)
        loop.runtime._listeners["localhost", server.port] = listener
        async with connecting(server, headers=SECRETS):
            pass
        del loop.runtime._listeners["localhost", server.port]
    assert [secrets(request) for request in asked] == [SECRETS, {}]
