"""What is measured: servers and clients, ours and other libraries', and floors that do less."""

import os
import shutil
import sys
from ctypes.util import find_library
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT = ROOT / ".bench"
NODE_PACKAGES = ROOT / ".npm" / "node_modules"


# Loops that run asyncio code; aiofastnet is asyncio's own loop with other transports.
ASYNCIO = ("asyncio", "uvloop", "aiofastnet")

# Loops on which rooms are measured.
ROOMS_ON = ("asyncio", "uvloop")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server on an event loop, or a client.

    `family` names the server without its loop, `label` is the name that the pages print, and
    `module` is its file in `servers`, or that of a `client` in `clients`. A `raw` server echoes
    bytes and does not speak WebSocket, `receives` has ours receive with `async for` instead of a
    callback, `pure` switches our C extension off, and `zlib_ng` has our server compress with
    zlib-ng. A server of rooms is two processes that share a `redis` server, or one; redis-py parses
    with `hiredis` or without it. An ASGI server runs `app`, and uvicorn speaks WebSocket with the
    class `websockets`. `needs` lists the modules that must be installed; `under` is a program that
    runs the server, with arguments.
    Contestants of the module `sans_io` are protocols without a server.
    """

    family: str
    label: str
    module: str
    loop: str = "asyncio"
    client: bool = False
    raw: bool = False
    receives: bool = False
    pure: bool = False
    zlib_ng: bool = False
    redis: bool = False
    hiredis: bool = False
    app: str = ""
    websockets: str = ""
    needs: tuple[str, ...] = ()
    under: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name on the command line and in the results."""
        return name_on(self.family, self.loop)

    @property
    def title(self) -> str:
        """The name on the pages."""
        return self.label if self.loop == "asyncio" else f"{self.label}, {self.loop}"

    @property
    def ours(self) -> bool:
        """Whether it is this library."""
        return self.family.startswith(("ours", "core"))

    @property
    def floor(self) -> bool:
        """Whether it does less than a WebSocket server has to."""
        return self.family.startswith("floor")

    @property
    def counterpart(self) -> str | None:
        """Our contestant on the same loop; None for our own contestants."""
        if self.ours:
            return None
        if self.module == "sans_io":
            return "core"
        if self.redis:
            return name_on("ours-rooms-redis", self.loop)
        kind = "client" if self.client else self.app
        return name_on(f"ours-{kind}" if kind else "ours", self.loop)

    def command(self) -> list[str]:
        """The command that starts it; the caller appends the task."""
        if self.module == "c_floor":
            return [*self.under, str(BUILT / "c_floor")]
        if self.module == "node_ws":
            return [*self.under, "node", str(ROOT / "benchmarks" / "servers" / "node_ws.js")]
        if self.module == "sans_io":
            return [*self.under, sys.executable, "-m", "benchmarks.sans_io", self.family]
        module = f"benchmarks.{'clients' if self.client else 'servers'}.{self.module}"
        options = ["--loop", self.loop, *["--zlib-ng"] * self.zlib_ng]
        options += ["--receive"] * self.receives
        options += ["--hiredis"] * self.hiredis
        options += [f"--app={self.app}"] * bool(self.app)
        options += [f"--websockets={self.websockets}"] * bool(self.websockets)
        return [*self.under, sys.executable, "-m", module, *options]

    def environment(self) -> dict[str, str]:
        """The environment variables of its process."""
        return {
            **os.environ,
            "NODE_PATH": str(NODE_PACKAGES),
            **({"WSCORE_PURE": "1"} if self.pure else {}),
            # Else the dictionaries of two runs differ, by 3,000 instructions of an echo.
            **({"PYTHONHASHSEED": "0"} if self.under else {}),
        }

    def missing(self) -> str | None:
        """Why it cannot run on this machine; None where it can."""
        if self.module == "node_ws":
            if shutil.which("node") is None:
                return "Node.js is not installed"
            return None if (NODE_PACKAGES / "ws").is_dir() else "npm could not install ws"
        if self.redis and shutil.which("redis-server") is None:
            return "redis-server is not installed"
        if self.module == "socketify" and find_library("uv") is None:
            return "libuv is not installed"
        needs = self.needs if self.loop == "asyncio" else (*self.needs, self.loop)
        missing = [module for module in needs if not _importable(module)]
        return f"{' and '.join(missing)} not installed" if missing else None


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is not installed
        return False


def name_on(family: str, loop: str) -> str:
    """The name of a server on a loop."""
    return family if loop == "asyncio" else f"{family}-{loop}"


def _on(
    loops: tuple[str, ...],
    family: str,
    label: str,
    module: str,
    needs: str = "",
    raw: bool = False,
) -> list[Contestant]:
    """The same server on several loops."""
    modules = (needs,) if needs else ()
    return [Contestant(family, label, module, loop, raw=raw, needs=modules) for loop in loops]


