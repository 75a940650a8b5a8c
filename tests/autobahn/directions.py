"""A run of the suite in one direction: against the echo server or client, on one event loop."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from program import Fault, Program
from selection import Direction, Selection
from verdicts import Judgement, judge

HERE = Path(__file__).resolve().parent

# The name of what is tested, in the suite's reports.
AGENT = "wstransports"


def run(
    direction: Direction, suite: Path, selection: Selection, folder: Path, limit: float
) -> Judgement:
    """Run a selection of the suite's cases in one direction, and judge how it went.

    `direction` is what is tested; `suite` the Python that has the suite; `folder`, which must be
    there, takes the report and the logs. The run takes at most `limit` seconds, and some for
    starting and stopping.
    """
    faults: list[str] = []
    try:
        if direction.end == "server":
            _test_server(direction.loop, suite, selection, folder, limit)
        else:
            _test_client(direction.loop, suite, selection, folder, limit)
    except Fault as fault:
        faults = [str(fault)]
    # What there is of a report is judged in any case: it may say why.
    judgement = judge(read_report(folder), selection.counts())
    return Judgement(judgement.counts, faults + judgement.faults)


def read_report(folder: Path) -> Mapping[str, Mapping[str, object]]:
    """Each case's entry in the suite's report; empty if it wrote none."""
    path = folder / "index.json"
    agents = json.loads(path.read_text()) if path.is_file() else {}
    report: Mapping[str, Mapping[str, object]] = agents.get(AGENT, {})
    return report


def _test_server(loop: str, suite: Path, selection: Selection, folder: Path, limit: float) -> None:
    command = [sys.executable, str(HERE / "echo_server.py"), loop]
    with Program("the echo server", command, folder / "server.log") as server:
        servers = [{"agent": AGENT, "url": f"ws://127.0.0.1:{server.port()}"}]
        with _wstest(suite, "fuzzingclient", selection, folder, servers=servers) as client:
            client.wait(limit)
        server.end()
        server.check_log()


def _test_client(loop: str, suite: Path, selection: Selection, folder: Path, limit: float) -> None:
    with _wstest(suite, "fuzzingserver", selection, folder, url="ws://127.0.0.1:0") as server:
        command = [sys.executable, str(HERE / "echo_client.py"), loop]
        command += [f"ws://127.0.0.1:{server.port()}", AGENT]
        with Program("the echo client", command, folder / "client.log") as client:
            client.wait(limit)
            client.check_log()
        server.end()


def _wstest(suite: Path, mode: str, selection: Selection, folder: Path, **peer: object) -> Program:
    """Start the suite; `peer` is what its specification says about who is tested."""
    specification = {
        "outdir": str(folder),
        "cases": selection.patterns(),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = folder / "specification.json"
    path.write_text(json.dumps(specification | peer))
    command = [str(suite), str(HERE / "suite.py"), f"--mode={mode}", f"--spec={path}"]
    # As a server it would serve its reports too, to everybody.
    return Program("the suite", [*command, "--webport=0"], folder / "wstest.log")
