"""The `websockets` package."""

from websockets.asyncio.client import connect

from benchmarks.servers.program import MAX_SIZE

from .connecting import echo_with


async def echo(uri: str) -> None:
    async with connect(uri, compression=None, max_size=MAX_SIZE) as connection:
        async for message in connection:
            await connection.send(message)


echo_with(echo)
