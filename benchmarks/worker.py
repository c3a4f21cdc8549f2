"""Measures one engine in a process of its own: `python -m benchmarks.worker ENGINE THREADS DEVICE`.

JSON lines in and out, at first {"version": v, "device": d, "hardware": h} or {"absent": why}.
Request: {"job": "decode", "arguments": {...}}.
Answer: {"seconds": s}, {"absent": why} or {"failed": why}.
"""

import importlib
import json
import os
import sys
from typing import Any

# Each job returns seconds per token, sentence, product or call.
JOBS = {
    "decode": "one token after a short prompt: file, tokens",
    "prefill": "one token of a prompt: file, tokens",
    "embed": "one sentence out of a batch, tokenizing included: folder, sentences",
    "gelu": "gelu(x * y + x) on float32 vectors: size",
    "matmul": "(N, N) @ (N, N) float32: size",
    "chain": "one of 200 dependent 8x8 products: count",
    "floor": "read two float32 vectors and write one: size",
}
THREAD_VARIABLES = (
    "NUMBATORCH_THREADS OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS RAYON_NUM_THREADS"
)

# Engines that compute on more than the CPU have DEVICE and HARDWARE, and follow this.
DEVICE_VARIABLE = "NUMBATORCH_DEVICE"


def answer(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request; an engine without the job is absent, not failed."""
    job = getattr(engine, request["job"], None)
    if job is None:
        return {"absent": "not offered"}
    try:
        return {"seconds": job(**request["arguments"])}
    except NotImplementedError as err:
        return {"absent": str(err)}
    except Exception as err:
        return {"failed": f"{type(err).__name__}: {err}".splitlines()[0]}


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
        engine = importlib.import_module(f"benchmarks.engines.{name}")
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
    for line in sys.stdin:
        print(json.dumps(answer(engine, json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
