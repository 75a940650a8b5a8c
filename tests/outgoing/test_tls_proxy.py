"""Proxies that speak TLS: `connect(..., proxy="https://...")`, without python-socks."""

import re
import socket
import ssl
import sys
from typing import Any, NamedTuple

import pytest
import trustme

from kit.certificates import BAD_RECORD, client_context, server_context
from kit.connecting import failure, talk_with
from kit.loops import Loop, echo, on_sockets
from kit.proxies import proxying
from kit.raw_server import End
from kit.sockets import open_sockets
from wstransports import ConnectionClosed, connect, worth_retrying
from wstransports.runtime import CredentialsRefused


class Certificates(NamedTuple):
    """The proxy's and the server's, of two authorities."""

    proxy: ssl.SSLContext
    to_proxy: ssl.SSLContext
    server: ssl.SSLContext
    to_server: ssl.SSLContext


@pytest.fixture(scope="module")
def tls() -> Certificates:
    """For 127.0.0.1 and for server.example."""
    one, other = trustme.CA(), trustme.CA()
    return Certificates(
        server_context(one, "127.0.0.1"),
        client_context(one),
        server_context(other, "server.example"),
        client_context(other),
    )


@on_sockets
@pytest.mark.parametrize("credentials", [None, "us@er:p:ass"])
async def test_ws_and_wss(
    loop: Loop, tls: Certificates, credentials: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    user = "us%40er:p%3Aass@" if credentials else ""
    for scheme, port in (("ws", 80), ("wss", 443)):
        certs = tls.server if scheme == "wss" else None
        async with (
            loop.serving(echo, certs=certs) as server,
            proxying("https", server.port, credentials, tls=tls.proxy) as proxy,
        ):
            options: dict[str, Any] = {"ssl": tls.to_server} if certs else {}
            url = f"https://{user}127.0.0.1:{proxy.port}"
            uri = f"{scheme}://server.example/"
            async with connect(uri, proxy=url, proxy_ssl=tls.to_proxy, **options) as client:
                await talk_with(client)
                peer = client._session.pipe.info("ssl_object")
                assert peer.server_hostname == ("server.example" if certs else "127.0.0.1")
                assert client._session.pipe.info("peername") == ("127.0.0.1", proxy.port)
            assert proxy.asked == [f"server.example:{port}"]


@on_sockets
async def test_an_ipv6_address_of_the_callers(loop: Loop, tls: Certificates) -> None:
    async with (
        loop.serving(echo) as server,
        proxying("https", server.port, tls=tls.proxy) as proxy,
    ):
        url = f"https://127.0.0.1:{proxy.port}"
        way: dict[str, Any] = {"host": "::1", "port": 81, "proxy": url, "proxy_ssl": tls.to_proxy}
        async with connect("ws://server.example/", **way) as client:
            await talk_with(client)
        assert proxy.asked == ["[::1]:81"]


@on_sockets
async def test_wss_with_much_in_both_directions(loop: Loop, tls: Certificates) -> None:
    async with (
        loop.serving(echo, certs=tls.server, max_message_size=2**23) as server,
        proxying("https", server.port, tls=tls.proxy) as proxy,
        connect(
            "wss://server.example/",
            proxy=f"https://127.0.0.1:{proxy.port}",
            proxy_ssl=tls.to_proxy,
            ssl=tls.to_server,
            max_message_size=2**23,
        ) as client,
    ):
        message = bytes(range(256)) * 2**14
        for _ in range(2):
            await client.writer.send(message)
            assert await client.receive() == message


@on_sockets
@pytest.mark.parametrize(
    ("said", "cause", "kind"),
    [
        (b"HTTP/1.1 403 Not\x1b you\r\n\r\n", "the proxy refused: 403 Not? you", ConnectionError),
        (b"HTTP/1.0 407\r\n\r\n", "the proxy refused: 407", CredentialsRefused),
        (b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 502 Oh\n\n", "refused: 502 Oh", ConnectionError),
        (b"SSH-2.0\r\n\r\n", "is not HTTP, or too long", ConnectionError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, "is not HTTP, or too long", ConnectionError),
        (b"HTTP/1.1 200 OK\r\n", "the proxy closed the connection", ConnectionResetError),
    ],
)
async def test_a_proxy_that_refuses(
    loop: Loop, tls: Certificates, said: bytes, cause: str, kind: type[Exception]
) -> None:
    async with proxying("https", refusal=said, tls=tls.proxy) as proxy:
        url = f"https://ada:hunter2@127.0.0.1:{proxy.port}"
        error = await failure(connect("ws://h/", proxy=url, proxy_ssl=tls.to_proxy))
    where = f"cannot connect to ws://h/ through https://127.0.0.1:{proxy.port}: "
    assert isinstance(error, ConnectionError)
    assert where in str(error)
    assert cause in str(error)
    assert isinstance(error.__cause__, kind)
    assert worth_retrying(error) is (kind is not CredentialsRefused)


@on_sockets
async def test_which_certificate_is_verified_by_what(loop: Loop, tls: Certificates) -> None:
    """The proxy by `proxy_ssl`, the server by `ssl`."""
    async with (
        loop.serving(echo, certs=tls.server) as server,
        proxying("https", server.port, tls=tls.proxy) as proxy,
    ):
        url = f"https://127.0.0.1:{proxy.port}"
        error = await failure(connect("wss://server.example/", proxy=url, ssl=tls.to_server))
        assert "certificate was rejected: unable to get local issuer" in str(error)
        assert not proxy.asked
        options: dict[str, Any] = {"proxy": url, "proxy_ssl": tls.to_proxy}
        error = await failure(connect("wss://other.example/", ssl=tls.to_server, **options))
        assert "TLS failed" in str(error)
        assert "not valid for 'other.example'" in str(error)
        assert not worth_retrying(error)


@on_sockets
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_server_that_leaves_during_its_tls_handshake(
    loop: Loop, tls: Certificates, how: str
) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await end.read(1)
        getattr(end.pipe, how)()

    async with loop.listening(talk, tls=tls.proxy) as raw:
        url = f"https://127.0.0.1:{raw.port}"
        error = await failure(
            connect("wss://server.example/", proxy=url, proxy_ssl=tls.to_proxy, ssl=tls.to_server)
        )
    assert isinstance(error, ConnectionResetError)
    assert "cannot connect to wss://server.example/ through https://127.0.0.1" in str(error)


def serve_tls_inside(context: ssl.SSLContext, then: bytes) -> Any:
    """A proxy that is the server as well; `then` follows its handshake, in one write."""

    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 200 OK\r\n\r\n")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                server.do_handshake()
                break
            except ssl.SSLWantReadError:
                end.write(outgoing.read())
                incoming.write(await end.read(1))
        if not then:
            with pytest.raises(ssl.SSLWantReadError):
                server.unwrap()
        end.write(outgoing.read() + then)
        await end.gone()

    return talk


@on_sockets
async def test_tls_inside_that_fails_later(loop: Loop, tls: Certificates) -> None:
    talk = serve_tls_inside(tls.server, b"\x17\x03\x03\x00\x20" + bytes(32))
    async with loop.listening(talk, tls=tls.proxy) as raw:
        url = f"https://127.0.0.1:{raw.port}"
        error = await failure(
            connect("wss://server.example/", proxy=url, proxy_ssl=tls.to_proxy, ssl=tls.to_server)
        )
    assert isinstance(error, ConnectionError)
    assert re.search(BAD_RECORD, str(error))


@on_sockets
async def test_tls_inside_that_ends(loop: Loop, tls: Certificates) -> None:
    async with loop.listening(serve_tls_inside(tls.server, b""), tls=tls.proxy) as raw:
        url = f"https://127.0.0.1:{raw.port}"
        error = await failure(
            connect("wss://server.example/", proxy=url, proxy_ssl=tls.to_proxy, ssl=tls.to_server)
        )
    assert isinstance(error, ConnectionResetError)
    assert "the server closed the connection before its response" in str(error)


@on_sockets
async def test_a_proxy_that_is_silent(loop: Loop, tls: Certificates) -> None:
    async def talk(end: End) -> None:
        await end.head()
        await end.gone()

    async with loop.listening(talk, tls=tls.proxy) as raw:
        before = open_sockets()
        error = await failure(
            connect(
                "ws://h/",
                proxy=f"https://127.0.0.1:{raw.port}",
                proxy_ssl=tls.to_proxy,
                open_timeout=0.2,
            )
        )
        assert isinstance(error, TimeoutError)
        await loop.until(lambda: open_sockets() == before)


@on_sockets
async def test_a_proxy_that_is_not_there(loop: Loop, tls: Certificates) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        url = f"https://127.0.0.1:{bound.getsockname()[1]}"
        error = await failure(connect("ws://h/", proxy=url, proxy_ssl=tls.to_proxy))
    assert isinstance(error, ConnectionRefusedError)
    assert f"through {url}" in str(error)


@on_sockets
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_proxy_that_goes_later(loop: Loop, tls: Certificates, how: str) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await end.accept(b"\x81\x02hi")
        getattr(end.pipe, how)()

    async with loop.listening(talk, tls=tls.proxy) as raw:
        way: dict[str, Any] = {"proxy": f"https://127.0.0.1:{raw.port}", "proxy_ssl": tls.to_proxy}
        async with connect("ws://h/", **way) as client:
            with pytest.raises(ConnectionClosed, match="1006"):
                while True:
                    assert await client.receive() == "hi"


def test_a_context_that_does_not_fit_is_refused_at_the_call(tls: Certificates) -> None:
    with pytest.raises(ValueError, match="proxy_ssl is an SSLContext for servers"):
        connect("ws://h/", proxy="https://p", proxy_ssl=tls.proxy)
    with pytest.raises(TypeError, match="proxy_ssl must be an ssl.SSLContext, not True"):
        connect("ws://h/", proxy="https://p", proxy_ssl=True)  # type: ignore[arg-type]
