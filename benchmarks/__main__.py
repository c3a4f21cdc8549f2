"""Prints ours against each installed peer as ratios: python -m benchmarks [GROUP...].

Groups: decode prefill conversation embed small fused matmul types convolution operators nn
train contention startup memory replay (all by default). Every engine runs in its own process with
the same number of threads. A round takes a burst of calls of one engine, waits until its threads
are at rest, and goes on to the next. A figure is the median of the rounds, ± half the distance of
the quartiles. In parentheses: of the least that the hardware needs, how much of that speed ours
reaches; of a peer, how many times as fast ours is. In the group contention a share says what is
left of the engine's own speed when it is alone. With --device ours and PyTorch compute on a GPU,
and peers that cannot are left out.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import (
    block_types,
    checkpoints,
    comparison,
    layers,
    machine,
    operators,
    processes,
)
from benchmarks.controller import Row, Worker, measure, timestamp
from benchmarks.report import FLOOR, OURS, Run, Table
from benchmarks.rows import KINDS, PEERS, rows_of

COMPARED = list(PEERS)
GROUPS = [*COMPARED, "startup", "memory", "replay"]  # the last three are about the host only
ON_GPU = [group for group in COMPARED if group != "contention"]
CONTENTION = 0.4  # seconds of a burst: what holds a call up comes every few milliseconds


class Workers:
    """The processes of engines, started when a group first asks for them.

    Attributes:
        device: what ours computes on.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device: str = options.device
        self._running: dict[tuple[str, int], Worker] = {}
        self.versions: dict[str, str] = {}

    def find(self, engine: str, threads: int) -> Worker:
        """The process of an engine; one that is absent is listed once."""
        key = engine, threads
        if key not in self._running:
            own = engine in (OURS, FLOOR)
            python = sys.executable if own else self.options.peer_python
            device = "cpu" if engine == FLOOR else self.device
            self._running[key] = worker = Worker(engine, python, threads, device)
            if engine not in self.versions:
                self.versions[engine] = worker.version or f"absent: {worker.absent}"
                other = f" on {worker.hardware}" if worker.hardware else ""
                print(f"{engine:<14}{self.versions[engine]}{other}")
        return self._running[key]

    def ours(self) -> None:
        """Start ours; ends the program where the device is not there."""
        worker = Worker(OURS, sys.executable, self.options.threads, self.device)
        self._running[OURS, self.options.threads] = worker
        if worker.absent:
            print(f"{OURS}: {worker.absent}", file=sys.stderr)
            raise SystemExit(2)
        self.device = self.options.device = worker.device  # what "auto" is
        self.versions[OURS] = str(worker.version)
        print(f"{'device':<14}{worker.device}, {worker.hardware}")
        print(f"{OURS:<14}{worker.version}")

    def close(self, but: int | None = None) -> None:
        """End all processes but those with so many threads."""
        for key in [key for key in self._running if key[1] != but]:
            self._running.pop(key).close()


def compare(group: str, workers: Workers, options: argparse.Namespace, run: Run) -> None:
    """Measure and print the rows of a group, one column an engine that is there."""
    rows = rows_of(group, options)
    if not rows:
        return
    threads = rows[0].threads or options.threads
    wanted = [OURS, *(peer for peer in PEERS[group] if peer in options.peers)]
    names = [name for name in wanted if not workers.find(name, threads).absent]
    with_floor = workers.device == "cpu" and not workers.find(FLOOR, threads).absent
    table = Table(names, (row.name for row in rows))
    for row in rows:
        threads = row.threads or options.threads
        asked = [workers.find(name, threads) for name in names]
        floor = workers.find(FLOOR, threads) if with_floor else None
        measured = measure(row, asked, floor, options.rounds, budget(row, options.burst))
        table.add(measured)
        run.add(group, options.threads, measured)
    workers.close(but=options.threads)


