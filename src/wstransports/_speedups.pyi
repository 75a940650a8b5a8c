from collections.abc import Callable
from typing import TypeVar

_Method = TypeVar("_Method", bound=Callable[..., object])

def method(definition: _Method, /) -> _Method: ...
