"""Which leaves run: the compiled ones, unless they were not built or are not wanted."""

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

import pytest
from leaves import compiled, needs_compiled

import wscore
from wscore import accel


def leaf() -> str:
    return "python"


def other() -> str:
    return "python, too"


def loaded_anew(
    monkeypatch: pytest.MonkeyPatch, leaves: ModuleType | None, pure: str
) -> ModuleType:
    """The module as it comes up where these are the compiled leaves, None for not built."""
    monkeypatch.setitem(sys.modules, "wscore._leaves", leaves)
    if leaves is None:
        monkeypatch.delattr(wscore, "_leaves", raising=False)
    else:
        monkeypatch.setattr(wscore, "_leaves", leaves, raising=False)
    monkeypatch.setenv("WSCORE_PURE", pure)
    spec = spec_from_file_location("wscore.accel", accel.__file__)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def leaves() -> ModuleType:
    """Compiled leaves, of which there is one."""
    module = ModuleType("wscore._leaves")
    module.leaf = lambda: "compiled"  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("pure", ["", "0"])
def test_what_is_compiled_runs(
    monkeypatch: pytest.MonkeyPatch, leaves: ModuleType, pure: str
) -> None:
    module = loaded_anew(monkeypatch, leaves, pure)
    assert module.leaf(leaf)() == "compiled"
    assert module.leaf(other) is other
    assert module.DEFINITIONS == {"leaf": leaf, "other": other}


def test_what_is_compiled_does_not_run_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, leaves: ModuleType
) -> None:
    module = loaded_anew(monkeypatch, leaves, "1")
    assert module.leaf(leaf) is leaf
    assert module.DEFINITIONS == {"leaf": leaf}


def test_where_nothing_was_compiled_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded_anew(monkeypatch, None, "").leaf(leaf) is leaf


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
def test_each_compiled_function_has_its_definition() -> None:
    assert {name for name in vars(compiled) if not name.startswith("_")} == set(accel.DEFINITIONS)
