"""A program: trio as a guest of asyncio's loop, and our API on both, in one thread.

Its argument says which of them is the server's. It prints "done".
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from wstransports import Buffer, Client, WebSocketReader, WebSocketServer, broadcast, connect

ROUNDS = 50


async def serve(port: Callable[[int], object], wait: Callable[[], Awaitable[object]]) -> None:
    """Echo until `wait` returns."""
    server = WebSocketServer("127.0.0.1", 0)

    @server.connection
    async def on_connection(client: Client) -> None:
        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

    async with server:
        port(server.port)
        await wait()


async def talk(port: int) -> None:
    """To the echo, in every way that asks which loop runs."""
    uri = f"ws://127.0.0.1:{port}"
    async with connect(uri) as client, connect(uri) as other:
        for number in range(ROUNDS):
            await client.writer.send(str(number))
            assert await client.receive() == str(number)
        report = await broadcast([client, other], b"x" * 100_000)
        assert len(report.sent) == 2
        for one in (client, other):
            assert await one.receive() == b"x" * 100_000
        async with client.writer.fragment() as stream:
            await stream.send("a")
            await stream.send("b")
        assert await client.receive() == "ab"
    async for client in connect(uri):
        buffer = Buffer(1)
        await buffer.write(b"y")
        buffer.feed_eof()
        await client.writer.feed(buffer)
        assert await client.receive() == b"y"
        break


async def main(server_on: str) -> None:
    """Run one as the other's peer."""
    loop = asyncio.get_running_loop()
    port: asyncio.Future[int] = loop.create_future()
    over: asyncio.Future[Any] = loop.create_future()
    stop = trio.Event()

    async def guest() -> None:
        if server_on == "trio":
            await serve(port.set_result, stop.wait)
        else:
            while not port.done():
                await trio.lowlevel.checkpoint()
            await talk(port.result())

    trio.lowlevel.start_guest_run(
        guest,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=over.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    if server_on == "trio":
        await talk(await port)
        stop.set()
        outcome = await over
    else:
        await serve(port.set_result, lambda: over)
        outcome = over.result()
    outcome.unwrap()


asyncio.run(main(sys.argv[1]))
print("done")
