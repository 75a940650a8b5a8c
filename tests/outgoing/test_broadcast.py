"""`broadcast`: one message to many, whatever some of them are at."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest

from kit.connecting import connecting
from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory, on_own_streams
from kit.writes import CountingPipe
from wscore import ClientConnection, CloseReceived, MessagePiece, Reasons
from wscore.extensions import Deflate
from wscore.extensions.deflate import NegotiatedDeflate
from wscore.frames import encode_frame
from wstransports import (
    BroadcastReport,
    Client,
    ConnectionClosed,
    WebSocketReader,
    WebSocketServer,
    broadcast,
)
from wstransports.runtime import Pipe

# More than a stream in memory takes before it is full.
BIG = "x" * 100_000


async def members(loop: Loop, server: WebSocketServer, count: int) -> list[Client]:
    """The server's clients, when there are so many of them."""
    await loop.until(lambda: len(server.clients) == count)
    return list(server.clients.values())


class Peer:
    """A client in memory that stops reading when the test wants that."""

    def __init__(self, loop: MemoryLoop, server: WebSocketServer) -> None:
        self._core = ClientConnection("h")
        self._end = loop.runtime.open(str(server.addr), server.port)
        self._end.write(self._core.data_to_send())
        self._loop = loop
        self.closed: int | None = None
        """The code of the server's Close."""

    def stop(self) -> None:
        """Read no more."""
        self._end.stop_taking()

    def start(self) -> None:
        """Read again."""
        self._end.start_taking()

    def leave(self) -> None:
        """Lose the connection."""
        self._end.reset()

    async def messages(self) -> list[str]:
        """What has come."""
        await self._loop.settle()
        found = [""]
        events = self._core.receive_data(self._end.received_now())
        while self._core.more:
            events += self._core.receive_data(b"")
        for event in events:
            if isinstance(event, MessagePiece):
                assert event.text is not None
                found[-1] += event.text
                if event.last:
                    found.append("")
            elif isinstance(event, CloseReceived):
                self.closed = event.code
        assert not found.pop()
        return found


class Room:
    """A server in memory, and peers of it."""

    def __init__(self, server: WebSocketServer, peers: list[Peer], clients: list[Client]) -> None:
        self.server = server
        self.peers = peers
        self.clients = clients


async def room(loop: MemoryLoop, stack: AsyncExitStack, count: int, **options: Any) -> Room:
    """A server that never gives up on its clients, with some that have done nothing yet."""
    options = {"timeout": 0, "compression": None, **options}
    server = await stack.enter_async_context(loop.serving(**options))
    peers: list[Peer] = []
    clients: list[Client] = []
    for _ in range(count):
        peer = Peer(loop, server)
        stack.callback(peer.leave)
        await loop.settle()
        assert await peer.messages() == []
        [client] = set(server.clients.values()) - set(clients)
        peers.append(peer)
        clients.append(client)
    return Room(server, peers, clients)


def names(room: Room, report: BroadcastReport) -> dict[str, list[int]]:
    """The report, in numbers of peers."""
    found = {
        name: [room.clients.index(client) for client in getattr(report, name)]
        for name in ("sent", "dropped", "closed", "failed")
    }
    return {name: numbers for name, numbers in found.items() if numbers}


# To all.


@on_each_loop
@pytest.mark.parametrize("message", ["hello", b"\0\1", bytearray(b"ab"), memoryview(b"cd"), ""])
async def test_all_get_it(loop: Loop, message: Any) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving())
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(3)]
        theirs = await members(loop, server, 3)
        report = await broadcast(server.clients, message)
        assert report.sent == theirs
        assert not (report.dropped or report.closed or report.failed)
        for client in clients:
            got = await client.receive()
            assert got == (message if isinstance(message, str) else bytes(message))


@on_each_loop
async def test_clients_are_any_iterable(loop: Loop) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving())
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(2)]
        theirs = await members(loop, server, 2)
        assert (await broadcast(theirs, "list")).sent == theirs
        assert (await broadcast(iter(theirs), "iterator")).sent == theirs
        assert (await broadcast(server.clients.values(), "values")).sent == theirs
        assert (await broadcast(dict(enumerate(theirs)), "dict")).sent == theirs
        assert (await broadcast(theirs + theirs, "once each")).sent == theirs
        assert (await broadcast([], "nobody")).sent == []
        await broadcast(theirs, "end")
        for client in clients:
            got = [await client.receive() for _ in range(6)]
            assert got == ["list", "iterator", "values", "dict", "once each", "end"]


