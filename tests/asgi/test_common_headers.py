"""Header fields with the same value from many clients are kept once, but for secret ones."""

from typing import Any

import pytest
from serving_app import ACCEPT, serving

from kit.loops import Loop, on_memory
from wstransports.asgi.application import Receive, Send
from wstransports.asgi.scope import Scope


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("User-Agent", "Browser/1.0", True),
        ("User-Agent", "B" * 300, False),
        ("Cookie", "session=secret", False),
        ("Authorization", "Bearer secret", False),
        ("X-Token", "secret", False),
    ],
)
@on_memory
async def test_what_two_clients_send(loop: Loop, name: str, value: str, kept: bool) -> None:
    scopes: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        await send(ACCEPT)

    async with serving(loop, app) as served:
        for _ in range(2):
            await (await served.connect(headers=[(name, value)])).closed()
    field = (name.lower().encode(), value.encode())
    one, other = (next(f for f in scope["headers"] if f == field) for scope in scopes)
    assert (one is other) is kept
