"""Other implementations over TLS, both ways round, with us on every loop.

What TLS changes is how bytes are read and written, and how a connection ends.
"""

from collections.abc import Iterator

import pytest
from exchanges import MESSAGES, exchange, noise
from keys import Keys, make_keys
from meeting import Side, meeting
from our_loop import ALL_LOOPS
from packages import find_peer
from patience import on_a_loop

pytestmark = pytest.mark.slow

PEERS = ("websockets", "aiohttp", "ws")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Certificates."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(params=ALL_LOOPS, ids=lambda loop: f"we on {loop}")
def side(request: pytest.FixtureRequest, peer: str, role: str) -> Side:
    """Who meets us."""
    return Side(find_peer(peer), role == "client", ALL_LOOPS[request.param])


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    """The name of a peer."""
    name: str = request.param
    return name


@pytest.fixture(params=["client", "server"])
def role(request: pytest.FixtureRequest) -> str:
    """What the peer is."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that happens here is a reason to log anything."""
    yield
    loggers = ("wstransports", "asyncio")
    ours = [one.getMessage() for one in caplog.get_records("call") if one.name in loggers]
    assert not ours, f"logged: {ours}"


@on_a_loop
async def test_messages_and_pings(side: Side, keys: Keys) -> None:
    async with meeting(side, keys=keys) as meet:
        assert meet.wire.client.data.startswith(b"\x16\x03")
        await exchange(meet, MESSAGES)
        await meet.ours.ping(b"ping")
        assert await meet.ours.pong() == b"ping"
        await exchange(meet, [noise(300_000)] * 5)


@on_a_loop
async def test_we_close(side: Side, keys: Keys) -> None:
    async with meeting(side, keys=keys) as meet:
        await exchange(meet, ["before"])
        await meet.ours.close(3000, "bye")
        assert await meet.theirs.closed() == (3000, "bye")
        # Not each peer answers with the same code, but each answers.
        assert (await meet.ours.closed())[0] in (3000, 1000)
        await meet.wire.ended()


@on_a_loop
async def test_they_close(side: Side, keys: Keys) -> None:
    async with meeting(side, keys=keys) as meet:
        await exchange(meet, ["before"])
        await meet.theirs.close(3000, "bye")
        assert await meet.ours.closed() == (3000, "bye")
        await meet.theirs.closed()
        await meet.wire.ended()


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@on_a_loop
async def test_the_connection_is_lost(side: Side, keys: Keys, reset: bool) -> None:
    async with meeting(side, keys=keys) as meet:
        await exchange(meet, ["before"])
        meet.wire.cut(reset)
        assert (await meet.ours.closed())[0] == 1006
        assert await meet.theirs.closed() == (1006, "")
