"""A server with rooms on Redis, for the trial: `python rooms_server.py LOOP BROKER PORT`.

A client joins the room of its path after `?since=POSITION`. It first gets "joined 1", or "joined 0"
if it did not resume, with the position. Each message of the room is POSITION, a space, the data.
"""

import asyncio
import sys

import wstransports
from wstransports import Client, WebSocketServer
from wstransports.rooms import Publication, RedisBroker, Rooms


def make(broker: str, port: int) -> WebSocketServer:
    """The server."""
    server = WebSocketServer("127.0.0.1", port, compression=None)
    rooms = Rooms(server, broker=RedisBroker(broker), max_waiting=2**18, drain=1)

    @rooms.render
    def render(publication: Publication) -> str:
        return f"{publication.position} {publication.data!s}"

    @server.connection
    async def on_connection(client: Client) -> None:
        request = client.request
        room = rooms[request.path.strip("/")]
        try:
            joined = await room.join(client, since=request.query_params.get("since"))
        except wstransports.rooms.BrokerLost:
            await client.close(1013)
        else:
            await client.writer.send(f"joined {joined.resumed:d} {joined.position}")

    return server


async def serve(broker: str, port: int) -> None:
    """Serve until SIGTERM, and print the port."""
    server = make(broker, port)
    async with server as listener:
        print(listener.address()[1], flush=True)
        await wstransports.runtime.running().signal().wait()


if __name__ == "__main__":
    loop, broker, port = sys.argv[1:]
    if loop == "trio":
        import trio

        trio.run(serve, broker, int(port))
    else:
        asyncio.run(serve(broker, int(port)))
