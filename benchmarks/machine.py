"""A description of the machine and of all versions."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from .contestants import ROOT
from .process import cores, raise_file_limit

_PACKAGES = (
    *("picows", "aiofastnet", "websockets", "aiohttp", "uvloop"),
    *("trio", "trio-websocket", "wsproto"),
    *("uvicorn", "httptools", "fastapi", "hypercorn", "granian", "socketify"),
)
_MISSING = "not installed"
# Prints which of our modules are compiled.
_COMPILED = """
import sys, wstransports
names = [name for name, module in sys.modules.items()
    if name.startswith(("wscore", "wstransports"))
    and (getattr(module, "__file__", None) or "").endswith((".so", ".pyd"))]
print(", ".join(sorted(names)) or "none")
"""


def describe() -> dict[str, str]:
    """The machine and the versions, as rows of a table."""
    server, load = cores()
    pinned = f"server on core {server[0]}, load on core {load[0]}"
    load_average = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": _commit(),
        "Processor": _processor(),
        "Cores": f"{len(os.sched_getaffinity(0))}; "
        + (pinned if server != load else "server and load share one"),
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, {_distribution()}",
        "C library": " ".join(platform.libc_ver()),
        "Open files": f"{raise_file_limit()} for each process",
        "Load average at the start": load_average,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "C compiler": _first_line(["gcc", "--version"]),
        "Node": _first_line(["node", "--version"]),
        "Compiled modules of ours": _first_line([sys.executable, "-c", _COMPILED]),
        "Packages": ", ".join(f"{package} {_version(package)}" for package in _packages()),
    }


def _commit() -> str:
    """The commit that is measured; a run itself changes only files outside src."""
    commit = _first_line(["git", "rev-parse", "--short", "HEAD"])
    changed = _first_line(["git", "status", "--porcelain", "src"]) not in ("", _MISSING)
    return f"{commit}, with changes" if changed else commit


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return f"{value.strip()} ({platform.machine()})"
    return platform.machine()


def _packages() -> list[str]:
    """Our distribution, and the others."""
    return [packages_distributions()["wstransports"][0], *_PACKAGES]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "unknown distribution"


def _first_line(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError):
        return _MISSING
    return answer.stdout.partition("\n")[0]
