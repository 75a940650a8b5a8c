"""Other implementations, both ways round: our server and their client, our client and their server.

One source serves all of them, and each event loop that our end may run on. What passes between the
two ends is recorded, so that a test can say what was on the wire.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from chromium import Page, installed
from exchanges import MESSAGES, THRESHOLD, exchange, expect, noise, size
from meeting import Meeting, Peer, Refused, Side, meeting
from our_loop import LOOPS
from packages import find_peer
from patience import P, Test, on_a_loop
from recorder import Stream
from with_chromium import PAGE, ChromiumPeer

from kit.frames import CLOSE, CONTINUATION, FIN, PONG, RSV1, TEXT, Frame
from wstransports import Deflate, HandshakeError

pytestmark = pytest.mark.slow

PEERS = ("websockets", "aiohttp", "picows", "ws", "chromium")

# What a peer has no call for. Such tests are not there for it: nothing is skipped.
CANNOT = {
    "aiohttp": {"send fragments"},
    # Its server compresses as it likes, whatever the client asks for.
    "picows": {"heed settings as a server"},
    "chromium": {
        "be a server",
        "send fragments",
        "send pings",
        "go uncompressed",
        "close with any code",
    },
}


class Offers(NamedTuple):
    """Who is ready to compress."""

    we: bool = True
    they: bool = True


OFFERS = {
    "compressed": Offers(),
    "not by us": Offers(we=False),
    "not by them": Offers(they=False),
}


def sides(needed: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Each peer that can do what is needed, in each role it has, with us on each loop."""
    for name in PEERS:
        for role in ("client", "server"):
            needed_here = {f"{one} as a {role}" for one in needed} | {*needed, f"be a {role}"}
            if not needed_here & CANNOT.get(name, set()):
                for loop in LOOPS:
                    yield name, role, loop


def with_peers(*needed: str) -> Callable[[Test[P]], Callable[P, None]]:
    """Run a test with each peer, in each role."""
    found = [pytest.param(side, id=_name(*side), marks=_marks(*side)) for side in sides(needed)]

    def decorate(test: Test[P]) -> Callable[P, None]:
        return pytest.mark.parametrize("side", found, indirect=True)(on_a_loop(test))

    return decorate


def with_all_offers(*needed: str) -> Callable[[Test[P]], Callable[P, None]]:
    """Run a test with each peer, in each role, compressed and not."""
    found = [
        pytest.param(side, offers, id=f"{_name(*side)}, {how}", marks=_marks(*side))
        for how, offers in OFFERS.items()
        for side in sides(needed if offers.they else (*needed, "go uncompressed"))
    ]

    def decorate(test: Test[P]) -> Callable[P, None]:
        marked = pytest.mark.parametrize("side, offers", found, indirect=["side"])
        return marked(on_a_loop(test))

    return decorate


def _name(peer: str, role: str, loop: str) -> str:
    return f"{peer} {role}, we on {loop}"


def _marks(peer: str, role: str, loop: str) -> list[pytest.MarkDecorator]:
    # A browser takes its time to start.
    return [pytest.mark.timeout(90)] if peer == "chromium" else []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """In a browser that is started once."""
    with installed(
        tmp_path_factory.mktemp("chromium"), "no browser talked to our server"
    ) as browser:
        yield browser.open(PAGE)


