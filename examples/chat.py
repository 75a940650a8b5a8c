"""A chat, page and WebSocket on one port: python examples/chat.py [port]"""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs

from wstransports import (
    Client,
    Request,
    Response,
    WebSocketReader,
    WebSocketServer,
    broadcast,
)

PAGE = Path(__file__).with_name("chat.html").read_bytes()


def page(request: Request) -> Response | None:
    """Answer plain requests with the page, and accept WebSockets."""
    if request.is_upgrade:
        return None
    return Response(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)


def serve(port: int) -> None:
    """Serve the chat at this port until Ctrl-C."""
    chat = WebSocketServer("127.0.0.1", port, process_request=page)
    names: dict[Client, str] = {}

    async def tell_all(text: str, name: str = "") -> None:
        line = json.dumps({"name": name, "text": text, "here": sorted(names.values())})
        await broadcast(names.keys(), line)

    @chat.connection
    async def on_connection(client: Client) -> None:
        name = parse_qs(client.request.query).get("name", ["Somebody"])[0][:30]
        names[client] = name

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            await tell_all(await reader.get(str), name)

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            del names[client]
            await tell_all(f"{name} left")

        await tell_all(f"{name} joined")

    with chat:
        print(f"Open http://127.0.0.1:{chat.port} in two windows, end it with Ctrl-C", flush=True)
        chat.loop.run_forever()


if __name__ == "__main__":
    try:
        serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    except OSError as error:
        print(error)
        serve(0)
