"""How servers stop, with clients that answer and clients that do not; several workers."""

import time
from contextlib import ExitStack

import pytest
from processes import Served, served, under_uvicorn

from kit.blocking_peer import BlockingPeer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

# In seconds.
AT_ONCE = 1
BOUNDED = 5


def peers(stack: ExitStack, server: Served, count: int) -> list[BlockingPeer]:
    """So many peers that have got an echo."""
    found = [stack.enter_context(BlockingPeer(server.port, "/echo")) for _ in range(count)]
    for peer in found:
        peer.connect()
        peer.send("text")
        assert peer.message() == "text"
    return found


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_clients_that_answer(loop: str) -> None:
    with served(under_uvicorn("on_starlette", "--loop", loop)) as server, ExitStack() as stack:
        found = peers(stack, server, 20)
        start = time.monotonic()
        server.stop()
        for peer in found:
            assert peer.closed() == (1012, "")
        server.wait()
        assert time.monotonic() - start < AT_ONCE
    assert "Traceback" not in server.log


def test_clients_that_do_not_answer() -> None:
    with served(under_uvicorn("on_starlette")) as server, ExitStack() as stack:
        for peer in peers(stack, server, 20):
            peer.answers_close = False
        start = time.monotonic()
        server.terminate()
        assert time.monotonic() - start < BOUNDED
    assert "Traceback" not in server.log


def test_a_client_that_does_not_read() -> None:
    with served(under_uvicorn("on_starlette")) as server, ExitStack() as stack:
        (peer,) = peers(stack, server, 1)
        peer.socket.settimeout(1)
        with pytest.raises(TimeoutError):  # neither end reads
            while True:
                peer.send("text" * 2**16)
        start = time.monotonic()
        server.terminate()
        assert time.monotonic() - start < BOUNDED


def test_a_request_without_an_answer_yet() -> None:
    with served(under_uvicorn("on_sleep")) as server, BlockingPeer(server.port) as peer:
        peer.handshake()
        server.logs("sleeps")
        start = time.monotonic()
        server.stop()
        response = peer.answer()
        assert response.status == 503
        server.wait()
        assert time.monotonic() - start < BOUNDED


def test_several_workers() -> None:
    with served(under_uvicorn("on_pid", "--workers=2")) as server, ExitStack() as stack:
        server.logs("(?s)startup complete.*startup complete")  # of each worker
        found: list[BlockingPeer] = []
        workers: set[str | bytes] = set()
        while len(workers) < 2:  # whichever accepts first has the connection
            found.append(stack.enter_context(BlockingPeer(server.port)))
            found[-1].connect()
            workers.add(found[-1].message())
        server.terminate()
        for peer in found:
            assert peer.closed() == (1012, "")
    assert "Traceback" not in server.log


def test_gunicorn() -> None:
    worker = "gunicorn_worker.Worker"
    command = ["gunicorn", "on_starlette:app", "-k", worker, "-w", "2", "-b", "127.0.0.1:0"]
    with served(command) as server, ExitStack() as stack:
        found = peers(stack, server, 4)
        server.terminate()
        for peer in found:
            assert peer.closed() == (1012, "")
    assert "Traceback" not in server.log
