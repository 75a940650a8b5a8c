"""The sdist holds what git tracks, the wheel holds what users run, and it works on its own."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# What setuptools adds to an sdist.
METADATA = {"PKG-INFO", "setup.cfg"}

TRY = """
from importlib.metadata import version
import wscore.{extension}, wstransports
assert "site-packages" in wstransports.__file__
print(version("wstransports"))
"""


def run(*command: str | Path) -> str:
    """What a command prints; an error of the test if it fails."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files that git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git clone")
    return set(run("git", "-C", ROOT, "ls-files").splitlines())


@pytest.fixture(scope="module")
def built(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and a wheel built from it, of the tracked files and some strays."""
    tree = tmp_path_factory.mktemp("tree")
    for name in [*tracked]:
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    for stray in ("src/wscore/old.cpython-39.so", "tests/__pycache__/test.pyc", ".bench/load"):
        (tree / stray).parent.mkdir(exist_ok=True)
        (tree / stray).touch()
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, tree)
    return folder


def test_the_sdist_holds_what_git_tracks(built: Path, tracked: set[str]) -> None:
    (sdist,) = built.glob("wstransports-*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {member.name.partition("/")[2] for member in archive if member.isfile()}
    added = {name for name in files if name.startswith("src/wstransports.egg-info/")} | METADATA
    assert files - added == tracked


def test_the_wheel_holds_python_stubs_and_the_extension(built: Path, tracked: set[str]) -> None:
    (wheel,) = built.glob("wstransports-*.whl")
    files = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert {"wscore/py.typed", "wstransports/py.typed"} <= files
    extension = {
        name.removesuffix(".c") + sysconfig.get_config_var("EXT_SUFFIX")
        for name in sources
        if name.endswith(".c")
    }
    assert files == {name for name in sources if not name.endswith((".c", ".h"))} | extension


def test_the_wheel_works_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("wstransports-*.whl")
    (source,) = (ROOT / "src" / "wscore").glob("*.c")
    run(sys.executable, "-m", "venv", tmp_path)
    python = tmp_path / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel)
    version = run(python, "-I", "-W", "error", "-c", TRY.format(extension=source.stem)).strip()
    assert wheel.name.startswith(f"wstransports-{version}-")
