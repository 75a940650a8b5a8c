"""Run the Autobahn TestSuite against the echo server and print its verdicts: `make autobahn`.

Exit status 0 only if every case of the groups was run and passed. The suite's own exit status
proves nothing (it is 0 even with no server there), so its report is read instead.
"""

import argparse
import json
import platform
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from python2 import find_python2, install_suite
from verdicts import judge

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".autobahn"

# Each group with its number of cases. Groups 12 and 13 are compression.
GROUPS = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1}
AGENT = "echo server"

# Seconds. The groups above take about 20 on a slow machine.
SUITE_LIMIT = 180
START_LIMIT = 20
STOP_LIMIT = 20


def main() -> int:
    """Set up, run, judge, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--left-out", type=Path, metavar="FILE", help="without Python 2.7: note it in FILE and pass"
    )
    left_out: Path | None = parser.parse_args().left_out

    python2 = find_python2()
    note = (
        "" if python2 else "the Autobahn TestSuite: no Python 2.7 on PATH or in ~/.pyenv/versions\n"
    )
    if left_out is not None:
        left_out.write_text(note)
    if python2 is None:
        print(f"Not run: {note}", end="")
        return 1 if left_out is None else 0

    folder = CACHE / f"server-{platform.python_version()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    suite = install_suite(python2, CACHE / "python2.7")
    print(f"Running {sum(GROUPS.values())} cases of the Autobahn TestSuite", flush=True)
    faults = run_with_echo_server(suite, folder)
    judgement = judge(read_report(folder), GROUPS)
    faults += judgement.faults
    for verdict, count in judgement.counts.most_common():
        print(f"{count:5} {verdict}")
    for fault in faults:
        print(f"FAULT {fault}")
    if faults:
        print(f"The end of the echo server's log:\n{(folder / 'server.log').read_text()[-2000:]}")
    print(f"Autobahn: {'failed' if faults else 'passed'}; the report: {folder}/index.html")
    return 1 if faults else 0


def run_with_echo_server(suite: Path, folder: Path) -> list[str]:
    """Start the echo server, run the suite, end the server; return every fault but the report's."""
    command = [sys.executable, str(HERE / "echo_server.py")]
    log = folder / "server.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as server,
    ):
        try:
            port = read_port(server)
            if port is None:
                return [f"the echo server did not start: {log}"]
            faults = run_suite(suite, folder, port) + end_server(server)
        finally:
            server.kill()
    if "Traceback" in log.read_text():
        faults.append(f"the echo server logged a traceback: {log}")
    return faults


def read_port(server: subprocess.Popen[str]) -> int | None:
    """The port that the server prints once it listens, or None if it does not."""
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], START_LIMIT)
    line = server.stdout.readline().strip() if ready else ""
    return int(line) if line.isdigit() else None


def end_server(server: subprocess.Popen[str]) -> list[str]:
    """Ask the server to end; it must still be there, and end in good order. Return faults."""
    if server.poll() is not None:
        return [f"the echo server ended during the run, exit status {server.returncode}"]
    server.terminate()
    try:
        status = server.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        return [f"the echo server did not end within {STOP_LIMIT} s of SIGTERM"]
    return [f"the echo server ended with exit status {status}"] if status else []


def run_suite(suite: Path, folder: Path, port: int) -> list[str]:
    """Run the cases against the server at `port`, their report into `folder`; return faults."""
    specification = {
        "outdir": str(folder),
        "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}],
        "cases": [f"{group}.*" for group in GROUPS],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = folder / "specification.json"
    path.write_text(json.dumps(specification))
    wstest = [str(suite), str(suite.with_name("wstest")), "--mode=fuzzingclient", f"--spec={path}"]
    with (folder / "wstest.log").open("w") as log:
        try:
            subprocess.run(wstest, check=False, stdout=log, stderr=log, timeout=SUITE_LIMIT)
        except subprocess.TimeoutExpired:
            return [f"the suite did not end within {SUITE_LIMIT} s: {log.name}"]
    return []


def read_report(folder: Path) -> Mapping[str, Mapping[str, object]]:
    """Each case's entry in the suite's report; empty if it wrote none."""
    path = folder / "index.json"
    agents = json.loads(path.read_text()) if path.is_file() else {}
    report: Mapping[str, Mapping[str, object]] = agents.get(AGENT, {})
    return report


if __name__ == "__main__":
    sys.exit(main())
