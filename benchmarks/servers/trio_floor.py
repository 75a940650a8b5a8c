"""A floor: a bare trio stream that echoes bytes, without WebSocket."""

from functools import partial

import trio

from .program import run, serve


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listen = partial(trio.serve_tcp, echo, 0, host="127.0.0.1")
        [listener] = await nursery.start(listen)
        await serve(listener.socket.getsockname()[1])


run(main)
