"""Two processes of clients in rooms on Redis, and what goes wrong: nothing is lost or doubled."""

from pathlib import Path

import pytest
from rooms_trial import trial


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("loop", "kind"), [("asyncio", "redis"), ("trio", "valkey")])
def test_each_client_gets_each_message_once(loop: str, kind: str, tmp_path: Path) -> None:
    if loop == "trio":
        pytest.importorskip("trio", reason="trio is not installed")
    made = trial(clients=100, messages=240, loop=loop, folder=tmp_path, kind=kind)
    assert made.delivered == 110 * 240
    assert made.slow_resumed > 0  # they were closed with 1013, or lost it
    assert made.closes[1006] > 0  # some lost their process
