"""The `websockets` package, whose processes pass messages on through redis-py."""

import asyncio
import sys
from collections import defaultdict

from websockets.asyncio.server import Server, ServerConnection, broadcast
from websockets.asyncio.server import serve as listen

from .program import GREETING, HIREDIS, REDIS, port_of, run, serve

if not HIREDIS:
    sys.modules["hiredis"] = None  # type: ignore[assignment]  # as if it was not installed

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

members: defaultdict[bytes, set[ServerConnection]] = defaultdict(set)
server: Server
redis: Redis
subscriptions: PubSub


async def pass_on() -> None:
    """Send what is published to the members."""
    async for message in subscriptions.listen():
        if message["type"] == "message":
            broadcast(members[message["channel"]], message["data"].decode())


async def handler(connection: ServerConnection) -> None:
    assert connection.request is not None
    kind, name = connection.request.path[1:].split("/")
    if kind == "rooms":
        await connection.send(GREETING)
        async for message in connection:
            async with redis.pipeline(transaction=False) as pipeline:
                for room in range(int(name)):
                    pipeline.publish(str(room), message)
                await pipeline.execute()
        return
    room = name.encode()
    members[room].add(connection)
    try:
        await subscriptions.subscribe(room)
        await connection.send(GREETING)
        await connection.wait_closed()
    finally:
        members[room].discard(connection)


async def main() -> None:
    global server, redis, subscriptions
    async with Redis.from_url(REDIS) as redis, redis.pubsub() as subscriptions:
        await subscriptions.subscribe("nobody")  # listen() needs a subscription
        task = asyncio.create_task(pass_on())
        server = await listen(handler, "127.0.0.1", 0, compression=None)
        await serve(port_of(server))
        await task


run(main)
