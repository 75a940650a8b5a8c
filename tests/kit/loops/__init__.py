"""The event loops that the tests run on, and how a test says on which ones."""

import functools
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Coroutine
from typing import Any, cast

import pytest

from kit.loops.asyncio import AsyncioLoop
from kit.loops.base import PATIENCE, Loop, OnConnection, echo, state_of
from kit.loops.memory import MemoryLoop

__all__ = [
    "PATIENCE",
    "AsyncioLoop",
    "Loop",
    "MemoryLoop",
    "OnConnection",
    "echo",
    "on",
    "on_asyncio",
    "on_each_loop",
    "on_memory",
    "on_own_streams",
    "on_sockets",
    "state_of",
]

Test = Callable[..., Coroutine[Any, Any, None]]


def _uvloop() -> Loop:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return AsyncioLoop("uvloop", cast(Callable[[], AbstractEventLoop], uvloop.new_event_loop))


def _trio(**options: Any) -> Loop:
    pytest.importorskip("trio", reason="trio is not installed")
    from kit.loops.trio import TrioLoop

    return TrioLoop(**options)


def _anyio(backend: str) -> Loop:
    for needed in ("anyio", backend):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    from kit.loops.anyio import AnyioLoop

    return AnyioLoop(backend)


_LOOPS: dict[str, Callable[[], Loop]] = {
    "memory": MemoryLoop,
    "asyncio": AsyncioLoop,
    "uvloop": _uvloop,
    "trio": _trio,
    "trio with a clock that jumps": lambda: _trio(name="trio with a clock that jumps", jumps=True),
    "anyio-on-asyncio": lambda: _anyio("asyncio"),
    "anyio-on-trio": lambda: _anyio("trio"),
}

# The conformance checks hold these to the same contract as the others, so a test that passes on
# the others says almost all: `make test` leaves them to `make test-all`.
_SLOW = {"uvloop", "anyio-on-asyncio", "anyio-on-trio"}


def on(*names: str, slow: Collection[str] = frozenset()) -> Callable[[Test], Callable[..., None]]:
    """Run a test on each of these loops: its argument `loop`.

    `slow` are those on which it waits in real time for what another one shows.
    """

    def decorate(test: Test) -> Callable[..., None]:
        @pytest.mark.parametrize(
            "loop",
            [
                pytest.param(name, marks=[pytest.mark.slow] if name in {*_SLOW, *slow} else [])
                for name in names
            ],
        )
        @functools.wraps(test)
        def run(loop: str, **others: Any) -> None:
            made = _LOOPS[loop]()
            made.run(lambda: test(loop=made, **others))

        return cast(Callable[..., None], run)

    return decorate


EACH = ("memory", "asyncio", "uvloop", "trio", "anyio-on-asyncio", "anyio-on-trio")
OWN_STREAMS = ("memory", "asyncio", "uvloop", "trio")  # not over anyio's streams
SOCKETS = ("asyncio", "uvloop", "trio")

on_each_loop = on(*EACH)
on_own_streams = on(*OWN_STREAMS)
on_sockets = on(*SOCKETS)
on_asyncio = on("asyncio", "uvloop")
on_memory = on("memory")
