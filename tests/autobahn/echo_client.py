"""The client under test: takes the fuzzing server's cases one after another and echoes.

Arguments: the event loop to run on, asyncio or trio, the fuzzing server's address, and the name
under which it is to report.
"""

import asyncio
import sys

import trio

from wstransports import ConnectionClosed, connect

# Group 9 sends messages of up to 16 MiB, some of them in 65,536 fragments.
MAX_MESSAGE_SIZE = 16 * 2**20

# Seconds. Writing the report takes the server some, during which it answers nobody.
REPORT_LIMIT = 300


async def main(url: str, agent: str) -> None:
    """Run every case that the server has, then have it write its report."""
    async with connect(f"{url}/getCaseCount") as client:
        count = int(await client.receive())
    for case in range(1, count + 1):
        await echo(f"{url}/runCase?case={case}&agent={agent}")
    async with connect(f"{url}/updateReports?agent={agent}", open_timeout=REPORT_LIMIT) as client:
        async for message in client:
            raise RuntimeError(f"the fuzzing server sent {message!r} about its report")


async def echo(uri: str) -> None:
    """Echo until the connection closes, in whatever way."""
    async with connect(uri, max_message_size=MAX_MESSAGE_SIZE, compression="deflate") as client:
        try:
            async for message in client:
                await client.writer.send(message)
        except ConnectionClosed:
            pass  # most cases end in a violation: the server judges how it was answered


_, loop, url, agent = sys.argv
match loop:
    case "asyncio":
        asyncio.run(main(url, agent))
    case "trio":
        trio.run(main, url, agent)
    case _:
        sys.exit(f"no event loop is called {loop}")
