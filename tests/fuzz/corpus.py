"""The inputs that the tests replay: one a line in `corpus/TARGET.txt`, as Python writes bytes."""

import ast
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def path(target: str) -> Path:
    """The file with the inputs of a target."""
    return FOLDER / f"{target}.txt"


def load(target: str) -> list[bytes]:
    """The inputs of a target."""
    lines = path(target).read_text().splitlines()
    return [ast.literal_eval(line) for line in lines if not line.startswith("#")]


def save(target: str, inputs: Iterable[bytes]) -> None:
    """Replace the inputs of a target; comments are kept."""
    comments = [line for line in path(target).read_text().splitlines() if line.startswith("#")]
    lines = [repr(one) for one in sorted(set(inputs), key=lambda one: (len(one), one))]
    path(target).write_text("".join(f"{line}\n" for line in [*comments, *lines]))
