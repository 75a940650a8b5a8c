"""The check of public types fails where it should."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from public_types import CannotRun, known, mistakes, runs

needs_pyright = pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")


@pytest.mark.slow
@needs_pyright
def test_names_without_a_type_are_found(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "py.typed").touch()
    (package / "__init__.py").write_text(
        "def typed(size: int) -> int: ...\ndef untyped(size): ...\n"
    )
    part, wrong = known("package", tmp_path)
    assert 0 < part < 0.9
    assert "package.untyped" in " ".join(wrong)
    assert "package.typed" not in " ".join(wrong)


@pytest.mark.slow
@needs_pyright
def test_mistakes_of_programs_are_found(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import wstransports\nwstransports.Client().nonsense\n")
    assert any("nonsense" in one for one in mistakes(tmp_path))
    with pytest.raises(ValueError):
        mistakes(tmp_path / "nowhere")


def test_a_pyright_that_does_not_run_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CannotRun, match="pyright did not run"):
        runs()


@pytest.mark.slow
@needs_pyright
def test_a_package_that_pyright_does_not_find_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="pyright found no nosuch: No py.typed file found"):
        known("nosuch", tmp_path)
