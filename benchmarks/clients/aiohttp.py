"""The `aiohttp` package."""

from aiohttp import ClientSession, WSMsgType

from benchmarks.servers.program import MAX_SIZE

from .connecting import echo_with


async def echo(uri: str) -> None:
    async with (
        ClientSession() as session,
        session.ws_connect(uri, max_msg_size=MAX_SIZE, heartbeat=20) as socket,
    ):
        async for message in socket:
            if message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                await socket.send_str(message.data)


echo_with(echo)
