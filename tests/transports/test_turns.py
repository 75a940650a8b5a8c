"""Connections that flood a server share the time for input, so the others do not wait long."""

from kit.frames import masked
from kit.loops import Loop, MemoryLoop, echo, on_each_loop, on_memory
from kit.peer import Peer
from wstransports import Client, WebSocketReader

FLOODERS = 16
COST = 0.00002  # seconds for each message of a flood: a slice of 256 takes 5 ms

# Bytes of a long message with its head, and seconds for it.
LONG = 200_000
LONG_COST = 0.002


class Floods:
    """Callbacks that take `cost` seconds for each message of a flood, and echo on /echo."""

    def __init__(self, loop: MemoryLoop, cost: float) -> None:
        self._handled: dict[str, int] = {}
        self._loop = loop
        self._cost = cost

    async def on_connection(self, client: Client) -> None:
        """As registered."""
        name = client.request.path

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get()
            if name == "/echo":
                await client.writer.send(message)
            else:
                self._handled[name] = self._handled.get(name, 0) + 1
                self._loop.hold(self._cost)

    def counts(self) -> list[int]:
        """How many messages of each flood are handled."""
        return [self._handled.get(f"/{n}", 0) for n in range(FLOODERS)]

    async def waits(self, quick: Peer, echoes: int, apart: int) -> list[float]:
        """How long each of so many echoes takes; the floods are so many messages apart at most."""
        waits = []
        for number in range(echoes):
            sent = self._loop.now()
            quick.send(str(number))
            assert await quick.message() == str(number)
            waits.append(self._loop.now() - sent)
            assert max(self.counts()) - min(self.counts()) <= apart  # each has its turn
        return waits


@on_memory
async def test_an_echo_next_to_many_floods_has_a_bounded_wait(loop: MemoryLoop) -> None:
    floods = Floods(loop, COST)
    async with loop.serving(floods.on_connection) as server:
        loop.runtime.chunk = 10**6
        flooders = [await loop.connect(server, target=f"/{n}") for n in range(FLOODERS)]
        quick = await loop.connect(server, target="/echo")
        for peer in flooders:
            peer.raw(masked(0x81) * 6_000)
        waits = await floods.waits(quick, 60, apart=5 * 256)
        assert sum(floods.counts()) < FLOODERS * 6_000  # the floods lasted
        # All first slices may come in one iteration of the loop; after that each has one in turn.
        assert waits[0] <= FLOODERS * 256 * COST + 0.02
        assert max(waits[1:]) <= 0.02
        await loop.settle()


@on_memory
async def test_many_reads_of_a_few_slices_share_the_time_too(loop: MemoryLoop) -> None:
    """Each alone would be handled at once."""
    gaps: list[float] = []
    handled = 0

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            nonlocal handled
            handled += 1
            loop.hold(COST / 10)

    async def watch() -> None:
        last = loop.now()
        while handled < 1500 * FLOODERS:
            await loop.checkpoint()
            gaps.append(loop.now() - last)
            last = loop.now()

    async with loop.serving(on_connection) as server:
        loop.runtime.chunk = 10**6
        flooders = [await loop.connect(server) for _ in range(FLOODERS)]
        for peer in flooders:
            peer.raw(masked(0x81) * 1500)
        await loop.spawn(watch()).wait()
        # 3 ms each: two have their time, and the others a slice.
        assert max(gaps) <= 0.005 + FLOODERS * 256 * COST / 10 + 0.001


@on_each_loop
async def test_floods_and_an_echo_are_all_answered(loop: Loop) -> None:
    async with loop.serving(echo, read_limit=10**6) as server:
        flooders = [await loop.connect(server) for _ in range(4)]
        quick = await loop.connect(server)
        for peer in flooders:
            peer.raw(masked(0x81, b"x") * 1000)
        for number in range(20):
            quick.send(str(number))
            assert await quick.message() == str(number)
        for peer in flooders:
            assert [await peer.message() for _ in range(1000)] == ["x"] * 1000


@on_each_loop
async def test_a_flooder_that_leaves_gives_up_its_turn(loop: Loop) -> None:
    async with loop.serving(echo) as server:
        flooders = [await loop.connect(server) for _ in range(4)]
        for peer in flooders:
            peer.raw(masked(0x81, b"x") * 1500)
        await loop.checkpoint()
        for peer in flooders[:2]:
            peer.reset()
        for peer in flooders[2:]:
            assert [await peer.message() for _ in range(1500)] == ["x"] * 1500
        await loop.until(lambda: len(server.clients) == 2)


@on_memory
async def test_long_messages_share_the_time_too(loop: MemoryLoop) -> None:
    """A read of them has few frames, but takes as long as many slices."""
    floods = Floods(loop, LONG_COST)
    async with loop.serving(floods.on_connection, compression=None) as server:
        loop.runtime.chunk = LONG
        flooders = [await loop.connect(server, target=f"/{n}") for n in range(FLOODERS)]
        quick = await loop.connect(server, target="/echo")
        message = masked(0x82, bytes(LONG - 14))
        for peer in flooders:
            peer.raw(message * 20)
        waits = await floods.waits(quick, 30, apart=2)
        assert sum(floods.counts()) < FLOODERS * 20, waits  # the floods lasted
        assert max(waits[1:]) <= 0.02
        await loop.settle()
        assert floods.counts() == [20] * FLOODERS
