"""An echo server at ws://127.0.0.1:8765. Ctrl-C ends it."""

from wstransports import Client, WebSocketReader, WebSocketServer

socket = WebSocketServer("127.0.0.1", 8765)


@socket.connection
async def on_connection(client: Client) -> None:
    @client.message
    async def on_message(reader: WebSocketReader) -> None:
        await client.writer.send(await reader.get())


socket.run()
