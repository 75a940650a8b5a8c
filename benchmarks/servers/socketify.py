"""socketify: uWebSockets with synchronous callbacks into Python, on libuv's loop alone."""

import socket
from typing import Any

from socketify import App, AppListenOptions, CompressOptions

from .program import BROADCASTS, MAX_SIZE

TOPIC = "all"


def on_open(client: Any) -> None:
    if BROADCASTS:
        client.subscribe(TOPIC)


def on_message(client: Any, message: str | bytes, opcode: int) -> None:
    if BROADCASTS:
        app.publish(TOPIC, message, opcode)
    else:
        client.send(message, opcode)


# It does not say which port it has, so it gets one that is free now.
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
app = App()
app.ws(
    "/*",
    {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": MAX_SIZE,
        "idle_timeout": 40,
        "open": on_open,
        "message": on_message,
    },
)
app.listen(AppListenOptions(port=port, host="127.0.0.1"), lambda _: print(port, flush=True))
# Not app.run(), which runs asyncio next to libuv: that polls without a pause, so that its CPU time
# says nothing.
app.loop.uv_loop.run()
