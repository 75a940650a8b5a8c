"""By which way `connect()` gets there: Unix sockets, a socket of one's own, both IP versions."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from kit.asyncio_pipes import WatchesNoSockets
from kit.connecting import talk_with, uri_of
from kit.loops import (
    AsyncioLoop,
    Loop,
    MemoryLoop,
    echo,
    on,
    on_asyncio,
    on_each_loop,
    on_memory,
    on_own_streams,
    on_sockets,
)
from kit.nowhere import Where, closed_address, silent_address
from kit.proxies import proxying
from wscore import Headers, Request, Response
from wstransports import HandshakeError, connect
from wstransports.adapters import dialling
from wstransports.connecting.request import Requests
from wstransports.connecting.uri import URI
from wstransports.options import ConnectionOptions

# What getaddrinfo returns.
Found = list[tuple[int, int, int, str, tuple[object, ...]]]

silent = pytest.fixture(silent_address)
closed = pytest.fixture(closed_address)


# Unix sockets.


@on_own_streams  # which know addresses
async def test_a_unix_socket(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with (
        loop.serving(echo, unix_path=path) as server,
        connect("ws://example.com/x", unix_path=path) as client,
    ):
        await loop.until(lambda: server.clients)
        [theirs] = server.clients.values()
        assert theirs.request.headers["Host"] == "example.com"
        assert theirs.request.path == "/x"
        await talk_with(client)
        if not isinstance(loop, MemoryLoop):
            assert (client.addr, client.port) == (str(path), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
@on_sockets
async def test_an_abstract_unix_address(loop: AsyncioLoop) -> None:
    path = f"\0wstransports {os.getpid()}"
    async with (
        loop.serving(echo, unix_path=path),
        connect("ws://example.com/", unix_path=path) as client,
    ):
        await talk_with(client)
        assert (client.addr, client.port) == (path, 0)


@on_memory
async def test_a_redirect_stays_at_the_unix_socket(loop: MemoryLoop, tmp_path: Path) -> None:
    def process_request(request: Request) -> Response | None:
        if request.path == "/new":
            return None
        return Response(302, {"Location": request.path.replace("old", "new")})

    path = str(tmp_path / "socket")
    async with loop.serving(echo, unix_path=path, process_request=process_request):
        async with connect("ws://h/old", unix_path=path) as client:
            assert client.request.path == "/new"
        with pytest.raises(HandshakeError, match="does not lead") as caught:
            await connect("ws://h//old/", unix_path=path).__aenter__()
        assert caught.value.status == 302


# A socket of one's own.


@on_sockets
async def test_a_socket_of_ones_own(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        async with connect("ws://example.com/", sock=sock) as client:
            await talk_with(client)
            assert (client.addr, client.port) == ("127.0.0.1", server.port)
            await loop.until(lambda: server.clients)
            [theirs] = server.clients.values()
            assert theirs.request.headers["Host"] == "example.com"
        assert sock.fileno() == -1  # it is ours, and closed


@on_sockets
async def test_one_that_its_first_owner_closes(loop: Loop) -> None:
    """It is closed already: what gets its number next gets nothing of the connection's."""
    async with loop.serving(echo) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            connecting = connect("ws://example.com/", sock=sock)
            client = await connecting.__aenter__()
            with pytest.raises(ValueError, match="open"):
                connect("ws://example.com/", sock=sock)
        strangers = socket.socketpair()
        with strangers[0], strangers[1]:
            await client.writer.send("private")
            for stranger in strangers:
                stranger.setblocking(False)
                with pytest.raises(BlockingIOError):
                    stranger.recv(100)
            assert await client.receive() == "private"
            await connecting.__aexit__(None, None, None)


