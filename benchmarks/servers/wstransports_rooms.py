"""This library's rooms, in one process or over Redis."""

import asyncio

from wstransports import Client, WebSocketReader, WebSocketServer
from wstransports.rooms import RedisBroker, Rooms

from .program import GREETING, REDIS, run, serve

socket = WebSocketServer("127.0.0.1", 0, compression=None)
rooms = Rooms(socket, broker=RedisBroker(REDIS) if REDIS else None)


@socket.connection
async def on_connection(client: Client) -> None:
    kind, name = client.request.path[1:].split("/")
    if kind == "rooms":

        @client.message
        async def on_announcement(reader: WebSocketReader) -> None:
            data = await reader.get()
            await asyncio.gather(*(rooms.publish(str(room), data) for room in range(int(name))))

    else:
        await rooms[name].join(client)
    await client.writer.send(GREETING)


async def main() -> None:
    async with socket:
        await serve(socket.port)


run(main)
