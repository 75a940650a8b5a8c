"""A keepalive of two numbers: when a ping goes out, and how long its answer may take."""

import pytest
from wire import encode, sent_frames

from kit.frames import FIN, PING, TEXT, Frame
from wscore import (
    ClientConnection,
    ConnectionFailed,
    Phase,
    Reasons,
    ServerConnection,
)


def opened(timeout: float, interval: float) -> ServerConnection:
    """A server that has accepted at 0."""
    server = ServerConnection(timeout=timeout, ping_interval=interval)
    server.receive_data(ClientConnection("example.com").data_to_send())
    server.accept(now=0)
    server.data_to_send()
    return server


def pinged(server: ServerConnection, now: float) -> bool:
    """Whether a ping goes out at `now`."""
    assert server.handle_timeout(now) == []
    frames = sent_frames(server.data_to_send(), "server")
    assert all(first == FIN | PING for first, _ in frames)
    return bool(frames)


@pytest.mark.parametrize(("timeout", "interval"), [(25, 20), (25, 5)])
def test_a_ping_after_the_interval_and_the_end_after_the_timeout(
    timeout: float, interval: float
) -> None:
    server = opened(timeout, interval)
    assert server.next_deadline() == interval
    assert not pinged(server, interval - 0.1)
    server.receive_data(encode([Frame(FIN | TEXT, b"here")], "server"), 3)
    assert server.next_deadline() == 3 + interval
    assert pinged(server, 3 + interval)
    assert server.next_deadline() == 3 + timeout
    [event] = server.handle_timeout(3 + timeout)
    assert event == ConnectionFailed(
        Reasons.ABNORMAL_CLOSE, f"keepalive: nothing was received for {timeout} s"
    )
    assert server.phase is Phase.CLOSED


def test_without_a_timeout_pings_go_out_and_nothing_ends() -> None:
    server = opened(0, 20)
    for number in range(1, 5):
        assert server.next_deadline() == 20 * number
        assert pinged(server, 20 * number)
    server.output_progress(0, 100, 90)
    assert server.next_deadline() == 100
    server.pause_reading()
    assert pinged(server, 1000)
    assert server.phase is Phase.OPEN
