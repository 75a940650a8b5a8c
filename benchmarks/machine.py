"""Where it was measured: the machine, and the versions of everything."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .process import cores, raise_file_limit

_PACKAGES = (
    *("wscore", "picows", "aiofastnet", "websockets", "aiohttp", "uvloop"),
    *("trio", "trio-websocket", "wsproto"),
)
# Which of our modules are compiled, seen from a process that serves.
_COMPILED = """
import sys, wstransports
names = [name for name, module in sys.modules.items()
    if name.startswith(("wscore", "wstransports"))
    and (getattr(module, "__file__", None) or "").endswith((".so", ".pyd"))]
print(", ".join(sorted(names)) or "none")
"""


def describe() -> dict[str, str]:
    """The machine, in words."""
    server, load = cores()
    apart = f"server on core {server[0]}, load on core {load[0]}"
    with_load = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Processor": _processor(),
        "Cores": f"{len(os.sched_getaffinity(0))}; "
        + (apart if server != load else "server and load share one"),
        "Memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, {_distribution()}",
        "C library": " ".join(platform.libc_ver()),
        "Open files": f"{raise_file_limit()} for each process",
        "Load average at the start": with_load,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "C compiler": _first_line(["gcc", "--version"]),
        "Node": _first_line(["node", "--version"]),
        "Compiled modules of ours": _first_line([sys.executable, "-c", _COMPILED]),
        "Packages": ", ".join(f"{package} {_version(package)}" for package in _PACKAGES),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return f"{value.strip()} ({platform.machine()})"
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not here"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "an unknown distribution"


def _first_line(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not here"
    return answer.stdout.partition("\n")[0]
