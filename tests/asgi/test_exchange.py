"""What an application may send in which state, and what comes of it."""

import pytest
from serving_app import ACCEPT, BODY, CLOSE, START, serving, text

from kit.loops import Loop, on
from wstransports.asgi.application import Message, Receive, Send
from wstransports.asgi.exchange import ClientDisconnected
from wstransports.asgi.scope import Scope

on_loops = on("memory", "asyncio", "trio")

MORE: Message = {**BODY, "more_body": True}

MESSAGES: dict[str, Message] = {
    "accept": ACCEPT,
    "send": text("hello"),
    "close": CLOSE,
    "start": START,
    "body": BODY,
    "unknown": {"type": "websocket.unknown"},
}

# How the application comes to each state.
STATES: dict[str, list[Message]] = {
    "asked": [],
    "open": [ACCEPT],
    "started": [START],
    "streaming": [START, MORE],
    "closed": [ACCEPT, CLOSE],
    "refused": [CLOSE],
    "denied": [START, BODY],
}

POSSIBLE = {
    "asked": {"accept", "close", "start"},
    "open": {"send", "close"},
    "started": {"body"},
    "streaming": {"body"},
    "closed": set(),
    "refused": set(),
    "denied": set(),
}


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize("state", STATES)
@on_loops
async def test_what_is_possible_in_each_state(loop: Loop, state: str, kind: str) -> None:
    outcome: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in STATES[state]:
            await send(message)
        try:
            await send(MESSAGES[kind])
        except (RuntimeError, ClientDisconnected) as error:
            outcome.append(error)
            raise ClientDisconnected from None
        outcome.append(None)

    async with serving(loop, app) as served:
        peer = await served.dial()
        peer.answers_close = peer.answers_eof = False  # or the connection might be over already
        await loop.until(lambda: outcome)
    (error,) = outcome
    if kind in POSSIBLE[state]:
        assert error is None
    else:
        assert isinstance(error, RuntimeError)
        assert f"sent '{MESSAGES[kind]['type']}'" in str(error)
