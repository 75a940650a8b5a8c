"""These tests are left out, with a word, where anyio is not installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest


class LeftOut(pytest.Module):
    """A module that cannot even be imported."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """As pytest says."""
        pytest.skip("anyio is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """As pytest says: None for what it does itself."""
    if find_spec("anyio") is not None:
        return None
    return LeftOut.from_parent(parent, path=module_path)


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each of anyio's."""
    name: str = request.param
    pytest.importorskip(name, reason=f"{name} is not installed")
    return name
