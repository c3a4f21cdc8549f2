"""What `import numbatorch` loads, and what it costs."""

import json
import subprocess
import sys

LAZY = ["numba", "llvmlite", "ml_dtypes", "tokenizers", "huggingface_hub", "safetensors", "tqdm"]
NEVER = ["torch", "transformers", "hypothesis", "pytest"]
BUDGET_SECONDS = 0.08


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_import_loads_no_compiler_and_no_optional_package() -> None:
    code = "import json, sys, numbatorch; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(run(code))}
    assert not loaded & {*LAZY, *NEVER}


def test_import_is_quick() -> None:
    """Processor time, and the best of some runs: other tests keep the machine busy."""
    code = (
        "import time, numpy; start = time.process_time(); import numbatorch; "
        "print(time.process_time() - start)"
    )
    seconds = min(float(run(code)) for _ in range(7))
    assert seconds <= BUDGET_SECONDS, f"{seconds * 1e3:.0f} ms over importing numpy"
