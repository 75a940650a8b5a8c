"""The client under test: takes the fuzzing server's cases one after another and echoes.

Arguments: the event loop to run on, asyncio or trio, the fuzzing server's address, the name under
which it is to report, and for TLS the file of the authority to trust.
"""

import asyncio
import ssl
import sys
from functools import partial

import trio

from wstransports import ConnectionClosed, connect

# Group 9 sends messages of up to 16 MiB, some of them in 65,536 fragments.
MAX_MESSAGE_SIZE = 16 * 2**20

# Seconds. Writing the report takes the server some, during which it answers nobody.
REPORT_LIMIT = 300


async def main(url: str, agent: str, authority: str | None = None) -> None:
    """Run every case that the server has, then have it write its report."""
    tls = None if authority is None else ssl.create_default_context(cafile=authority)
    async with connect(f"{url}/getCaseCount", ssl=tls) as client:
        count = int(await client.receive())
    for case in range(1, count + 1):
        await echo(f"{url}/runCase?case={case}&agent={agent}", tls)
    report = f"{url}/updateReports?agent={agent}"
    async with connect(report, ssl=tls, open_timeout=REPORT_LIMIT) as client:
        async for message in client:
            raise RuntimeError(f"the fuzzing server sent {message!r} about its report")


async def echo(uri: str, tls: ssl.SSLContext | None) -> None:
    """Echo until the connection closes, in whatever way."""
    connecting = connect(uri, ssl=tls, max_message_size=MAX_MESSAGE_SIZE, compression="deflate")
    async with connecting as client:
        try:
            async for message in client:
                await client.writer.send(message)
        except ConnectionClosed:
            pass  # most cases end in a violation: the server judges how it was answered


_, loop, *rest = sys.argv
run = partial(main, *rest)
match loop:
    case "asyncio":
        asyncio.run(run())
    case "trio":
        trio.run(run)
    case _:
        sys.exit(f"no event loop is called {loop}")
