"""Picks the shortcuts in C of methods, where the C extension was built."""

from collections.abc import Callable
from typing import TypeVar

from wscore.speedups import extension

_Method = TypeVar("_Method", bound=Callable[..., object])


def accelerated_method(method: _Method) -> _Method:
    """Decorate a method for which the C extension has a shortcut.

    The Python method is the definition: the shortcut does the same in the usual case, and else
    runs the Python method. Subclasses inherit it. `Class.method` is the Python method.
    """
    shortcut: Callable[[_Method], _Method] | None = getattr(_compiled, "method", None)
    return method if shortcut is None else shortcut(method)


_compiled = extension("wstransports._speedups")
