"""What `process_request` sees and may answer, and `subprotocols` as a function."""

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.log import Log
from kit.loops import Loop, echo, on_each_loop, on_sockets
from wstransports import Accept, Client, Request, Response, WebSocketServer, connect
from wstransports.request import QueryParams

# Process_request as a function, and as a coroutine function.
Either = Callable[[Callable[[Request], Any]], Callable[[Request], Any]]


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Either:
    """Makes a hook async, or leaves it."""

    def made(hook: Callable[..., Any]) -> Callable[..., Any]:
        async def later(*args: Any) -> Any:
            return hook(*args)

        return later if request.param == "async" else hook

    return made


# --- The client of a request


@on_each_loop
async def test_the_address_of_a_request(loop: Loop, either: Either) -> None:
    requests: list[Request] = []
    clients: list[Client] = []

    async def on_connection(client: Client) -> None:
        clients.append(client)

    process_request = either(requests.append)
    async with loop.serving(on_connection, process_request=process_request) as server:
        peer = await loop.connect(server)
        await peer.nothing()
        [request], [client] = requests, clients
        assert client.request is request
        if loop.has_addresses:
            assert request.client == (client.addr, client.port)
            assert request.client is not None
            assert request.client.addr == "127.0.0.1"
            assert request.client.port == client.port
            assert client.info("peername") == request.info("peername") == request.client
            assert client.info("sockname")[1] == server.port
            assert client.info("socket").fileno() > 0
        else:
            assert request.client is None
            assert client.info("peername") is None
            assert client.info("sockname", "nowhere") == "nowhere"
        assert request.scheme == "ws"
        for name in ("ssl_object", "peercert", "cipher"):
            assert request.info(name) is client.info(name) is None
            assert request.info(name, "none") == client.info(name, "none") == "none"


@on_sockets
async def test_a_socket_from_info_cannot_be_closed(loop: Loop) -> None:
    """Its connection would write on to its number, which others get."""
    async with loop.serving() as server, connect(f"ws://127.0.0.1:{server.port}/") as client:
        sock = client.info("socket")
        assert sock.getpeername() == client.info("peername")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name in ("close", "detach"):
            with pytest.raises(AttributeError, match=rf"no {name}\(\): close the client"):
                getattr(sock, name)()


@on_sockets
async def test_a_socket_from_info_cannot_be_made_to_block(loop: Loop) -> None:
    """A peer that reads nothing would hold up the loop."""
    async with loop.serving() as server, connect(f"ws://127.0.0.1:{server.port}/") as client:
        sock = client.info("socket")
        assert sock.gettimeout() == 0
        for name in ("setblocking", "settimeout"):
            with pytest.raises(AttributeError, match=rf"no {name}\(\): it never blocks"):
                getattr(sock, name)(None)
        assert sock.gettimeout() == 0


@on_each_loop
async def test_a_name_that_info_does_not_know_is_refused(loop: Loop) -> None:
    faults: list[str] = []

    async def on_connection(client: Client) -> None:
        for info in (client.info, client.request.info):
            with pytest.raises(ValueError, match="peercret.*one of peername, sockname") as caught:
                info("peercret")
            faults.append(str(caught.value))

    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server)
        await peer.nothing()
        assert len(faults) == 2


@on_each_loop
async def test_the_scheme_of_an_ordinary_request(loop: Loop, either: Either) -> None:
    def process_request(request: Request) -> Response:
        return Response(200, body=request.scheme)

    async with loop.serving(process_request=either(process_request)) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.eof()
        assert peer.head.endswith(b"\r\n\r\nhttp")


