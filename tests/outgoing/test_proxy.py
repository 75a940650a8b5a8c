"""Proxies: which one is taken, and what comes of it."""

import asyncio
import socket
import sys
import traceback
from typing import Any

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.connecting import connecting, failure, talk_with
from kit.loops import AsyncioLoop, Loop, echo, on_asyncio, on_sockets
from kit.proxies import proxying
from kit.raw_server import End
from wstransports import connect, worth_retrying
from wstransports.connecting.proxy import checked_proxy, environment_proxy, is_loopback
from wstransports.connecting.uri import URI

VARIABLES = ("ws", "wss", "socks", "http", "https", "all", "no")
KINDS = ("http", "socks4", "socks5")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's environment says."""
    for name in VARIABLES:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


# Through a proxy.


@on_sockets
@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_of_each_kind(loop: Loop, kind: str) -> None:
    """It is the proxy that looks up the name, which nobody here knows."""
    async with loop.serving(echo) as server, proxying(kind, server.port) as proxy:
        uri = "ws://server.example:8080/chat"
        async with connect(uri, proxy=f"{kind}://127.0.0.1:{proxy.port}") as client:
            await talk_with(client)
            assert client.request.headers["Host"] == "server.example:8080"
        assert proxy.asked == ["server.example:8080"]


@on_sockets
@pytest.mark.parametrize("kind", KINDS)
async def test_wss_goes_through_it_unread(loop: Loop, kind: str) -> None:
    authority = trustme.CA()
    certs = server_context(authority, "server.example")
    trusting = client_context(authority)
    async with loop.serving(echo, certs=certs) as server, proxying(kind, server.port) as proxy:
        url = f"{kind}://127.0.0.1:{proxy.port}"
        async with connect("wss://server.example/", ssl=trusting, proxy=url) as client:
            await talk_with(client)
        assert proxy.asked == ["server.example:443"]
        error = await failure(connect("wss://other.example/", ssl=trusting, proxy=url))
        assert "wss://other.example/ through" in str(error)
        assert "not valid for 'other.example'" in str(error)


@on_sockets
@pytest.mark.parametrize(
    ("kind", "userinfo", "credentials"),
    [
        ("http", "user:pass", "user:pass"),
        ("http", "us%40er:p%3Aass", "us@er:p:ass"),
        ("socks5", "user:pass", "user:pass"),
        ("socks4", "user", "user:"),
    ],
)
async def test_a_proxy_that_wants_credentials(
    loop: Loop, kind: str, userinfo: str, credentials: str
) -> None:
    async with loop.serving(echo) as server, proxying(kind, server.port, credentials) as proxy:
        url = f"{kind}://{userinfo}@127.0.0.1:{proxy.port}"
        async with connect("ws://server.example/", proxy=url) as client:
            await talk_with(client)
        # Those are the proxy's, and nobody else's.
        assert "Proxy-Authorization" not in client.request.headers
        assert "Authorization" not in client.request.headers
        for wrong in ("hunter1:hunter2@", ""):
            url = f"{kind}://{wrong}127.0.0.1:{proxy.port}"
            error = await failure(connect("ws://server.example/", proxy=url))
            assert isinstance(error, ConnectionError)
            assert "the proxy refused: " in str(error)
            assert "hunter" not in str(error)
            # Those of SOCKS 4 do not say why.
            assert worth_retrying(error) is (kind == "socks4")


