"""Event loops in several threads: each thread finds the runtime of its own loop."""

import asyncio
import sys
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from kit.sockets import leftovers_reported
from wstransports import WebSocketServer
from wstransports.adapters import asyncio as adapter
from wstransports.runtime import Runtime, running
from wstransports.testing import MemoryRuntime

# How long anything here may take, in seconds.
PATIENCE = 20


async def find() -> Runtime:
    """The runtime of the loop that runs here, which is the same each time."""
    runtime = running()
    await asyncio.sleep(0)
    assert running() is runtime
    return runtime


def find_in_a_new_loop() -> Runtime:
    return asyncio.run(find())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


# The runtime of a loop.


def test_a_loop_takes_its_runtime_along() -> None:
    """No table holds loops that are closed."""
    with leftovers_reported():  # and collected
        runtime = weakref.ref(find_in_a_new_loop())
    assert runtime() is None


def test_what_goes_wrong_inside_a_running_loop_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not read as if no loop ran."""

    def fail(self: object, loop: asyncio.AbstractEventLoop) -> None:
        raise RuntimeError("no runtime today")

    monkeypatch.setattr(adapter.AsyncioRuntime, "__init__", fail)
    with pytest.raises(RuntimeError, match="no runtime today"):
        find_in_a_new_loop()


def test_each_thread_has_a_memory_runtime_of_its_own(threads: ThreadPoolExecutor) -> None:
    outer, inner = MemoryRuntime(), MemoryRuntime()

    async def find_inner() -> Runtime:
        return running()

    async def find_outer() -> Runtime:
        assert threads.submit(inner.run, find_inner).result(PATIENCE) is inner
        with pytest.raises(RuntimeError, match="no event loop is running"):
            threads.submit(running).result(PATIENCE)
        return running()

    assert outer.run(find_outer) is outer


@pytest.mark.parametrize("name", ["trio", "trio.lowlevel"])
def test_another_thread_is_importing_trio(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules are there, but not yet what they define."""
    for module in [one for one in sys.modules if f"{one}.".startswith("trio.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert isinstance(find_in_a_new_loop(), adapter.AsyncioRuntime)


# The `with` form.


def test_the_with_form_leaves_the_warning_filters_of_other_threads_alone(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the process's: two threads that change them for a while change them for good."""
    really_get = asyncio.get_event_loop
    filters = [id(warnings.filters)]

    def get_event_loop() -> asyncio.AbstractEventLoop:
        filters.append(id(warnings.filters))
        return really_get()

    monkeypatch.setattr(asyncio, "get_event_loop", get_event_loop)

    def serve() -> None:
        with WebSocketServer("127.0.0.1", 0):
            pass

    threads.submit(serve).result(PATIENCE)
    assert len(filters) == 2
    assert len(set(filters)) == 1
