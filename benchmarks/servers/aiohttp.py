"""The `aiohttp` package. It always compresses at level 1."""

from aiohttp import WSMsgType, web

from .program import BROADCASTS, DEFLATES, MAX_SIZE, TLS, run, serve

peers: set[web.WebSocketResponse] = set()


async def handler(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=DEFLATES, max_msg_size=MAX_SIZE, heartbeat=20)
    await socket.prepare(request)
    peers.add(socket)
    async for message in socket:
        if message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        else:
            for peer in list(peers) if BROADCASTS else (socket,):
                await peer.send_str(message.data)
    peers.discard(socket)
    return socket


async def main() -> None:
    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=TLS).start()
    await serve(runner.addresses[0][1])


run(main)
