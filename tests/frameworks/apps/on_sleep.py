"""Answers no request for a long time, unless the client leaves."""

import logging
from typing import Any

logging.basicConfig(level=logging.INFO)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await receive()
        logging.info("sleeps")
        await receive()
