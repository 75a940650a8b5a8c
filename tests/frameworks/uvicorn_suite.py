"""Run uvicorn's own WebSocket tests with our protocol class: `make uvicorn-tests`.

The tests come from the sdist of the uvicorn that is installed, fetched by pip. Exit status 0 if all
tests that apply pass, with each of uvicorn's HTTP parsers, and none of those that `inapplicable`
lists. A skipped test has not passed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent

# In the environment, as the tests belong to the version that is installed there.
CACHE = Path(sys.prefix) / "uvicorn-sdist"

OUR_CLASS = "wstransports.uvicorn:WebSocketProtocol"

# Those with the fixture that takes a protocol class; the others need more packages.
FILES = (
    "tests/protocols/test_websocket.py",
    "tests/protocols/test_http.py",
    "tests/middleware/test_logging.py",
    "tests/middleware/test_proxy_headers.py",
)

# Seconds for all tests, and for one. On two idle cores they take 45 s.
LIMIT = 8 * 60
TEST_LIMIT = 30


class FetchError(Exception):
    """pip did not fetch the sdist."""


def fetch(release: str, cache: Path) -> Path:
    """The folder with the tests of a release, which is downloaded once. Raises FetchError."""
    name = f"uvicorn-{release}"
    folder = cache / name
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as download:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        sdist = ["--no-binary=uvicorn", f"uvicorn=={release}", f"--dest={download}"]
        ended = subprocess.run([*pip, *sdist], capture_output=True, text=True)
        if ended.returncode != 0:
            raise FetchError(ended.stderr.strip().rpartition("\n")[2])
        with tarfile.open(next(Path(download).glob("*.tar.gz"))) as archive:
            members = [one for one in archive if one.name.startswith(f"{name}/tests/")]
            archive.extractall(download, members, filter="data")
        cache.mkdir(exist_ok=True)
        shutil.move(Path(download) / name, folder)
    return folder


def run(folder: Path, protocol: str) -> int:
    """Run the tests in a folder with a protocol class; return pytest's exit status."""
    # Without the settings and the conftest of this repository, which the folder may be in.
    pytest = [sys.executable, "-m", "pytest", "-c", os.devnull]
    at = [f"--rootdir={folder}", f"--confcutdir={folder}", "-p", "no:cacheprovider"]
    plugin = ["-p", "uvicorn_plugin", f"--protocol={protocol}"]
    strict = ["-q", "-ra", "-W", "error", f"--timeout={TEST_LIMIT}"]
    return subprocess.run(
        [*pytest, *at, *plugin, *strict, *FILES],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        timeout=LIMIT,
    ).returncode


def main() -> int:
    """Fetch, run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--protocol", default=OUR_CLASS, help="the class, as module:name")
    parser.add_argument(
        "--left-out", type=Path, metavar="FILE", help="without the sdist: note it in FILE and pass"
    )
    arguments = parser.parse_args()

    release = version("uvicorn")
    try:
        folder, note = fetch(release, CACHE), ""
    except FetchError as error:
        note = f"uvicorn's own tests: pip could not fetch the sdist of uvicorn {release}: {error}\n"
    if arguments.left_out is not None:
        arguments.left_out.write_text(note)
    if note:
        print(f"Not run: {note}", end="")
        return 1 if arguments.left_out is None else 0

    print(f"The tests of uvicorn {release} with {arguments.protocol}", flush=True)
    return run(folder, arguments.protocol)


if __name__ == "__main__":
    sys.exit(main())
