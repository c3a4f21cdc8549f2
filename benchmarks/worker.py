"""Measures one engine in a process of its own: `python -m benchmarks.worker ENGINE THREADS DEVICE`.

JSON lines in and out, at first {"version": v, "device": d, "hardware": h} or {"absent": why}.
{"prepare": "decode", "arguments": {...}} is answered by {}, {"burst": seconds} by what
`Work.burst` returns, and either by {"absent": why} or {"failed": why}.
"""

import importlib
import json
import os
import sys
from typing import Any

from benchmarks.timing import Work, rest

# A job takes the arguments named here and gives the `Work` to time.
JOBS = {
    "decode": "one token after a short prompt: file, tokens",
    "prefill": "a prompt, per token: file, tokens",
    "sampling": "the share of a step that choosing takes: file, tokens, prompt, grammar",
    "embed": "a batch, per sentence, tokenizing included: folder, sentences, compute (a dtype)",
    "gelu": "gelu(x * y + x) on float32 vectors: size",
    "matmul": "(N, N) @ (N, N) float32: size",
    "packed": "a product with a weight in blocks, per row of x: kind, rows, columns, batch",
    "convolutions": "those of ResNet-50, per image: batch",
    "chain": "200 dependent 8x8 products, per product: count",
    "small": "one of benchmarks.small.CALLS: name",
    "operator": "one of the lines of benchmarks.operators: name",
    "layer": "one of the lines of benchmarks.layers: name, whether with gradients: training",
    "train": "a training step of a GPT, per token",
    "idle": "x * y + x after 2 ms in which nobody computed: size",
    "floor": "two float32 vectors read, one written, on the device: size",
}
THREAD_VARIABLES = (
    "NUMBATORCH_THREADS OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS RAYON_NUM_THREADS"
)

# Engines that compute on more than the CPU have DEVICE and HARDWARE, and follow this.
DEVICE_VARIABLE = "NUMBATORCH_DEVICE"
FILES_VARIABLE = "BENCHMARK_FILES"  # the folder for what they write


class Answers:
    """What the process of one engine answers.

    Args:
        engine: the module; an engine without a job is absent from it, not failed.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.work: Work | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request, when the process has come to rest again."""
        try:
            return self._do(request)
        except NotImplementedError as err:
            return {"absent": str(err)}
        except Exception as err:
            return {"failed": f"{type(err).__name__}: {err}".splitlines()[0]}
        finally:
            rest()

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        if "burst" in request:
            assert self.work is not None
            return self.work.burst(request["burst"])
        self.work = None  # what the row before held is free
        job = getattr(self.engine, request["prepare"], None)
        if job is None:
            return {"absent": ""}
        self.work = job(**request["arguments"])
        self.work.prepare()
        return {}


def main() -> None:
    """Answer requests until the input ends."""
    name, threads, device = sys.argv[1:4]
    for variable in THREAD_VARIABLES.split():
        os.environ[variable] = threads
    os.environ[DEVICE_VARIABLE] = device
    # Engines print to both streams as they like; answers go to a private copy of the output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        engine = importlib.import_module(name if "." in name else f"benchmarks.engines.{name}")
    except Exception as err:
        print(json.dumps({"absent": str(err)}), file=answers)
        return
    found = getattr(engine, "DEVICE", "cpu")
    if found == "cpu" != device:
        print(json.dumps({"absent": "runs on the CPU only"}), file=answers)
        return
    hello = {
        "version": engine.VERSION,
        "device": found,
        "hardware": getattr(engine, "HARDWARE", ""),
    }
    print(json.dumps(hello), file=answers)
    replies = Answers(engine)
    for line in sys.stdin:
        print(json.dumps(replies.answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
