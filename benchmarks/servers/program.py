"""What the Python programs share: command line, event loop, and how servers report the port."""

import argparse
import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

# For all servers that let us choose. The defaults of `websockets`, and ours.
LEVEL, MEMORY_LEVEL, WINDOW_BITS = 6, 5, 12

# Larger than any message that a server holds as a whole.
MAX_SIZE = 2**25

_parser = argparse.ArgumentParser()
_parser.add_argument(
    "--loop", default="asyncio", choices=["asyncio", "uvloop", "aiofastnet", "trio"]
)
_parser.add_argument("--task", default="echo", choices=["echo", "broadcast", "stream", "rooms"])
_parser.add_argument("--deflate", action="store_true", help="negotiate permessage-deflate")
_parser.add_argument("--tls", help="serve over TLS, with the certificate and key in this file")
_parser.add_argument("--receive", action="store_true", help="receive without a callback")
_parser.add_argument("--zlib-ng", action="store_true", help="compress with zlib-ng")
_parser.add_argument("--redis", default="", help="the URL of the server between processes")
_parser.add_argument("--hiredis", action="store_true", help="let redis-py parse with hiredis")
_parser.add_argument("--app", default="bare", choices=["bare", "fastapi"], help="the ASGI app")
_parser.add_argument("--websockets", default="auto", help="what speaks WebSocket under uvicorn")
_parser.add_argument("--port", type=int, default=0, help="where a client connects")
_parser.add_argument("--connections", type=int, default=1, help="how many a client opens")
_SETTINGS = _parser.parse_args()

# A message goes to all clients, not only to its sender.
BROADCASTS = _SETTINGS.task == "broadcast"
# A message goes back while it arrives.
STREAMS = _SETTINGS.task == "stream"
# Messages are received with `async for`, and not by a callback.
RECEIVES: bool = _SETTINGS.receive
DEFLATES: bool = _SETTINGS.deflate
ZLIB_NG: bool = _SETTINGS.zlib_ng
TLS: ssl.SSLContext | None = None
if _SETTINGS.tls:
    TLS = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    TLS.load_cert_chain(_SETTINGS.tls)
APP: str = _SETTINGS.app
WEBSOCKETS: str = _SETTINGS.websockets
PORT: int = _SETTINGS.port
CONNECTIONS: int = _SETTINGS.connections
REDIS: str = _SETTINGS.redis
HIREDIS: bool = _SETTINGS.hiredis

# What a client gets once it is in its room.
GREETING = "joined"


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `main` on the event loop of the command line."""
    if _SETTINGS.loop == "trio":
        import trio

        trio.run(main)
        return
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(main())


def _new_loop() -> asyncio.AbstractEventLoop:
    if _SETTINGS.loop == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    loop = asyncio.new_event_loop()
    if _SETTINGS.loop == "aiofastnet":
        from aiofastnet import patch_loop

        patch_loop(loop)
    return loop


async def serve(port: int) -> None:
    """Print the port, and serve until the process is ended."""
    print(port, flush=True)
    if _SETTINGS.loop == "trio":
        import trio

        await trio.sleep_forever()
    await asyncio.get_running_loop().create_future()


def port_of(server: Any) -> int:
    """The port of an `asyncio.Server`, or of an object like it."""
    port: int = server.sockets[0].getsockname()[1]
    return port
