"""A pytest plugin: `pytest_plugins = ["wstransports.testing.pytest_plugin"]`, or `-p`.

An `async def` test with the fixture `memory_loop` runs on it. The plugin is not loaded by default.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ..server import WebSocketServer
from .connected import serving_in_thread
from .memory import MemoryRuntime


@pytest.fixture
def memory_loop() -> MemoryRuntime:
    """The loop in memory on which the test runs, if it is `async def`; it has the clock."""
    return MemoryRuntime()


@pytest.fixture
def serve() -> Iterator[Callable[[WebSocketServer], str]]:
    """A function that serves a WebSocketServer in a thread until the test ends; returns its URI."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(serving_in_thread(server))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test that uses `memory_loop`; leave the others to others."""
    loop = pyfuncitem.funcargs.get("memory_loop")
    if not isinstance(loop, MemoryRuntime) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    loop.run(lambda: pyfuncitem.obj(**arguments))
    return True
