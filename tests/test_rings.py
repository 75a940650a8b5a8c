"""Imports point inward: adapters, the API, the core; and the core knows neither loops nor I/O."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"

LOOPS = {"asyncio", "trio", "anyio", "uvloop"}
# What the core may not load, not even through others (`time` is there in every interpreter).
NOT_IN_THE_CORE = LOOPS | {"socket", "_socket", "ssl", "_ssl", "select", "selectors"}

# What the core takes from elsewhere: a module and the names from it, None for any.
CORE_TAKES: dict[str, set[str] | None] = {
    "binascii": None,
    "codecs": None,
    "collections.abc": None,
    "dataclasses": {"dataclass", "field", "fields", "replace"},
    "enum": None,
    "functools": {"lru_cache"},
    "h11": None,
    "hashlib": None,
    "http": {"HTTPStatus"},
    "importlib": {"import_module"},
    "os": {"environ", "urandom"},
    "re": None,
    "struct": {"iter_unpack"},
    "sys": None,
    "types": None,
    "typing": None,
    "zlib": None,
}


def module_name(path: Path, root: Path) -> str:
    """What a file is imported as."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def nodes(text: str) -> list[ast.AST]:
    """All that a file with this text says; most tests ask for each file."""
    return list(ast.walk(ast.parse(text)))


def imports(path: Path, root: Path = SRC) -> Iterator[tuple[str, str]]:
    """Each import anywhere in a file: an absolute module, and the name taken from it or "".

    A module taken from its package (`from . import module`) counts as that module.
    """
    package = module_name(path, root).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in nodes(path.read_text()):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = root.joinpath(*module.split("."), alias.name)
                if inner.is_dir() or any(
                    inner.with_suffix(end).is_file() for end in (".py", ".pyi")
                ):
                    yield f"{module}.{alias.name}", ""
                else:
                    yield module, alias.name


def modules(path: Path, root: Path = SRC) -> set[str]:
    """The modules that a file imports."""
    return {module for module, _ in imports(path, root)}


def within(module: str, package: str) -> bool:
    """Whether a module is this package or in it."""
    return f"{module}.".startswith(f"{package}.")