@on_asyncio
async def test_half_of_a_socket_pair(loop: AsyncioLoop) -> None:
    ours, theirs = socket.socketpair()
    asked: list[bytes] = []

    async def refuse() -> None:
        events = asyncio.get_running_loop()
        theirs.setblocking(False)
        asked.append(await events.sock_recv(theirs, 4096))
        await events.sock_sendall(theirs, b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    with closing(theirs):
        refusing = loop.spawn(refuse())
        with pytest.raises(HandshakeError, match="403"):
            await connect("ws://h/pair", sock=ours).__aenter__()
        await refusing.wait()
    assert asked[0].startswith(b"GET /pair HTTP/1.1\r\n")
    await loop.until(lambda: ours.fileno() == -1)


@on_sockets
async def test_a_socket_of_ones_own_follows_no_redirect(loop: Loop) -> None:
    """Not even to the same host: it has served its connection."""

    def process_request(request: Request) -> Response | None:
        return None if request.path == "/new" else Response(302, {"Location": "/new"})

    async with loop.serving(echo, process_request=process_request) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        with pytest.raises(HandshakeError, match="does not lead"):
            await connect(f"ws://127.0.0.1:{server.port}/", sock=sock).__aenter__()


# The address to dial, apart from the URL.


@on_own_streams
async def test_host_and_port_are_dialled_and_the_url_is_asked_for(loop: Loop) -> None:
    async with (
        loop.serving(echo) as server,
        connect("ws://example.com/chat", host="127.0.0.1", port=server.port, proxy=None) as client,
    ):
        await talk_with(client)
        assert client.request.headers["Host"] == "example.com"


@on_memory
async def test_host_or_port_alone(loop: MemoryLoop) -> None:
    async with loop.serving(echo) as server:
        uri = f"ws://example.com:{server.port}/"
        async with connect(uri, host="127.0.0.1", proxy=None) as client:
            await talk_with(client)
        async with connect("ws://127.0.0.1/", port=server.port) as client:
            await talk_with(client)


@on_memory
async def test_the_given_host_leads_to_its_own_origin_only(loop: MemoryLoop) -> None:
    def process_request(request: Request) -> Response | None:
        location = {"/near": "/", "/far": "ws://other.example/"}.get(request.path)
        return Response(302, {"Location": location}) if location else None

    async with loop.serving(echo, process_request=process_request) as server:
        way: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "proxy": None}
        async with connect("ws://example.com/near", **way) as client:
            await talk_with(client)
        with pytest.raises(HandshakeError, match="does not lead there"):
            await connect("ws://example.com/far", **way).__aenter__()


@on_memory
async def test_a_host_header_of_the_callers(loop: MemoryLoop) -> None:
    """For the origin of the URL; another has its own."""
    hosts: list[str] = []

    def process_request(request: Request) -> Response | None:
        hosts.append(request.headers["Host"])
        if request.path == "/":
            return None
        port = server.port + (request.path == "/far")
        location = f"ws://127.0.0.1:{port}/"
        return Response(302, {"Location": location})

    async with loop.serving(echo, process_request=process_request) as server:
        headers = {"host": "tenant.example:8080"}
        async with connect(f"ws://127.0.0.1:{server.port}/near", headers=headers) as client:
            await talk_with(client)
        assert hosts == ["tenant.example:8080"] * 2
        with pytest.raises(ConnectionRefusedError):
            await connect(f"ws://127.0.0.1:{server.port}/far", headers=headers).__aenter__()
        far = Requests(URI.parse("ws://a/"), headers, None, None, ConnectionOptions())
        given = Headers(headers)
        assert far.core(URI.parse("ws://b/"), given).request.headers["Host"] == "b"


@on_sockets
@pytest.mark.parametrize("proxied", [False, True])
async def test_local_addr_is_what_the_server_sees(loop: Loop, proxied: bool) -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    async with loop.serving(echo) as server, proxying("http", server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}" if proxied else None
        local = ("127.0.0.2", port)
        async with connect(uri_of(server), local_addr=local, proxy=url) as client:
            await talk_with(client)
            assert client._session.pipe.info("sockname") == local