@on_sockets
async def test_mutual_tls(loop: Loop, either: Either) -> None:
    """An allow-list of client certificates, and the cipher; the client has the same."""
    authority = trustme.CA()
    certs = server_context(authority, "127.0.0.1")
    certs.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(certs)
    seen: list[tuple[Any, ...]] = []

    def process_request(request: Request) -> Response | None:
        certificate = request.info("peercert")
        seen.append((request.scheme, certificate, request.info("cipher")))
        names = [value for kind, value in certificate["subjectAltName"] if kind == "DNS"]
        return None if names == ["ann.example"] else Response(403)

    async def on_connection(client: Client) -> None:
        found = (client.request.scheme, client.info("peercert"), client.info("cipher"))
        assert seen[-1] == found
        assert client.info("ssl_object").getpeercert(binary_form=True)
        await client.writer.send("welcome")

    options = {"certs": certs, "process_request": either(process_request)}
    async with loop.serving(on_connection, **options) as server:
        for name, status in (("ann.example", 101), ("bob.example", 403)):
            trusting = client_context(authority)
            authority.issue_cert(name).configure_cert(trusting)
            peer = await loop.dial(server, tls=trusting)
            peer.handshake()
            assert (await peer.answer()).status == status
            if status == 101:
                assert await peer.message() == "welcome"
    assert [scheme for scheme, _, _ in seen] == ["wss", "wss"]
    assert all(cipher[1].startswith("TLSv1.") and cipher[2] >= 128 for _, _, cipher in seen)


