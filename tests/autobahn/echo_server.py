"""The server under test: an echo on a free port of 127.0.0.1, which it prints; SIGTERM ends it."""

import asyncio

from wstransports import Client, WebSocketReader, WebSocketServer

loop = asyncio.new_event_loop()
# Group 9 sends messages of up to 16 MiB, some of them in 65,536 fragments.
socket = WebSocketServer("127.0.0.1", 0, loop=loop, max_message_size=16 * 2**20)


@socket.connection
async def on_connection(client: Client) -> None:
    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


with socket as server:
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.run_forever()
