"""An adapter that is wrong is found out: each rule, by the name of what it says."""

import pytest
from wrong_pipes import WRONG_PIPES
from wrong_runtimes import WRONG_RUNTIMES

from wstransports.adapters.memory import MemoryPipe, MemoryRuntime
from wstransports.options import Address
from wstransports.runtime import Sink
from wstransports.testing import BrokenRule, Host, Rule, check_pipe, check_runtime, joined

WHERE = Address("host", 0)


def check(runtime: MemoryRuntime, half_close: bool = True) -> None:
    """Both checks, on a loop whose clock only they turn."""
    host = Host(runtime.advance, runtime.spawn)

    async def main() -> None:
        await check_runtime(runtime, host, WHERE)
        await check_pipe(runtime, host, joined(runtime, WHERE), half_close)

    runtime.run(main)


class WithPipes(MemoryRuntime):
    """Its streams have pipes of another class."""

    def __init__(self, pipe: type[MemoryPipe]) -> None:
        super().__init__()
        self._pipe = pipe

    def _join(self, sink_a: Sink, sink_b: Sink) -> tuple[MemoryPipe, MemoryPipe]:
        a, b = self._pipe(self, sink_a), self._pipe(self, sink_b)
        a._peer, b._peer = b, a
        return a, b


@pytest.mark.parametrize("half_close", [True, False])
def test_a_right_one_passes(half_close: bool) -> None:
    check(MemoryRuntime(), half_close)
    check(WithPipes(MemoryPipe), half_close)


def test_a_right_one_passes_byte_by_byte() -> None:
    check(MemoryRuntime(chunk=7))


@pytest.mark.parametrize(
    ("rule", "wrong"), WRONG_PIPES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_wrong_pipe_is_caught(rule: Rule, wrong: type[MemoryPipe]) -> None:
    with pytest.raises(BrokenRule) as caught:
        check(WithPipes(wrong))
    assert caught.value.rule is rule, caught.value
    assert str(caught.value).startswith(f"{rule.value}: ")


@pytest.mark.parametrize(
    ("rule", "wrong"), WRONG_RUNTIMES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_wrong_runtime_is_caught(rule: Rule, wrong: type[MemoryRuntime]) -> None:
    with pytest.raises(BrokenRule) as caught:
        check(wrong())
    assert caught.value.rule is rule, caught.value
    assert str(caught.value).startswith(f"{rule.value}: ")


def test_each_rule_is_broken_by_somebody() -> None:
    assert {rule for rule, _ in (*WRONG_PIPES, *WRONG_RUNTIMES)} == set(Rule)
