"""The load generator ends, and says why, as soon as an answer is not what it has to be."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest
from generator import generator

from wscore.masking import apply_mask

SIZE = 32
HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
DEFLATE_HEAD = HEAD.replace(
    b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
PART = 65536

# What a server makes of each payload.
Answer = Callable[[bytes], bytes]


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame."""
    size = len(payload)
    return bytes([first]) + (bytes([size]) if size < 126 else b"\x7f" + size.to_bytes(8)) + payload


def read_frame(stream: BinaryIO) -> bytes | None:
    """The payload of a client's frame; None where the client has gone, in the midst of one too."""
    size = int.from_bytes(stream.read(2)[1:]) & 0x7F
    if size > 125:
        size = int.from_bytes(stream.read(2 if size == 126 else 8))
    key, payload = stream.read(4), stream.read(size)
    return apply_mask(payload, key) if payload and len(payload) == size else None


@contextmanager
def serving(answer: Answer, head: bytes = HEAD, raw: bool = False) -> Iterator[int]:
    """A server for one client; yields its port. `raw` sends all bytes back, as `answer` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, answer, head, raw))
        server.start()
        yield listener.getsockname()[1]
        server.join()


def _serve(listener: socket.socket, answer: Answer, head: bytes, raw: bool) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        received = b"".join(iter(stream.readline, b"\r\n")) + b"\r\n"
        assert b"Sec-WebSocket-Key: " in received
        try:
            connection.sendall(received if raw else head)
            if raw:
                while data := connection.recv(65536):
                    connection.sendall(answer(data))
            while (payload := read_frame(stream)) is not None:
                connection.sendall(answer(payload))
        except ConnectionError:
            return  # it has seen enough


def run(
    port: int, *arguments: str, mode: str = "echo", turns: int = 1, pid: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Put the load on it, `pid` (or this) standing for the server's process; no turn takes its 20
    seconds."""
    target = [f"--port={port}", f"--pid={pid or os.getpid()}", f"--size={SIZE}"]
    bounds = ["--messages=100", "--limit=20"]
    command = [str(generator()), mode, *target, *bounds, *arguments]
    return subprocess.run(command, input="20\n" * turns, capture_output=True, text=True)


def flipped(data: bytes) -> bytes:
    """One bit of it is wrong."""
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


def test_pings_between_are_passed_over() -> None:
    def pinged(payload: bytes) -> bytes:
        return (
            frame(b"", 0x89)
            + frame(payload[:5], 0x01)
            + frame(b"?", 0x89)
            + frame(payload[5:], 0x80)
        )

    with serving(pinged) as port:
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


# A server that works for 0.2 s when it has sent its last answer.
WORKS_ON = """
import time
input("ready\\n")
until = time.process_time() + 0.2
while time.process_time() < until:
    pass
input()
"""


def test_work_behind_the_last_answer_is_counted() -> None:
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
    assert len(set(received)) > 90  # and hardly any comes twice
    assert sum(not text.isascii() for text in received) > 50


WRONG = {
    "a bit": (lambda payload: frame(flipped(payload)), "message 0 is not what was sent"),
    "too short": (lambda payload: frame(payload[:-1]), "message 0 ends after 31 bytes"),
    "too long": (lambda payload: frame(payload + b"."), "message 0 is not what was sent"),
    "the type": (lambda payload: frame(payload, 0x82), "starts with 82 20, not with opcode 1"),
    "compressed": (lambda payload: frame(payload, 0xC1), "a compressed message, not agreed on"),
    "twice": (lambda payload: frame(payload) * 2, "message 1 is not what was sent"),
    "fragments": (lambda payload: frame(payload[:5], 0x01) + frame(b""), "not with opcode 0"),
}


@pytest.mark.parametrize(("answer", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_told(answer: Answer, complaint: str) -> None:
    with serving(answer) as port:
        assert_failed(run(port, "--text"), complaint)


def test_no_answer_ends_it_too() -> None:
    with serving(lambda payload: b"") as port:
        assert run(port, "--limit=1").returncode == -signal.SIGALRM


def test_bytes_that_differ_are_told() -> None:
    with serving(lambda data: data, raw=True) as port:
        assert_passed(run(port, "--raw"))
    with serving(flipped, raw=True) as port:
        assert_failed(run(port, "--raw"), "message 0 is not what was sent")


def deflating(change: Answer) -> Answer:
    """A server that inflates and deflates, with a context, and changes something between."""
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


def test_compression_that_is_not_agreed_on_is_told() -> None:
    with serving(frame) as port:
        assert_failed(run(port, "--deflate"), "did not agree on permessage-deflate")


def echo_of_a_stream(change: Answer) -> Answer:
    """A server that sends the frames of a message back as they come, four in all."""
    count = 0

    def answer(payload: bytes) -> bytes:
        nonlocal count
        count += 1
        return frame(change(payload), (0x80 if count == 4 else 0) | (2 if count == 1 else 0))

    return answer


def test_a_stream_is_compared_as_it_comes() -> None:
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
def test_a_wrong_handshake_is_told(mode: str, head: bytes) -> None:
    with serving(frame, head) as port:
        assert_failed(run(port, mode=mode), "not the answer to an upgrade")
