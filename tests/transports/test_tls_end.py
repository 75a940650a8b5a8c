"""One end of a TLS stream: what OpenSSL's buffers hold, which never shrink."""

import os
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from kit.certificates import client_context, server_context
from kit.key_updates import KeyUpdater
from wstransports.tls_end import BUFFER_SIZE, CHUNK, MAX_OWED, RECORD, TlsEnd


class Noting:
    """A MemoryBIO whose largest size is noted."""

    def __init__(self, below: Any) -> None:
        self._below = below
        self.most = 0

    @property
    def pending(self) -> int:
        """As a MemoryBIO's."""
        return int(self._below.pending)

    def write(self, data: bytes) -> None:
        """As a MemoryBIO's."""
        self._below.write(data)
        self.most = max(self.most, self.pending)

    def read(self) -> bytes:
        """As a MemoryBIO's."""
        self.most = max(self.most, self.pending)
        return bytes(self._below.read())


@pytest.fixture
def ends(tmp_path: Path) -> tuple[TlsEnd, TlsEnd]:
    authority = trustme.CA()
    trusting = client_context(authority)
    KeyUpdater.prepare(trusting, tmp_path / "keys")
    client = TlsEnd(trusting, False, "h")
    server = TlsEnd(server_context(authority, "h"), True)
    data, done = b"", False
    while not done:
        client.handshake(data)
        done = server.handshake(client.owed(False))
        data = server.owed(False)
    client.decrypt(data)
    return client, server


@pytest.mark.parametrize("size", [0, 1, RECORD, CHUNK, CHUNK + 1, 2 * BUFFER_SIZE + 1])
def test_they_are_given_little_at_once(ends: tuple[TlsEnd, TlsEnd], size: int) -> None:
    client, server = ends
    sent, got = Noting(client.outgoing), Noting(server._incoming)
    client.outgoing, server._incoming = sent, got  # type: ignore[assignment]
    data = os.urandom(size)
    assert server.decrypt(client.encrypt(data)) == (data, False)
    assert server.decrypt(b"".join(client.encrypt_parts([b"one", data]))) == (b"one" + data, False)
    assert sent.most <= CHUNK + CHUNK // RECORD * 64
    assert got.most <= CHUNK + RECORD + 64


def test_many_requests_for_new_keys_in_one_read(
    ends: tuple[TlsEnd, TlsEnd], tmp_path: Path
) -> None:
    """The answers to all of them would take as many bytes as the read."""
    _, server = ends
    client = KeyUpdater(tmp_path / "keys")
    some = b"".join([client.key_update() for _ in range(2000)])
    assert server.decrypt(some) == (b"", False)
    assert 0 < len(server.owed(False)) <= MAX_OWED
    many = b"".join([client.key_update() for _ in range(10_000)])
    with pytest.raises(ssl.SSLError, match="renews keys"):
        server.decrypt(many)
    assert len(server.owed(False)) <= MAX_OWED + CHUNK


def test_in_another_thread_it_decrypts_into_other_memory(ends: tuple[TlsEnd, TlsEnd]) -> None:
    """As where a loop connects in one thread, and is run in another next to the loop of the
    first."""
    client, server = ends
    here, _ = server.decrypt(client.encrypt(b"one"))
    with ThreadPoolExecutor(1) as threads:
        there, _ = threads.submit(server.decrypt, client.encrypt(b"two")).result(20)
    assert (here, there) == (b"one", b"two")


def test_what_follows_the_end_is_ignored(ends: tuple[TlsEnd, TlsEnd]) -> None:
    client, server = ends
    last = client.encrypt(b"last") + client.farewell()
    assert server.decrypt(last + b"more" + bytes(2 * CHUNK)) == (b"last", True)
    assert server.decrypt(b"more") == (b"", True)
    assert server._incoming.pending == 0, "a peer could fill the memory"
