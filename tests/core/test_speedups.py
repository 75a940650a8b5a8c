"""Which functions run: those of the C extension, unless it was not built or is switched off."""

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest
from implementations import compiled, needs_compiled

import wscore
from wscore import speedups


def function() -> str:
    return "python"


def other() -> str:
    return "python, too"


def reloaded(
    monkeypatch: pytest.MonkeyPatch, extension: ModuleType | None, pure: str
) -> ModuleType:
    """The module as it loads with this C extension, None for one that was not built."""
    monkeypatch.setitem(sys.modules, "wscore._speedups", extension)
    if extension is None:
        monkeypatch.delattr(wscore, "_speedups", raising=False)
    else:
        monkeypatch.setattr(wscore, "_speedups", extension, raising=False)
    monkeypatch.setenv("WSCORE_PURE", pure)
    spec = spec_from_file_location("wscore.speedups", speedups.__file__)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def extension() -> ModuleType:
    """A C extension with one function."""
    module = ModuleType("wscore._speedups")
    module.function = lambda: "compiled"  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("pure", ["", "0"])
def test_what_is_compiled_runs(
    monkeypatch: pytest.MonkeyPatch, extension: ModuleType, pure: str
) -> None:
    module = reloaded(monkeypatch, extension, pure)
    assert module.accelerated(function)() == "compiled"
    assert module.accelerated(other) is other
    assert module.PYTHON_FUNCTIONS == {"function": function, "other": other}


def test_what_is_compiled_does_not_run_where_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, extension: ModuleType
) -> None:
    module = reloaded(monkeypatch, extension, "1")
    assert module.accelerated(function) is function
    assert module.PYTHON_FUNCTIONS == {"function": function}


def test_where_nothing_was_compiled_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reloaded(monkeypatch, None, "").accelerated(function) is function


@pytest.mark.slow
@needs_compiled
@pytest.mark.parametrize(("pure", "kind"), [("", "builtin_function_or_method"), ("1", "function")])
def test_a_new_interpreter(pure: str, kind: str) -> None:
    program = "from wscore.parser import apply_mask; print(type(apply_mask).__name__)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"WSCORE_PURE": pure},
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert run.stdout.split() == [kind]


@needs_compiled
def test_each_compiled_function_has_a_python_one() -> None:
    names = {name for name in vars(compiled) if not name.startswith("_")}
    assert names == set(speedups.PYTHON_FUNCTIONS)
