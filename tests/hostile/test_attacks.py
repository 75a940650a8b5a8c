"""The attacks of `make hostile` say what they find, and the figures are those of the server."""

import os
import sys
from pathlib import Path

import attack
import pytest
from attack import ATTACKS, LOOPS, Attack, Figure
from raw import connect, echoed
from target import Target

import hostile
from kit.frames import FIN, TEXT, Frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_a_bound() -> None:
    assert str(Figure("descriptors", 2, 2)) == "descriptors: 2, at most 2"
    assert Figure("descriptors", 2, 2).kept
    assert not Figure("descriptors", 3, 2).kept


def test_each_attack_has_a_name_of_its_own() -> None:
    names = [one.name for one in ATTACKS]
    assert len(set(names)) == len(names) > 30


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True], ids=["", "over TLS"])
def test_what_is_measured(tmp_path: Path, loop: str, tls: bool) -> None:
    with Target(loop, tmp_path, tls=tls, timeout=20) as target:
        before = target.descriptors()
        peers = [connect(target, "/echo") for _ in range(3)]
        assert echoed(peers[0])
        peers[1].sendall(Frame(FIN | 3).encode(masked=True))
        assert target.wait(lambda: target.stats()["clients"] == 2, 10) < 10
        assert target.wait(lambda: len(target.log_lines()) == 1, 10) < 10
        assert target.memory() > 2**20
        peers[1].close()
        assert target.wait(lambda: target.descriptors() == before + 2, 10) < 10
        with target.watched(target.descriptors) as samples:
            more = connect(target, "/echo")
            more.sendall(Frame(FIN | TEXT, b"1").encode(masked=True))
            assert target.wait(lambda: target.stats()["answered"] == 2, 10) < 10
            assert target.wait(lambda: target.descriptors() == before + 3, 10) < 10
        assert (samples[0], samples[-1]) == (before + 2, before + 3)
        for peer in [*peers, more]:
            peer.close()
        assert target.wait(lambda: target.stats()["clients"] == 0, 10) < 10
        assert target.stop() == {"begun": 2, "answered": 2}
        assert target.returncode == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_an_idle_connection_over_tls_takes_little(loop: str) -> None:
    [attack] = [one for one in ATTACKS if one.name == "200 idle connections over TLS"]
    assert [figure for figure in attack.on(loop) if not figure.kept] == []


def run(monkeypatch: pytest.MonkeyPatch, *attacks: Attack) -> int:
    monkeypatch.setattr(hostile, "ATTACKS", [*attacks])
    monkeypatch.setattr(sys, "argv", ["hostile.py", "--loop=asyncio"])
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")
    return hostile.main()


def test_the_table_and_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(target: Target) -> list[Figure]:
        os.kill(target.pid, 9)
        target.wait(lambda: not target.alive, 10)
        return []

    def fail(target: Target) -> list[Figure]:
        raise RuntimeError("no attack")

    harmless = Attack("harmless", lambda _: [Figure("clients", 0, 0)], {})
    assert run(monkeypatch, harmless) == 0
    assert "OK     clients: 0, at most 0\n" in capsys.readouterr().out
    excess = Attack("in excess", lambda _: [Figure("clients", 1, 0)], {})
    assert run(monkeypatch, harmless, excess, Attack("deadly", kill, {})) == 1
    printed = capsys.readouterr().out
    assert "EXCESS clients: 1, at most 0\n" in printed
    assert "EXCESS servers that died: 1, at most 0\n" in printed
    assert run(monkeypatch, Attack("broken", fail, {})) == 1
    assert "RuntimeError: no attack\n" in capsys.readouterr().out
    assert run(monkeypatch) == 1


def test_attacks_register_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack, "ATTACKS", [])

    @attack.attack("a name", timeout=5)
    def nothing(target: Target) -> list[Figure]:
        return []

    assert attack.ATTACKS == [Attack("a name", nothing, {"timeout": 5})]
