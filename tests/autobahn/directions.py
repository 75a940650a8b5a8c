"""A run of the suite in one direction: against the echo server or client, on one event loop."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import trustme
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
        certs = certificates(folder) if direction.tls else None
        test = _test_server if direction.end == "server" else _test_client
        test(direction.loop, suite, selection, folder, limit, certs)
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


class Certificates(NamedTuple):
    """The files of a server's certificate and key, and of its authority."""

    cert: Path
    key: Path
    authority: Path


def certificates(folder: Path) -> Certificates:
    """Make a certificate for 127.0.0.1."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = Certificates(folder / "cert.pem", folder / "key.pem", folder / "authority.pem")
    files.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.authority)
    return files


def _test_server(
    loop: str,
    suite: Path,
    selection: Selection,
    folder: Path,
    limit: float,
    certs: Certificates | None,
) -> None:
    command = [sys.executable, str(HERE / "echo_server.py"), loop]
    scheme = "ws"
    if certs is not None:
        scheme = "wss"
        command += [str(certs.cert), str(certs.key)]
    with Program("the echo server", command, folder / "server.log") as server:
        servers = [{"agent": AGENT, "url": f"{scheme}://127.0.0.1:{server.port()}"}]
        with _wstest(suite, "fuzzingclient", selection, folder, servers=servers) as client:
            client.wait(limit)
        server.end()
        server.check_log()


def _test_client(
    loop: str,
    suite: Path,
    selection: Selection,
    folder: Path,
    limit: float,
    certs: Certificates | None,
) -> None:
    scheme, peer, trusted = "ws", {}, []
    if certs is not None:
        scheme, trusted = "wss", [str(certs.authority)]
        peer = {"cert": str(certs.cert), "key": str(certs.key)}
    url = f"{scheme}://127.0.0.1:0"
    with _wstest(suite, "fuzzingserver", selection, folder, url=url, **peer) as server:
        command = [sys.executable, str(HERE / "echo_client.py"), loop]
        command += [f"{scheme}://127.0.0.1:{server.port()}", AGENT, *trusted]
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
