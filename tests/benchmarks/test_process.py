"""The load generator as a process: what is reported of one that ends before its turn."""

from pathlib import Path

import pytest

from benchmarks import process
from benchmarks.contestants import CONTESTANTS
from benchmarks.process import BenchmarkError, Server


def test_a_load_that_ended_between_turns_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contestant is left out, and the run goes on."""
    program = tmp_path / "load"
    program.write_text("#!/bin/sh\necho ready\necho a wrong answer >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(process, "BUILT", tmp_path)
    server = Server(CONTESTANTS["ours"], 0, 0)
    with pytest.raises(BenchmarkError, match="a wrong answer"), server.load("echo") as load:
        load._process.wait()
        load.turn(1)
