"""An attack: what is done to a server, what is measured, and the bound that must hold."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from target import Target

LOOPS = ("asyncio", "uvloop", "trio")


class Figure(NamedTuple):
    """What was measured, and the most that it may be."""

    name: str
    value: float
    most: float

    @property
    def kept(self) -> bool:
        """Whether the bound held."""
        return self.value <= self.most

    def __str__(self) -> str:
        return f"{self.name}: {self.value:.4g}, at most {self.most:.4g}"


Attacking = Callable[[Target], list[Figure]]


class Attack(NamedTuple):
    """An attack by its name, with the settings of the server that it needs."""

    name: str
    run: Attacking
    settings: dict[str, Any]

    def on(self, loop: str) -> list[Figure]:
        """Run it against a server on an event loop; a server that died is a figure too."""
        with tempfile.TemporaryDirectory() as folder:
            with Target(loop, Path(folder), **self.settings) as target:
                figures = self.run(target)
                # Those that end the server say so by what its callbacks have seen.
                died = not target.alive and target.returncode != 0
            return [*figures, Figure("servers that died", died, 0)]


ATTACKS: list[Attack] = []


def attack(name: str, **settings: Any) -> Callable[[Attacking], Attacking]:
    """Register an attack; `settings` are those of a Target."""

    def register(run: Attacking) -> Attacking:
        ATTACKS.append(Attack(name, run, settings))
        return run

    return register
