"""The benchmarks: engines that fail, how bursts are counted, floors, reports, devices not there."""

import argparse
import ast
import doctest
import importlib
import inspect
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from benchmarks import (
    block_types,
    checkpoints,
    comparison,
    convolutions,
    exported,
    language,
    layers,
    machine,
    operators,
    peaks,
    report,
    rows,
    small,
    timing,
    training,
)
from benchmarks.controller import Measured, Row, Worker, busy_cores, measure
from benchmarks.timing import Work
from benchmarks.worker import FILES_VARIABLE, JOBS, Answers
from numbatorch import debug
from numbatorch.language.simd.vectors import native_lanes
from numbatorch.private import HAS_OWNERS

ROOT = Path(__file__).parents[2]
PEER = "tests.repo.benchmark_peer"
OURS = small.Api(
    tensor=nt.from_numpy,
    compiled=nt.compile,
    read=lambda call: lambda: call().realize(),
    library=nt,
)


@pytest.mark.parametrize("device", ["cuda:99", "metal:99", "typewriter"])
def test_a_device_that_is_not_there_is_one_line(device: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "decode", "fused", "--device", device]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ours: {device.partition(':')[0]}: ") or device in line
    assert not done.stdout


def test_a_peer_that_fails_is_one_cell_and_works_again_in_the_next_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    worker = Worker(PEER, sys.executable, 1, "cpu", limit=5)
    jobs: list[tuple[str, dict[str, Any]]] = [
        ("works", {}),
        ("crashes", {"code": 3}),
        ("works", {}),
        ("crashes_while_it_loads", {}),
        ("raises", {}),
        ("lacks", {}),
        ("not_there", {}),
        ("works", {}),
    ]
    found = [measure(Row(job, job, given), [worker], None, 2, 0.001) for job, given in jobs]
    worker.close()
    table = report.Table([PEER], (job for job, _ in jobs))
    for row in found:
        table.add(row)
    printed = capsys.readouterr()
    problems = [row.problems.get(PEER) for row in found]
    assert problems == [
        None,
        "its process ended, exit code 3: a library's last words",
        None,
        "its process ended, exit code 4",
        "ValueError: no such weights",
        "only float32",
        "",
        None,
    ]
    assert [len(row.seconds(PEER)) for row in found] == [2, 0, 2, 0, 0, 0, 0, 2]
    cells = [line.split()[-1] for line in printed.out.splitlines()[2:]]
    assert [cell for cell in cells if cell in ("absent", "-")] == ["absent"] * 4 + ["-"]
    assert "crashes: tests.repo.benchmark_peer: its process ended, exit code 3" in printed.err


def test_a_peer_that_does_not_answer_is_ended() -> None:
    worker = Worker(PEER, sys.executable, 1, "cpu")
    worker.limit = 1.0
    found = measure(Row("hangs", "hangs", {}), [worker], None, 2, 0.001)
    assert found.problems == {PEER: "no answer in 1 s"}
    assert not measure(Row("works", "works", {}), [worker], None, 1, 0.001).problems
    worker.close()


def test_an_engine_that_is_not_installed_is_absent() -> None:
    worker = Worker("tests.repo.no_such_engine", sys.executable, 1, "cpu")
    assert worker.version is None
    assert "no_such_engine" in worker.absent
    found = measure(Row("works", "works", {}), [worker], None, 1, 0.001)
    assert found.problems == {worker.engine: worker.absent}
    worker.close()


def test_rest_waits_for_threads_that_still_compute() -> None:
    end = time.perf_counter() + 0.2

    def spin() -> None:
        while time.perf_counter() < end:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    timing.rest()
    assert time.perf_counter() >= end
    thread.join()
    start = time.perf_counter()
    timing.rest(limit=60)
    assert time.perf_counter() - start < 30


def test_an_answer_comes_when_the_threads_of_an_engine_are_at_rest() -> None:
    spinning: list[threading.Thread] = []

    def spin(end: float) -> None:
        while time.perf_counter() < end:
            pass

    def call() -> None:
        spinning.append(threading.Thread(target=spin, args=(time.perf_counter() + 0.05,)))
        spinning[-1].start()

    answers = Answers(SimpleNamespace(job=lambda: Work(call, most=2)))
    assert answers.answer({"prepare": "job", "arguments": {}}) == {}
    assert answers.answer({"burst": 0.001})["samples"] == 1
    assert len(spinning) >= 2
    assert not any(thread.is_alive() for thread in spinning)


