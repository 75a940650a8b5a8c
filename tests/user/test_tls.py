"""wss: WebSockets over TLS, with certificates made for the test."""

import os
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import trustme

from kit.blocking_peer import BlockingPeer, connected
from kit.certificates import certificate_files, client_context
from kit.frames import BINARY, FIN, TEXT, Frame, masked
from kit.handshake import REQUEST
from kit.in_thread import BOTH_LOOPS, NewLoop, serving
from kit.log import one_line
from wstransports import Client, WebSocketReader, WebSocketServer

MiB = 2**20

# A TLS record of a handshake, cut off in the middle.
CLIENT_HELLO = bytes.fromhex("16030102000100")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certs(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's certificate and its key."""
    return certificate_files(authority, tmp_path_factory.mktemp("certs"), "localhost")


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client needs to believe them."""
    return client_context(authority)


Ends = SimpleQueue[tuple[int, int]]


def echo_server(certs: Any, ends: Ends | None = None, **options: Any) -> WebSocketServer:
    """Sends back every message as it is; `ends` gets a client's port and how it closed."""
    server = WebSocketServer("127.0.0.1", 0, certs, **options)

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            if ends is not None:
                ends.put((client.port, code))

    return server


def as_context(certs: tuple[Path, Path]) -> ssl.SSLContext:
    """An SSLContext of the user's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certs)
    return context


@pytest.fixture
def silent(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged, by nobody."""
    yield
    assert caplog.record_tuples == []


@BOTH_LOOPS
@pytest.mark.parametrize(
    "give",
    [
        pytest.param(lambda certs: certs, id="Path"),
        pytest.param(lambda certs: (str(certs[0]), str(certs[1])), id="str"),
        pytest.param(lambda certs: (str(certs[0]), certs[1]), id="both"),
        pytest.param(as_context, id="SSLContext"),
    ],
)
@pytest.mark.usefixtures("silent")
def test_a_message_each_way_and_a_clean_close(
    give: Callable[[tuple[Path, Path]], Any],
    new_loop: NewLoop,
    certs: tuple[Path, Path],
    trusting: ssl.SSLContext,
) -> None:
    with serving(echo_server(give(certs)), new_loop) as port, connected(port, trusting) as peer:
        peer.send("Grüße 🦆")
        assert peer.frame() == Frame(FIN | TEXT, "Grüße 🦆".encode())
        peer.send(b"\x00\xff")
        assert peer.frame() == Frame(FIN | BINARY, b"\x00\xff")
        peer.finish()


def hands_shaken_but_for_the_last_words(
    peer: BlockingPeer, trusting: ssl.SSLContext
) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """TLS on a peer's socket: what arrived goes into the first, what to send into the second."""
    arrived, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(arrived, to_send, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            peer.raw(to_send.read())
            arrived.write(peer.socket.recv(65536))
        else:
            assert to_send.pending
            return tls, arrived, to_send


@BOTH_LOOPS
@pytest.mark.usefixtures("silent")
def test_a_request_right_after_the_tls_handshake(
    new_loop: NewLoop, certs: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with serving(echo_server(certs), new_loop) as port, BlockingPeer(port) as peer:
        tls, arrived, to_send = hands_shaken_but_for_the_last_words(peer, trusting)
        tls.write(REQUEST)
        peer.raw(to_send.read())  # all in one
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            try:
                answer += tls.read()
            except ssl.SSLWantReadError:
                arrived.write(peer.socket.recv(65536))
        assert answer.startswith(b"HTTP/1.1 101 ")


@BOTH_LOOPS
@pytest.mark.parametrize("sent", [b"", REQUEST])
@pytest.mark.usefixtures("silent")
def test_leaving_right_after_the_tls_handshake(
    sent: bytes, new_loop: NewLoop, certs: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with serving(echo_server(certs), new_loop) as port, connected(port, trusting) as other:
        with BlockingPeer(port) as peer:
            tls, _, to_send = hands_shaken_but_for_the_last_words(peer, trusting)
            if sent:
                tls.write(sent)
            with pytest.raises(ssl.SSLWantReadError):
                tls.unwrap()  # for the server's part is to come
            peer.raw(to_send.read())
            assert peer.gone()
        still_served(other)


@BOTH_LOOPS
@pytest.mark.usefixtures("silent")
def test_large_messages(
    new_loop: NewLoop, certs: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    payload = os.urandom(MiB)
    with serving(echo_server(certs), new_loop) as port, connected(port, trusting) as peer:
        for _ in range(3):
            peer.send(payload)
            assert peer.frame() == Frame(FIN | BINARY, payload)
        peer.finish()


@BOTH_LOOPS
@pytest.mark.usefixtures("silent")
def test_the_blocks_end_closes_with_1001(
    new_loop: NewLoop, certs: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with ExitStack() as peers, ThreadPoolExecutor(2) as pool:
        with serving(echo_server(certs), new_loop) as port:
            closed = [
                pool.submit(peers.enter_context(connected(port, trusting)).closed) for _ in range(2)
            ]
        assert [one.result() for one in closed] == [(1001, "")] * 2


@BOTH_LOOPS
def test_a_violation_is_reported_before_the_end(
    new_loop: NewLoop,
    certs: tuple[Path, Path],
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(echo_server(certs), new_loop) as port, connected(port, trusting) as peer:
        peer.answers_close = False
        peer.raw(masked(0x83, b"no such opcode"))
        code, reason = peer.close_frame()
        assert code == 1002
        peer.end()
    assert one_line(caplog) == f"{peer}: failed with 1002, {reason}"


@BOTH_LOOPS
@pytest.mark.parametrize("leave", [BlockingPeer.reset, BlockingPeer.leave])
@pytest.mark.usefixtures("silent")
def test_a_client_that_lets_go_of_the_stream_beneath_is_lost(
    leave: Callable[[BlockingPeer], None],
    new_loop: NewLoop,
    certs: tuple[Path, Path],
    trusting: ssl.SSLContext,
) -> None:
    ends = Ends()
    with serving(echo_server(certs, ends), new_loop) as port, connected(port, trusting) as other:
        with connected(port, trusting) as peer:
            leave(peer)
            assert ends.get() == (peer.name[1], 1006)
        still_served(other)


def still_served(peer: BlockingPeer) -> None:
    """A client is served as if nothing had happened."""
    peer.send("still here?")
    assert peer.frame() == Frame(FIN | TEXT, b"still here?")
    peer.finish()


# --- Who does not speak TLS as the server does


def speak_plainly(port: int) -> None:
    with BlockingPeer(port) as peer:
        peer.raw(REQUEST)
        answer = peer.read_to_end()
        assert not answer.startswith(b"HTTP")


def talk_rubbish(port: int) -> None:
    with BlockingPeer(port) as peer:
        peer.raw(bytes(1000))
        peer.read_to_end()


def distrust(port: int) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError),
        BlockingPeer(port, tls=ssl.create_default_context()),
    ):
        pytest.fail("not reached")


def hang_up(port: int) -> None:
    with BlockingPeer(port) as peer:
        peer.raw(CLIENT_HELLO)


def reset(port: int) -> None:
    with BlockingPeer(port) as peer:
        peer.raw(CLIENT_HELLO)
        peer.reset()


@BOTH_LOOPS
@pytest.mark.parametrize("stranger", [speak_plainly, talk_rubbish, distrust, hang_up, reset])
@pytest.mark.usefixtures("silent")
def test_a_peer_that_does_not_speak_tls_harms_nobody(
    stranger: Callable[[int], None],
    new_loop: NewLoop,
    certs: tuple[Path, Path],
    trusting: ssl.SSLContext,
) -> None:
    with serving(echo_server(certs), new_loop) as port, connected(port, trusting) as other:
        stranger(port)
        still_served(other)


@BOTH_LOOPS
@pytest.mark.parametrize("sent", [b"", CLIENT_HELLO])
@pytest.mark.usefixtures("silent")
def test_open_timeout_bounds_the_tls_handshake(
    sent: bytes, new_loop: NewLoop, certs: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with (
        serving(echo_server(certs, open_timeout=0.5), new_loop) as port,
        connected(port, trusting) as other,
        BlockingPeer(port) as peer,
    ):
        peer.raw(sent)
        assert peer.gone()  # within the time that we wait at most
        still_served(other)


@BOTH_LOOPS
def test_open_timeout_bounds_the_handshake_inside_of_tls(
    new_loop: NewLoop,
    certs: tuple[Path, Path],
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        serving(echo_server(certs, open_timeout=0.5), new_loop) as port,
        connected(port, trusting) as other,
        BlockingPeer(port, tls=trusting) as peer,
    ):
        peer.raw(REQUEST[:20])
        assert peer.read_to_end().startswith(b"HTTP/1.1 408 ")
        still_served(other)
    assert one_line(caplog) == f"{peer}: handshake failed: the request did not arrive in time"


@BOTH_LOOPS
def test_tls_where_plain_http_is_spoken(
    new_loop: NewLoop, trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(echo_server(None), new_loop) as port, connected(port) as other:
        with pytest.raises(ssl.SSLError), BlockingPeer(port, tls=trusting):
            pytest.fail("not reached")
        still_served(other)
    assert one_line(caplog).endswith(
        ": handshake failed: this is a TLS handshake, but the server expects plain HTTP"
    )


@BOTH_LOOPS
def test_tls_where_plain_http_is_spoken_is_answered_by_a_400(
    new_loop: NewLoop, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(echo_server(None), new_loop) as port, BlockingPeer(port) as peer:
        peer.raw(CLIENT_HELLO)
        head, _, body = peer.read_to_end().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body == b"this is a TLS handshake, but the server expects plain HTTP\n"
    assert one_line(caplog) == f"{peer}: handshake failed: {body.decode().rstrip()}"
