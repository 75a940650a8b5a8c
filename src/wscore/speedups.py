"""Picks the C extension's functions where it was built, and the Python ones elsewhere."""

from collections.abc import Callable
from os import environ
from types import ModuleType
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])

_compiled: ModuleType | None = None
if environ.get("WSCORE_PURE") != "1":
    try:
        from . import _speedups

        _compiled = _speedups
    except ImportError:
        pass  # there was no compiler when the package was built

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


def accelerated_method(method: _Function) -> _Function:
    """Decorate a method for which the C extension has a shortcut, and return the one to use.

    The Python method is the definition: the shortcut does the same in the usual case, and else
    runs the Python method. Subclasses have it too; a class shows the Python method itself.
    """
    with_shortcut: Callable[[_Function], _Function] | None = getattr(_compiled, "method", None)
    return method if with_shortcut is None else with_shortcut(method)
