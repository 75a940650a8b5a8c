"""FastAPI under uvicorn: plain and over TLS, on asyncio and uvloop, and three kinds of clients."""

import asyncio
import json
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import trio
import trustme
from chromium import installed
from clients import Connect, Refused, a_browsers, ours, theirs
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from processes import Served, served, under_uvicorn

from kit.certificates import certificate_files, client_context

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

PAGE = Path(__file__).parents[1] / "peers" / "page.html"

# Runs a conversation, with the function that connects.
Run = Callable[[Callable[[Connect], Awaitable[None]]], None]


class Site:
    """A running server, and what trusts it."""

    def __init__(self, server: Served, trusted: ssl.SSLContext | None, pin: str) -> None:
        self.server = server
        self.trusted = trusted
        self.pin = pin
        """The SHA-256 of its certificate's public key, in base64."""
        scheme = "ws" if trusted is None else "wss"
        self.base = f"{scheme}://127.0.0.1:{server.port}"

    def how_it_ended(self) -> dict[str, object]:
        """The disconnect event of the next connection that has ended."""
        url = f"{self.base.replace('ws', 'http', 1)}/ended"
        with urllib.request.urlopen(url, context=self.trusted, timeout=20) as response:
            ended: dict[str, object] = json.load(response)
        return ended


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """The server's loop."""
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["plain", "TLS"])
def site(
    request: pytest.FixtureRequest, loop: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A server of `on_fastapi`, which logs no error that the tests have not asked for."""
    command, trusted, pin = under_uvicorn("on_fastapi", "--loop", loop), None, ""
    if request.param == "TLS":
        authority = trustme.CA()
        cert, key = certificate_files(authority, tmp_path_factory.mktemp("keys"), "127.0.0.1")
        command += ["--ssl-certfile", str(cert), "--ssl-keyfile", str(key)]
        trusted, pin = client_context(authority), key_hash(Path(cert))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAGE", str(PAGE))
        with served(command) as server:
            yield Site(server, trusted, pin)
            server.terminate()
    errors = server.log.count("Traceback")
    assert errors == server.log.count("RuntimeError: as the client has asked for"), server.log


def key_hash(cert: Path) -> str:
    """The SHA-256 of the public key of a certificate, in base64."""
    key = load_pem_x509_certificate(cert.read_bytes()).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(encoded).digest()).decode()


@pytest.fixture(params=["ours on asyncio", "ours on trio", "websockets"])
def talk(request: pytest.FixtureRequest, site: Site) -> Run:
    """Runs a conversation of a client in Python."""
    connect = theirs(site.trusted) if request.param == "websockets" else ours(site.trusted)

    async def bounded(conversation: Callable[[Connect], Awaitable[None]]) -> None:
        await conversation(connect)

    if request.param == "ours on trio":
        return lambda conversation: trio.run(bounded, conversation)
    return lambda conversation: asyncio.run(bounded(conversation))


async def converse(connect: Connect, base: str) -> None:
    """Greeting, echoes, counting in the background, and a Close of the application's."""
    async with connect(f"{base}/rooms/blue", "session=Ada") as end:
        assert end.subprotocol == "chat.v2"
        assert json.loads(await end.receive()) == {"name": "Ada", "room": "blue"}
        for message in "Straße ☺", b"\x00\xff", "", "long " * 2**17, bytes(2**18):
            await end.send(message)
            assert await end.receive() == message
        await end.send("count 20")
        await end.send("during it")
        await end.send('close [4000, "enough"]')
        came = [await end.receive() for _ in range(21)]
        assert [one for one in came if one != "during it"] == [f"count {n}" for n in range(20)]
        assert await end.closed() == (4000, "enough")


def test_a_conversation(site: Site, talk: Run) -> None:
    talk(lambda connect: converse(connect, site.base))
    assert site.how_it_ended()["code"] == 4000


def test_the_client_closes(site: Site, talk: Run) -> None:
    async def leave(connect: Connect) -> None:
        async with connect(f"{site.base}/rooms/red?token=Bob", None) as end:
            assert json.loads(await end.receive()) == {"name": "Bob", "room": "red"}
            await end.close(3001, "I go")

    talk(leave)
    expected = {"type": "websocket.disconnect", "code": 3001, "reason": "I go"}
    assert site.how_it_ended() == expected


def test_denials(site: Site, talk: Run) -> None:
    async def denied(connect: Connect) -> None:
        for path, answer in {
            "/rooms/blue": (403, ""),  # a dependency raises WebSocketException
            "/denied": (402, "Pay first"),
            "/missing": (403, ""),
        }.items():
            with pytest.raises(Refused) as refused:
                async with connect(site.base + path, None):
                    pytest.fail("it was accepted")
            assert refused.value.args == answer

    talk(denied)


def test_an_error_of_the_application(site: Site, talk: Run) -> None:
    async def fail(connect: Connect) -> None:
        async with connect(f"{site.base}/rooms/blue", "session=Ada") as end:
            await end.receive()
            await end.send("fail")
            assert await end.closed() == (1011, "")

    talk(fail)


def test_a_browser(site: Site, tmp_path: Path) -> None:
    """It gets its cookie with the page, and sends it with the opening handshake."""
    url = f"{site.base.replace('ws', 'http', 1)}/page"

    async def talk(connect: Connect) -> None:
        await converse(connect, site.base)
        with pytest.raises(Refused):
            async with connect(f"{site.base}/denied", None):
                pytest.fail("it was accepted")
        async with connect(f"{site.base}/rooms/blue", None) as end:
            await end.receive()
            await end.send("fail")
            assert await end.closed() == (1011, "")

    # It ends before the server: that would wait for the end of an idle TLS connection.
    with installed(tmp_path, "no browser talked to FastAPI", site.pin) as browser:
        page = browser.open(url)
        asyncio.run(talk(a_browsers(page)))