def test_a_burst_leaves_out_the_first_call_and_ends_where_a_context_does() -> None:
    taken = iter([9.0, 3.0, 1.0, 2.0, 100.0])
    begun = []
    work = Work(lambda: next(taken), units=2, begin=lambda: begun.append(0), most=4, timed=True)
    found = work.burst(10.0)
    assert begun == [0]
    assert found["samples"] == 3
    assert (found["median"], found["best"], found["mean"]) == (1.0, 0.5, 1.0)


def test_interrupted_samples_are_left_out_where_enough_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = iter([1.0, 5.0, 1.0, 7.0, 1.0, 1.0])
    count = 0

    def call() -> float:
        nonlocal count
        seconds = next(taken)
        count += seconds > 1
        return seconds

    monkeypatch.setattr(timing, "interruptions", lambda: count)
    found = Work(call, most=6, timed=True).burst(10.0)
    assert (found["samples"], found["interrupted"]) == (5, 2)
    assert (found["median"], found["best"], found["mean"]) == (1.0, 1.0, 3.0)


def test_a_call_longer_than_a_burst_is_made_once() -> None:
    calls = []

    def call() -> None:
        calls.append(time.sleep(0.02))

    found = Work(call).burst(0.001)
    assert len(calls) == found["samples"] == 1
    assert found["best"] >= 0.02


def test_short_calls_are_timed_together() -> None:
    work = Work(lambda: None)
    work.prepare()
    assert work.calls > 100
    assert 0 < work.burst(0.005)["best"] < 1e-5


def test_spread_is_half_the_distance_of_the_quartiles() -> None:
    values = list(np.random.default_rng(0).uniform(1, 2, 9))
    low, middle, high = np.percentile(values, [25, 50, 75])
    assert timing.spread(values) == pytest.approx((high - low) / 2 / middle)
    assert timing.spread([2.0]) == 0.0


CHILDREN = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")


@pytest.mark.skipif(not CHILDREN.exists(), reason="only Linux lists a thread's children")
def test_busy_neighbours_compute_and_end() -> None:
    def ticks(child: str) -> int:
        return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11])

    others = set(CHILDREN.read_text().split())
    with busy_cores(2):
        busy = set(CHILDREN.read_text().split()) - others
        assert len(busy) == 2
        started = {child: ticks(child) for child in busy}
        end = time.perf_counter() + 30
        while any(ticks(child) <= started[child] for child in busy):
            assert time.perf_counter() < end
            time.sleep(0.01)
    assert not busy & set(CHILDREN.read_text().split())


# Floors.


def test_the_reading_kernel_reads_everything() -> None:
    lanes = native_lanes("float32")
    x = np.random.default_rng(0).integers(-8, 8, 64 * lanes).astype(np.float32)
    first = x[0]  # what the eight sums of each thread begin with, in every lane
    for count in (1, 3):
        out = np.zeros((count, lanes), np.float32)
        peaks.Threads(count).runs(peaks.read_floats(T="float32"), out, x, x.size, 2)()
        assert out.sum() == 2 * x.sum() + count * 8 * lanes * first


def test_the_multiplying_kernels_multiply() -> None:
    lanes = native_lanes("float32")
    places = range(peaks.ACCUMULATORS)
    x = np.linspace(-1, 1, lanes + peaks.ACCUMULATORS).astype(np.float32)
    out = np.zeros((2, lanes), np.float32)
    peaks.Threads(2).runs(peaks.multiply_floats(T="float32"), out, x, 3)()
    expected = np.stack([x[at : at + lanes].astype(np.float64) for at in places])
    for _ in range(3):
        expected = expected * x[:lanes] + x[:lanes]
    np.testing.assert_allclose(out, [expected.sum(0)] * 2, rtol=1e-5, atol=1e-5)

    bytes_ = np.random.default_rng(0).integers(0, 64, 4 * (lanes + peaks.ACCUMULATORS))
    x = bytes_.astype(np.int8).view(np.int32)
    totals = np.zeros((2, lanes), np.int32)
    peaks.Threads(2).runs(peaks.multiply_bytes(T="int32"), totals, x, 3)()
    codes = bytes_.reshape(-1, 4)
    begins = np.stack([x[at : at + lanes] for at in places])
    for _ in range(3):
        values = begins.view(np.int8).reshape(-1, lanes, 4).astype(np.int64)
        found = x[:lanes] + (codes[1 : lanes + 1] * values).sum(-1)
        begins = found.astype(np.int32)
    wrapped = begins.sum(0, dtype=np.int64).astype(np.int32)
    np.testing.assert_array_equal(totals, [wrapped] * 2)


