"""A process with few file descriptors: its log, and its end."""

from pathlib import Path

import pytest

from kit.script import Script

pytestmark = pytest.mark.slow

# It lowers its own limit, and then connects as many clients as the queue takes.
SCRIPT = """\
import asyncio, logging, resource, socket, time
{imports}
from wstransports import WebSocketServer

logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
server = WebSocketServer("127.0.0.1", 0, close_timeout=0.5)

async def main():
    async with server as listening:
        clients = [socket.socket() for _ in range(100)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 10,) * 2)
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listening.sockets[0].getsockname())
        await {sleep}(2.5)
        logging.error("the end")
    await {sleep}(1.5)

{run}
"""

LOOPS = {
    "asyncio": ("", "asyncio.sleep", "asyncio.run(main())"),
    "uvloop": ("import uvloop", "asyncio.sleep", "uvloop.run(main())"),
    "trio": ("import trio", "trio.sleep", "trio.run(main)"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_no_descriptor_left(loop: str, tmp_path: Path) -> None:
    imports, sleep, run = LOOPS[loop]
    if loop != "asyncio":
        pytest.importorskip(loop, reason=f"{loop} is not installed")
    with Script(SCRIPT.format(imports=imports, sleep=sleep, run=run), tmp_path) as script:
        _, stderr, status = script.end()
    *lines, end = stderr.splitlines()
    assert end == "ERROR root the end"
    assert set(lines) == {"ERROR wstransports cannot accept a connection: Too many open files"}
    assert len(lines) == 3
    assert status == 0
