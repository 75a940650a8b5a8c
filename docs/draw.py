"""Generate the sections of docs/states.md and docs/map.md that follow the source.

Run `python docs/draw.py`. Each section is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from wscore.states import MAY_PONG, MAY_RECEIVE, MAY_SEND, OWES_CLOSE, STATES, TRANSITIONS, Phase

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src"
PAGES = [DOCS / "map.md", DOCS / "states.md"]

_SECTION = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def state_diagram() -> Iterator[str]:
    """The transition table as a Mermaid diagram, without steps that do not change the phase."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {next(iter(TRANSITIONS)).name}"
    for phase, steps in TRANSITIONS.items():
        for step, after in steps.items():
            if after is not phase:
                yield f"    {phase.name} --> {after.name}: {step.name}"
    yield f"    {Phase.CLOSED.name} --> [*]"
    yield "```"


def phases() -> Iterator[str]:
    """The phases: what each means and allows."""
    meaning = _member_docstrings("Phase")
    yield "| Phase | Meaning | `state` | may send | answers pings | reads frames | owes a Close |"
    yield "|---|---|---|---|---|---|---|"
    for phase in Phase:
        allowed = [phase in phases for phases in (MAY_SEND, MAY_PONG, MAY_RECEIVE, OWES_CLOSE)]
        cells = [phase.name, meaning[phase.name], STATES[phase].name]
        yield f"| {' | '.join(cells + ['yes' if yes else '' for yes in allowed])} |"


def steps() -> Iterator[str]:
    """The steps: what each means."""
    yield "| Step | What happened |"
    yield "|---|---|"
    for name, meaning in _member_docstrings("Step").items():
        yield f"| {name} | {meaning} |"


def files(package: str) -> Iterator[str]:
    """The files of a package: the first line of each docstring, and the imports of our modules."""
    yield "| File | What it is | Imports |"
    yield "|---|---|---|"
    for file in sorted((SOURCE / package).rglob("*.py")):
        tree = ast.parse(file.read_text())
        summary = (ast.get_docstring(tree) or "").partition("\n")[0]
        path = file.relative_to(DOCS.parent)
        name = file.relative_to(SOURCE / package)
        imports = " ".join(f"`{name}`" for name in sorted(set(_imports(file, tree))))
        yield f"| [{name}](../{path}) | {summary} | {imports} |"


SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    "state-diagram": state_diagram,
    "phases": phases,
    "steps": steps,
    "wscore": lambda: files("wscore"),
    "wstransports": lambda: files("wstransports"),
}


def generated(page: Path) -> str:
    """The page with its sections generated again."""

    def generate(section: re.Match[str]) -> str:
        return section[1] + "".join(f"{line}\n" for line in SECTIONS[section[2]]()) + section[3]

    return _SECTION.sub(generate, page.read_text())


def _imports(file: Path, tree: ast.Module) -> Iterator[str]:
    """The modules of ours that a file imports, including imports only for type checkers.

    Modules of the same package are named without it.
    """
    package = file.relative_to(SOURCE).parent.parts
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) + 1 - node.level] if node.level else ()
        module = [*base, *(node.module or "").split(".")] if node.module else list(base)
        if module[0] not in ("wscore", "wstransports"):
            continue
        if node.module is None:  # from . import a, b
            for alias in node.names:
                yield ".".join([*module[1:], alias.name])
        else:
            yield ".".join(module[1:] if module[0] == package[0] else module)


def _member_docstrings(enumeration: str) -> dict[str, str]:
    """The string after each member of an enumeration in states.py."""
    tree = ast.parse((SOURCE / "wscore" / "states.py").read_text())
    [body] = [
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == enumeration
    ]
    found = {}
    for member, text in pairwise(body):
        if (
            isinstance(member, ast.Assign)
            and isinstance(member.targets[0], ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[member.targets[0].id] = str(text.value.value)
    return found


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(generated(page))
