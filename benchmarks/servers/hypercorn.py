"""hypercorn, which speaks WebSocket with wsproto; without pings, as it sends the first at once."""

import socket

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.protocol import ws_stream

from .asgi_echo import app
from .program import DEFLATES, MAX_SIZE, run

# It has no setting for compression, and accepts each offer.
if not DEFLATES:
    ws_stream.server_extensions_handshake = lambda offered, supported: None


async def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    config = Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.websocket_max_message_size = MAX_SIZE
    print(listening.getsockname()[1], flush=True)
    await serve(app, config)


run(main)
