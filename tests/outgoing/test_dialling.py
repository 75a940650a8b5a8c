"""Which of a host's addresses is dialled, and when: without a loop, by a dialler that blocks."""

import errno
import os
import select
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from kit.nowhere import Where, closed_address, silent_address
from wstransports.adapters import dialling
from wstransports.adapters.dialling import dial
from wstransports.address import Address

TIMEOUT = 20.0

silent = pytest.fixture(silent_address)
closed = pytest.fixture(closed_address)


class Blocking:
    """A loop that waits as select() does; every name leads to the same addresses."""

    def __init__(self, *found: Where) -> None:
        self._found = found
        self.waits: list[tuple[int, bool]] = []
        """How many were being tried at each wait, and whether it was for a bounded time."""

    async def look_up(self, host: str, port: int, **more: Any) -> list[Any]:
        """As the loop's."""
        return [
            (
                socket.AF_INET6 if ":" in where[0] else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                where,
            )
            for where in self._found
        ]

    async def writable(self, socks: Sequence[socket.socket], seconds: float) -> None:
        """Wait."""
        self.waits.append((len(socks), seconds > 0))
        select.select([], socks, [], seconds or TIMEOUT)


def dialled(where: Address, by: Blocking) -> Coroutine[Any, Any, socket.socket]:
    """What `dial` does on that loop, which python-socks does not know."""
    return dial(where, by.look_up, by.writable, "none")


def run(coroutine: Coroutine[Any, Any, socket.socket]) -> socket.socket:
    """What a coroutine that never suspends returns."""
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    sock: socket.socket = ended.value.value
    return sock


def name(local: Where | None = None) -> Address:
    """A host with several addresses."""
    return Address("many.example", 80, local)


@pytest.fixture
def listening() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def test_the_families_take_turns(
    closed: Where, listening: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    really_begin = dialling._begun

    def begin(family: int, kind: int, proto: int, _: str, address: Where, local: None) -> Any:
        begun.append(address[0])
        where = listening if len(begun) == 5 else closed
        return really_begin(socket.AF_INET, kind, proto, "", where, local)

    monkeypatch.setattr(dialling, "_begun", begin)
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"]
    run(dialled(name(), Blocking(*((host, 80) for host in hosts)))).close()
    assert begun == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]


def test_one_that_is_silent_goes_on_while_the_next_is_tried(
    silent: Where, listening: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "HEAD_START", 0.001)
    dialler = Blocking(silent, silent, listening)
    with run(dialled(name(), dialler)) as sock:
        assert sock.getpeername() == listening
        assert not sock.getblocking()
    assert [number for number, _ in dialler.waits[:2]] == [1, 2]


def test_the_first_may_still_answer_when_the_others_have_failed(
    closed: Where, listening: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialler = Blocking(listening, closed)
    connected_after(2, dialler, monkeypatch)
    with run(dialled(name(), dialler)) as sock:
        assert sock.getpeername() == listening
    assert dialler.waits == [(1, True), (2, False), (1, False)]


def test_where_two_answer_at_once_one_is_closed(
    listening: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that is left open would warn."""
    dialler = Blocking(listening, listening)
    connected_after(1, dialler, monkeypatch)
    with run(dialled(name(), dialler)) as sock:
        assert sock.getpeername() == listening
    assert dialler.waits == [(1, True), (2, False)]


def connected_after(waits: int, dialler: Blocking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no attempt succeed before it was waited for more often than that."""
    is_connected = dialling._is_connected
    monkeypatch.setattr(
        dialling, "_is_connected", lambda sock: len(dialler.waits) > waits and is_connected(sock)
    )


def test_where_none_answers_all_causes_are_named_once(closed: Where) -> None:
    group = ("224.0.0.1", 1)  # TCP leads to no group
    with pytest.raises(OSError, match=r"\S") as caught:
        dialled(name(), Blocking(group, closed, group, closed)).send(None)
    assert caught.value.errno == errno.ENETUNREACH
    causes = os.strerror(errno.ENETUNREACH), os.strerror(errno.ECONNREFUSED)
    assert caught.value.strerror == ", ".join(causes)


def test_an_address_that_cannot_be_begun_is_passed_over(listening: Where) -> None:
    """Such as one of the other IP version than the local address has."""
    dialler = Blocking(("::1", listening[1]), listening)
    with run(dialled(name(("127.0.0.1", 0)), dialler)) as sock:
        assert sock.getpeername() == listening


def test_a_unix_socket_whose_queue_is_full_refuses(tmp_path: Path) -> None:
    """It would seem connected otherwise, for it can be written to."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        where = Address(None, 0, unix_path=path)
        with run(dialled(where, Blocking())), pytest.raises(BlockingIOError, match="unavailable"):
            dialled(where, Blocking()).send(None)
