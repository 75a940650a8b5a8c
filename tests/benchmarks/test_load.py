"""The load generator ends, and reports why, as soon as an answer is wrong."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BufferedReader
from typing import BinaryIO

import pytest
import trustme
from generator import generator

from kit.certificates import server_context
from kit.frames import KEY, Frame
from wscore.masking import apply_mask

pytestmark = pytest.mark.slow

SIZE = 32
HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
DEFLATE_HEAD = HEAD.replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
PART = 65536

# A server's answer to a payload.
Answer = Callable[[bytes], bytes]


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame."""
    return Frame(first, payload).encode(masked=False)


def read_head(stream: BinaryIO) -> bytes:
    """A head, or what there is of it if the peer leaves."""
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            break
    return b"".join(lines)


def read_frame(stream: BinaryIO) -> bytes | None:
    """The payload of a client's frame; None if the client has closed, even within a frame."""
    size = int.from_bytes(stream.read(2)[1:]) & 0x7F
    if size > 125:
        size = int.from_bytes(stream.read(2 if size == 126 else 8))
    key, payload = stream.read(4), stream.read(size)
    return apply_mask(payload, key) if payload and len(payload) == size else None


@contextmanager
def serving(
    answer: Answer, head: bytes = HEAD, raw: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server for one client; yields its port. With `raw`, `answer` gets bytes, not payloads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, answer, head, raw, tls))
        server.start()
        yield listener.getsockname()[1]
        server.join()


def _serve(
    listener: socket.socket, answer: Answer, head: bytes, raw: bool, tls: ssl.SSLContext | None
) -> None:
    connection, _ = listener.accept()
    if tls is not None:
        connection = tls.wrap_socket(connection, server_side=True)
    with connection, connection.makefile("rb") as stream:
        received = read_head(stream)
        assert b"Sec-WebSocket-Key: " in received
        try:
            connection.sendall(received if raw else head)
            if raw:
                while data := connection.recv(65536):
                    connection.sendall(answer(data))
            while (payload := read_frame(stream)) is not None:
                connection.sendall(answer(payload))
        except ConnectionError:
            return  # the load generator has ended


def command(port: int, *arguments: str, mode: str = "echo", pid: int | None = None) -> list[str]:
    """The load generator's command line. The server's process is `pid`, or this one."""
    target = [f"--port={port}", f"--pid={pid or os.getpid()}", f"--size={SIZE}"]
    return [str(generator()), mode, *target, "--messages=100", "--limit=20", *arguments]