def files(folder: str) -> list[Path]:
    """The source files in a folder of src and in its folders."""
    return sorted((SRC / folder).rglob("*.py"))


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test for each of these files."""
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(SRC)))


CORE = files("wscore")
ADAPTERS = files("wstransports/adapters")
# Where users come in: each joins the API to adapters. The loop that it names, and what it imports.
ENTERS = {
    "__init__.py": (set(), "wstransports.adapters"),
    "anyio.py": ({"anyio"}, "wstransports.adapters.anyio"),
    "uvicorn.py": ({"asyncio"}, "wstransports.adapters.transport_take_over"),
}
ENTRIES = [SRC / "wstransports" / name for name in ENTERS]
# The terminal program, which is written as our users write theirs.
PROGRAM = [*files("wstransports/terminal"), SRC / "wstransports" / "__main__.py"]
API = [path for path in files("wstransports") if path not in [*ADAPTERS, *ENTRIES, *PROGRAM]]
CONTRACT = SRC / "wstransports" / "runtime.py"

# What runs a loop of its own has to name one.
RUNS = {"wstransports/sync/loop_thread.py": {"asyncio"}}

# What has to be installed for a file of the API, which users import by name, and nothing else does.
NEEDS = {
    "wstransports/prometheus.py": {"prometheus_client"},
    "wstransports/testing/strategies.py": {"hypothesis"},
    "wstransports/testing/pytest_plugin.py": {"pytest"},
    "wstransports/uvicorn.py": {"uvicorn"},
}

# What type checkers bring along, and nothing imports at run time.
FOR_TYPE_CHECKERS = {"wstransports/client.py": {"typing_extensions"}}


# The core.


def core_breaks(path: Path, root: Path = SRC) -> set[str]:
    """What a file of the core imports and may not."""
    breaks = set()
    for module, name in imports(path, root):
        names = CORE_TAKES.get(module, set())
        if not (within(module, "wscore") or names is None or name in names):
            breaks.add(f"{module}:{name}")
    return breaks


@each(CORE)
def test_the_core_imports_itself_and_little_else(path: Path) -> None:
    assert core_breaks(path) == set()


def test_the_core_takes_all_that_it_may() -> None:
    """What is no longer needed is no longer allowed."""
    assert set().union(*map(modules, CORE)) >= CORE_TAKES.keys()


def loaded(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    command = [sys.executable, "-I", "-c", f"{statement}\nimport sys\nprint(*sys.modules)"]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    return set(run.stdout.split())


def test_the_core_loads_neither_loop_nor_io() -> None:
    """Not even through what it imports."""
    bare = loaded("")
    assert NOT_IN_THE_CORE & bare == set()
    core = loaded("import " + ", ".join(module_name(path, SRC) for path in CORE))
    assert "wscore.connection" in core - bare
    assert NOT_IN_THE_CORE & core == set()
    assert "wstransports" not in core
    assert "socket" in loaded("import asyncio")  # or the above would show nothing


# The API.


@each(API)
def test_the_api_imports_the_core_and_what_python_has(path: Path) -> None:
    tops = {module.partition(".")[0] for module in modules(path)}
    own = {"wscore", "wstransports"} | ({"idna"} if path.name == "host.py" else set())
    own |= NEEDS.get(str(path.relative_to(SRC)), set())
    own |= FOR_TYPE_CHECKERS.get(str(path.relative_to(SRC)), set())
    assert tops - sys.stdlib_module_names <= own


def test_nothing_imports_what_needs_something_installed() -> None:
    needing = {module_name(SRC / name, SRC) for name in NEEDS}
    assert [name for name, imported in graph().items() if imported & needing] == []


def loops_named(path: Path, root: Path = SRC) -> set[str]:
    """The event loops that a file imports or has identifiers for."""
    text = path.read_text()
    names = {node.id for node in nodes(text) if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes(text) if isinstance(node, ast.Attribute)}
    return LOOPS & (names | {module.partition(".")[0] for module in modules(path, root)})


@each(API)
def test_the_api_names_no_event_loop(path: Path) -> None:
    assert loops_named(path) == RUNS.get(str(path.relative_to(SRC)), set())


@each(API)
def test_the_api_imports_no_adapter(path: Path) -> None:
    """The loop in memory is one itself, and takes what adapters share."""
    shared = {
        f"wstransports.adapters.{name}" for name in ("listening", "stop_signals", "write_half")
    }
    if path.parent.name != "testing":
        shared = set()
    assert {m for m in modules(path) if within(m, "wstransports.adapters")} <= shared


@each(ENTRIES)
def test_an_entry_names_no_loop_but_its_own(path: Path) -> None:
    """`import wstransports` loads none that has to be installed."""
    named, adapter = ENTERS[path.name]
    assert loops_named(path) == named
    assert [m for m in modules(path) if within(m, "wstransports.adapters")] == [adapter]


# The terminal program.


@each(PROGRAM)
def test_the_program_imports_the_api_and_what_python_has(path: Path) -> None:
    """It names asyncio alone, and no adapter. What the extra `cli` installs may be missing."""
    tops = {module.partition(".")[0] for module in modules(path)}
    extra = {"prompt_toolkit", "rich"}
    assert tops - sys.stdlib_module_names - extra <= {"wscore", "wstransports"}
    assert loops_named(path) <= {"asyncio"}
    assert not any(within(module, "wstransports.adapters") for module in modules(path))


def test_nothing_imports_the_program_but_itself() -> None:
    program = {module_name(path, SRC) for path in PROGRAM}
    others = {name: imported for name, imported in graph().items() if name not in program}
    assert [name for name, imported in others.items() if imported & program] == []


def test_the_program_starts_without_its_extra() -> None:
    assert {"prompt_toolkit", "rich"} & loaded("import wstransports.terminal.program") == set()


# The contract with a loop, and those who fulfil it.

# What the contract mentions: all that an adapter has to import of ours.
BENEATH_IT = {
    f"wstransports.{name}"
    for name in (
        "listening_sockets",
        "log",
        "log_limit",
        "signal_socket",
        "speedups",
        "tls_end",
        "tls_pipe",
    )
}
CONTRACT_IS = {"wstransports.runtime", *BENEATH_IT} | {
    module for module in modules(CONTRACT) if within(module, "wstransports")
}


@each([path for path in API if module_name(path, SRC) in CONTRACT_IS])
def test_the_contract_knows_nobody_who_uses_it(path: Path) -> None:
    ours = {module for module in modules(path) if within(module, "wstransports")}
    assert ours <= CONTRACT_IS


# An adapter that builds on another: it imports the other's files, and its loop.
BUILDS_ON = {"transport": "asyncio"}


def adapter_breaks(path: Path, root: Path = SRC) -> set[str]:
    """What an adapter imports and may not: other loops, other adapters, the API, the core.

    The files of one adapter begin with its name: asyncio.py, asyncio_block.py. Files that no loop
    gives its name to are for all.
    """
    name = path.stem.partition("_")[0]
    loop = BUILDS_ON.get(name, name)
    others = (LOOPS | BUILDS_ON.keys() | {""}) - {name, loop}
    breaks = set()
    for module in modules(path, root):
        top, _, rest = module.partition(".")
        if top == "wstransports":
            folder, _, file = rest.partition(".")
            named = file.partition("_")[0]
            own = folder == "adapters" and named not in others
            allowed = own or module in CONTRACT_IS
        else:
            stdlib = top in sys.stdlib_module_names and top not in LOOPS
            # python-socks has a folder for each loop.
            socks = module in {"python_socks", f"python_socks.async_.{loop}"}
            allowed = top == loop or stdlib or socks
        if not allowed:
            breaks.add(module)
    return breaks


@each([path for path in ADAPTERS if path.name != "__init__.py"])
def test_an_adapter_imports_the_contract_and_its_own_loop(path: Path) -> None:
    assert adapter_breaks(path) == set()


def test_the_adapters_package_makes_them_known_and_no_more() -> None:
    package = SRC / "wstransports" / "adapters" / "__init__.py"
    for module in modules(package):
        assert within(module, "wstransports.adapters") or module in {"wstransports.runtime", "sys"}


# Layers.


@cache
def graph(root: Path = SRC) -> dict[str, set[str]]:
    """Each module of ours, with those that it imports: those that only a type checker sees too."""
    paths = {module_name(path, root): path for path in root.rglob("*.py")}
    return {name: modules(path, root) & paths.keys() for name, path in paths.items()}


def folders(imports: dict[str, set[str]], package: str) -> dict[str, set[str]]:
    """The files and folders directly in a package, with those that they import of each other.

    Its `__init__.py` is not among them: it may import all, and stands for the whole package.
    """
    depth = package.count(".") + 1
    found: dict[str, set[str]] = {}
    for name, imported in imports.items():
        if not within(name, package) or name == package:
            continue
        here = name.split(".")[depth]
        others = {module.split(".")[depth] for module in imported if inside(module, package)}
        found.setdefault(here, set()).update(others - {here})
    return found


def inside(module: str, package: str) -> bool:
    """Whether a module is in a package, and not the package itself."""
    return module.startswith(f"{package}.")


def circle(imports: dict[str, set[str]]) -> list[str]:
    """What stands in a circle of imports, in any order; [] where there is none."""
    left = {name: set(imported) for name, imported in imports.items()}
    while left:
        bottom = {name for name, imported in left.items() if not imported & left.keys()}
        if not bottom:
            break
        for name in bottom:
            del left[name]
    # What only imports a circle is not in it.
    while True:
        imported = set().union(*left.values()) if left else set()
        top = left.keys() - imported
        if not top:
            return sorted(left)
        for name in top:
            del left[name]


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph()) == []


PACKAGES = sorted(module_name(path, SRC) for path in SRC.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folders_import_each_other_in_a_circle(package: str) -> None:
    assert circle(folders(graph(), package)) == []


def test_nothing_imports_the_whole_package_but_its_users() -> None:
    """An import of `wstransports` from within would close a circle that no file shows."""
    assert [name for name, imported in graph().items() if "wstransports" in imported] == []


# Size.


@each(files("."))
def test_no_function_is_long(path: Path) -> None:
    functions = [node for node in nodes(path.read_text()) if isinstance(node, FUNCTION)]
    long = [node.name for node in functions if length(node) > 50]
    assert long == [name for file, name in LONG if file == str(path.relative_to(SRC))]


# These stay in one piece, for a reason.
LONG = [
    # The loop over messages of one frame: a call for each costs an echo 3 %.
    ("wscore/messages.py", "whole_messages"),
    ("wscore/parser.py", "_frame"),  # the parser's one hot loop
    ("wscore/handshake/client.py", "__init__"),  # all that a client may ask for, checked
]
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function has, without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


@each(files("."))
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


@each(sorted(SRC.rglob("*.[ch]")))
def test_no_line_of_c_is_long(path: Path) -> None:
    """As in Python, where ruff looks."""
    assert max(map(len, path.read_text().splitlines())) <= 100


# Would these tests notice?


@pytest.mark.parametrize(
    ("source", "breaks"),
    [
        ("from os import urandom", set()),
        ("from .frames import FIN", set()),
        ("from ..wscore.frames import FIN", set()),
        ("import os", {"os:"}),
        ("from os import read", {"os:read"}),
        ("import http.client", {"http.client:"}),
        ("import time", {"time:"}),
        ("def f():\n    from time import monotonic", {"time:monotonic"}),
        ("if True:\n    import asyncio.events as loop", {"asyncio.events:"}),
        ("from wstransports import Client", {"wstransports:Client"}),
        ("from ..wstransports.runtime import now", {"wstransports.runtime:now"}),
        ("import wscoreless", {"wscoreless:"}),
    ],
)
def test_a_break_in_the_core_shows(source: str, breaks: set[str], tmp_path: Path) -> None:
    path = tmp_path / "wscore" / "handshake.py"
    path.parent.mkdir()
    path.write_text(source)
    assert core_breaks(path, tmp_path) == breaks


@pytest.mark.parametrize(
    ("source", "breaks"),
    [
        ("import trio", set()),
        ("from trio.lowlevel import checkpoint", set()),
        ("from ..runtime import register", set()),
        ("from .trio_kernel import Kernel", set()),
        ("from . import trio_kernel", set()),
        ("from .write_half import WriteHalf", set()),
        ("import asyncio", {"asyncio"}),
        ("import anyio.abc", {"anyio.abc"}),
        ("import uvloop", {"uvloop"}),
        ("from . import asyncio", {"wstransports.adapters.asyncio"}),
        ("from .asyncio import Pipe", {"wstransports.adapters.asyncio"}),
        ("from ..client import Client", {"wstransports.client"}),
        ("from .. import Client", {"wstransports"}),
        ("from wscore import Reasons", {"wscore"}),
        ("import h11", {"h11"}),
    ],
)
def test_a_break_in_an_adapter_shows(source: str, breaks: set[str], tmp_path: Path) -> None:
    assert breaks_of("trio.py", source, tmp_path) == breaks


def breaks_of(name: str, source: str, root: Path) -> set[str]:
    """The breaks in an adapter's file with this text."""
    path = root / "wstransports" / "adapters" / name
    path.parent.mkdir(parents=True)
    for other in ("asyncio.py", "transport_pipe.py", "trio_kernel.py"):
        path.with_name(other).touch()
    path.write_text(source)
    return adapter_breaks(path, root)


