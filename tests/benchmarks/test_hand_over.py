"""Workers replace one another under load, and no connection fails."""

import pytest

from benchmarks.hand_over import Load, measured

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_no_connection_fails_while_workers_are_replaced() -> None:
    load = Load(rate=400, seconds=5, hand_overs=1, members=100)
    figures = measured(load, workers=2, drain=0.5)
    assert figures["failures"] == {}
    assert load.opened + load.closed_early == 400 * 5
    assert set(load.codes) <= {1012, 1001}
    assert load.codes.total() == len(load.reconnects) == 100
