"""The functions that exist in Python and in the C extension, so that each test runs on both."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from wscore import frames, masking, messages, speedups, utf8  # noqa: F401  # they register

compiled: ModuleType | None
try:
    compiled = import_module("wscore._speedups")
except ImportError:
    compiled = None

needs_compiled = pytest.mark.skipif(compiled is None, reason="the C extension was not built")


def forms(name: str) -> list[Any]:
    """A function as parameters of a test: the Python one and, where it was built, the C one."""
    function: Callable[..., object] = speedups.PYTHON_FUNCTIONS[name]
    return [
        pytest.param(function, id="python"),
        pytest.param(getattr(compiled, name, None), id="compiled", marks=needs_compiled),
    ]
