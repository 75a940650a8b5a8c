"""The load generator ends, and says why, as soon as an answer is not what it has to be."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from generator import generator

SIZE = 32
HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

# What a server makes of a payload, or of all the bytes where there are no frames.
Answer = Callable[[bytes], bytes]


@contextmanager
def serving(head: bytes, answer: Answer, raw: bool = False) -> Iterator[int]:
    """A server for one client that sends text frames of SIZE bytes; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, head, answer, raw))
        server.start()
        yield listener.getsockname()[1]
        server.join()


def _serve(listener: socket.socket, head: bytes, answer: Answer, raw: bool) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        received = b"".join(iter(stream.readline, b"\r\n")) + b"\r\n"
        assert b"Sec-WebSocket-Key: " in received
        connection.sendall(received if raw else head)
        try:
            while frame := stream.read(6 + SIZE):
                assert frame[:2] == bytes([0x81, 0x80 | SIZE])
                payload = bytes(byte ^ frame[2 + at % 4] for at, byte in enumerate(frame[6:]))
                connection.sendall(answer(frame if raw else payload))
        except ConnectionError:
            return  # it has seen enough


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A server's frame."""
    return bytes([first, len(payload)]) + payload


def run(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Put the load on it, this process standing for the server's."""
    target = [f"--port={port}", f"--pid={os.getpid()}", f"--size={SIZE}"]
    command = [str(generator()), "echo", *target, "--text", "--messages=100", "--limit=20", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def flipped(data: bytes) -> bytes:
    """One bit of it is wrong."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_right_answers_pass() -> None:
    with serving(HEAD, frame) as port:
        result = run(port)
    assert (result.returncode, result.stderr) == (0, "")
    assert '"messages": 100,' in result.stdout


def test_answers_in_fragments_pass() -> None:
    def fragments(payload: bytes) -> bytes:
        return frame(payload[:5], 0x01) + frame(b"", 0x00) + frame(payload[5:], 0x80)

    with serving(HEAD, fragments) as port:
        result = run(port)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_text_is_not_ascii_alone() -> None:
    received: list[str] = []

    def keep(payload: bytes) -> bytes:
        received.append(payload.decode())
        return frame(payload)

    with serving(HEAD, keep) as port:
        run(port)
    assert len(set(received)) > 90  # and hardly any comes twice
    assert sum(not text.isascii() for text in received) > 50


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda payload: frame(flipped(payload)), "message 0 is not what was sent"),
        (lambda payload: frame(payload[:-1]), "message 0 ends after 31 bytes"),
        (lambda payload: frame(payload + b"."), "message 0 is not what was sent"),
        (lambda payload: frame(payload, 0x82), "a frame starts with 82 20, not with opcode 1"),
        (lambda payload: frame(payload, 0xC1), "a compressed message, not agreed on"),
        (lambda payload: frame(payload) * 2, "message 1 is not what was sent"),
        (lambda payload: frame(payload[:5], 0x01) + frame(payload[5:]), "not with opcode 0"),
        (lambda payload: b"", "took too long"),
    ],
)
def test_a_wrong_answer_is_told(answer: Answer, complaint: str) -> None:
    with serving(HEAD, answer) as port:
        result = run(port, "--limit=1")
    if complaint == "took too long":
        assert result.returncode == -14  # SIGALRM
    else:
        assert result.returncode == 1
        assert complaint in result.stderr


def test_bytes_that_differ_are_told() -> None:
    with serving(HEAD, flipped, raw=True) as port:
        result = run(port, "--raw")
    assert result.returncode == 1
    assert "message 0 is not what was sent" in result.stderr


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        (HEAD.replace(b"101", b"200"), "not the answer to an upgrade"),
        (re.sub(rb"s3p\S+", b"c2VjcmV0", HEAD), "not the answer to an upgrade"),
    ],
)
def test_a_wrong_handshake_is_told(head: bytes, complaint: str) -> None:
    with serving(head, frame) as port:
        result = run(port)
    assert result.returncode == 1
    assert complaint in result.stderr


def test_compression_that_is_not_agreed_on_is_told() -> None:
    with serving(HEAD, frame) as port:
        result = run(port, "--deflate")
    assert result.returncode == 1
    assert "did not agree on permessage-deflate" in result.stderr
