"""A server with workers, at a socket that it inherits: FD WORKERS DRAIN. It greets each client."""

import socket as sockets
import sys

from wstransports import Client, WebSocketServer

descriptor, workers, drain = sys.argv[1:]
socket = WebSocketServer(None, 0, sock=sockets.socket(fileno=int(descriptor)))


@socket.connection
async def on_connection(client: Client) -> None:
    await client.writer.send("Hello")


socket.run(workers=int(workers), drain=float(drain))
