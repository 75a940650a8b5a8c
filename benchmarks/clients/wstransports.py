"""This library, through its documented API."""

from benchmarks.servers.program import MAX_SIZE, RECEIVES
from wstransports import WebSocketReader, connect

from .connecting import echo_with


async def echo(uri: str) -> None:
    async with connect(uri, compression=None, max_message_size=MAX_SIZE) as client:
        if RECEIVES:
            async for message in client:
                await client.writer.send(message)

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await client.writer.send(await reader.get())

        await client.wait_closed()


echo_with(echo)
