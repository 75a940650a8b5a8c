"""The server under attack: what it does with a client, the client's path says.

Argument: its settings in JSON: `loop` (asyncio, uvloop or trio), `certs` (files, or null),
`logging_raises`, and `options` of the WebSocketServer. It prints its port; SIGTERM ends it, and it
prints what its callbacks have seen.
"""

import asyncio
import gc
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from wstransports import (
    Client,
    ConnectionClosed,
    Request,
    Response,
    WebSocketReader,
    WebSocketServer,
    broadcast,
)

# What the clients at a path get while there are any at another, and after how many seconds again.
BROADCASTS = [
    ("/broadcast", "/broadcast", bytes(16 * 1024), 0.02),
    ("/crowd", "/crowd/broadcast", b"a short message", 0.2),
]

# What /big sends, in bytes, and what a message of it has.
BIG = 6 * 2**20
PIECE = 2**18

# How long the callback at /slow takes, in seconds.
SLOW = 0.05

seen = {"begun": 0, "answered": 0}

# The clients at a path, for the broadcasts: to look for them among thousands takes milliseconds.
at_path: dict[str, set[Client]] = {path: set() for two in BROADCASTS for path in two[:2]}

sleep: Callable[[float], Awaitable[Any]]
tasks: Callable[[], int]


class Raising(logging.Handler):
    """A handler that raises, whatever is logged."""

    def handle(self, record: logging.LogRecord) -> bool:
        """As a Handler."""
        raise RuntimeError("no place for a log line")


async def on_connection(client: Client) -> None:
    """Register what the path asks for."""
    path = client.request.path
    if path in at_path:
        at_path[path].add(client)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            at_path[path].discard(client)

    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        seen["begun"] += 1
        if path == "/hang":
            await sleep(10_000)
        elif path == "/chatter":
            await chatter(client)
        elif path == "/slow":
            await sleep(SLOW)
        elif path == "/big":
            await client.writer.feed([bytes(PIECE)] * (BIG // PIECE))
            return
        message = await reader.get()
        if path == "/sink":
            return
        if path == "/raise":
            await sleep(SLOW)
        try:
            await client.writer.send(message)
        except ConnectionClosed as error:
            if path == "/raise":
                raise RuntimeError("the answer could not be sent") from error
            raise
        seen["answered"] += 1

    if path == "/ping":

        @client.ping
        async def on_ping(payload: bytes, length: int) -> None:
            raise RuntimeError("no ping is liked here")


async def chatter(client: Client) -> None:
    """Send until the client is gone, and then hang."""
    try:
        while True:
            await client.writer.send(b"chatter")
            await sleep(SLOW)
    except ConnectionClosed:
        await sleep(10_000)


def process_request(request: Request) -> Awaitable[Response] | None:
    """Answer /stats."""
    return stats(request) if request.path == "/stats" else None


async def stats(request: Request) -> Response:
    """Say what is held, after a collection where the query asks for one.

    Where a request comes with the end of its TLS handshake, the task of that ends a turn later.
    """
    await sleep(0)
    if request.query == "collect":
        gc.collect()
    held = {"tasks": tasks(), "clients": len(server.clients), **seen}
    return Response(200, body=json.dumps(held))


async def broadcast_to(path: str, condition: str, message: bytes, seconds: float) -> None:
    """Send to all clients at a path, again and again, while there are any at `condition`."""
    while True:
        if at_path[condition]:
            await broadcast(at_path[path], message)
        await sleep(seconds)


async def on_asyncio() -> None:
    """Serve up to SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with server:
        print(server.port, flush=True)
        sending = [asyncio.create_task(broadcast_to(*one)) for one in BROADCASTS]
        await stopped.wait()
        for task in sending:
            task.cancel()


async def on_trio() -> None:
    """Serve up to SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with server, trio.open_nursery() as nursery:
            print(server.port, flush=True)
            for one in BROADCASTS:
                nursery.start_soon(broadcast_to, *one)
            await anext(signals)
            nursery.cancel_scope.cancel()


settings = json.loads(sys.argv[1])
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
if settings["logging_raises"]:
    logging.getLogger("wstransports").addHandler(Raising())
certs = tuple(settings["certs"]) if settings["certs"] else None
server = WebSocketServer(
    "127.0.0.1", 0, certs, process_request=process_request, **settings["options"]
)
server.connection(on_connection)
if settings["loop"] == "trio":
    sleep = trio.sleep
    tasks = lambda: trio.lowlevel.current_statistics().tasks_living  # noqa: E731
    trio.run(on_trio)
else:
    sleep = asyncio.sleep
    tasks = lambda: len(asyncio.all_tasks())  # noqa: E731
    if settings["loop"] == "uvloop":
        import uvloop

        factory: Any = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(on_asyncio())
print(json.dumps(seen), flush=True)