# Small calls.


def values(result: Any) -> Any:
    """A result of any of the libraries as NumPy's."""
    return np.asarray(result.detach().numpy() if hasattr(result, "detach") else result)


@pytest.mark.parametrize("name", sorted({*small.CALLS} - {*small.WITH_GRADIENTS, "printing"}))
def test_a_small_call_computes_what_numpy_does(name: str) -> None:
    expected = small.CALLS[name](small.Api(np.asarray)).call()
    found = small.CALLS[name](OURS).call()
    if expected is not None:
        np.testing.assert_allclose(values(found), values(expected), rtol=2e-5, atol=2e-5)


def test_the_call_of_ten_launches_makes_ten() -> None:
    value = small.matrix(OURS)
    for _ in range(small.LAUNCHES):
        value = value.cumsum(0)
    assert len(debug.kernels(value)) == small.LAUNCHES


# What engines share: jobs that are made, some several at once.
MADE = {
    "language.jobs": language.jobs(SimpleNamespace),
    "language.sampling_job": (language.sampling_job(SimpleNamespace),),
    "calls.jobs": small.jobs(OURS),
    "operators.job": (operators.job(np.asarray),),
    "layers.job": (layers.job(np.asarray, None, nullcontext, None),),
    "block_types.job": (block_types.job(np.multiply),),
    "training.job": (training.job(OURS),),
    "exported.job": (exported.job(lambda folder, compute: np.asarray),),
    "resnet.job": (convolutions.job(np.asarray, np.multiply, None),),
}


