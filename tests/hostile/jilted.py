"""A client of a server that answers with a wrong 101, and then keeps the connection.

Argument: the event loop. It prints in JSON how long some attempts took and what remained of them.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from wstransports import HandshakeError, connect

ATTEMPTS = 5

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def serve(listening: socket.socket, kept: list[socket.socket]) -> None:
    """Answer wrongly, and stay."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        kept.append(connection)
        connection.recv(65536)
        connection.sendall(ANSWER)


async def main(tasks: Callable[[], int], sleep: Callable[[float], Awaitable[object]]) -> None:
    """Connect, again and again."""
    kept: list[socket.socket] = []
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listening, kept), daemon=True).start()
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
    tasks_before, before = tasks(), len(os.listdir("/dev/fd"))
    start = time.monotonic()
    for _ in range(ATTEMPTS):
        try:
            async with connect(url):
                sys.exit("it must not be accepted")
        except HandshakeError:
            continue
    seconds = time.monotonic() - start
    await sleep(0.1)  # a socket is closed in the loop's next turn
    # The server keeps its ends open, in this process too.
    descriptors = len(os.listdir("/dev/fd")) - before - len(kept)
    left = {"seconds": seconds, "tasks": tasks() - tasks_before, "descriptors": descriptors}
    print(json.dumps(left), flush=True)
    for connection in [*kept, listening]:
        connection.close()


loop = sys.argv[1]
if loop == "trio":
    trio.run(main, lambda: trio.lowlevel.current_statistics().tasks_living, trio.sleep)
else:
    factory: Any = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(lambda: len(asyncio.all_tasks()), asyncio.sleep))
