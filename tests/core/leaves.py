"""The compiled leaves and the Python functions that define them: the same tests for both."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from wscore import accel, frames, masking, messages, utf8  # noqa: F401  # they register

compiled: ModuleType | None
try:
    compiled = import_module("wscore._leaves")
except ImportError:
    compiled = None

needs_compiled = pytest.mark.skipif(compiled is None, reason="the compiled leaves were not built")


def forms(name: str) -> list[Any]:
    """A leaf as parameters of a test: the Python function and, where it was built, the other."""
    function: Callable[..., object] = accel.DEFINITIONS[name]
    return [
        pytest.param(function, id="python"),
        pytest.param(getattr(compiled, name, None), id="compiled", marks=needs_compiled),
    ]
