"""A chat, page and WebSocket on one port: python examples/chat.py [port] [redis://host]

With a Redis server, any number of these processes are one chat, at a port each.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

from wstransports import Client, Request, Response, WebSocketReader, WebSocketServer
from wstransports.rooms import BrokerLost, Publication, RedisBroker, Rooms

PAGE = Path(__file__).with_name("chat.html").read_bytes()


def page(request: Request) -> Response | None:
    """Answer plain requests with the page, and accept WebSockets."""
    if request.is_upgrade:
        return None
    return Response(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)


def serve(port: int, redis: str | None) -> None:
    """Serve the chat at this port until Ctrl-C."""
    chat = WebSocketServer("127.0.0.1", port, process_request=page)
    rooms = Rooms(chat, broker=RedisBroker(redis) if redis else None)
    lobby = rooms["lobby"]

    @rooms.render
    def render(publication: Publication) -> str:
        since = str(publication.position)  # the page sends it when it connects again
        return json.dumps({**json.loads(publication.data), "since": since})

    async def tell_all(text: str, name: str = "") -> None:
        here = sorted((await lobby.present()).values())
        await lobby.publish(json.dumps({"name": name, "text": text, "here": here}))

    @chat.connection
    async def on_connection(client: Client) -> None:
        query = parse_qs(client.request.query)
        name = query.get("name", ["Somebody"])[0][:30]

        @client.message
        async def on_message(reader: WebSocketReader) -> None:
            text = await reader.get(str)
            try:
                await tell_all(text, name)
            except BrokerLost:
                await client.writer.send_json({"name": "", "text": f"Not sent: {text}"})

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            with suppress(BrokerLost):
                await lobby.leave(client)  # it has left: wait until all processes know
                await tell_all(f"{name} left")

        try:
            await lobby.join(client, since=query.get("since", [None])[0], info=name)
            await tell_all(f"{name} joined")
        except BrokerLost:
            await client.close(1013, "try again later")

    with chat:
        print(f"Open http://127.0.0.1:{chat.port} in two windows, end it with Ctrl-C", flush=True)
        chat.loop.run_forever()


if __name__ == "__main__":
    redis = sys.argv[2] if len(sys.argv) > 2 else None
    try:
        serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8000, redis)
    except BrokerLost as error:
        sys.exit(str(error))
    except OSError as error:
        print(error)
        serve(0, redis)