@on_sockets
async def test_messages_do_not_wait_for_the_peers_acknowledgement(loop: Loop) -> None:
    """As with Nagle's algorithm, which trio leaves on."""
    async with loop.serving(echo) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        for given in (None, sock):
            async with connect(uri_of(server), sock=given) as client:
                found = client._session.pipe.info("socket")
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_sockets
async def test_a_local_addr_of_another_machine(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        with pytest.raises(OSError, match=f"cannot connect to ws://127.0.0.1:{server.port}/"):
            await connect(uri_of(server), local_addr=("192.0.2.1", 0)).__aenter__()


# Without a block.


@on_each_loop
async def test_await_gives_a_client_that_the_caller_closes(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        client = await connect(uri_of(server))
        await client.writer.send("hello")
        assert await client.receive() == "hello"
        await client.close()
        assert client.state.name == "CLOSED"


@on_each_loop
async def test_await_raises_what_the_block_would(loop: Loop) -> None:
    async with loop.serving(echo, process_request=lambda request: Response(403)) as server:
        with pytest.raises(HandshakeError, match="403"):
            await connect(uri_of(server))


# IPv6, and both.


@on_sockets
async def test_an_ipv6_address(loop: Loop) -> None:
    async with (
        loop.serving(echo, host="::1") as server,
        connect(f"ws://[::1]:{server.port}/") as client,
    ):
        await talk_with(client)
        assert (client.addr, client.port) == ("::1", server.port)
        assert client.request.headers["Host"] == f"[::1]:{server.port}"


def link_local() -> tuple[str, str]:
    """A link-local address of this machine, and its zone."""
    lines = Path("/proc/net/if_inet6")
    for line in lines.read_text().splitlines() if lines.exists() else ():
        address, *_, zone = line.split()
        if address.startswith("fe80"):
            return str(IPv6Address(bytes.fromhex(address))), zone
    pytest.skip("this machine has no link-local address")


@on_sockets
async def test_a_link_local_address(loop: Loop) -> None:
    """Its zone is for the resolver alone; a redirect keeps it."""
    address, zone = link_local()

    def process_request(request: Request) -> Response | None:
        return Response(302, {"Location": "/new"}) if request.path == "/" else None

    with socket.socket(socket.AF_INET6) as listener:
        listener.bind((address, 0, 0, socket.if_nametoindex(zone)))
        listener.listen()
        async with loop.serving(echo, sock=listener, process_request=process_request):
            port = listener.getsockname()[1]
            async with connect(f"ws://[{address}%25{zone}]:{port}/", proxy=None) as client:
                await talk_with(client)
                assert client.request.path == "/new"
                assert client.request.headers["Host"] == f"[{address}]:{port}"


@on("asyncio", "uvloop")
async def test_a_link_local_address_that_refuses(loop: AsyncioLoop) -> None:
    address, zone = link_local()
    with socket.socket(socket.AF_INET6) as bound:
        bound.bind((address, 0, 0, socket.if_nametoindex(zone)))  # and does not listen
        port = bound.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match="Connection refused"):
            await connect(f"ws://[{address}%25{zone}]:{port}/", proxy=None).__aenter__()


def resolving(found: list[Where]) -> Callable[..., Coroutine[Any, Any, Found]]:
    """A getaddrinfo that finds these for a name."""

    async def getaddrinfo(host: str, port: int, **kwargs: object) -> Found:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))
            if ":" in host
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host, port in found
        ]

    return getaddrinfo


@on_asyncio
@pytest.mark.parametrize("listens", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("first", ["127.0.0.1", "::1"])
async def test_localhost_is_two_addresses_and_one_listens(
    loop: AsyncioLoop, listens: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with loop.serving(echo, host=listens) as server:
        found = sorted(["127.0.0.1", "::1"], key=lambda host: host != first)
        monkeypatch.setattr(
            asyncio.get_running_loop(),
            "getaddrinfo",
            resolving([(host, server.port) for host in found]),
        )
        async with connect(f"ws://localhost:{server.port}/") as client:
            await talk_with(client)
            assert client.addr == listens


@on("asyncio", "uvloop")
async def test_an_address_that_never_answers_holds_up_no_other(
    loop: AsyncioLoop, silent: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8305: the next one is tried as well after a moment."""
    async with loop.serving(echo) as server:
        found = [silent, silent, ("127.0.0.1", server.port)]
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolving(found))
        monkeypatch.setattr(dialling, "HEAD_START", 0.001)
        async with connect(f"ws://example.com:{server.port}/", proxy=None) as client:
            await talk_with(client)


def test_a_loop_that_watches_no_sockets(closed: Where) -> None:
    async def main() -> None:
        async with AsyncioLoop().serving(echo) as server:
            asyncio.get_running_loop().getaddrinfo = resolving(  # type: ignore[assignment,method-assign]
                [closed, ("127.0.0.1", server.port)]
            )
            async with connect(f"ws://localhost:{server.port}/", proxy=None) as client:
                assert client.port == server.port

    with asyncio.Runner(loop_factory=WatchesNoSockets) as runner:
        runner.run(main())


# The loop of memory streams has no sockets.


@on_memory
@pytest.mark.parametrize(
    ("uri", "options"), [("wss://h/", {}), ("ws://h/", {"proxy": "socks5://p:1"})]
)
async def test_memory_has_none_of_that(loop: MemoryLoop, uri: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="streams in memory"):
        await connect(uri, **options).__aenter__()