def budget(row: Row, burst: float) -> float:
    """Seconds of a burst."""
    return max(burst, CONTENTION) if row.alone else burst


def whole_processes(
    group: str, rows: list[processes.ProcessRow], options: argparse.Namespace, run: Run
) -> None:
    """Measure and print rows about whole processes."""
    peers = processes.PEERS if group == "startup" else []
    engines = [OURS, *(peer for peer in peers if peer in options.peers)]
    table = Table(engines, (row.name for row in rows))
    for row in rows:
        measured = processes.measure(row, options.rounds, [*engines, FLOOR])
        table.add(measured)
        run.add(group, options.threads, measured)


def positive(text: str) -> int:
    """A count of the command line."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse() -> argparse.Namespace:
    """The command line."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks", None, __doc__, formatter_class=kind)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="one of " + " ".join(GROUPS))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, metal or auto")
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument("--burst", type=float, default=0.06, help="seconds of a burst")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--sizes", nargs="*", default=["15m", "110m"], choices=checkpoints.SHAPES)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    known = [name for name, *_ in operators.calls()] + block_types.kinds()
    for name, _ in layers.calls():
        known += [name, name.partition("(")[0]]
    parser.add_argument(
        "--names",
        nargs="*",
        metavar="NAME",
        choices=known,
        help="rows of the groups operators, nn, types",
    )
    every = sorted({peer for peers in PEERS.values() for peer in peers})
    parser.add_argument("--peers", nargs="*", default=every, choices=every)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers installed"
    )
    parser.add_argument(
        "--files",
        type=Path,
        help="folder of the checkpoints, written on first use (3 GB, and 16 GB for 1b); by default "
        "one below the user's cache",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("BEFORE", "AFTER"),
        help="measure nothing: set two such files side by side; exit code 1 if a row fell",
    )
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}, one of {' '.join(GROUPS)}")
    return options


def side_by_side(before: Path, after: Path) -> int:
    """Print how ours changed between two runs; the exit code."""
    try:
        lines, fallen = comparison.compare(comparison.read(before), comparison.read(after))
    except (OSError, ValueError) as err:
        print(err, file=sys.stderr)
        return 2
    print(*lines, sep="\n")
    return 1 if fallen else 0


def measure_groups(options: argparse.Namespace) -> None:
    """Run the groups asked for, and keep what was measured."""
    try:
        options.files = checkpoints.folder_of_files(options.files)
    except OSError as err:
        raise SystemExit(f"--files: {err}") from err
    groups = options.groups or (GROUPS if options.device == "cpu" else ON_GPU)
    workers = Workers(options)
    found = machine.describe()
    head = {"time": timestamp(), "command": sys.argv[1:], "machine": found}
    try:
        run = Run(options.json, {**head, "engines": workers.versions})
    except OSError as err:
        raise SystemExit(f"--json: {err}") from err
    try:
        compared = [group for group in groups if group in COMPARED]
        if compared:
            workers.ours()
        print(f"{'processor':<14}{found['processor']} (LLVM: {found['llvm']})")
        for group in compared:
            compare(group, workers, options, run)
    finally:
        workers.close()
    if "startup" in groups:
        small = checkpoints.gguf_file(options.files, "15m", "Q8_0")
        whole_processes("startup", processes.startup(small, options.peer_python), options, run)
    if "memory" in groups:
        files = [checkpoints.gguf_file(options.files, size, "Q8_0") for size in options.sizes]
        whole_processes("memory", processes.peak_memory(files), options, run)
    if "replay" in groups:
        from benchmarks import replay  # it asks for the CUDA backend

        for size in options.sizes:
            print(*replay.lines(checkpoints.gguf_file(options.files, size, "F32")), sep="\n")


def main() -> None:
    """Measure, or set two runs side by side."""
    options = parse()
    if options.compare:
        raise SystemExit(side_by_side(*options.compare))
    measure_groups(options)


if __name__ == "__main__":
    main()