def jobs_of(engine: str) -> dict[str, set[str]]:
    """The names of an engine's jobs and of their arguments, without importing its library."""
    path = ROOT / "benchmarks" / "engines" / f"{engine}.py"
    found: dict[str, set[str]] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = {argument.arg for argument in node.args.args}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            names = ast.unparse(node.targets[0]).strip("()").split(", ")
            jobs = MADE.get(ast.unparse(node.value.func), ())
            for name, job in zip(names, jobs, strict=bool(jobs)):
                found[name] = set(inspect.signature(job).parameters)
    return {name: given for name, given in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("group", rows.PEERS)
def test_the_rows_of_a_group_ask_for_jobs_that_there_are(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for written in ("hugging_face_folder", "gguf_file"):
        monkeypatch.setattr(checkpoints, written, lambda *where: Path("there"))
    monkeypatch.setattr(checkpoints, "bytes_a_token", lambda path: 1)
    options = argparse.Namespace(
        files=Path("."), sizes=["15m"], kinds=rows.KINDS, threads=2, device="cpu", names=None
    )
    found = rows.rows_of(group, options)
    assert len({row.name for row in found}) == len(found)
    for row in found:
        assert row.job in JOBS
        assert jobs_of("ours")[row.job] == set(row.arguments)
        asked = [jobs_of(peer).get(row.job) for peer in rows.PEERS[group]]
        assert any(job is not None for job in asked) or not asked, row
        assert all(arguments in (None, set(row.arguments)) for arguments in asked)
        if row.floor is not None:
            job, arguments = row.floor
            assert jobs_of("floor")[job] == set(arguments)


def test_engines_have_no_jobs_that_nobody_asks_for() -> None:
    for path in (ROOT / "benchmarks" / "engines").glob("*.py"):
        floors = {"read", "copy", "products", "call", "objects"}
        assert set(jobs_of(path.stem)) <= (floors if path.stem == "floor" else set(JOBS)), path


# Reports.


def measured(seconds: float, floor: float, name: str = "a row") -> dict[str, Any]:
    """A row of a JSON file with three rounds of ours, a peer and the floor."""
    found = Measured(Row(name, "job", {}, "GB/s", 2.0))
    for engine, value in (("ours", seconds), ("peer", 4.0), ("floor", floor)):
        bursts = [{"median": value * off, "best": value, "mean": value} for off in (0.99, 1, 1.01)]
        found.bursts[engine] = bursts
    found.problems["other"] = "its process ended"
    return report.as_data("group", 2, found)


def run_file(path: Path, *rows: dict[str, Any], processor: str = "a processor") -> Path:
    """A JSON file of a run."""
    head = {"time": "now", "machine": {"processor": processor, "llvm": "name"}}
    report.Run(path, head).write()
    run = json.loads(path.read_text())
    path.write_text(json.dumps({**run, "rows": rows}))
    return path


def test_a_comparison_names_what_has_become_slower(tmp_path: Path) -> None:
    before = run_file(tmp_path / "a.json", measured(1.0, 0.5), measured(1.0, 0.5, "other"))
    after = run_file(tmp_path / "b.json", measured(1.25, 0.5), measured(1.02, 0.5, "other"))
    command = [sys.executable, "-m", "benchmarks", "--compare"]
    done = subprocess.run([*command, before, after], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[-2:]]
    assert lines[0] == ["a", "row", "GB/s", "2", "1.6", "0.80x", "1.00x", "slower"]
    assert lines[1] == ["other", "GB/s", "2", "1.96", "0.98x", "1.00x"]
    lines, fallen = comparison.compare(comparison.read(after), comparison.read(before))
    assert fallen == 0
    assert lines[-2].endswith("faster")
    (tmp_path / "c.json").write_text("[1]")
    done = subprocess.run(
        [*command, before, tmp_path / "c.json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("c.json: not written by --json")


def test_a_comparison_of_two_machines_says_so(tmp_path: Path) -> None:
    before = run_file(tmp_path / "a.json", measured(1.0, 0.5))
    after = run_file(tmp_path / "b.json", measured(1.0, 0.5), processor="another")
    lines, _fallen = comparison.compare(comparison.read(before), comparison.read(after))
    assert any("processors differ" in line for line in lines)


def test_a_row_without_a_figure_any_more_has_fallen(tmp_path: Path) -> None:
    failed, gone, new = measured(1.0, 0.5), measured(1.0, 0.5, "gone"), measured(1.0, 0.5, "new")
    before = run_file(tmp_path / "a.json", measured(1.0, 0.5), gone)
    del failed["engines"]["ours"]
    after = run_file(tmp_path / "b.json", failed, new)
    lines, fallen = comparison.compare(comparison.read(before), comparison.read(after))
    assert fallen == 1
    assert [line.split()[-6:] for line in lines[-3:]] == [
        ["GB/s", "2", "-", "-", "-", "absent"],
        ["gone", "GB/s", "2", "-", "-", "-"],
        ["new", "GB/s", "-", "2", "-", "-"],
    ]


def test_a_run_that_is_interrupted_keeps_its_rows(tmp_path: Path) -> None:
    run = report.Run(tmp_path / "run.json", {"time": "now"})
    run.add("group", 2, Measured(Row("first", "job", {})))
    assert [row["name"] for row in comparison.read(tmp_path / "run.json")["rows"]] == ["first"]


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--json", tmp_path / "no" / "run.json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("--json: ")
    assert not done.stdout


def test_ratios_are_taken_round_by_round() -> None:
    ours, theirs = [1.0, 10.0, 2.0], [3.0, 30.0, 6.0]  # each round finds the machine slower
    assert report.ratio(ours, theirs) == 3.0


def test_a_run_is_written_and_compares_with_itself(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    command = [sys.executable, "-m", "benchmarks"]
    options = ["--peers", "--rounds", "2", "--burst", "0.001", "--json", file]
    done = subprocess.run([*command, "fused", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = json.loads(file.read_text())
    assert run["machine"]["processor"] == machine.own_name() in done.stdout
    (row,) = run["rows"]
    assert set(row["engines"]) == {"ours", "floor"}
    assert all(len(one["bursts"]) == 2 for one in row["engines"].values())
    lines, fallen = comparison.compare(run, run)
    assert fallen == 0
    assert lines[-1].count("1.00x") == 2


@pytest.mark.parametrize("name", ["controller", "machine", "report", "timing"])
def test_examples_of_the_benchmarks_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert found.attempted > 0
    assert not found.failed


def test_files_are_not_written_where_others_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(FILES_VARIABLE, raising=False)
    found = checkpoints.folder_of_files(None)
    assert tmp_path in found.parents and found.is_dir()
    monkeypatch.setenv("NUMBATORCH_CACHE", str(tmp_path))
    if not HAS_OWNERS:
        return
    assert found.stat().st_mode & 0o777 == 0o700
    shared, foreign = tmp_path / "benchmarks", tmp_path / "foreign"
    foreign.mkdir()
    shared.symlink_to(foreign)  # as who can write beside it would have it
    other = checkpoints.folder_of_files(None)
    shared.unlink()
    shared.mkdir()
    shared.chmod(0o777)
    assert shared not in (other, checkpoints.folder_of_files(None))
    assert not list(foreign.iterdir()) and other.stat().st_mode & 0o777 == 0o700
    assert os.environ[FILES_VARIABLE] == str(checkpoints.folder_of_files(None))
