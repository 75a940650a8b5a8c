from typing import Any


def write(*a: Any) -> None: ...