# What speaks WebSocket under uvicorn, and the module of it that must be installed.
_UNDER_UVICORN = {
    "wstransports": ("wstransports.uvicorn:WebSocketProtocol", "wstransports.uvicorn"),
    "websockets-sansio": ("websockets-sansio", "websockets"),
    "wsproto": ("wsproto", "wsproto"),
}


def _asgi(app: str, label: str) -> list[Contestant]:
    """The ASGI servers on uvloop with an application; `label` is a format for their names."""
    framework = ("fastapi",) if app == "fastapi" else ()
    made = [
        Contestant(
            f"ours-{app}" if name == "wstransports" else f"{app}-{name}",
            label.format(f"uvicorn with {name}"),
            "uvicorn",
            "uvloop",
            app=app,
            websockets=websockets,
            needs=("uvicorn", "httptools", module, *framework),
        )
        for name, (websockets, module) in _UNDER_UVICORN.items()
    ]
    return made + [
        Contestant(
            f"{app}-{server}",
            label.format(server),
            server,
            "uvloop",
            app=app,
            needs=(server, *framework),
        )
        for server in ("hypercorn", "granian")
    ]


def _over_redis(family: str, label: str, module: str, *needs: str) -> list[Contestant]:
    """A server of rooms over two processes."""
    servers = _on(ROOMS_ON, family, label, module)
    hiredis = "hiredis" in needs
    return [replace(one, redis=True, hiredis=hiredis, needs=needs) for one in servers]


_CONTESTANTS = [
    *_on(ASYNCIO, "ours", "wstransports", "wstransports"),
    *(
        replace(one, family="ours-receive", receives=True)
        for one in _on(ASYNCIO, "", "wstransports, async for", "wstransports")
    ),
    Contestant("ours-pure", "wstransports, pure Python", "wstransports", pure=True),
    *(
        replace(one, family="ours-zlib-ng", zlib_ng=True, needs=("zlib_ng",))
        for one in _on(ASYNCIO, "", "wstransports, zlib-ng", "wstransports")
    ),
    # picows brings aiofastnet's transports to either loop.
    *_on(("asyncio", "uvloop"), "picows", "picows", "picows", needs="picows"),
    *_on(
        ("asyncio", "uvloop"),
        *("picows.websockets", "picows.websockets", "picows_websockets"),
        needs="picows.websockets",
    ),
    *_on(ASYNCIO, "websockets", "websockets", "websockets", needs="websockets"),
    *_on(ASYNCIO, "aiohttp", "aiohttp", "aiohttp", needs="aiohttp"),
    Contestant("node", "ws on Node.js", "node_ws"),
    Contestant("socketify", "socketify", "socketify", needs=("socketify",)),
    Contestant("floor-c", "floor: epoll in C", "c_floor", raw=True),
    *_on(ASYNCIO, "floor", "floor: asyncio.Protocol", "asyncio_floor", raw=True),
    *_on(("trio",), "ours", "wstransports", "wstransports", needs="wstransports.adapters.trio"),
    *_on(("trio",), "websockets", "websockets", "websockets_trio", needs="websockets.trio"),
    *_on(("trio",), "trio-websocket", "trio-websocket", "trio_websocket", needs="trio_websocket"),
    *_on(("trio",), "floor", "floor: a stream", "trio_floor", raw=True),
    *(
        replace(one, client=True)
        for one in (
            *_on(ASYNCIO, "ours-client", "wstransports", "wstransports"),
            *(
                replace(one, receives=True)
                for one in _on(
                    ASYNCIO, "ours-client-receive", "wstransports, async for", "wstransports"
                )
            ),
            *_on(
                ("asyncio", "uvloop"),
                *("picows.websockets-client", "picows.websockets", "picows_websockets"),
                needs="picows.websockets",
            ),
            *_on(
                ("asyncio", "uvloop"),
                *("websockets-client", "websockets", "websockets"),
                needs="websockets",
            ),
            *_on(("asyncio", "uvloop"), "aiohttp-client", "aiohttp", "aiohttp", needs="aiohttp"),
        )
    ),
    *_asgi("bare", "{}"),
    *_asgi("fastapi", "FastAPI on {}"),
    *_on(ROOMS_ON, "ours-rooms", "wstransports, one process", "wstransports_rooms"),
    *_over_redis("ours-rooms-redis", "wstransports, Redis", "wstransports_rooms"),
    *_over_redis("redis-py", "websockets, redis-py", "websockets_rooms", "redis"),
    *_over_redis(
        "redis-py-hiredis", "websockets, redis-py, hiredis", "websockets_rooms", "redis", "hiredis"
    ),
    Contestant("core", "wscore", "sans_io"),
    Contestant("core-pure", "wscore, pure Python", "sans_io", pure=True),
    Contestant("websockets-core", "websockets", "sans_io", needs=("websockets",)),
    Contestant("wsproto-core", "wsproto", "sans_io", needs=("wsproto",)),
]

CONTESTANTS = {contestant.name: contestant for contestant in _CONTESTANTS}
