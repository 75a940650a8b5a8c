"""The Python snippets of the README and of docs/.

A snippet is a fenced block of Python. A comment in the line before names it:
`<!-- snippet: NAME -->`. A `text` block after it is its output.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_NAME = re.compile(r"<!-- snippet: ([\w-]+) -->")


@dataclass
class Snippet:
    """A block of Python, its name and its page."""

    name: str
    page: Path
    code: str
    output: str | None = None


def snippets_of(page: Path) -> list[Snippet]:
    """The snippets of a page, in order; ValueError for one without a name."""
    found: list[Snippet] = []
    lines = iter(page.read_text().splitlines(keepends=True))
    before = ""
    for line in lines:
        if line.startswith("```"):
            language = line[3:].strip()
            content = ""
            for inside in lines:
                if inside.startswith("```"):
                    break
                content += inside
            if language == "python":
                name = _NAME.fullmatch(before.strip())
                if name is None:
                    raise ValueError(f"{page.name}: a snippet without a name:\n{content}")
                found.append(Snippet(name[1], page, content))
            elif language == "text":
                if not found or found[-1].output is not None:
                    raise ValueError(f"{page.name}: no snippet prints this:\n{content}")
                found[-1].output = content
        before = line
    return found


SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]
