"""Picks the C extension's functions where it was built, and the Python ones elsewhere."""

from collections.abc import Callable
from importlib import import_module
from os import environ
from types import ModuleType
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])


def extension(name: str) -> ModuleType | None:
    """The C extension with that name; None if it was not built, or if WSCORE_PURE=1 is set."""
    if environ.get("WSCORE_PURE") == "1":
        return None
    try:
        return import_module(name)
    except ImportError:
        return None  # there was no compiler when the package was built


_compiled = extension("wscore._speedups")

# The Python functions by name, also those that the C extension replaces.
PYTHON_FUNCTIONS: dict[str, Callable[..., object]] = {}


def accelerated(function: _Function) -> _Function:
    """Decorate a function that the C extension may implement too, and return the one to use.

    The Python function is the definition: the C function returns the same for all arguments that
    the core passes. Set WSCORE_PURE=1 before the import to always use the Python functions.
    """
    PYTHON_FUNCTIONS[function.__name__] = function
    compiled: _Function = getattr(_compiled, function.__name__, function)
    return compiled
