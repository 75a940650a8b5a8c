"""Who is measured: our servers, other people's, and floors below which nobody gets."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = ROOT / ".bench"
NODE_PACKAGES = ROOT / ".npm" / "node_modules"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server: `module` is its file in `servers`, `loop` the event loop it runs on.

    Those of `sans_io` are no servers: what they are given is bytes, and `loop` is who.

    `raw` says that it echoes bytes and speaks no WebSocket, `pure` that it runs without our
    compiled parts, `needs` which packages have to be installed.
    """

    name: str
    label: str
    module: str
    loop: str = "asyncio"
    raw: bool = False
    pure: bool = False
    needs: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """What starts it; its own arguments come behind."""
        if self.module == "c_floor":
            return [str(BUILT / "c_floor")]
        if self.module == "node_ws":
            return ["node", str(ROOT / "benchmarks" / "servers" / "node_ws.js")]
        if self.module == "sans_io":
            return [sys.executable, "-m", "benchmarks.sans_io", self.loop]
        module = f"benchmarks.servers.{self.module}"
        return [sys.executable, "-m", module, "--loop", self.loop]

    def environment(self) -> dict[str, str]:
        """The environment variables it runs with."""
        return {
            **os.environ,
            "NODE_PATH": str(NODE_PACKAGES),
            **({"WSCORE_PURE": "1"} if self.pure else {}),
        }

    def missing(self) -> str | None:
        """Why it cannot be measured here; None where it can."""
        if self.module == "node_ws":
            if shutil.which("node") is None:
                return "Node is not installed"
            return None if (NODE_PACKAGES / "ws").is_dir() else "npm could not install ws"
        for package in self.needs:
            if not _importable(package):
                return f"there is no {package}"
        return None


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not there
        return False


def _on(
    name: str, label: str, module: str, *loops: str, needs: tuple[str, ...] = (), raw: bool = False
) -> list[Contestant]:
    """The same server on several loops; on asyncio's own it has the plain name."""
    return [
        Contestant(
            name if loop == "asyncio" else f"{name}-{loop}",
            label if loop == "asyncio" else f"{label}, {loop}",
            module,
            loop,
            raw=raw,
            needs=needs + _LOOP_NEEDS[loop],
        )
        for loop in loops
    ]


_LOOP_NEEDS = {
    "asyncio": (),
    "uvloop": ("uvloop",),
    "aiofastnet": ("aiofastnet",),
    "trio": ("trio",),
}
_ALL_ASYNCIO = ("asyncio", "uvloop", "aiofastnet")

CONTESTANTS = {
    contestant.name: contestant
    for contestant in [
        *_on("ours", "wstransports", "wstransports", *_ALL_ASYNCIO),
        *_on("ours", "wstransports", "wstransports", "trio", needs=("wstransports.adapters.trio",)),
        Contestant("ours-pure", "wstransports, plain Python", "wstransports", pure=True),
        # picows brings aiofastnet's transports along, on whichever loop.
        *_on("picows", "picows, bare", "picows", "asyncio", "uvloop", needs=("picows",)),
        *_on(
            "picows.websockets",
            "picows.websockets",
            "picows_websockets",
            "asyncio",
            "uvloop",
            needs=("picows",),
        ),
        *_on("websockets", "websockets", "websockets", *_ALL_ASYNCIO, needs=("websockets",)),
        *_on("aiohttp", "aiohttp", "aiohttp", *_ALL_ASYNCIO, needs=("aiohttp",)),
        Contestant("node", "ws on Node", "node_ws"),
        *_on("websockets", "websockets", "websockets_trio", "trio", needs=("websockets.trio",)),
        *_on(
            "trio-websocket", "trio-websocket", "trio_websocket", "trio", needs=("trio_websocket",)
        ),
        Contestant("floor-c", "floor: epoll in C", "c_floor", raw=True),
        *_on("floor", "floor: asyncio.Protocol", "asyncio_floor", *_ALL_ASYNCIO, raw=True),
        *_on("floor", "floor: a stream", "trio_floor", "trio", raw=True),
        Contestant("core", "wscore", "sans_io", "wscore"),
        Contestant("core-pure", "wscore, plain Python", "sans_io", "wscore", pure=True),
        Contestant(
            "websockets-sans-io", "websockets", "sans_io", "websockets", needs=("websockets",)
        ),
        Contestant("wsproto", "wsproto", "sans_io", "wsproto", needs=("wsproto",)),
    ]
}
