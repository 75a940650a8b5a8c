"""Which loops a test runs on: all of them, the one with a clock to turn, or those with sockets."""

import inspect
import logging
import ssl
from collections.abc import Iterator

import pytest
import trustme
from harness import AsyncioWorld, Log, MemoryWorld, World


def _asyncio_world(name: str) -> AsyncioWorld:
    if name == "asyncio":
        return AsyncioWorld(name)
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return AsyncioWorld(name, uvloop.new_event_loop)


def _world(name: str) -> World:
    if name == "memory":
        return MemoryWorld()
    if name in ("asyncio", "uvloop"):
        return _asyncio_world(name)
    library, _, backend = name.partition("-on-")
    for needed in (library, backend or library):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    if library == "anyio":
        from anyio_world import AnyioWorld

        return AnyioWorld(backend)
    from trio_world import TrioWorld

    return TrioWorld()


@pytest.fixture(params=["memory", "asyncio", "uvloop", "trio", "anyio-on-asyncio", "anyio-on-trio"])
def world(request: pytest.FixtureRequest) -> World:
    """Each loop."""
    return _world(request.param)


@pytest.fixture
def memory() -> MemoryWorld:
    """The loop whose clock the test turns."""
    return MemoryWorld()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def real(request: pytest.FixtureRequest) -> World:
    """Each loop with sockets."""
    return _world(request.param)


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


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and that of a client who trusts it."""
    authority = trustme.CA()
    for_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(for_server)
    for_client = ssl.create_default_context()
    authority.configure_trust(for_client)
    return for_server, for_client
