"""wss: who is believed, and what happens where one side speaks TLS and the other does not."""

import asyncio
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from kit.certificates import BAD_RECORD, client_context, server_context
from kit.connecting import connecting, failure, talk_with, uri_of
from kit.jobs import Job
from kit.log import one_line
from kit.loops import AsyncioLoop, Loop, echo, on_asyncio, on_sockets
from kit.proxies import proxying
from kit.raw_server import ClientLeft, End
from wscore import Request, Response
from wstransports import (
    Client,
    ConnectionClosed,
    HandshakeError,
    WebSocketReader,
    WebSocketServer,
    connect,
    worth_retrying,
)


class Certificates(NamedTuple):
    """What both sides need."""

    server: ssl.SSLContext
    """For 127.0.0.1, localhost and good.example."""
    client: ssl.SSLContext
    """Trusts that."""
    authority: trustme.CA


@pytest.fixture(scope="module")
def tls() -> Certificates:
    """Certificates of an authority that nobody else knows."""
    authority = trustme.CA()
    client = client_context(authority)
    return Certificates(
        server_context(authority, "127.0.0.1", "localhost", "good.example"), client, authority
    )


@on_sockets
async def test_a_client_talks(loop: Loop, tls: Certificates) -> None:
    async with (
        loop.serving(echo, certs=tls.server) as server,
        connecting(server, ssl=tls.client) as client,
    ):
        await talk_with(client)
        assert (client.addr, client.port) == ("127.0.0.1", server.port)
        assert client._session.pipe.info("ssl_object") is not None
    assert client.state.name == "CLOSED"


@on_sockets
async def test_callbacks_on_both_sides(loop: Loop, tls: Certificates) -> None:
    reported: list[object] = []
    all_told = loop.signal()

    async def on_connection(theirs: Client) -> None:
        await theirs.writer.send("welcome")
        reported.append(await theirs.receive())
        await theirs.close(3000, "enough")

    async with (
        loop.serving(on_connection, certs=tls.server) as server,
        connecting(server, ssl=tls.client) as client,
    ):

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            reported.append(await reader.get())
            await client.writer.send("thanks")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            reported.append((code, reason))
            all_told.set()

        await all_told.wait()
    assert reported == ["welcome", "thanks", (3000, "enough")]


# Who is believed.


@on_sockets
async def test_by_default_an_unknown_authority_is_not_believed(
    loop: Loop, tls: Certificates
) -> None:
    async with loop.serving(echo, certs=tls.server) as server:
        error = await failure(connecting(server))
        assert isinstance(error, ConnectionError)
        assert str(error).startswith(f"cannot connect to {uri_of(server)}: TLS failed: the server")
        assert "certificate was rejected: unable to get local issuer" in str(error)
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
        assert not worth_retrying(error)


