"""A TLS client that renews its keys and reads nothing (RFC 8446 section 4.6.3)."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from kit.certificates import server_context
from kit.key_updates import KeyUpdater
from kit.log import one_line
from kit.loops import Loop, on
from wscore import ClientConnection
from wstransports.adapters import tls_watch
from wstransports.adapters.asyncio import AsyncioRuntime
from wstransports.adapters.transport_pipe import TransportPipe
from wstransports.runtime import running


@on("asyncio", "uvloop", "trio")
async def test_a_client_that_renews_its_keys_and_reads_nothing_is_dropped(
    loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS owes it an answer to each: these must not pile up."""
    keylog = tmp_path / "keys"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    KeyUpdater.prepare(context, keylog)

    def attack() -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(listener.getsockname())
        with context.wrap_socket(sock) as stream:
            client = KeyUpdater(keylog)
            raw = socket.socket(fileno=os.dup(stream.fileno()))
        with raw:
            raw.settimeout(10)
            raw.sendall(client.data(ClientConnection("h").data_to_send()))
            with pytest.raises(ConnectionError):
                for _ in range(1000):
                    raw.sendall(b"".join([client.key_update() for _ in range(200)]))

    certs = server_context(trustme.CA(), "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with loop.serving(certs=certs, sock=listener):
            await running().in_thread(attack)
    line = one_line(caplog).partition(": ")[2]
    assert line == "dropped, TLS failed: the peer renews keys and reads nothing"


class FakeTransport:
    """A transport with TLS, of which the test says how much waits."""

    def __init__(self) -> None:
        self.size = 600_000
        self.aborted = False
        self.on_write: Callable[[], None] = lambda: None
        """Called at the end of the first write."""

    def get_extra_info(self, name: str) -> object:
        """It has TLS."""
        return self if name == "ssl_object" else None

    def get_write_buffer_size(self) -> int:
        """What waits."""
        return self.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Less waits."""
        return 2**18, 2**20

    def write(self, data: bytes) -> None:
        """It waits, encrypted in records of 16 KiB."""
        self.size += len(data) + 22 * (len(data) // 16384 + 1)
        on_write, self.on_write = self.on_write, lambda: None
        on_write()

    def can_write_eof(self) -> bool:
        """It has no halves."""
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """It calls none."""

    def is_closing(self) -> bool:
        """Whether it is dropped."""
        return self.aborted

    def close(self) -> None:
        """It is closed already."""

    def abort(self) -> None:
        """Drop it."""
        self.aborted = True


@pytest.mark.parametrize(
    "what", ["our output", "our large output", "what fills it", "TLS", "less", "closed", "resumed"]
)
@on("asyncio")
async def test_only_what_tls_sends_by_itself_counts(
    loop: Loop, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_watch, "CHECK_OWED", 0.001)
    lost: list[object] = []
    looks: list[float] = []
    sink: Any = SimpleNamespace(
        identity=None,
        data_received=None,
        connected=lambda pipe: None,
        connection_lost=lost.append,
    )
    transport = FakeTransport()
    pipe = TransportPipe(cast(AsyncioRuntime, running()), sink)
    pipe.connection_made(cast(Any, transport))
    look = tls_watch.TlsWatch._look

    def noted(watch: tls_watch.TlsWatch, least: int) -> None:
        looks.append(least)
        look(watch, least)

    monkeypatch.setattr(tls_watch.TlsWatch, "_look", noted)
    if what == "what fills it":
        transport.on_write = pipe.pause_writing
        pipe.writelines([b"header", bytes(10**7)])
    else:
        pipe.pause_writing()
    if what == "our output":
        for _ in range(10_000):
            pipe.write(b"x")
        pipe.write(bytes(10**7))
    elif what == "our large output":
        pipe.writelines([b"header", bytes(10**7)])
    elif what == "TLS":
        transport.size += 70_000
    elif what == "less":
        transport.size -= 500_000
        await loop.until(lambda: 100_000 in looks[-1:])
        transport.size += 70_000
    elif what == "closed":
        pipe.abort()
        pipe.close()
    elif what == "resumed":
        pipe.resume_writing()
    seen = len(looks)
    if what == "resumed":
        assert pipe._watch is None
    else:
        await loop.until(lambda: len(looks) > seen)
    assert transport.aborted is (what in ("TLS", "less", "closed"))
    pipe.connection_lost(None)
    assert pipe._watch is None
    assert isinstance(lost[0], ssl.SSLError) is (what in ("TLS", "less"))
