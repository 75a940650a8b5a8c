"""Which loops a test runs on: all of them, the one with a clock to turn, or those with sockets."""

import inspect
import logging
from collections.abc import Iterator

import pytest
from harness import AsyncioWorld, Log, MemoryWorld, World


def _asyncio_world(name: str) -> AsyncioWorld:
    if name == "asyncio":
        return AsyncioWorld(name)
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return AsyncioWorld(name, uvloop.new_event_loop)


def _trio_world() -> World:
    pytest.importorskip("trio", reason="trio is not installed")
    from trio_world import TrioWorld

    return TrioWorld()


@pytest.fixture(params=["memory", "asyncio", "uvloop", "trio"])
def world(request: pytest.FixtureRequest) -> World:
    """Each loop."""
    if request.param == "memory":
        return MemoryWorld()
    return _trio_world() if request.param == "trio" else _asyncio_world(request.param)


@pytest.fixture
def memory() -> MemoryWorld:
    """The loop whose clock the test turns."""
    return MemoryWorld()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def real(request: pytest.FixtureRequest) -> World:
    """Each loop with sockets."""
    return _trio_world() if request.param == "trio" else _asyncio_world(request.param)


@pytest.fixture(params=["asyncio", "uvloop"])
def sockets(request: pytest.FixtureRequest) -> AsyncioWorld:
    """Each loop of asyncio."""
    return _asyncio_world(request.param)


@pytest.fixture(autouse=True)
def log() -> Iterator[Log]:
    """What was logged; nothing may be left of it that the test did not ask for."""
    log = Log()
    logging.getLogger().addHandler(log)
    yield log
    logging.getLogger().removeHandler(log)
    left = [record.getMessage() for record in log.records]
    assert not left, f"{len(left)} logged: {left[:3]}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on its world."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    [world] = [value for value in arguments.values() if isinstance(value, World)]
    world.run(lambda: pyfuncitem.obj(**arguments))
    return True