@on_sockets
@pytest.mark.parametrize("size", [1, 20])
async def test_a_proxys_answer_may_come_in_pieces(
    loop: Loop, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """python-socks, which is not needed, takes the first piece for all of it."""

    async def talk(end: End) -> None:
        await end.head()
        answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"
        for start in range(0, len(answer), size):
            end.write(answer[start : start + size])
            await loop.checkpoint()
        await end.accept(b"\x81\x02hi")
        await end.gone()

    monkeypatch.setitem(sys.modules, "python_socks", None)
    async with loop.listening(talk) as raw:
        url = f"http://127.0.0.1:{raw.port}"
        async with connect("ws://server.example/", proxy=url, close_timeout=0.1) as client:
            assert await client.receive() == "hi"


@on_asyncio
@pytest.mark.parametrize("kind", ["socks4", "socks5"])
async def test_a_socks_proxys_answer_may_come_in_pieces(
    loop: AsyncioLoop, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = asyncio.get_running_loop()
    really_receive = events.sock_recv

    async def sock_recv(sock: socket.socket, most: int) -> bytes:
        return await really_receive(sock, min(most, 1))

    monkeypatch.setattr(events, "sock_recv", sock_recv)
    async with loop.serving(echo) as server, proxying(kind, server.port) as proxy:
        url = f"{kind}://127.0.0.1:{proxy.port}"
        async with connect("ws://server.example/", proxy=url) as client:
            await talk_with(client)


@on_sockets
async def test_an_ipv6_address_goes_to_the_proxy(loop: Loop) -> None:
    for kind in ("http", "socks5"):
        async with loop.serving(echo) as server, proxying(kind, server.port) as proxy:
            url = f"{kind}://127.0.0.1:{proxy.port}"
            async with connect("ws://[2001:db8::1]/", proxy=url) as client:
                await talk_with(client)
            assert proxy.asked == ["[2001:db8::1]:80" if kind == "http" else "2001:db8::1:80"]


# What goes wrong.


@on_sockets
@pytest.mark.parametrize(
    ("kind", "refusal", "cause"),
    [
        ("http", b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        ("http", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno\n", "502 Bad Gateway"),
        ("http", b"HTTP/1.1 503 No authentication today\r\n\r\n", "503 No authentication"),
        ("http", b"SSH-2.0-OpenSSH_9.6\r\n", "is not HTTP"),
        ("http", b"no authentication today\r\n", "is not HTTP"),
        ("http", b"\xff\xfe\x00", "is not HTTP"),
        ("socks5", b"\5\5\0\1" + bytes(6), "Connection refused by destination host"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "SOCKS version"),
        ("socks5", b"\5\0\0\3\2\xff\xfe\0\0", "utf-8"),
        ("socks4", b"\0\x5b" + bytes(6), "rejected or failed"),
        ("socks4", b"SSH-2.0-OpenSSH_9.6\r\n", "reply version"),
    ],
)
async def test_a_proxy_that_refuses(loop: Loop, kind: str, refusal: bytes, cause: str) -> None:
    async with proxying(kind, refusal=refusal) as proxy:
        url = f"{kind}://user:hunter2@127.0.0.1:{proxy.port}"
        error = await failure(connect("ws://server.example/x?y", proxy=url))
        assert isinstance(error, ConnectionError)
        assert str(error).startswith(
            f"cannot connect to ws://server.example/x through {kind}://127.0.0.1:{proxy.port}: "
        )
        assert cause in str(error)
        assert "hunter2" not in str(error)
        assert worth_retrying(error)


@on_sockets
async def test_what_a_proxy_says_is_fit_for_a_message(loop: Loop) -> None:
    """Its words may go to a terminal, or into a log."""
    refusal = b"HTTP/1.1 407 \x1b[2Jno\xff " + b"y" * 10_000 + b"\r\n\r\n"
    async with proxying("http", refusal=refusal) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        error = await failure(connect("ws://server.example/", proxy=url))
    assert isinstance(error, ConnectionError)
    assert "the proxy refused: 407 ?[2Jnoÿ yyy" in str(error)
    shown = "".join(traceback.format_exception(error))
    assert shown.replace("\n", "").isprintable()
    assert "yyy" in shown
    assert len(str(error)) < 400


@on_sockets
async def test_a_proxys_endless_answer_is_not_gathered(loop: Loop) -> None:
    endless = b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000
    async with proxying("http", refusal=endless) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        error = await failure(connect("ws://server.example/", proxy=url))
    assert isinstance(error, ConnectionError)
    assert "the proxy's response is not HTTP, or too long" in str(error)


@on_sockets
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_proxy_that_leaves_at_once(loop: Loop, kind: str, how: str) -> None:
    async def talk(end: End) -> None:
        await end.read(3)
        getattr(end.pipe, how)()

    async with loop.listening(talk) as raw:
        url = f"{kind}://127.0.0.1:{raw.port}"
        error = await failure(connect("ws://server.example/", proxy=url))
    assert isinstance(error, OSError)
    assert f"cannot connect to ws://server.example/ through {url}: " in str(error)
    assert worth_retrying(error)


@on_sockets
@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_never_answers(loop: Loop, kind: str) -> None:
    async def talk(end: End) -> None:
        await end.gone()

    async with loop.listening(talk) as raw:
        url = f"{kind}://127.0.0.1:{raw.port}"
        connection = connect("ws://server.example/", proxy=url, open_timeout=0.05)
        error = await failure(connection)
    assert isinstance(error, TimeoutError)
    assert str(error) == "opening ws://server.example/ took longer than 0.05 s"


@on_asyncio
async def test_cancelled_during_the_talk_with_a_proxy(loop: AsyncioLoop) -> None:
    """Loops.run sees to it that nothing is left open."""

    async def talk(end: End) -> None:
        await end.head()
        asked.append(True)
        await end.gone()

    asked: list[bool] = []
    async with loop.listening(talk) as raw:
        url = f"http://127.0.0.1:{raw.port}"
        opening = loop.spawn(connect("ws://server.example/", proxy=url).__aenter__())
        await loop.until(lambda: asked)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening.wait()


@on_sockets
@pytest.mark.parametrize("kind", KINDS)
async def test_a_proxy_that_is_not_there(loop: Loop, kind: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"{kind}://user:hunter2@127.0.0.1:{bound.getsockname()[1]}"
        error = await failure(connect("ws://server.example/", proxy=url))
    assert isinstance(error, OSError)
    assert "hunter2" not in str(error)
    assert "cannot connect to ws://server.example/ through" in str(error)
    assert worth_retrying(error)


@on_sockets
async def test_without_python_socks_the_extra_is_named(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    error = await failure(connect("ws://server.example/", proxy="socks5://127.0.0.1:1"))
    assert isinstance(error, ImportError)
    assert "pip install 'wstransports[proxy]', or give connect() proxy=None" in str(error)
    assert not worth_retrying(error)


# Which proxy.


@pytest.mark.parametrize(
    ("uri", "variables", "proxy"),
    [
        ("ws://h/", {}, None),
        ("ws://h/", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("ws://h/", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("wss://h/", {"http_proxy": "http://p:1"}, None),
        ("wss://h/", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("ws://h/", {"https_proxy": "http://p:1"}, "http://p:1"),
        ("ws://h/", {"https_proxy": "http://p:1", "http_proxy": "http://p:2"}, "http://p:1"),
        ("wss://h/", {"all_proxy": "socks5://p:1"}, "socks5://p:1"),
        ("ws://h/", {"all_proxy": "socks5://p:1", "http_proxy": "http://p:2"}, "http://p:2"),
        ("wss://h/", {"socks_proxy": "socks5://p:1", "https_proxy": "http://p"}, "socks5://p:1"),
        ("wss://h/", {"wss_proxy": "http://p:1", "socks_proxy": "socks5://p"}, "http://p:1"),
        ("ws://h/", {"ws_proxy": "http://p:1", "socks_proxy": "socks5://p"}, "http://p:1"),
        ("ws://h/", {"wss_proxy": "http://p:1"}, None),
        ("wss://h/", {"https_proxy": "p:3128"}, "http://p:3128"),
        ("wss://h/", {"https_proxy": "http://u:p@[::1]"}, "http://u:p@[::1]:80"),
        ("wss://h/", {"https_proxy": ""}, None),
        ("wss://h/", {"https_proxy": "", "all_proxy": "http://p:1"}, "http://p:1"),
        ("wss://h/", {"https_proxy": "http://p:1", "no_proxy": "h"}, None),
        ("wss://h/", {"https_proxy": "http://p:1", "NO_PROXY": "g, h"}, None),
        ("wss://h/", {"https_proxy": "http://p:1", "no_proxy": "*"}, None),
        ("wss://a.h/", {"https_proxy": "http://p:1", "no_proxy": ".h"}, None),
        ("wss://h:8443/", {"https_proxy": "http://p:1", "no_proxy": "h:8443"}, None),
        ("wss://h/", {"https_proxy": "http://p:1", "no_proxy": "h:8443"}, "http://p:1"),
        ("wss://ah/", {"https_proxy": "http://p:1", "no_proxy": "h"}, "http://p:1"),
        ("ws://[fd00::1]:81/", {"https_proxy": "http://p:1", "no_proxy": "fd00::1"}, None),
        ("ws://[fd00::1]:81/", {"https_proxy": "http://p:1", "no_proxy": "[fd00::1]"}, None),
        ("wss://[fd00::1]/", {"https_proxy": "http://p:1", "no_proxy": "[fd00::1]:443"}, None),
        ("wss://[fd00::2]/", {"https_proxy": "http://p:1", "no_proxy": "fd00::1"}, "http://p:1"),
        # never for loopback
        ("ws://localhost/", {"all_proxy": "http://p:1"}, None),
        ("ws://a.localhost:81/", {"all_proxy": "http://p:1"}, None),
        ("ws://127.0.0.1/", {"all_proxy": "http://p:1"}, None),
        ("ws://127.8.9.10/", {"all_proxy": "http://p:1"}, None),
        ("wss://[::1]/", {"all_proxy": "http://p:1"}, None),
        ("ws://128.0.0.1/", {"all_proxy": "http://p:1"}, "http://p:1"),
        ("ws://notlocalhost/", {"all_proxy": "http://p:1"}, "http://p:1"),
    ],
)
def test_what_the_environment_says(
    uri: str, variables: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(URI.parse(uri)) == proxy


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("a.localhost.", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        # As getaddrinfo understands them.
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.1", True),
        ("128.1", False),
        ("::ffff:128.0.0.1", False),
        ("0.0.0.0", False),
        ("::2", False),
        ("127.0.0.1.example", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://p", "http://p:80"),
        ("HTTP://P:81/", "http://p:81"),
        ("socks4://p", "socks4://p:1080"),
        ("socks4a://p", "socks4://p:1080"),
        ("socks5://p:1", "socks5://p:1"),
        ("socks5h://p:1", "socks5://p:1"),
        ("http://user@p", "http://user:@p:80"),
        ("http://us%40er:p%3A@p", "http://us%40er:p%3A@p:80"),
        ("http://[::1]", "http://[::1]:80"),
        ("https://p", "https://p:443"),
    ],
)
def test_a_proxy_is_a_url(url: str, checked: str) -> None:
    assert checked_proxy(url) == checked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "p:3128",
        "ftp://p:1",
        "http://",
        "http://:1",
        "http://p:0",
        "http://user:hunter2@p:x",
        "http://user:hunter2@[",
        "socks6://user:hunter2@p",
        "user:hunter2@p:1",
    ],
)
def test_what_is_not_a_proxy_is_refused_at_the_call(url: str) -> None:
    with pytest.raises(ValueError, match="is not a proxy's URL: write http://host:port") as caught:
        connect("ws://h/", proxy=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", [b"http://user:hunter2@p:1", 1, ("http", "hunter2")])
def test_a_proxy_that_is_not_a_str_is_refused_at_the_call(url: Any) -> None:
    with pytest.raises(TypeError, match="proxy must be a URL as str, True or None, not") as caught:
        connect("ws://h/", proxy=url)
    assert "hunter2" not in str(caught.value)


@on_sockets
async def test_the_environments_proxy_is_taken(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with loop.serving(echo) as server, proxying("socks5", server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.port}")
        async with connect("ws://server.example/") as client:
            await talk_with(client)
        assert proxy.asked == ["server.example:80"]
        # But never for loopback.
        async with connecting(server) as client:
            await talk_with(client)
        assert len(proxy.asked) == 1
        # Unless it is given.
        url = f"socks5://127.0.0.1:{proxy.port}"
        async with connecting(server, proxy=url) as client:
            await talk_with(client)
        assert len(proxy.asked) == 2


@on_asyncio
@pytest.mark.parametrize("proxy", [None, False])
async def test_without_a_proxy_the_environment_is_not_asked(
    loop: AsyncioLoop, proxy: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    async def getaddrinfo(*args: Any, **kwargs: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "asked for the host itself")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    error = await failure(connect("ws://server.example/", proxy=proxy))
    assert "asked for the host itself" in str(error)


@on_sockets
async def test_a_socket_of_ones_own_needs_no_proxy(
    loop: AsyncioLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://p")
    async with loop.serving(echo) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        async with connect("ws://server.example/", sock=sock) as client:
            await talk_with(client)


@on_sockets
async def test_a_mistake_in_the_environment_is_named(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:hunter2@p")
    error = await failure(connect("wss://server.example/"))
    assert isinstance(error, ValueError)
    assert str(error).startswith(
        "https_proxy in the environment: 'gopher://p' is not a proxy's URL"
    )
    assert "proxy=None" in str(error)