@pytest.fixture
def side(request: pytest.FixtureRequest) -> Side:
    """Who meets us. A peer that is not there is left out, and the end of the run says so."""
    name, role, loop = request.param
    if name == "chromium":
        peer: Peer = ChromiumPeer(request.getfixturevalue("page"))
    else:
        peer = find_peer(name)
    return Side(peer, role == "client", LOOPS[loop])


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that happens here is a reason to log anything."""
    yield
    loggers = ("wstransports", "asyncio")  # the latter's where what our end tells is taken amiss
    ours = [one.getMessage() for one in caplog.get_records("call") if one.name in loggers]
    assert not ours, f"logged: {ours}"


# --- Messages


def check_compression(meet: Meeting, offers: Offers = OFFERS["compressed"]) -> None:
    """It was agreed on where both are ready for it, and used by both ends or none."""
    both = offers.we and offers.they
    assert meet.theirs.compresses is both
    assert ("permessage-deflate" in meet.wire.server.head) is both
    offered = offers.we if meet.from_us is meet.wire.client else offers.they
    assert ("permessage-deflate" in meet.wire.client.head) is offered
    for stream in meet.from_us, meet.from_them:
        assert any(one.compressed for one in stream.frames()) is both


@with_all_offers()
async def test_messages(side: Side, offers: Offers) -> None:
    async with meeting(side, "deflate" if offers.we else None, offers.they) as meet:
        await exchange(meet, MESSAGES)
        check_compression(meet, offers)
        if offers.we and offers.they:
            long = [size(message) >= THRESHOLD for message in MESSAGES]
            assert [one.compressed for one in meet.from_us.messages()] == long
            for one, is_long in zip(meet.from_them.messages(), long, strict=True):
                assert one.compressed or not is_long


@with_all_offers()
async def test_our_fragments(side: Side, offers: Offers) -> None:
    texts = ["Straße, ", "", "日本語 " * 1000, "☺", ""]
    data = [b"one ", noise(70_000), b"three"]
    async with meeting(side, "deflate" if offers.we else None, offers.they) as meet:
        await meet.ours.send_parts(texts)
        expect(await meet.theirs.receive(), "".join(texts))
        await meet.ours.feed(data)
        expect(await meet.theirs.receive(), b"".join(data))
        await exchange(meet, ["and after that" * 100])
        check_compression(meet, offers)
        last = [one.last for one in meet.from_us.frames()]
        assert last == [False, False, False, False, True, False, False, True, True]


@with_all_offers("send fragments")
async def test_their_fragments(side: Side, offers: Offers) -> None:
    text = "Straße, 日本語 " * 500
    # Also within a character, and a byte at a time.
    parts = [text.encode()[:5], *(bytes([byte]) for byte in text.encode()[5:30])]
    parts += [b"", text.encode()[30:]]
    data = [b"one ", noise(70_000), b"three"]
    async with meeting(side, "deflate" if offers.we else None, offers.they) as meet:
        await meet.theirs.send_parts(parts, text=True)
        expect(await meet.ours.receive(), text)
        await meet.theirs.send_parts(data, text=False)
        expect(await meet.ours.receive(), b"".join(data))
        await exchange(meet, ["and after that" * 100])
        check_compression(meet, offers)
        first, *rest = meet.from_them.frames()
        assert first.first & ~RSV1 == TEXT
        assert all(one.opcode == CONTINUATION for one in rest[: len(parts) - 1])
        assert not any(one.last for one in rest[: len(parts) - 2])


# Settings, and what the server's answer has to say of them.
SETTINGS = {
    "widest windows": (Deflate(window_bits=15, peer_window_bits=15), ""),
    "narrowest windows": (Deflate(window_bits=9, peer_window_bits=9), "server_max_window_bits=9"),
    "no takeover": (Deflate(takeover=False, peer_takeover=False), "server_no_context_takeover"),
    "all compressed": (Deflate(threshold=0, level=9, memory_level=9), "server_max_window_bits=12"),
}


@pytest.mark.parametrize(("settings", "answer"), SETTINGS.values(), ids=SETTINGS)
@with_peers("heed settings")
async def test_settings_of_the_compression(side: Side, settings: Deflate, answer: str) -> None:
    async with meeting(side, settings) as meet:
        assert answer in meet.wire.server.head
        # What compresses is in the window: of the same message, and of those before.
        noisy = noise(400)
        await exchange(meet, [noisy * 30, noisy * 30, "text " * 1000, noise(20_000) * 2, "", noisy])
        check_compression(meet)
        assert meet.from_us.messages()[-1].compressed is (settings.threshold == 0)


# --- The opening handshake


@with_peers()
async def test_a_subprotocol_is_chosen(side: Side) -> None:
    ours, theirs = ("none", "chat.v2"), ("chat.v1", "chat.v2")
    async with meeting(side, our_subprotocols=ours, their_subprotocols=theirs) as meet:
        assert meet.ours.subprotocol == "chat.v2"
        assert meet.theirs.subprotocol == "chat.v2"
        await exchange(meet, ["text"])


@with_peers()
async def test_no_subprotocol(side: Side) -> None:
    async with meeting(side) as meet:
        assert meet.ours.subprotocol is None
        assert meet.theirs.subprotocol is None


@pytest.mark.parametrize("status", [401, 404])
@with_peers()
async def test_a_server_refuses(side: Side, status: int) -> None:
    if side.we_serve:
        with pytest.raises(Refused) as their_error:
            async with meeting(side, refuse=status):
                pytest.fail("we were to refuse")
        assert their_error.value.status == (status if side.peer.tells_status else None)
    else:
        with pytest.raises(HandshakeError) as our_error:
            async with meeting(side, refuse=status):
                pytest.fail("they were to refuse")
        assert our_error.value.status == status
        assert our_error.value.body == b"go away\n"


# --- Pings

PINGS = [b"ping", b"", bytes(range(125))]


def pongs(stream: Stream) -> list[bytes]:
    return [one.payload for one in stream.frames() if one.opcode == PONG]


@with_peers()
async def test_our_pings(side: Side) -> None:
    async with meeting(side) as meet:
        for payload in PINGS:
            await meet.ours.ping(payload)
            assert await meet.ours.pong() == payload
        assert pongs(meet.from_them) == PINGS
        await exchange(meet, ["and after that"])


@with_peers("send pings")
async def test_their_pings(side: Side) -> None:
    async with meeting(side) as meet:
        for payload in PINGS:
            await meet.theirs.ping(payload)
            await exchange(meet, ["and after that"])
        # A pong may leave with what the message's callback sends, and this follows it.
        await exchange(meet, ["the last"])
        assert pongs(meet.from_us) == PINGS


# --- The end

CLOSES = {
    "1000": (1000, ""),
    "1000 with a reason": (1000, "bye"),
    "3000": (3000, ""),
    "4999 with the longest reason": (4999, "☺" * 41),
}
NOT_FOR_BROWSERS = {"1001": (1001, "away"), "1011": (1011, "")}


def check_close(meet: Meeting, sender: Stream, code: int, reason: str) -> tuple[int, str]:
    """A Close was the last that either end sent; returns what the answer to the sender's says."""
    *_, close = sender.frames()
    assert close == Frame(FIN | CLOSE, code.to_bytes(2) + reason.encode())
    *_, answer = (meet.from_them if sender is meet.from_us else meet.from_us).frames()
    assert answer.first == FIN | CLOSE
    return int.from_bytes(answer.payload[:2]), answer.payload[2:].decode()