@on_sockets
async def test_without_a_certificate_of_the_client_there_is_none(
    loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    for_server, for_client = contexts
    seen: list[tuple[Any, ...]] = []

    async def on_connection(client: Client) -> None:
        seen.append((client.request.scheme, client.info("peercert")))

    async with (
        loop.serving(on_connection, certs=for_server) as server,
        connect(f"wss://127.0.0.1:{server.port}/", ssl=for_client) as client,
    ):
        await loop.until(lambda: seen)
        assert seen == [("wss", None)]
        # At the other end the request is ours, and the peer's certificate is the server's.
        assert client.request.client == client.info("sockname")[:2]
        assert client.request.scheme == "wss"
        assert client.info("peercert")["subjectAltName"] == (("IP Address", "127.0.0.1"),)


# --- What the request says


@on_each_loop
async def test_the_query_and_the_cookies(loop: Loop) -> None:
    requests: list[Request] = []

    async def on_connection(client: Client) -> None:
        requests.append(client.request)

    headers = [("Cookie", "sid=31d4; theme=dark"), ("X-Tag", "a"), ("x-tag", "b")]
    async with loop.serving(on_connection) as server:
        peer = await loop.connect(server, target="/chat?room=a%20b&tag=x&tag=y", headers=headers)
        await peer.nothing()
        [request] = requests
        assert request.query_params["room"] == "a b"
        assert request.query_params.get("none") is None
        assert request.query_params.get_all("tag") == ["x", "y"]
        assert request.cookies == {"sid": "31d4", "theme": "dark"}
        assert request.headers.get_all("X-Tag") == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=1&b=2&a=3", {"a": "3", "b": "2"}),
        ("a=1+2%2B3", {"a": "1 2+3"}),
        ("%C3%A9=%E2%98%BA", {"é": "☺"}),
        ("a=%ff%zz&=&&", {"a": "\ufffd%zz", "": ""}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_query_parameters(query: str, parameters: dict[str, str]) -> None:
    parsed = Request("GET", f"/?{query}").query_params
    assert dict(parsed) == parameters
    assert len(parsed) == len(parameters)
    assert parsed.get_all("nobody") == []
    assert isinstance(parsed, QueryParams)
    assert repr(parsed) == f"QueryParams({list(parameters)!r})"


@pytest.mark.parametrize(
    ("cookie", "cookies"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1;b=2; c=3 ;", {"a": "1", "b": "2", "c": "3"}),
        ('a="quoted \\"x\\" \\073"', {"a": 'quoted "x" ;'}),
        # What is not a cookie harms no other cookie.
        ("nothing; =x; ;;ok=3", {"ok": "3"}),
        ("bad name=1; a[b]=2; path=/", {"bad name": "1", "a[b]": "2", "path": "/"}),
        ("a=1; a=2", {"a": "2"}),
        ("token=abc==", {"token": "abc=="}),
        ('a="; b=1', {"a": '"', "b": "1"}),
        ("é=ü", {"é": "ü"}),
    ],
)
def test_cookies(cookie: str, cookies: dict[str, str]) -> None:
    assert Request("GET", "/", {"Cookie": cookie}).cookies == cookies


# --- Accept


@on_each_loop
async def test_accept_adds_headers_and_chooses_the_subprotocol(loop: Loop, either: Either) -> None:
    def process_request(request: Request) -> Accept:
        cookies = [("Set-Cookie", "sid=1; HttpOnly"), ("Set-Cookie", "theme=dark")]
        return Accept(headers=[*cookies, ("X-Node", "7")], subprotocol=request.subprotocols[-1])

    async def on_connection(client: Client) -> None:
        await client.writer.send(str(client.subprotocol))

    options: dict[str, Any] = {"process_request": either(process_request), "subprotocols": ["v2"]}
    async with loop.serving(on_connection, **options) as server:
        peer = await loop.connect(server, subprotocols=["v2", "v1"])
        response = await peer.answer()
        assert response.headers.get_all("Set-Cookie") == ["sid=1; HttpOnly", "theme=dark"]
        assert response.headers["X-Node"] == "7"
        assert response.headers.get_all("Sec-WebSocket-Protocol") == ["v1"]
        assert await peer.message() == "v1"


@on_each_loop
async def test_accept_without_a_subprotocol_leaves_the_choice_to_the_server(loop: Loop) -> None:
    options: dict[str, Any] = {"process_request": lambda _: Accept(), "subprotocols": ["v2"]}
    async with loop.serving(echo, **options) as server:
        peer = await loop.connect(server, subprotocols=["v1", "v2"])
        assert (await peer.answer()).headers["Sec-WebSocket-Protocol"] == "v2"


@on_each_loop
async def test_accept_makes_no_websocket_of_an_ordinary_request(loop: Loop, either: Either) -> None:
    """A peer chooses what it sends, so this is not an error of the application's."""
    accept = either(lambda _: Accept({"Set-Cookie": "a=b"}, "chat"))
    async with loop.serving(process_request=accept) as server:
        peer = await loop.dial(server)
        peer.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 426 ")


@on_each_loop
async def test_a_subprotocol_that_was_not_offered_is_a_500(
    loop: Loop, either: Either, log: Log
) -> None:
    accept = either(lambda _: Accept(subprotocol="v3"))
    async with loop.serving(process_request=accept) as server:
        peer = await loop.dial(server, subprotocols=["v1"])
        peer.handshake()
        assert (await peer.answer()).status == 500
        await peer.eof()
    [(what, error)] = log.tracebacks()
    assert what == "process_request raised"
    assert "did not offer the subprotocol 'v3': choose from ['v1'] or None" in str(error)


@pytest.mark.parametrize(
    ("headers", "subprotocol", "error", "text"),
    [
        ({"Sec-WebSocket-Accept": "x"}, None, ValueError, "sec-websocket-accept.*leave it out"),
        ({"sec-websocket-protocol": "a"}, None, ValueError, "pass subprotocol="),
        ({"Sec-WebSocket-Extensions": "x"}, None, ValueError, "leave it out"),
        ({"Connection": "close"}, None, ValueError, "leave it out"),
        ({"Upgrade": "x"}, None, ValueError, "leave it out"),
        ({"Content-Length": "1"}, None, ValueError, "leave it out"),
        ({"Transfer-Encoding": "chunked"}, None, ValueError, "leave it out"),
        ({"Set-Cookie": "a=b\r\nX: y"}, None, ValueError, "line breaks"),
        ({"Set Cookie": "a"}, None, ValueError, "not a header name"),
        ([("a",)], None, TypeError, "pair"),
        ((), "a b", ValueError, "not allowed in subprotocols"),
        ((), 7, TypeError, "not a str"),
    ],
)
def test_accept_is_checked_at_once(
    headers: Any, subprotocol: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Accept(headers, subprotocol)


def test_accept_shows_no_cookies() -> None:
    assert repr(Accept({"Set-Cookie": "secret", "X-A": "b"}, "chat")) == (
        "Accept([('Set-Cookie', '...'), ('X-A', 'b')], 'chat')"
    )


# --- Subprotocols as a function


@pytest.mark.parametrize("with_process_request", [False, True])
@on_each_loop
async def test_a_function_selects_the_subprotocol(
    loop: Loop, either: Either, with_process_request: bool
) -> None:
    async def process_request(request: Request) -> None:
        await loop.checkpoint()
        request.state.version = request.query_params.get("version")

    def select(offered: Sequence[str], request: Request) -> str | None:
        wanted = getattr(request.state, "version", "v2")
        return wanted if wanted in offered else None

    options: dict[str, Any] = {"subprotocols": either(cast(Any, select))}
    if with_process_request:
        options["process_request"] = process_request
    async with loop.serving(echo, **options) as server:
        for offered, chosen in ((["v1", "v2"], "v2"), (["v1"], None), ([], None)):
            peer = await loop.connect(server, target="/?version=v2", subprotocols=offered)
            assert (await peer.answer()).headers.get("Sec-WebSocket-Protocol") == chosen


@on_each_loop
async def test_what_accept_says_comes_before_the_function(loop: Loop) -> None:
    def never(offered: Sequence[str], request: Request) -> str:
        raise AssertionError

    options: dict[str, Any] = {
        "subprotocols": never,
        "process_request": lambda _: Accept(subprotocol="v1"),
    }
    async with loop.serving(echo, **options) as server:
        peer = await loop.connect(server, subprotocols=["v1"])
        assert (await peer.answer()).headers["Sec-WebSocket-Protocol"] == "v1"
        plain = await loop.dial(server)
        plain.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await plain.eof()
        assert plain.head.startswith(b"HTTP/1.1 426 ")


@pytest.mark.parametrize(
    ("result", "error"),
    [("v9", ValueError), (7, TypeError), (KeyError("mine"), KeyError), (["v1"], TypeError)],
)
@on_each_loop
async def test_a_function_that_selects_wrongly_is_a_500(
    loop: Loop, either: Either, log: Log, result: Any, error: type[Exception]
) -> None:
    def select(*_: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    async with loop.serving(echo, subprotocols=either(select)) as server:
        peer = await loop.dial(server, subprotocols=["v1"])
        peer.handshake()
        assert (await peer.answer()).status == 500
        await peer.eof()
    [(what, raised)] = log.tracebacks()
    assert what == "subprotocols raised"
    assert isinstance(raised, error)


@on_each_loop
async def test_a_hook_that_raises_what_ends_a_generator(loop: Loop, log: Log) -> None:
    def select(*_: Any) -> Any:
        raise StopIteration

    async with loop.serving(echo, subprotocols=select) as server:
        peer = await loop.dial(server)
        peer.handshake()
        assert (await peer.answer()).status == 500
        await peer.eof()
    [(what, raised)] = log.tracebacks()
    assert what == "subprotocols raised"
    assert isinstance(raised, StopIteration)


def test_only_a_server_selects() -> None:
    with pytest.raises(TypeError, match="not a function: only a server selects"):
        connect("ws://localhost", subprotocols=cast(Any, lambda offered, request: None))
    with pytest.raises(TypeError, match="not one string"):
        WebSocketServer("127.0.0.1", 0, subprotocols="chat")


# --- Other methods


@pytest.mark.parametrize(
    ("method", "upgrade", "allow"),
    [
        ("POST", False, "GET, HEAD"),
        ("OPTIONS", False, "GET, HEAD"),
        ("DELETE", False, "GET, HEAD"),
        ("BREW", False, "GET, HEAD"),
        ("POST", True, "GET"),
    ],
)
@on_each_loop
async def test_a_request_that_is_not_get_is_a_405_at_info(
    loop: Loop, caplog: pytest.LogCaptureFixture, method: str, upgrade: bool, allow: str
) -> None:
    caplog.set_level(logging.INFO, "wstransports")

    def never(request: Request) -> Awaitable[None]:
        raise AssertionError

    async with loop.serving(process_request=never) as server:
        peer = await loop.dial(server)
        more = "Upgrade: websocket\r\n" if upgrade else ""
        peer.raw(f"{method} / HTTP/1.1\r\nHost: x\r\n{more}Content-Length: 2\r\n\r\nhi".encode())
        response = await peer.answer()
        assert response.status == 405
        assert response.headers["Allow"] == allow
        await peer.eof()
    [record] = [one for one in caplog.records if "handshake failed" in one.getMessage()]
    assert record.levelno == logging.INFO


@on_each_loop
async def test_head_reaches_process_request(loop: Loop) -> None:
    async with loop.serving(process_request=lambda _: Response(200, body="well")) as server:
        peer = await loop.dial(server)
        peer.raw(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.eof()
        assert peer.head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Length: 4" in peer.head
        assert peer.head.endswith(b"\r\n\r\n")
