"""picows itself: synchronous callbacks, no `str`, no UTF-8 check, no compression."""

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from .program import BROADCASTS, MAX_SIZE, TLS, port_of, run, serve

peers: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        peers.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif BROADCASTS:
            payload = frame.get_payload_as_bytes()
            for peer in peers:
                peer.send(frame.msg_type, payload)
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        peers.discard(transport)


def listener(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def main() -> None:
    server = await ws_create_server(
        listener, "127.0.0.1", 0, ssl=TLS, max_frame_size=MAX_SIZE, enable_auto_ping=True
    )
    await serve(port_of(server))


run(main)
