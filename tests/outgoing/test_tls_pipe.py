"""TLS inside of a stream, and a tunnel to it: what no server or proxy of the other tests does."""

import hmac
import ssl
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kit.certificates import client_context, server_context
from wstransports.address import Address
from wstransports.connecting.tunnel import Tunnel
from wstransports.runtime import Pipe, Sink
from wstransports.tls_end import CHUNK, RECORD, TlsEnd
from wstransports.tls_pipe import TlsPipe


class Recorder:
    """A Pipe and a Sink that record their calls."""

    full = False

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.written = b""

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, *given))

    def write(self, data: bytes) -> None:
        """Note what was written."""
        self.written += data

    def writelines(self, parts: list[bytes]) -> None:
        """As `write`."""
        self.written += b"".join(parts)

    def waiting(self) -> int:
        """Nothing waits."""
        return 0

    async def drain(self) -> None:
        """Note it."""
        self.calls.append(("drain",))

    def taken(self) -> bytes:
        """What was written since the last call."""
        written, self.written = self.written, b""
        return written


class Joined:
    """A TlsPipe over a recorder, for a recorder, and the server's end."""

    def __init__(self, shakes_hands: bool = True) -> None:
        authority = trustme.CA()
        self.server = TlsEnd(server_context(authority, "h"), True)
        self.below, self.sink = Recorder(), Recorder()
        self.ends: list[OSError | None] = []
        self.pipe = TlsPipe(cast(Sink, self.sink), client_context(authority), "h", self.ends.append)
        self.pipe.connected(cast(Pipe, self.below))
        done = not shakes_hands
        while not done:
            done = self.server.handshake(self.below.taken())
            self.pipe.data_received(self.server.owed(False))
        if shakes_hands:
            assert self.sink.calls.pop(0) == ("connected", self.pipe)
            assert self.ends == [None]


def test_what_is_written_arrives_until_the_end_of_our_half() -> None:
    joined = Joined()
    joined.pipe.write(b"one ")
    joined.pipe.writelines([b"two ", b"three"])
    joined.pipe.close()
    joined.pipe.close()
    joined.pipe.write(b"late")
    joined.pipe.writelines([b"late"])
    assert joined.server.decrypt(joined.below.taken()) == (b"one two three", True)
    assert joined.below.calls == [("close",)]
    joined.pipe.data_received(joined.server.encrypt(b"still here"))
    assert joined.sink.calls == [("data_received", b"still here")]


def test_openssl_is_given_little_at_once_in_the_handshake_too() -> None:
    """What comes with its end waits in a buffer that never shrinks."""

    class Noting:
        def __init__(self, below: ssl.MemoryBIO) -> None:
            self.below = below
            self.most = 0

        @property
        def pending(self) -> int:
            return self.below.pending

        def write(self, data: bytes | memoryview) -> None:
            self.below.write(data)
            self.most = max(self.most, self.pending)

    authority = trustme.CA()
    client = TlsEnd(client_context(authority), False, "h")
    below, sink = Recorder(), Recorder()
    context = server_context(authority, "h")
    pipe = TlsPipe(cast(Sink, sink), context, None, lambda error: None, server_side=True)
    pipe.connected(cast(Pipe, below))
    client.handshake(b"")
    pipe.data_received(client.owed(False))
    assert client.handshake(below.taken())
    noting = Noting(pipe._tls._incoming)
    pipe._tls._incoming = cast(ssl.MemoryBIO, noting)
    pipe.data_received(client.owed(False) + client.encrypt(bytes(4 * CHUNK)))
    connected, *received = sink.calls
    assert connected == ("connected", pipe)
    assert sum(len(data) for _, data in received) == 4 * CHUNK
    assert noting.most <= CHUNK + RECORD + 64


def test_all_else_is_passed_on() -> None:
    joined = Joined()
    pipe = joined.pipe
    assert (pipe.full, pipe.waiting()) == (False, 0)
    with pytest.raises(StopIteration):
        pipe.drain().send(None)
    pipe.set_write_limit(1000)
    pipe.pause_reading()
    pipe.resume_reading()
    pipe.cancel()
    pipe.call_at(1, print)
    pipe.start(cast(Any, "coroutine"), cast(Any, "context"))
    assert pipe.info("ssl_object").server_hostname == "h"
    pipe.info("peername")
    pipe.abort()
    assert joined.below.calls == [
        ("drain",),
        ("set_write_limit", 1000),
        ("pause_reading",),
        ("resume_reading",),
        ("cancel",),
        ("call_at", 1, print),
        ("start", "coroutine", "context"),
        ("info", "peername"),
        ("abort",),
    ]


@pytest.mark.parametrize("says_so", [False, True])
def test_the_end_of_the_servers_half_is_reported_once(says_so: bool) -> None:
    joined = Joined()
    if says_so:
        joined.pipe.data_received(joined.server.farewell())
    joined.pipe.eof_received()
    joined.pipe.eof_received()
    joined.pipe.connection_lost(None)
    assert joined.sink.calls == [("eof_received",), ("connection_lost", None)]


