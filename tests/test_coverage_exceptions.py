"""A line of ours that no test has to reach says why: `# pragma: no cover - the reason`."""

import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

# As wide as coverage's own patterns, so that none is missed.
PRAGMA = re.compile(r"#\s*pragma\b.*", re.IGNORECASE)
WITH_REASON = re.compile(r"# pragma: no (cover|branch) - \w.{9,}")


def without_reason(source: str) -> list[str]:
    """The pragmas in a source that do not say why."""
    return [one for one in PRAGMA.findall(source) if not WITH_REASON.fullmatch(one)]


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: path.name)
def test_each_exception_has_a_reason(path: Path) -> None:
    assert without_reason(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    ["x()  # pragma: no cover", "x()  #PRAGMA NO COVER - why not", "x()  # pragma: no branch - no"],
)
def test_an_exception_without_a_reason_is_found(line: str) -> None:
    assert without_reason(f"{line}\n") == [line[5:]]


def test_an_exception_with_a_reason_passes() -> None:
    assert without_reason("x()  # pragma: no cover - only Windows comes here\n") == []
