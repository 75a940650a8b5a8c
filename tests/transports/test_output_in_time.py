"""What a callback sends does not wait for the callback's own work."""

from test_writer import only_client

from kit.loops import Loop, MemoryLoop, on_each_loop, on_memory, on_own_streams
from kit.writes import CountingRuntime, counting
from wstransports import Client, WebSocketReader

# A frame with one character.
FRAME = 3

# Longer than output is gathered, in seconds.
LONG = 0.02


@on_own_streams
async def test_a_send_does_not_wait_for_more_than_the_next(loop: Loop) -> None:
    written: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            for number in range(5):
                loop.hold(LONG)
                await client.writer.send(str(number))
                written.append(len(b"".join(writes)) // FRAME)

    writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert [await peer.message() for _ in range(5)] == list("01234")
        assert all(count >= before for before, count in enumerate(written))


@on_own_streams
async def test_what_was_sent_to_others_leaves_too(loop: Loop) -> None:
    written: list[tuple[int, int]] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            others = [one for one in counted.server.clients.values() if one is not client]
            await others[0].writer.send("first")
            await client.writer.send("second")
            loop.hold(LONG)
            await client.writer.send("third")
            written.append((len(other_writes), len(writes)))

    writes: list[bytes] = []
    other_writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        other, other_writes = await counted.connect()
        peer, writes = await counted.connect()
        await loop.until(lambda: len(counted.server.clients) == 2)
        peer.send("")
        assert await other.message() == "first"
        assert [await peer.message() for _ in range(2)] == ["second", "third"]
        [(to_others, to_itself)] = written
        assert to_others == 1
        assert to_itself >= 1  # what is sent after old output is not gathered


@on_own_streams
async def test_the_next_send_may_be_to_somebody_else(loop: Loop) -> None:
    written: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            for one in counted.server.clients.values():
                await one.writer.send("from a loop that computes")
                written.append(sum(len(writes) for writes in counted.runtime.writes) - before)
                loop.hold(LONG)

    async with counting(loop, on_connection) as counted:
        peers = [(await counted.connect())[0] for _ in range(4)]
        await loop.until(lambda: len(counted.server.clients) == 4)
        before = sum(len(writes) for writes in counted.runtime.writes)
        peers[0].send("")
        for peer in peers:
            assert await peer.message() == "from a loop that computes"
        assert all(count >= earlier for earlier, count in enumerate(written))


@on_own_streams
async def test_slow_callbacks_for_one_read_write_as_they_go(loop: Loop) -> None:
    written: list[int] = []

    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            loop.hold(LONG)
            await client.writer.send(await reader.get())
            written.append(len(b"".join(writes)) // FRAME)

    writes: list[bytes] = []
    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        with peer.in_one_write():
            for number in range(5):
                peer.send(str(number))
        assert [await peer.message() for _ in range(5)] == list("01234")
        assert all(count >= before for before, count in enumerate(written))


@on_own_streams
async def test_what_on_connection_sends_does_not_wait_either(loop: Loop) -> None:
    written: list[int] = []

    async def on_connection(client: Client) -> None:
        writes = runtime.writes[0]
        for number in range(3):
            await client.writer.send(str(number))
            loop.hold(LONG)
            written.append(len(writes))

    async with counting(loop, on_connection) as counted:
        runtime: CountingRuntime = counted.runtime
        peer = await loop.connect(counted.server)
        assert [await peer.message() for _ in range(3)] == list("012")
        assert written[-1] >= 2


@on_memory
async def test_output_is_gathered_for_a_few_milliseconds(loop: MemoryLoop) -> None:
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            for number in range(100):
                loop.hold(0.001)
                await client.writer.send(str(number))

    async with counting(loop, on_connection) as counted:
        peer, writes = await counted.connect()
        peer.send("")
        assert [await peer.message() for _ in range(100)] == [str(n) for n in range(100)]
        # It is found to be old once; then nothing more is gathered for this input.
        assert len(writes[0]) == 5 * 3
        assert len(writes) == 96


@on_each_loop
async def test_the_response_leaves_before_on_connection_begins(loop: Loop) -> None:
    written: list[bytes] = []

    async def on_connection(client: Client) -> None:
        written.extend(runtime.writes[0])
        await client.writer.send("welcome")

    async with counting(loop, on_connection) as counted:
        runtime: CountingRuntime = counted.runtime
        peer = await loop.connect(counted.server)
        assert await peer.message() == "welcome"
        assert b"".join(written).startswith(b"HTTP/1.1 101 ")
        assert (await only_client(loop, counted.server)).port
