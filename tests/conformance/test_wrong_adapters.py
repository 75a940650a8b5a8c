"""The checks find each adapter that breaks a rule, and name the rule."""

from functools import partial
from typing import Any

import pytest
from wrong_pipes import WRONG_PIPES
from wrong_runtimes import WRONG_RUNTIMES

from wstransports.address import Address
from wstransports.runtime import Sink
from wstransports.testing import BrokenRule, Host, Rule, check_pipe, check_runtime, joined
from wstransports.testing.memory import MemoryPipe, MemoryRuntime

WHERE = Address("host", 0)


def runtime_checked(runtime: MemoryRuntime) -> None:
    """Check it on a loop whose clock only the check turns."""
    host = Host(runtime.advance, partial(MemoryRuntime.spawn, runtime))
    runtime.run(check_runtime, runtime, host, WHERE)


def pipes_checked(runtime: MemoryRuntime, half_close: bool = True) -> None:
    """The same for its pipes."""
    host = Host(runtime.advance, runtime.spawn)
    runtime.run(check_pipe, runtime, host, joined(runtime, WHERE), half_close)


class WithPipes(MemoryRuntime):
    """Its streams have pipes of another class."""

    def __init__(self, pipe: type[MemoryPipe]) -> None:
        super().__init__()
        self._pipe = pipe

    def _join(self, sink_a: Sink, sink_b: Sink) -> tuple[MemoryPipe, MemoryPipe]:
        a, b = self._pipe(self, sink_a), self._pipe(self, sink_b)
        a._peer, b._peer = b, a
        return a, b


def each(wrongs: list[tuple[Rule, Any]]) -> pytest.MarkDecorator:
    """Run a test for each wrong class, and the rule that it breaks."""
    return pytest.mark.parametrize(
        ("rule", "wrong"), [pytest.param(*pair, id=pair[1].__name__) for pair in wrongs]
    )


@pytest.mark.parametrize("half_close", [True, False])
def test_a_right_one_passes(half_close: bool) -> None:
    runtime_checked(MemoryRuntime())
    pipes_checked(WithPipes(MemoryPipe), half_close)


def test_a_runtime_without_addresses_passes() -> None:
    runtime = MemoryRuntime()
    runtime.run(check_runtime, runtime, Host(runtime.advance, runtime.spawn))


@pytest.mark.slow
@pytest.mark.timeout(120)  # it has taken more than 30 s under coverage on a busy machine
def test_a_right_one_passes_byte_by_byte() -> None:
    pipes_checked(MemoryRuntime(chunk=7))


@each(WRONG_PIPES)
def test_a_wrong_pipe_is_caught(rule: Rule, wrong: type[MemoryPipe]) -> None:
    with pytest.raises(BrokenRule) as caught:
        pipes_checked(WithPipes(wrong))
    assert caught.value.rule is rule, caught.value
    assert str(caught.value).startswith(f"{rule.value}: ")


@each(WRONG_RUNTIMES)
def test_a_wrong_runtime_is_caught(rule: Rule, wrong: type[MemoryRuntime]) -> None:
    with pytest.raises(BrokenRule) as caught:
        runtime_checked(wrong())
    assert caught.value.rule is rule, caught.value
    assert str(caught.value).startswith(f"{rule.value}: ")


def test_each_rule_has_an_adapter_that_breaks_it() -> None:
    assert {rule for rule, _ in (*WRONG_PIPES, *WRONG_RUNTIMES)} == set(Rule)