@on_each_loop
async def test_outgoing_connections_are_clients_too(loop: Loop) -> None:
    """Each masks its frame by itself (RFC 6455 section 5.3)."""
    got: list[object] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            got.append(await reader.get())

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving(on_connection))
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(3)]
        message = "hello " * 1000
        assert (await broadcast(clients, message)).sent == clients
        await loop.until(lambda: len(got) == 3)
    assert got == [message] * 3


# Framed once, compressed once.


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a frame is encoded, and a message compressed."""
    counts = {"framed": 0, "compressed": 0}

    def counting(name: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            counts[name] += 1
            return really(*args)

        return call

    monkeypatch.setattr("wscore.prepared.encode_frame", counting("framed", encode_frame))
    compress = counting("compressed", NegotiatedDeflate.compressor)
    monkeypatch.setattr(NegotiatedDeflate, "compressor", compress)
    return counts


@on_each_loop
async def test_it_is_framed_once_and_compressed_once(loop: Loop, counted: dict[str, int]) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving())
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(10)]
        await members(loop, server, 10)
        message = "compress me " * 1000
        await broadcast(server.clients, message)
        assert counted == {"framed": 1, "compressed": 1}
        for client in clients:
            assert await client.receive() == message
        # And what follows is understood, by broadcast or alone, compressed or not.
        await broadcast(server.clients, "short")
        await broadcast(server.clients, message)
        for theirs in server.clients.values():
            await theirs.writer.send(message)
        await broadcast(server.clients, message)
        for client in clients:
            assert [await client.receive() for _ in range(4)] == ["short"] + [message] * 3


@on_each_loop
async def test_it_is_compressed_once_for_all_with_the_same_offer(
    loop: Loop, counted: dict[str, int]
) -> None:
    small = Deflate(window_bits=9, peer_window_bits=9)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving())
        clients = [
            await stack.enter_async_context(connecting(server, compression=compression))
            for compression in ("deflate", small, None) * 4
        ]
        await members(loop, server, 12)
        message = "compress me " * 1000
        await broadcast(server.clients, message)
        assert counted == {"framed": 3, "compressed": 2}
        for client in clients:
            assert await client.receive() == message


@on_memory
@pytest.mark.parametrize(
    ("message", "compress", "compressed"),
    [
        ("a" * 5000, None, 1),
        ("a" * 5000, False, 0),
        ("a", None, 0),
        ("a", True, 1),
    ],
)
async def test_whether_it_is_compressed(
    loop: MemoryLoop,
    counted: dict[str, int],
    message: str,
    compress: bool | None,
    compressed: int,
) -> None:
    async with loop.serving() as server, connecting(server) as client:
        await members(loop, server, 1)
        await broadcast(server.clients, message, compress=compress)
        assert await client.receive() == message
        assert counted["compressed"] == compressed


# Slow ones.


@on_each_loop
async def test_by_default_a_peer_that_reads_nothing_holds_up_nobody(loop: Loop) -> None:
    """It once stopped everybody for `timeout` seconds."""
    message = b"x" * 2**18
    closed: list[Client] = []
    async with loop.serving(compression=None, timeout=0, close_timeout=0.01) as server:
        silent, good = await loop.connect(server), await loop.connect(server)
        await members(loop, server, 2)
        silent.stop_reading()
        rounds = 0
        while not closed:
            assert rounds < 200  # 50 MiB
            report = await broadcast(server.clients, message)
            closed += report.closed
            assert await good.message() == message
            rounds += 1
        assert len(closed) == 1
        assert [*server.clients.values()] != closed
        assert len(server.clients) == 1


@on_own_streams
async def test_a_loop_of_broadcasts_lets_its_clients_keep_up(loop: Loop) -> None:
    async with loop.serving(compression=None) as server:
        peers = [await loop.connect(server) for _ in range(2)]
        theirs = await members(loop, server, 2)
        for _ in range(50):
            assert (await broadcast(theirs, BIG)).closed == []
        for peer in peers:
            for _ in range(50):
                assert await peer.message() == BIG


@on_memory
async def test_wait_returns_when_all_have_room(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        here.peers[0].stop()
        casting = loop.spawn(broadcast(here.server.clients, BIG, slow="wait"))
        await loop.advance(1000)
        assert not casting.done
        # The others have it.
        assert await here.peers[1].messages() == [BIG]
        assert await here.peers[2].messages() == [BIG]
        here.peers[0].start()
        assert await here.peers[0].messages() == [BIG]
        assert names(here, await casting.wait()) == {"sent": [0, 1, 2]}


@on_memory
async def test_drop_leaves_out_who_has_no_room(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        clients = here.server.clients
        here.peers[1].stop()
        # It has room for the first.
        assert names(here, await broadcast(clients, BIG, slow="drop")) == {"sent": [0, 1, 2]}
        await loop.settle()
        report = await broadcast(clients, "dropped", slow="drop")
        assert names(here, report) == {"sent": [0, 2], "dropped": [1]}
        here.peers[1].start()
        assert await here.peers[1].messages() == [BIG]
        assert names(here, await broadcast(clients, "last", slow="drop")) == {"sent": [0, 1, 2]}
        assert await here.peers[0].messages() == [BIG, "dropped", "last"]
        assert await here.peers[1].messages() == ["last"]


@on_memory
async def test_close_is_for_who_has_too_much_waiting(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        here.peers[2].stop()
        clients = here.server.clients
        for _ in range(3):  # none of them waits
            report = await broadcast(clients, BIG, slow="close", max_waiting=250_000)
            assert names(here, report) == {"sent": [0, 1, 2]}
            await loop.settle()
        report = await broadcast(clients, "late", slow="close", max_waiting=250_000)
        assert names(here, report) == {"sent": [0, 1], "closed": [2]}
        assert here.clients[2].state.name == "CLOSING"
        assert list(clients.values()) == here.clients[:2]
        here.peers[2].start()
        assert await here.peers[2].messages() == [BIG] * 3
        assert here.peers[2].closed == Reasons.TRY_AGAIN_LATER
        assert await here.peers[0].messages() == [BIG] * 3 + ["late"]


@on_memory
async def test_close_is_for_who_had_no_room_for_too_long(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        here.peers[0].stop()
        clients = here.server.clients
        reports = []
        for _ in range(7):
            report = await broadcast(clients, BIG, slow="close", max_seconds=5)
            reports.append(names(here, report))
            await loop.advance(1)
        assert reports == [{"sent": [0, 1]}] * 5 + [{"sent": [1], "closed": [0]}, {"sent": [1]}]
        assert await here.peers[1].messages() == [BIG] * 7


@on_memory
async def test_a_client_that_catches_up_is_not_closed(loop: MemoryLoop) -> None:
    """Congested after each broadcast, with buffer space again before the next."""
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        for _ in range(10):
            here.peers[0].stop()
            report = await broadcast(here.clients, BIG, slow="close", max_seconds=5)
            assert names(here, report) == {"sent": [0]}
            await loop.advance(4)
            here.peers[0].start()
            assert await here.peers[0].messages() == [BIG]


@on_memory
async def test_a_client_that_caught_up_long_ago_begins_again(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        for _ in range(2):
            here.peers[0].stop()
            report = await broadcast(here.clients, BIG, slow="close", max_seconds=5)
            assert names(here, report) == {"sent": [0]}
            await loop.advance(4)
            report = await broadcast(here.clients, "more", slow="close", max_seconds=5)
            assert names(here, report) == {"sent": [0]}
            here.peers[0].start()
            assert await here.peers[0].messages() == [BIG, "more"]
            await loop.advance(4)


@on_memory
async def test_close_counts_what_waits_where_there_is_room(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        here.peers[0].stop()
        for expected in ({"sent": [0, 1]}, {"sent": [1], "closed": [0]}):
            report = await broadcast(here.clients, "x" * 1000, slow="close", max_waiting=500)
            assert names(here, report) == expected
            await loop.settle()


@on_memory
async def test_clients_of_two_servers_have_the_buffer_space_of_theirs(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        small = await room(loop, stack, 1, write_limit=400)
        large = await room(loop, stack, 2)
        clients = [*small.clients, *large.clients]
        large.peers[1].stop()
        for closed in ([], large.clients[1:]):
            report = await broadcast(clients, "x" * 1000, slow="close", max_waiting=500)
            assert report.closed == closed
            await loop.settle()


@on_memory
async def test_with_no_time_to_spare_it_closes_at_once(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        here.peers[0].stop()
        for expected in ({"sent": [0, 1]}, {"sent": [1], "closed": [0]}):
            report = await broadcast(here.clients, BIG, slow="close", max_seconds=0)
            assert names(here, report) == expected
            await loop.settle()


# Those who have gone, and those who go.


@on_memory
@pytest.mark.parametrize("slow", ["wait", "drop", "close"])
async def test_a_client_that_has_gone_is_reported(loop: MemoryLoop, slow: Any) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 4)
        here.peers[0].leave()
        await loop.settle()
        closing = loop.spawn(here.clients[2].close(3000, "bye"))
        await loop.runtime.checkpoint()
        report = await broadcast(here.clients, "hello", slow=slow)
        assert names(here, report) == {"sent": [1, 3], "failed": [0, 2]}
        gone, left = report.failed[here.clients[0]], report.failed[here.clients[2]]
        assert (gone.code, gone.client) == (Reasons.ABNORMAL_CLOSE, here.clients[0])
        assert (left.code, left.reason, left.client) == (3000, "bye", here.clients[2])
        assert await here.peers[1].messages() == ["hello"]
        closing.cancel()


@on_memory
async def test_a_client_that_goes_while_it_is_waited_for_is_reported(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 4)
        for number in (0, 1, 2):
            here.peers[number].stop()
        casting = loop.spawn(broadcast(here.server.clients, BIG, slow="wait"))
        await loop.settle()
        here.peers[1].leave()  # not the one that is waited for first
        await loop.settle()
        assert not casting.done
        here.peers[0].leave()
        await loop.settle()
        assert not casting.done
        here.peers[2].start()
        assert await here.peers[2].messages() == [BIG]
        report = await casting.wait()
        assert report.failed[here.clients[0]].code == Reasons.ABNORMAL_CLOSE
        assert names(here, report) == {"sent": [2, 3], "failed": [0, 1]}
        assert await here.peers[3].messages() == [BIG]


@on_memory
async def test_a_broadcast_that_is_given_up_takes_nothing_back(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        here.peers[0].stop()
        casting = loop.spawn(broadcast(here.server.clients, BIG, slow="wait"))
        await loop.settle()
        casting.cancel()
        with pytest.raises(loop.cancelled):
            await casting.wait()
        here.peers[0].start()
        assert await here.peers[0].messages() == [BIG]
        assert await here.peers[1].messages() == [BIG]


# Clients that are sent a message in fragments.


@on_memory
async def test_a_client_that_is_sent_a_fragmented_message_gets_it_afterwards(
    loop: MemoryLoop,
) -> None:
    """In order, and nobody waits for another."""
    more = loop.signal()
    parted = loop.signal()

    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("one ")
            await stream.send("two ")
            parted.set()
            await more.wait()
            await stream.send("three")

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        parting = loop.spawn(part(here.clients[0]))
        await parted.wait()
        before = loop.spawn(here.clients[0].writer.send("before"))
        await loop.settle()
        casting = loop.spawn(broadcast(here.server.clients, "cast", slow="wait"))
        await loop.settle()
        after = loop.spawn(here.clients[0].writer.send("after"))
        await loop.settle()
        again = await broadcast(here.server.clients, "again", slow="close")
        assert names(here, again) == {"sent": [0, 1, 2]}
        drop = await broadcast(here.server.clients, "drop", slow="drop")
        assert names(here, drop) == {"sent": [1, 2], "dropped": [0]}
        assert await here.peers[1].messages() == ["cast", "again", "drop"]
        assert not casting.done
        more.set()
        await loop.settle()
        assert await here.peers[0].messages() == [
            "one two three",
            "before",
            "cast",
            "after",
            "again",
        ]
        assert names(here, await casting.wait()) == {"sent": [0, 1, 2]}
        for job in (parting, before, after):
            await job.wait()
        # Nothing waits any more.
        report = await broadcast(here.clients, "", slow="close", max_waiting=0)
        assert names(here, report) == {"sent": [0, 1, 2]}


@on_memory
async def test_one_fragmented_message_holds_up_no_client_but_its_own(loop: MemoryLoop) -> None:
    mores = [loop.signal(), loop.signal()]

    async def part(client: Client, more: Any) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await more.wait()

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        jobs = [loop.spawn(part(here.clients[i], mores[i])) for i in range(2)]
        await loop.settle()
        casting = loop.spawn(broadcast(here.clients, "cast", slow="wait"))
        await loop.settle()
        mores[1].set()
        assert await here.peers[1].messages() == ["part", "cast"]
        assert not casting.done
        mores[0].set()
        assert await here.peers[0].messages() == ["part", "cast"]
        for job in (casting, *jobs):
            await job.wait()


@on_memory
async def test_any_number_waits_for_a_fragmented_message(loop: MemoryLoop) -> None:
    more = loop.signal()

    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await more.wait()

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        parting = loop.spawn(part(here.clients[0]))
        await loop.settle()
        for number in range(3000):
            await broadcast(here.clients, f"{number}", slow="close", max_seconds=1)
        more.set()
        await parting.wait()
        found = await here.peers[0].messages()
        assert found == ["part", *[f"{number}" for number in range(3000)]]


@on_memory
@pytest.mark.parametrize("bound", ["bytes", "seconds"])
async def test_what_waits_for_a_fragmented_message_is_bounded(loop: MemoryLoop, bound: str) -> None:
    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await loop.signal().wait()

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        parting = loop.spawn(part(here.clients[0]))
        await loop.settle()
        reports = []
        options: dict[str, Any] = {"max_seconds": 3, "max_waiting": 10**9}
        if bound == "bytes":
            options = {"max_seconds": 1000, "max_waiting": 250_000}
        for _ in range(4):
            report = await broadcast(here.clients, BIG, slow="close", **options)
            reports.append(names(here, report))
            await loop.advance(1)
        assert reports == [{"sent": [0, 1]}] * 3 + [{"sent": [1], "closed": [0]}]
        # Half a message is on its way, and the Close right after it.
        await here.peers[1].messages()
        parting.cancel()
        with pytest.raises(loop.cancelled):
            await parting.wait()


@on_memory
async def test_a_client_that_goes_during_a_fragmented_message_is_reported(loop: MemoryLoop) -> None:
    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await loop.signal().wait()

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 2)
        parting = loop.spawn(part(here.clients[0]))
        await loop.settle()
        casting = loop.spawn(broadcast(here.clients, "cast", slow="wait"))
        await loop.settle()
        here.peers[0].leave()
        report = await casting.wait()
        assert names(here, report) == {"sent": [1], "failed": [0]}
        parting.cancel()
        with pytest.raises(loop.cancelled):
            await parting.wait()


@on_memory
async def test_a_broadcast_that_is_given_up_is_not_sent_later(loop: MemoryLoop) -> None:
    """As a send that is cancelled while it waits for its turn is not."""
    more = loop.signal()

    async def part(client: Client) -> None:
        async with client.writer.fragment() as stream:
            await stream.send("part")
            await more.wait()

    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        jobs = [loop.spawn(part(client)) for client in here.clients[:2]]
        await loop.settle()
        casting = loop.spawn(broadcast(here.clients, "cast", slow="wait"))
        await loop.settle()
        casting.cancel()
        with pytest.raises(loop.cancelled):
            await casting.wait()
        more.set()
        for job in jobs:
            await job.wait()
        assert await here.peers[0].messages() == ["part"]
        assert await here.peers[1].messages() == ["part"]
        assert await here.peers[2].messages() == ["cast"]
        # And it counts no more.
        report = await broadcast(here.clients, "", slow="close", max_waiting=0)
        assert names(here, report) == {"sent": [0, 1, 2]}


@on_memory
async def test_it_is_refused_during_a_fragmented_message_of_the_same_task(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 3)
        async with here.clients[2].writer.fragment() as stream:
            await stream.send("part")
            slow: Any
            for slow in ("wait", "drop", "close"):
                with pytest.raises(RuntimeError, match="has a fragmented message open"):
                    await broadcast(here.clients, "cast", slow=slow)
            # Nobody else is concerned.
            await broadcast(here.clients[:2], "to the others")
        for peer in here.peers[:2]:
            assert await peer.messages() == ["to the others"]
        assert await here.peers[2].messages() == ["part"]


# From inside a callback.


@pytest.mark.usefixtures("unhurried")
@on_own_streams  # anyio's pipe gathers by itself: how much depends on who runs when
async def test_from_a_callback_it_is_gathered(loop: Loop) -> None:
    """However many messages: a write for each client at once, and one when the callback has run."""
    writes: list[bytes] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            message = await reader.get(str)
            for number in range(3):
                report = await broadcast(server.clients, f"{message} {number}")
                assert len(report.sent) == 2

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(loop.serving(on_connection))
        clients = [await stack.enter_async_context(connecting(server)) for _ in range(2)]
        for theirs in await members(loop, server, 2):
            outbox = theirs._session.outbox
            outbox.pipe = cast(Pipe, CountingPipe(outbox.pipe, writes))
        await clients[0].writer.send("hello")
        for client in clients:
            assert [await client.receive() for _ in range(3)] == ["hello 0", "hello 1", "hello 2"]
        assert len(writes) == 2 * 2


@on_each_loop
async def test_from_on_connection(loop: Loop) -> None:
    async def on_connection(client: Client) -> None:
        await broadcast(server.clients, "somebody comes")
        await broadcast([client], "welcome")

    async with (
        loop.serving(on_connection) as server,
        connecting(server) as first,
    ):
        assert await first.receive() == "welcome"
        async with connecting(server) as second:
            assert await second.receive() == "welcome"
            assert await first.receive() == "somebody comes"


# The caller's mistakes.


@on_memory
@pytest.mark.parametrize(
    ("data", "options", "kind", "mistake"),
    [
        (None, {}, TypeError, "str .text. or bytes-like"),
        (7, {}, TypeError, "str .text. or bytes-like"),
        (["a"], {}, TypeError, "str .text. or bytes-like"),
        ("a", {"slow": "skip"}, ValueError, '"wait", "drop" or "close", not \'skip\''),
        ("a", {"max_waiting": -1}, ValueError, "max_waiting"),
        ("a", {"max_seconds": -1}, ValueError, "max_seconds"),
        ("a", {"max_waiting": "1"}, ValueError, "max_waiting"),
        ("a", {"max_seconds": None}, ValueError, "max_seconds"),
        ("a", {"max_seconds": float("nan")}, ValueError, "max_seconds"),
    ],
)
async def test_mistakes_raise_and_nothing_is_sent(
    loop: MemoryLoop, data: Any, options: dict[str, Any], kind: type[Exception], mistake: str
) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        with pytest.raises(kind, match=mistake):
            await broadcast(here.clients, data, **options)
        assert await here.peers[0].messages() == []


@on_memory
async def test_what_is_not_a_client_is_named_and_nothing_is_sent(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        wrong: Any
        for wrong in (here.clients[0], here.server, 7):
            with pytest.raises(TypeError, match="server.clients or an iterable of clients"):
                await broadcast(wrong, "hello")
        for wrong in ([here.clients[0], 7], list(here.server.clients), "ab"):
            with pytest.raises(TypeError, match="is not a Client"):
                await broadcast(wrong, "hello")
        assert await here.peers[0].messages() == []


@on_memory
async def test_a_lost_connection_raises_what_sends_would(loop: MemoryLoop) -> None:
    async with AsyncExitStack() as stack:
        here = await room(loop, stack, 1)
        here.peers[0].leave()
        await loop.settle()
        report = await broadcast(here.clients, "hello")
        [reported] = report.failed.values()
        with pytest.raises(ConnectionClosed) as caught:
            await here.clients[0].writer.send("hello")
        assert str(caught.value) == str(reported)