def run(
    port: int, *arguments: str, mode: str = "echo", turns: int = 1, pid: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the load generator. A turn may take 20 seconds, and none does."""
    return subprocess.run(
        command(port, *arguments, mode=mode, pid=pid),
        input="20\n" * turns,
        capture_output=True,
        text=True,
        errors="backslashreplace",  # a wrong answer may be any bytes
    )


def flipped(data: bytes) -> bytes:
    """The same data with one wrong bit."""
    return data[:-1] + bytes([data[-1] ^ 1])


def assert_passed(result: subprocess.CompletedProcess[str], messages: int = 100) -> None:
    assert (result.returncode, result.stderr) == (0, "")
    assert f'"messages": {messages},' in result.stdout.splitlines()[-1]


def assert_failed(result: subprocess.CompletedProcess[str], complaint: str) -> None:
    assert result.returncode == 1
    assert complaint in result.stderr
    assert result.stdout in ("", "ready\n")


def test_right_answers_pass() -> None:
    with serving(frame) as port:
        assert_passed(run(port, "--text"))


def test_answers_in_fragments_pass() -> None:
    def fragments(payload: bytes) -> bytes:
        return frame(payload[:5], 0x01) + frame(b"", 0x00) + frame(payload[5:], 0x80)

    with serving(fragments) as port:
        assert_passed(run(port, "--text"))


def test_turns_are_counted_together() -> None:
    with serving(frame) as port:
        result = run(port, "--text", "--warm-up=7", turns=3)
    assert_passed(result, 300)
    assert [line[:16] for line in result.stdout.splitlines()] == [
        "ready",
        '{"messages": 100',
        '{"messages": 200',
        '{"messages": 300',
    ]


# A server that works for 0.2 s after its last answer.
WORKS_ON = """
import time
input("ready\\n")
until = time.process_time() + 0.2
while time.process_time() < until:
    pass
input()
"""


def test_work_after_the_last_answer_is_counted() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", WORKS_ON], stdin=pipe, stdout=pipe, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        started = server.stdin
        answers = 0

        def answer(payload: bytes) -> bytes:
            nonlocal answers
            answers += 1
            if answers == 100:
                started.write("\n")
                started.flush()
            return frame(payload)

        with serving(answer) as port:
            result = run(port, "--text", pid=server.pid)
        server.communicate("\n")
    assert_passed(result)
    assert json.loads(result.stdout.splitlines()[-1])["server_cpu"] >= 0.2


def test_without_a_turn_nothing_is_sent() -> None:
    with serving(flipped, raw=True) as port:
        assert run(port, "--raw", turns=0).stdout == "ready\n"


def test_the_text_is_not_ascii_alone() -> None:
    received: list[str] = []

    def keep(payload: bytes) -> bytes:
        received.append(payload.decode())
        return frame(payload)

    with serving(keep) as port:
        assert_passed(run(port, "--text"))
    assert len(set(received)) > 90  # hardly any is repeated
    assert sum(not text.isascii() for text in received) > 50


WRONG = {
    "a bit": (lambda payload: frame(flipped(payload)), "message 0 is not what was sent"),
    "too short": (lambda payload: frame(payload[:-1]), "message 0 ends after 31 bytes"),
    "too long": (lambda payload: frame(payload + b"."), "message 0 is not what was sent"),
    "the type": (lambda payload: frame(payload, 0x82), "starts with 82 20, not with opcode 1"),
    "compressed": (
        lambda payload: frame(payload, 0xC1),
        "a compressed message without negotiation",
    ),
    "twice": (lambda payload: frame(payload) * 2, "message 1 is not what was sent"),
    "fragments": (lambda payload: frame(payload[:5], 0x01) + frame(b""), "not with opcode 0"),
}


@pytest.mark.parametrize(("answer", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_reported(answer: Answer, complaint: str) -> None:
    with serving(answer) as port:
        assert_failed(run(port, "--text"), complaint)


def test_no_answer_ends_it_too() -> None:
    with serving(lambda payload: b"") as port:
        assert run(port, "--limit=1").returncode == -signal.SIGALRM


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    """A server's context."""
    return server_context(trustme.CA(), "127.0.0.1")


# The largest is more than the sockets take at once.
@pytest.mark.parametrize("size", [SIZE, 16384, 2**20])
def test_right_answers_over_tls_pass(tls: ssl.SSLContext, size: int) -> None:
    with serving(frame, tls=tls) as port:
        result = run(port, "--tls", "--text", f"--size={size}", "--messages=8")
    assert_passed(result, 8)


def test_a_wrong_answer_over_tls_is_reported(tls: ssl.SSLContext) -> None:
    with serving(lambda payload: frame(flipped(payload)), tls=tls) as port:
        assert_failed(run(port, "--tls", "--text"), "message 0 is not what was sent")


def read_pong(stream: BufferedReader) -> bytes | None:
    """The payload of a client's pong."""
    assert stream.peek(1)[:1] == b"\x8a"
    return read_frame(stream)


@contextmanager
def connected(
    *arguments: str, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[subprocess.Popen[str], socket.socket, BufferedReader]]:
    """The load generator, ready for one turn of one message, and its connection."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        options = ["--text", "--messages=1", *["--tls"] * (tls is not None), *arguments]
        load = stack.enter_context(
            subprocess.Popen(
                command(listener.getsockname()[1], *options),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        connection, _ = listener.accept()
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        stack.enter_context(connection)
        stream = stack.enter_context(connection.makefile("rb"))
        read_head(stream)
        connection.sendall(HEAD)
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n"
        yield load, connection, stream
        report, _ = load.communicate()
    assert (load.returncode, '"messages": 1,' in report) == (0, True)


def start_turn(load: subprocess.Popen[str]) -> None:
    assert load.stdin is not None
    load.stdin.write("20\n")
    load.stdin.flush()


@pytest.mark.parametrize("encrypted", [False, True])
def test_pings_are_answered_before_a_turn_and_in_it(encrypted: bool, tls: ssl.SSLContext) -> None:
    with connected(tls=tls if encrypted else None) as (load, connection, stream):
        connection.sendall(frame(b"?", 0x89)[:2])
        connection.sendall(b"?" + frame(b"??", 0x89))
        pong = read_pong(stream)
        assert pong in (b"?", b"??")  # a pong to the latest is enough
        if pong == b"?":
            assert read_pong(stream) == b"??"

        start_turn(load)
        payload = read_frame(stream)
        assert payload is not None
        connection.sendall(frame(payload[:5], 0x01) + frame(b"!", 0x89) + frame(payload[5:], 0x80))
        assert read_pong(stream) == b"!"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_pong_waits_for_the_end_of_a_frame(encrypted: bool, tls: ssl.SSLContext) -> None:
    size = 2**23  # more than the sockets take at once
    with connected(f"--size={size}", tls=tls if encrypted else None) as (load, connection, stream):
        start_turn(load)
        assert stream.read(10) == b"\x81\xff" + size.to_bytes(8)
        key, payload = stream.read(4), b""
        while len(payload) < size:
            connection.sendall(frame(b"?", 0x89))
            payload += stream.read(2**19)
        assert read_pong(stream) == b"?"
        connection.sendall(frame(apply_mask(payload, key)))


def test_a_server_without_tls_is_reported() -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(3) == b"\x16\x03\x01"  # a record of the handshake
            connection.sendall(HEAD)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        result = run(listener.getsockname()[1], "--tls")
        server.join()
    assert_failed(result, "connection 0: TLS: wrong version number")


def test_bytes_that_differ_are_reported() -> None:
    with serving(lambda data: data, raw=True) as port:
        assert_passed(run(port, "--raw"))
    with serving(flipped, raw=True) as port:
        assert_failed(run(port, "--raw"), "message 0 is not what was sent")


def deflating(change: Answer) -> Answer:
    """A server that inflates, changes something, and deflates with context takeover."""
    inflater = zlib.decompressobj(-15)
    deflater = zlib.compressobj(wbits=-15)

    def answer(payload: bytes) -> bytes:
        data = change(inflater.decompress(payload + b"\0\0\xff\xff"))
        return frame((deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)

    return answer


def test_compressed_answers_are_inflated() -> None:
    with serving(deflating(lambda data: data), DEFLATE_HEAD) as port:
        assert_passed(run(port, "--text", "--deflate"))
    with serving(deflating(flipped), DEFLATE_HEAD) as port:
        assert_failed(run(port, "--text", "--deflate"), "message 0 is not what was sent")


def test_refused_compression_is_reported() -> None:
    with serving(frame) as port:
        assert_failed(run(port, "--deflate"), "did not accept permessage-deflate")


@contextmanager
def serving_rooms(greeting: bytes, pass_on: Answer) -> Iterator[tuple[list[int], list[str]]]:
    """Three servers, the first for one connection that publishes, the others for two members each;
    yields their ports, and what the connections will have asked for."""
    asked: list[str] = []
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]

        def serve() -> None:
            accepted = [
                stack.enter_context(listeners[place].accept()[0]) for place in (0, 1, 2, 1, 2)
            ]
            streams = [stack.enter_context(one.makefile("rb")) for one in accepted]
            for connection, stream in zip(accepted, streams, strict=True):
                asked.append(read_head(stream).split()[1].decode())
                connection.sendall(HEAD + greeting)
            with suppress(ConnectionError):  # the load generator has ended
                while (payload := read_frame(streams[0])) is not None:
                    for connection in accepted[1:]:
                        connection.sendall(frame(pass_on(payload)))

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield [listener.getsockname()[1] for listener in listeners], asked
        finally:
            server.join()


@pytest.mark.parametrize(
    ("greeting", "pass_on", "complaint"),
    [
        (frame(b"joined"), lambda payload: payload, ""),
        (frame(b"joined"), flipped, "message 0 is not what was sent"),
        (frame(b"failed"), lambda payload: payload, "not the answer to an upgrade"),
    ],
)
def test_the_first_connection_publishes_and_the_others_are_members(
    greeting: bytes, pass_on: Answer, complaint: str
) -> None:
    with serving_rooms(greeting, pass_on) as (ports, asked):
        others = [f"--port={port}" for port in ports[1:]]
        members = ["--rooms=2", "--connections=5", "--text"]
        result = run(ports[0], *others, *members, mode="rooms")
    assert asked == ["/rooms/2", "/room/0", "/room/0", "/room/1", "/room/1"]
    if complaint:
        assert_failed(result, complaint)
    else:
        assert_passed(result)


# The example of RFC 6455, section 1.3.
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    """A client's frame of text."""
    return bytes([0x81, 0x80 | len(payload)]) + key + apply_mask(payload, key)


def run_with_a_client(
    answer: Answer, request: bytes = REQUEST
) -> tuple[subprocess.CompletedProcess[str], bytes, list[bytes]]:
    """Run the load generator for a client; returns the answer to the client's request, and the
    payloads of its pongs, too."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        head = bytearray()
        pongs: list[bytes] = []

        def echo() -> None:
            with connection.makefile("rb") as stream:
                connection.sendall(request)
                try:
                    head.extend(read_head(stream))
                    while start := stream.read(2):
                        payload = stream.read(start[1])
                        if start[0] == 0x8A:
                            pongs.append(payload)
                        else:
                            connection.sendall(answer(payload))
                except ConnectionError:
                    return  # the load generator has ended

        client = threading.Thread(target=echo)
        client.start()
        arguments = [f"--listener={listener.fileno()}", f"--pid={os.getpid()}", "--text"]
        arguments += [f"--size={SIZE}", "--messages=100", "--limit=20"]
        result = subprocess.run(
            [str(generator()), "echo", *arguments],
            input="20\n",
            capture_output=True,
            text=True,
            pass_fds=[listener.fileno()],
        )
        client.join()
    return result, bytes(head), pongs


def test_clients_are_accepted_and_their_frames_unmasked() -> None:
    result, head, _ = run_with_a_client(masked)
    assert_passed(result)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head


def test_a_client_may_mask_each_piece_with_another_key() -> None:
    def fragments(payload: bytes) -> bytes:
        first, last = masked(payload[:5]), masked(payload[5:], b"abcd")
        return b"\x01" + first[1:] + masked(b"?").replace(b"\x81", b"\x89", 1) + b"\x80" + last[1:]

    result, _, pongs = run_with_a_client(fragments)
    assert_passed(result)
    assert {*pongs} == {b"?"}


WRONG_CLIENTS = {
    "a bit": (lambda payload: masked(flipped(payload)), "message 0 is not what was sent"),
    "unmasked": (frame, "starts with 81 20, not with opcode 1"),
}


@pytest.mark.parametrize(("answer", "complaint"), WRONG_CLIENTS.values(), ids=WRONG_CLIENTS)
def test_a_clients_wrong_answer_is_reported(answer: Answer, complaint: str) -> None:
    assert_failed(run_with_a_client(answer)[0], complaint)


def test_a_client_that_does_not_upgrade_is_reported() -> None:
    result, _, _ = run_with_a_client(frame, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert_failed(result, "not a request for an upgrade")


def echo_of_a_stream(change: Answer) -> Answer:
    """A server that sends the four frames of a message back one by one."""
    count = 0

    def answer(payload: bytes) -> bytes:
        nonlocal count
        count += 1
        return frame(change(payload), (0x80 if count == 4 else 0) | (2 if count == 1 else 0))

    return answer


def test_a_stream_is_compared_piece_by_piece() -> None:
    shape = (f"--size={4 * PART}", f"--frame={PART}")
    with serving(echo_of_a_stream(lambda data: data)) as port:
        assert_passed(run(port, *shape, mode="stream"), messages=1)
    with serving(echo_of_a_stream(flipped)) as port:
        assert_failed(run(port, *shape, mode="stream"), "what came back differs")
    with serving(echo_of_a_stream(lambda data: data[1:])) as port:
        assert_failed(run(port, *shape, mode="stream"), "what came back differs")


@pytest.mark.parametrize("mode", ["echo", "broadcast", "stream", "handshake"])
@pytest.mark.parametrize(
    "head", [HEAD.replace(b"101", b"200"), re.sub(rb"s3p\S+", b"c2VjcmV0", HEAD)]
)
def test_a_wrong_handshake_is_reported(mode: str, head: bytes) -> None:
    with serving(frame, head) as port:
        assert_failed(run(port, mode=mode), "not the answer to an upgrade")