@pytest.mark.parametrize("says_so", [False, True])
def test_a_sink_that_drops_the_stream_gets_no_more(says_so: bool) -> None:
    """Neither what came in the same read, nor the end of the peer's half."""
    joined = Joined()
    vars(joined.sink)["data_received"] = lambda data: joined.pipe.abort()
    last = joined.server.encrypt(b"dropped at this")
    end = joined.server.farewell() if says_so else b""
    joined.pipe.data_received(last + end)
    joined.pipe.data_received(joined.server.encrypt(b"late") if not says_so else b"")
    joined.pipe.eof_received()
    assert joined.below.calls == [("abort",)]
    assert joined.sink.calls == []


def hello_request(keylog: Path, server_hello: bytes) -> bytes:
    """The request of a TLS 1.2 server for another handshake (RFC 5246 section 7.4.1.1), as the
    first record after its handshake."""
    [_, client_random, master] = keylog.read_text().splitlines()[-1].split()
    seed = b"key expansion" + server_hello[11:43] + bytes.fromhex(client_random)
    keys, a = b"", seed
    while len(keys) < 40:  # of both ends, then the fixed parts of their nonces
        a = hmac.digest(bytes.fromhex(master), a, "sha256")
        keys += hmac.digest(bytes.fromhex(master), a + seed, "sha256")
    number = (1).to_bytes(8)
    record = AESGCM(keys[16:32]).encrypt(keys[36:40] + number, bytes(4), number + b"\x16\3\3\0\4")
    return b"\x16\3\3\0\x1c" + number + record


@pytest.mark.parametrize("parts", [False, True])
def test_what_is_sent_while_the_peer_renegotiates_and_is_silent(
    tmp_path: Path, parts: bool
) -> None:
    authority = trustme.CA()
    ours, theirs = client_context(authority), server_context(authority, "h")
    ours.maximum_version = ssl.TLSVersion.TLSv1_2
    ours.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    ours.keylog_filename = str(tmp_path / "keys")
    server, below, sink = TlsEnd(theirs, True), Recorder(), Recorder()
    pipe = TlsPipe(cast(Sink, sink), ours, "h", lambda error: None)
    pipe.connected(cast(Pipe, below))
    sent, done = [b""], False
    while not done:
        done = server.handshake(below.taken())
        sent.append(server.owed(False))
        pipe.data_received(sent[-1])
    assert pipe.established
    pipe.data_received(hello_request(tmp_path / "keys", sent[1]))
    assert below.taken().startswith(b"\x16")
    assert below.calls == []
    if parts:
        pipe.writelines([b"two ", b"parts"])
    else:
        pipe.write(b"one part")
    assert below.calls == [("abort",)]
    pipe.write(b"late")
    assert below.taken() == b""
    pipe.connection_lost(None)
    [*_, (call, error)] = sink.calls
    assert call == "connection_lost"
    assert isinstance(error, ssl.SSLError)


def test_after_a_failed_handshake_nothing_follows() -> None:
    joined = Joined(shakes_hands=False)
    joined.pipe.data_received(b"\x16\x03\x03\x00\x04\xff\x00\x00\x00")
    assert b"\x15\x03" in joined.below.written  # an alert
    joined.pipe.data_received(b"more")
    joined.pipe.eof_received()
    joined.pipe.connection_lost(None)
    [failure] = joined.ends
    assert isinstance(failure, ssl.SSLError)
    assert joined.sink.calls == []


def test_a_stream_that_is_lost_during_the_handshake() -> None:
    joined = Joined(shakes_hands=False)
    error = TimeoutError()
    joined.pipe.connection_lost(error)
    assert joined.ends == [error]


def test_one_that_is_aborted_before_it_is_connected() -> None:
    below = Recorder()
    pipe = TlsPipe(cast(Sink, Recorder()), ssl.create_default_context(), "h", print)
    pipe.abort()
    pipe.connected(cast(Pipe, below))
    assert below.calls == [("abort",)]


def test_a_tunnel_after_its_failure_takes_nothing() -> None:
    failures: list[OSError] = []
    below, sink = Recorder(), Recorder()
    where = Address("h", 80, proxy="https://p:443")
    tunnel = Tunnel(where, cast(Sink, sink), failures.append)
    tunnel.abort()  # while it is dialled
    tunnel = Tunnel(where, cast(Sink, sink), failures.append)
    tunnel.connected(cast(Pipe, below))
    tunnel.data_received(b"HTTP/1.1 403 No\r\n\r\n")
    tunnel.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    tunnel.connection_lost(None)
    assert [str(error) for error in failures] == ["the proxy refused: 403 No"]
    assert below.calls == [("abort",)]
    assert sink.calls == []


def test_what_comes_with_the_proxys_answer_is_the_servers() -> None:
    def never(error: OSError) -> None:
        raise AssertionError(error)

    below, sink = Recorder(), Recorder()
    tunnel = Tunnel(Address("h", 80, proxy="https://p:443"), cast(Sink, sink), never)
    tunnel.connected(cast(Pipe, below))
    assert below.taken() == b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"
    for byte in b"HTTP/1.1 200 OK\r\nX: y\r\n\r":
        tunnel.data_received(bytes([byte]))
    assert not sink.calls
    tunnel.data_received(b"\nhello")
    tunnel.data_received(b"more")
    tunnel.eof_received()
    tunnel.connection_lost(None)
    assert sink.calls == [
        ("connected", below),
        ("data_received", b"hello"),
        ("data_received", b"more"),
        ("eof_received",),
        ("connection_lost", None),
    ]