PIPE = "wstransports.adapters.transport_pipe"


@pytest.mark.parametrize(
    ("name", "source", "breaks"),
    [
        ("transport.py", "import asyncio", set()),
        ("transport.py", "from .asyncio import AsyncioRuntime", set()),
        ("transport.py", "from .transport_pipe import TransportPipe", set()),
        ("transport.py", "import trio", {"trio"}),
        (
            "asyncio.py",
            "from .transport_pipe import TransportPipe",
            {PIPE},
        ),
        (
            "trio_kernel.py",
            "from .transport_pipe import TransportPipe",
            {PIPE},
        ),
    ],
)
def test_an_adapter_that_builds_on_another(
    name: str, source: str, breaks: set[str], tmp_path: Path
) -> None:
    assert breaks_of(name, source, tmp_path) == breaks


@pytest.mark.parametrize(
    ("source", "loops"),
    [
        ('"""Runs on asyncio."""', set()),
        ("import asyncio", {"asyncio"}),
        ("def f():\n    import trio.lowlevel", {"trio"}),
        ("from anyio import run", {"anyio"}),
        ("modules['x'].asyncio.sleep(1)", {"asyncio"}),
    ],
)
def test_a_loop_named_in_the_api_shows(source: str, loops: set[str], tmp_path: Path) -> None:
    path = tmp_path / "wstransports" / "client.py"
    path.parent.mkdir()
    path.write_text(source)
    assert loops_named(path, tmp_path) == loops


@pytest.mark.parametrize(
    ("sources", "in_it"),
    [
        ({"a": "from . import b", "b": "from . import c", "c": ""}, []),
        ({"a": "from . import b", "b": "from . import a", "c": "from . import a"}, ["a", "b"]),
        ({"a": "from .b import x", "b": "def f():\n    from .a import y"}, ["a", "b"]),
        (
            {
                "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import x",
                "b": "from .c import y",
                "c": "from .a import z\nfrom .d import w",
                "d": "",
            },
            ["a", "b", "c"],
        ),
    ],
)
def test_a_circle_shows(sources: dict[str, str], in_it: list[str], tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    assert circle(graph(tmp_path)) == [f"package.{name}" for name in in_it]


def test_a_circle_of_folders_shows(tmp_path: Path) -> None:
    """Though no two files import each other."""
    for name, source in {
        "low/first.py": "from ..high.second import x",
        "low/third.py": "",
        "high/second.py": "from ..low.third import y",
        "top.py": "from .high.second import x",
    }.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    for folder in ("", "low", "high"):
        (tmp_path / "package" / folder / "__init__.py").touch()
    imports = graph(tmp_path)
    assert circle(imports) == []
    assert circle(folders(imports, "package")) == ["high", "low"]
