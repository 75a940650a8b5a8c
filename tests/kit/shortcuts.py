"""The methods with a shortcut in C, and what shows of runs with and without them."""

import logging
import re
import sys

import pytest

from wstransports.adapters.asyncio_pipe import AsyncioPipe
from wstransports.adapters.asyncio_socket import AsyncioSocketPipe
from wstransports.adapters.asyncio_waiter import AsyncioWaiter
from wstransports.adapters.direct_writes import DirectWrites
from wstransports.batch import Batch
from wstransports.client import Client
from wstransports.connection.session import Session
from wstransports.sending.outbox import Outbox

# The package has the function by this name.
Sending: type = sys.modules["wstransports.broadcast"].Sending

METHODS: list[tuple[type, str]] = [
    (Session, "data_received"),
    (Outbox, "send"),
    (Batch, "end"),
    (Sending, "_send"),
    (AsyncioPipe, "start"),
    (DirectWrites, "write"),
    (AsyncioSocketPipe, "_readable"),
    (Client, "__anext__"),
    (AsyncioWaiter, "add_done_callback"),
    (AsyncioWaiter, "wake"),
]

needs_shortcuts = pytest.mark.skipif(
    any(vars(owner)[name] is getattr(owner, name) for owner, name in METHODS),
    reason="the C extension was not built, or has no shortcuts",
)


class Lines(logging.Handler):
    """What is logged, without the numbers of connections."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, ...]] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        self.lines.append(
            (record.levelname, re.sub(r"#\d+", "#", record.getMessage()), str(raised))
        )
