"""The leaves: small functions of the core that run compiled where they were built."""

from collections.abc import Callable
from os import environ
from types import ModuleType
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])

_compiled: ModuleType | None = None
if environ.get("WSCORE_PURE") != "1":
    try:
        from . import _leaves

        _compiled = _leaves
    except ImportError:
        pass  # it was not built, for want of a compiler: the Python functions do

# The Python functions by their names, whether they run or not.
DEFINITIONS: dict[str, Callable[..., object]] = {}


def leaf(function: _Function) -> _Function:
    """Decorate a function that `_leaves.c` has, too: the compiled one, where it was built.

    The Python function stays the definition: the compiled one returns the same for all that it
    may be given. WSCORE_PURE=1 in the environment of the import has the Python one run always.
    """
    DEFINITIONS[function.__name__] = function
    compiled: _Function = getattr(_compiled, function.__name__, function)
    return compiled
