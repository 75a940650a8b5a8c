"""The other implementations that are packages. One that is not there skips the test that asks."""

import shutil

import pytest
from meeting import Peer
from with_node import PACKAGES, NodePeer
from with_websockets import WebsocketsPeer


def find_peer(name: str) -> Peer:
    """The peer of a package: websockets, aiohttp, picows, or ws of npm."""
    if name == "ws":
        program = shutil.which("node")
        if program is None:
            pytest.skip("node is not installed, so nobody talked to its ws package")
        if not (PACKAGES / "ws").is_dir():
            pytest.skip("node's ws package is not installed, so nobody talked to it")
        return NodePeer(program)
    pytest.importorskip(name, reason=f"{name} is not installed, so nobody talked to it")
    if name == "aiohttp":
        from with_aiohttp import AiohttpPeer

        return AiohttpPeer()
    return WebsocketsPeer("picows.websockets" if name == "picows" else name)