@on_sockets
async def test_by_default_the_systems_authorities_are_believed(
    loop: Loop, tls: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    tls.authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with loop.serving(echo, certs=tls.server) as server, connecting(server) as client:
        await talk_with(client)


@on_sockets
async def test_the_default_context_is_made_once_and_next_to_the_loop(
    loop: Loop, tls: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading the system's certificates takes 40 ms."""
    threads: list[int] = []
    create = ssl.create_default_context

    def create_default_context() -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return create()

    async def talk(server: WebSocketServer) -> None:
        async with connecting(server) as client:
            await talk_with(client)

    trusted = tmp_path / "trusted.pem"
    tls.authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setattr(ssl, "create_default_context", create_default_context)
    async with loop.serving(echo, certs=tls.server) as server:
        for job in [loop.spawn(talk(server)) for _ in range(5)]:
            await job.wait()
        await talk(server)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


@on_sockets
async def test_a_certificate_is_for_the_host(loop: Loop, tls: Certificates) -> None:
    certs = server_context(tls.authority, "other.example")
    async with loop.serving(echo, certs=certs) as server:
        error = await failure(connecting(server, ssl=tls.client))
        assert isinstance(error, ConnectionError)
        assert "IP address mismatch" in str(error)
        assert "127.0.0.1" in str(error)
        error = await failure(connecting(server, ssl=tls.client, server_hostname="another.example"))
        assert "another.example" in str(error)
        async with connecting(server, ssl=tls.client, server_hostname="other.example") as client:
            await talk_with(client)


@on_sockets
async def test_a_dot_at_the_end_is_not_in_the_certificate(loop: Loop, tls: Certificates) -> None:
    """Through a proxy, since not every resolver knows localhost with a dot."""
    names: list[str | None] = []
    tls.server.sni_callback = lambda stream, name, context: names.append(name)
    async with loop.serving(echo, certs=tls.server) as server:
        async with proxying("http", server.port) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            async with connect("wss://localhost./", ssl=tls.client, proxy=url) as client:
                await talk_with(client)
                assert client.request.headers["Host"] == "localhost."
            assert proxy.asked == ["localhost.:443"]
    tls.server.sni_callback = None
    assert names == ["localhost"]


@on_sockets
async def test_a_certificate_expires(loop: Loop, tls: Certificates) -> None:
    expired = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    end = datetime(2021, 1, 1, tzinfo=UTC)
    tls.authority.issue_cert("127.0.0.1", not_after=end).configure_cert(expired)
    async with loop.serving(echo, certs=expired) as server:
        error = await failure(connecting(server, ssl=tls.client))
        assert str(error) == (
            f"cannot connect to {uri_of(server)}: TLS failed:"
            " the server's certificate was rejected: certificate has expired"
        )
    assert not worth_retrying(error)


@on_sockets
async def test_the_server_name_is_sent(loop: Loop, tls: Certificates) -> None:
    """By SNI (RFC 6066 section 3)."""
    reported: list[object] = []
    certs = server_context(tls.authority, "localhost", "good.example")
    certs.sni_callback = lambda sslobject, name, context: reported.append(name)
    async with loop.serving(echo, certs=certs) as server:
        async with connect(f"wss://localhost:{server.port}/", ssl=tls.client):
            pass
        async with connecting(server, ssl=tls.client, server_hostname="good.example"):
            pass
    assert reported == ["localhost", "good.example"]


@on_sockets
async def test_a_context_that_verifies_nothing(loop: Loop, tls: Certificates) -> None:
    lenient = ssl.create_default_context()
    lenient.check_hostname = False
    lenient.verify_mode = ssl.CERT_NONE
    async with (
        loop.serving(echo, certs=tls.server) as server,
        connecting(server, ssl=lenient) as client,
    ):
        await talk_with(client)


# By other ways.


@on_sockets
async def test_over_a_unix_socket(loop: Loop, tls: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with (
        loop.serving(echo, certs=tls.server, unix_path=path),
        connect("wss://good.example/", unix_path=path, ssl=tls.client) as client,
    ):
        await talk_with(client)
        assert client.request.headers["Host"] == "good.example"


@on_sockets
async def test_over_a_socket_of_ones_own(loop: Loop, tls: Certificates) -> None:
    async with loop.serving(echo, certs=tls.server) as server:
        sock = socket.create_connection(("127.0.0.1", server.port))
        async with connect("wss://good.example/", sock=sock, ssl=tls.client) as client:
            await talk_with(client)
        sock = socket.create_connection(("127.0.0.1", server.port))
        error = await failure(connect("wss://bad.example/", sock=sock, ssl=tls.client))
        assert "bad.example" in str(error)
        await loop.until(lambda: sock.fileno() == -1)


# Redirects.


@on_sockets
async def test_no_redirect_leads_from_wss_to_ws(loop: Loop, tls: Certificates) -> None:
    plain_asked: list[Request] = []

    async def on_connection(client: Client) -> None:
        plain_asked.append(client.request)

    async with loop.serving(on_connection) as plain:
        for scheme in ("ws", "http", "HTTP"):
            location = f"{scheme}://127.0.0.1:{plain.port}/"

            def process_request(request: Request, location: str = location) -> Response:
                return Response(302, {"Location": location})

            async with loop.serving(
                echo, certs=tls.server, process_request=process_request
            ) as server:
                error = await failure(connecting(server, ssl=tls.client))
            assert isinstance(error, HandshakeError)
            assert error.status == 302
            assert "gives up encryption" in str(error)
    assert not plain_asked


@on_sockets
async def test_a_redirect_leads_from_ws_to_wss(
    loop: Loop, tls: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    tls.authority.cert_pem.write_to_path(str(trusted))
    async with loop.serving(echo, certs=tls.server) as secure:

        def process_request(request: Request) -> Response:
            return Response(301, {"Location": f"https://127.0.0.1:{secure.port}/x"})

        async with loop.serving(echo, process_request=process_request) as server:
            error = await failure(connecting(server))
            assert f"wss://127.0.0.1:{secure.port}/x" in str(error)
            assert "rejected" in str(error)
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            async with connecting(server, headers={"Cookie": "a=b"}) as client:
                await talk_with(client)
                assert "Cookie" not in client.request.headers


@on_sockets
async def test_server_hostname_is_for_the_first_origin_only(loop: Loop, tls: Certificates) -> None:
    certs = server_context(tls.authority, "alias.example")
    async with loop.serving(echo, certs=tls.server) as target:

        def process_request(request: Request) -> Response | None:
            paths = {"/": "/second", "/second": uri_of(target)}
            return Response(302, {"Location": paths[request.path]})

        async with (
            loop.serving(echo, certs=certs, process_request=process_request) as server,
            connecting(server, ssl=tls.client, server_hostname="alias.example") as client,
        ):
            await talk_with(client)
            assert client.port == target.port


# One side without TLS.


@on_sockets
async def test_a_plain_client_at_a_tls_port(loop: Loop, tls: Certificates) -> None:
    async with loop.serving(echo, certs=tls.server) as server:
        error = await failure(connect(f"ws://127.0.0.1:{server.port}/"))
        assert isinstance(error, ConnectionResetError)
        reason = "the server closed the connection before its response was complete"
        assert f"the opening handshake failed: {reason}" in str(error)
        # And nobody else is disturbed.
        async with connecting(server, ssl=tls.client) as client:
            await talk_with(client)


@on_sockets
async def test_a_tls_client_at_a_plain_port(loop: Loop, tls: Certificates) -> None:
    async with loop.serving(echo) as server:
        error = await failure(connect(f"wss://127.0.0.1:{server.port}/", ssl=tls.client))
        assert isinstance(error, ConnectionError)
        assert str(error).startswith(f"cannot connect to wss://127.0.0.1:{server.port}/: TLS fail")
        assert "does the server speak TLS?" in str(error)
        assert not worth_retrying(error)
        async with connecting(server) as client:
            await talk_with(client)


@on_sockets
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_server_that_leaves_during_the_tls_handshake(
    loop: Loop, tls: Certificates, how: str
) -> None:
    async def talk(end: End) -> None:
        await end.read(5)
        getattr(end.pipe, how)()

    async with loop.listening(talk) as raw:
        error = await failure(connect(f"wss://127.0.0.1:{raw.port}/", ssl=tls.client))
    assert isinstance(error, ConnectionResetError)
    assert error.strerror == (
        f"cannot connect to wss://127.0.0.1:{raw.port}/: the server left during the TLS handshake"
    )
    assert worth_retrying(error)


@on_sockets
async def test_a_server_that_leaves_after_the_tls_handshake(loop: Loop, tls: Certificates) -> None:
    async def talk(end: End) -> None:
        await end.head()
        end.pipe.abort()

    async with loop.listening(talk, tls=tls.server) as raw:
        error = await failure(connect(f"wss://127.0.0.1:{raw.port}/", ssl=tls.client))
    assert isinstance(error, ConnectionResetError)
    assert worth_retrying(error)


@on_sockets
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_wants_a_certificate_of_ours(
    loop: Loop, tls: Certificates, version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 it says so when our handshake is over already."""
    wanting = server_context(tls.authority, "127.0.0.1")
    wanting.verify_mode = ssl.CERT_REQUIRED
    wanting.maximum_version = version

    async def talk(end: End) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = wanting.wrap_bio(incoming, outgoing, server_side=True)
        with pytest.raises(ssl.SSLError, match="did not return a certificate"):
            while True:
                try:
                    server.do_handshake()
                except ssl.SSLWantReadError:
                    end.write(outgoing.read())
                    incoming.write(await end.read(1))
        end.write(outgoing.read())  # the alert; asyncio's own servers do not send it
        await end.gone()

    async with loop.listening(talk) as raw:
        error = await failure(connect(f"wss://127.0.0.1:{raw.port}/", ssl=tls.client))
    assert isinstance(error, ConnectionError)
    assert str(error).startswith(f"cannot connect to wss://127.0.0.1:{raw.port}/: TLS failed: ")
    assert str(error).endswith(
        "alert certificate required"
        if version is ssl.TLSVersion.TLSv1_3
        else "alert handshake failure"
    )
    assert not worth_retrying(error)


@on_sockets
async def test_tls_that_fails_later_is_one_line(
    loop: Loop, tls: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that was not encrypted with the key."""

    async def talk(end: End) -> None:
        await end.accept()
        await begun.wait()
        os.write(end.pipe.info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
        await end.gone()

    begun = loop.signal()
    async with (
        loop.listening(talk, tls=tls.server) as raw,
        connect(f"wss://127.0.0.1:{raw.port}/", ssl=tls.client) as client,
    ):
        begun.set()
        with pytest.raises(ConnectionClosed, match="1006"):
            await client.receive()
    line = f"127.0.0.1:{raw.port}: dropped, TLS failed: {BAD_RECORD}"
    assert re.fullmatch(line, one_line(caplog))


# Cancelled.


@on_asyncio
async def test_cancelled_at_whatever_stage_nothing_is_left_open(
    loop: AsyncioLoop, tls: Certificates
) -> None:
    """After each number of the loop's turns, up to where all of it is over."""
    outcomes: list[str] = []

    async def talk(end: End) -> None:
        with suppress(ClientLeft):
            await end.accept()
            await end.close()

    def waited(job: Job[None], turns: Iterator[int]) -> bool:
        return job.done or next(turns, None) is None

    async def use(uri: str) -> None:
        async with connect(uri, ssl=tls.client) as client:
            outcomes[-1] = "open"
            with pytest.raises(ConnectionClosed):
                await client.receive()

    async with loop.listening(talk, tls=tls.server) as raw:
        for turns in range(0, 400, 3):
            outcomes.append("opening")
            using = loop.spawn(use(f"wss://127.0.0.1:{raw.port}/"))
            await loop.until(partial(waited, using, iter(range(turns))))
            using.cancel()
            try:
                await using.wait()
            except asyncio.CancelledError:
                await loop.until(lambda: all(end.lost for end in raw.ends if end.pipe is not None))
            else:
                break
    assert list(dict.fromkeys(outcomes)) == ["opening", "open"]


# The caller's mistakes.


def test_contexts_that_do_not_fit_are_refused_at_the_call(tls: Certificates) -> None:
    with pytest.raises(ValueError, match="for servers"):
        connect("wss://h/", ssl=tls.server)
    with pytest.raises(ValueError, match="need a wss:// address"):
        connect("ws://h/", ssl=tls.client)
    with pytest.raises(TypeError, match="SSLContext, not True"):
        connect("wss://h/", ssl=True)  # type: ignore[arg-type]


@on_sockets
async def test_the_close_after_a_101_that_it_refuses_is_sent(loop: Loop, tls: Certificates) -> None:
    """Although the connection is dropped at once."""
    closes: list[bytes] = []

    async def talk(end: End) -> None:
        await end.accept(headers=b"Sec-WebSocket-Extensions: x-other\r\n")
        closes.append((await end.frame()).payload[:2])

    async with loop.listening(talk, tls=tls.server) as raw:
        error = await failure(connect(f"wss://127.0.0.1:{raw.port}/", ssl=tls.client))
        assert "x-other" in str(error)
        await loop.until(lambda: closes)
    assert closes == [(1010).to_bytes(2)]
