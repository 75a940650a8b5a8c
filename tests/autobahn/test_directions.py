"""In neither direction does a run pass by the word of the suite, or of the report, alone."""

import json
import subprocess
import sys
from pathlib import Path

import directions
import pytest
from directions import AGENT, read_report, run
from selection import DIRECTIONS, EVERYTHING, GROUPS, LOOPS, Direction, Selection

pytestmark = pytest.mark.slow

OUR_SERVER, OUR_CLIENT = Direction("server", "asyncio"), Direction("client", "asyncio")

NONE_RUN = [f"group {group}: 0 cases, not {count}" for group, count in GROUPS.items()]

# In place of the suite: writes a report at once, and exits with 0 as the suite always does.
SUITE = """#!{python}
import json, pathlib, signal, sys
options = dict(option.split("=", 1) for option in sys.argv[2:])
assert options["--webport"] == "0"
outdir = json.loads(pathlib.Path(options["--spec"]).read_text())["outdir"]
pathlib.Path(outdir, "index.json").write_text({report!r})
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
if options["--mode"] == "fuzzingserver":
    print(1, flush=True)
    signal.sigwait([signal.SIGTERM])
"""

# In place of what is tested.
SERVER = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(1, flush=True)
signal.sigwait([signal.SIGTERM])
{end}
sys.exit({status})
"""
TRACEBACK = "print('Traceback (most recent call last):', file=sys.stderr)"


def perfect_report() -> str:
    """One in which each group has as many cases as it must have, all of them good."""
    verdicts = {"behavior": "OK", "behaviorClose": "OK"}
    cases = {f"{group}.1.{i}": verdicts for group, many in GROUPS.items() for i in range(many)}
    return json.dumps({AGENT: cases})


def make_suite(folder: Path, report: str) -> Path:
    path = folder / "suite"
    path.write_text(SUITE.format(python=sys.executable, report=report))
    path.chmod(0o700)
    return path


def test_a_perfect_run_against_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    (tmp_path / "echo_server.py").write_text(SERVER.format(end="pass", status=0))
    suite = make_suite(tmp_path, perfect_report())
    judgement = run(OUR_SERVER, suite, EVERYTHING, tmp_path, limit=20)
    assert judgement.faults == []
    assert judgement.counts == {"OK": 517}


def test_a_perfect_run_against_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    (tmp_path / "echo_client.py").write_text(
        f"import sys; assert sys.argv[1:] == ['trio', 'ws://127.0.0.1:1', {AGENT!r}]"
    )
    suite = make_suite(tmp_path, perfect_report())
    judgement = run(Direction("client", "trio"), suite, EVERYTHING, tmp_path, limit=20)
    assert judgement.faults == []
    assert judgement.counts == {"OK": 517}


# In place of what is tested, over TLS: makes sure of the files that it is given.
SERVER_OVER_TLS = """
import ssl, sys
ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*sys.argv[2:])
""" + SERVER.format(end="pass", status=0)
CLIENT_OVER_TLS = """
import ssl, sys
assert ssl.create_default_context(cafile=sys.argv[4]).get_ca_certs()
"""


@pytest.mark.parametrize(
    ("end", "program"), [("server", SERVER_OVER_TLS), ("client", CLIENT_OVER_TLS)]
)
def test_over_tls_both_ends_get_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, program: str
) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    (tmp_path / f"echo_{end}.py").write_text(program)
    suite = make_suite(tmp_path, perfect_report())
    direction = Direction(end, "trio", tls=True)
    assert str(direction) == f"{end} on trio over TLS"
    judgement = run(direction, suite, EVERYTHING, tmp_path, limit=20)
    assert judgement.faults == []
    specification = json.loads((tmp_path / "specification.json").read_text())
    if end == "server":
        [server] = specification["servers"]
        assert server["url"].startswith("wss://127.0.0.1:")
    else:
        assert specification["url"] == "wss://127.0.0.1:0"
        assert Path(specification["cert"]).is_file()
        assert Path(specification["key"]).is_file()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("report", ["{}", '{"another": {"1.1.1": {"behavior": "OK"}}}'])
def test_our_server_alone_with_a_suite_that_runs_nothing(
    tmp_path: Path, report: str, loop: str
) -> None:
    suite = make_suite(tmp_path, report)
    faults = run(Direction("server", loop), suite, EVERYTHING, tmp_path, limit=20).faults
    assert faults == NONE_RUN


@pytest.mark.parametrize("loop", LOOPS)
def test_our_client_with_nobody_there(tmp_path: Path, loop: str) -> None:
    suite = make_suite(tmp_path, "{}")
    first, *rest = run(Direction("client", loop), suite, EVERYTHING, tmp_path, limit=20).faults
    assert first.startswith("the echo client ended with exit status 1")
    assert "ConnectionRefusedError" in first
    assert rest == NONE_RUN


@pytest.mark.parametrize(
    ("server", "fault"),
    [
        ("", "the echo server did not start"),
        (SERVER.format(end="pass", status=1), "the echo server ended with exit status 1"),
        (SERVER.format(end=TRACEBACK, status=0), "the echo server logged a traceback"),
    ],
)
def test_a_server_that_misbehaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, fault: str
) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    (tmp_path / "echo_server.py").write_text(server)
    suite = make_suite(tmp_path, perfect_report())
    first, *_ = run(OUR_SERVER, suite, EVERYTHING, tmp_path, limit=20).faults
    assert first.startswith(fault)


@pytest.mark.parametrize(
    ("client", "limit", "fault"),
    [
        ("raise SystemExit(2)", 20, "the echo client ended with exit status 2"),
        (f"import sys; {TRACEBACK}", 20, "the echo client logged a traceback"),
        ("import signal; signal.pause()", 0.1, "the echo client did not end within 0.1 s"),
    ],
)
def test_a_client_that_misbehaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str, limit: float, fault: str
) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    (tmp_path / "echo_client.py").write_text(client)
    suite = make_suite(tmp_path, perfect_report())
    (first,) = run(OUR_CLIENT, suite, EVERYTHING, tmp_path, limit).faults
    assert first.startswith(fault)


def test_a_suite_that_does_not_end(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.write_text("#!/bin/sh\nexec sleep 1000\n")
    suite.chmod(0o700)
    first, *rest = run(OUR_SERVER, suite, EVERYTHING, tmp_path, limit=0.1).faults
    assert first.startswith("the suite did not end within 0.1 s")
    assert rest == NONE_RUN


def test_what_is_asked_of_the_suite(tmp_path: Path) -> None:
    selection = Selection((1, 2), (1,))
    run(OUR_SERVER, make_suite(tmp_path, "{}"), selection, tmp_path, limit=20)
    specification = json.loads((tmp_path / "specification.json").read_text())
    assert specification["cases"] == selection.patterns()
    assert specification["outdir"] == str(tmp_path)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_the_loop_that_was_asked_for_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: Direction
) -> None:
    monkeypatch.setattr(directions, "HERE", tmp_path)
    reported = tmp_path / "reported"
    (tmp_path / f"echo_{direction.end}.py").write_text(
        f"import pathlib, sys; pathlib.Path({str(reported)!r}).write_text(sys.argv[1])"
    )
    run(direction, make_suite(tmp_path, "{}"), EVERYTHING, tmp_path, limit=20)
    assert reported.read_text() == direction.loop


@pytest.mark.parametrize("program", ["echo_server.py", "echo_client.py"])
def test_no_other_loop_is_taken(program: str) -> None:
    command = [sys.executable, str(directions.HERE / program), "curio", "ws://127.0.0.1:1", AGENT]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=20, text=True)
    assert (ended.returncode, ended.stderr) == (1, "no event loop is called curio\n")


def test_no_report(tmp_path: Path) -> None:
    assert read_report(tmp_path) == {}