@pytest.mark.parametrize(
    "close", (CLOSES | NOT_FOR_BROWSERS).values(), ids=CLOSES | NOT_FOR_BROWSERS
)
@with_peers()
async def test_we_close(side: Side, close: tuple[int, str]) -> None:
    async with meeting(side) as meet:
        await exchange(meet, ["before"])
        await meet.ours.close(*close)
        assert await meet.theirs.closed() == close
        await meet.wire.ended()
        answer = check_close(meet, meet.from_us, *close)
        # The code of a connection is that of the Close that came (RFC 6455 section 7.1.5).
        assert await meet.ours.closed() == answer


async def they_close(side: Side, close: tuple[int, str]) -> None:
    async with meeting(side) as meet:
        await exchange(meet, ["before"])
        await meet.theirs.close(*close)
        assert await meet.ours.closed() == close
        await meet.theirs.closed()
        await meet.wire.ended()
        assert check_close(meet, meet.from_them, *close) == close


@pytest.mark.parametrize("close", CLOSES.values(), ids=CLOSES)
@with_peers()
async def test_they_close(side: Side, close: tuple[int, str]) -> None:
    await they_close(side, close)


@pytest.mark.parametrize("close", NOT_FOR_BROWSERS.values(), ids=NOT_FOR_BROWSERS)
@with_peers("close with any code")
async def test_they_close_as_no_browser_can(side: Side, close: tuple[int, str]) -> None:
    await they_close(side, close)


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@with_peers()
async def test_the_connection_is_lost(side: Side, reset: bool) -> None:
    async with meeting(side) as meet:
        await exchange(meet, ["before"])
        meet.wire.cut(reset)
        assert (await meet.ours.closed())[0] == 1006
        assert await meet.theirs.closed() == (1006, "")
