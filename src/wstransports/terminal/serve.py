"""`serve`: a server for trying a client."""

from argparse import ArgumentParser, Namespace
from typing import Any

from ..broadcast import broadcast
from ..client import Client
from ..errors import ConnectionClosed
from ..server import WebSocketServer
from .folder import Folder
from .screen import Screen, shown
from .status import FAILED, OK, UsageError


def add_to(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser: ArgumentParser = commands.add_parser(
        "serve",
        help="serve an echo, a hub or a folder",
        description="Send each message back to its sender, or to all. Ctrl-C ends it.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    add("--port", type=int, default=8765, help="the port to listen on (8765); 0 for a free one")
    add("--certs", nargs=2, metavar=("CERT", "KEY"), help="the files of a certificate, for wss")
    add("--hub", action="store_true", help="send each message to all clients")
    add("--folder", metavar="FOLDER", help="serve the files of a folder at the same port")
    add("--subprotocol", metavar="NAME", action="append", default=[],
        help="a subprotocol that is supported; may be repeated")  # fmt: skip
    parser.set_defaults(run=run)


def run(chosen: Namespace, screen: Screen) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    try:
        socket = server(chosen, screen)
    except (TypeError, ValueError, OSError) as error:
        raise UsageError(str(error)) from None
    try:
        with socket:
            host = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
            what = "a hub" if chosen.hub else "an echo"
            scheme = "wss" if chosen.certs else "ws"
            screen.status(f"serving {what} at {scheme}://{host}:{socket.port}/")
            if chosen.folder:
                page = "https" if chosen.certs else "http"
                screen.status(f"serving {chosen.folder} at {page}://{host}:{socket.port}/")
            socket.loop.run_forever()
    except OSError as error:
        screen.error(error.strerror or str(error))
        return FAILED
    return OK


def server(chosen: Namespace, screen: Screen) -> WebSocketServer:
    """The server, with its callbacks. Raises what WebSocketServer and Folder raise."""
    folder = Folder(chosen.folder) if chosen.folder else None
    socket = WebSocketServer(
        chosen.host,
        chosen.port,
        certs=tuple(chosen.certs) if chosen.certs else None,
        subprotocols=chosen.subprotocol,
        process_request=folder.respond if folder else None,
    )

    @socket.connection
    async def on_connection(client: Client) -> None:
        name = f"{client.addr}:{client.port}"
        screen.status(f"{name} connected to {client.request.target}")

        @client.closed
        async def on_closed(code: int, reason: str) -> None:
            screen.status(f"{name} closed: {ConnectionClosed(code, reason)}")

        async for message in client:
            screen.status(f"{name} sent {shown(message)}")
            if chosen.hub:
                await broadcast(socket.clients, message)
            else:
                await client.writer.send(message)

    return socket
