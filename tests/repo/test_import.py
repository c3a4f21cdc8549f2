"""What `import numbatorch` loads, and what it costs."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

LAZY = [
    "numba",
    "llvmlite",
    "ml_dtypes",
    "tokenizers",
    "huggingface_hub",
    "safetensors",
    "tqdm",
    "PIL",
]
NEVER = ["torch", "transformers", "hypothesis", "pytest"]
PEERS = {
    "torch",
    "transformers",
    "expecttest",
    "array_api_strict",
    "llama_cpp",
    "onnxruntime",
    "openvino",
}
TESTS = Path(__file__).parents[1]
SIDES = "tests.peers.sides"  # skips where PyTorch is not installed
BUDGET_SECONDS = 0.08


def run(code: str, **variables: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    ).stdout


def test_import_loads_no_compiler_and_no_optional_package() -> None:
    code = "import json, sys, numbatorch; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(run(code))}
    assert not loaded & {*LAZY, *NEVER}


def test_a_first_token_waits_for_no_module_that_it_does_not_need() -> None:
    """Neither for what draws random numbers, nor for OpenSSL, nor for what prints kernels."""
    code = (
        "import json, sys, numbatorch; "
        "import numbatorch.generation.text_generator; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(run(code)))
    printers = {"numbatorch.ops.scalar_reader", "numbatorch.passes.emit_scan"}
    assert not loaded & {"numpy.random", "_hashlib", "secrets", "signal", *printers}


def test_import_is_quick(tmp_path: Path) -> None:
    """Processor time from compiled modules, and the best of some runs: other tests run beside."""
    code = (
        "import time, numpy; start = time.process_time(); import numbatorch; "
        "print(time.process_time() - start)"
    )
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    seconds = min(float(run(code, **compiled)) for _ in range(7))
    assert seconds <= BUDGET_SECONDS, f"{seconds * 1e3:.0f} ms over importing numpy"


def imported_at_once(path: Path) -> list[str]:
    """Packages of peers that a file imports although nothing has looked whether they are there."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    looks = [n.lineno for n in tree.body if "importorskip" in ast.dump(n)]
    looks += [n.lineno for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == SIDES]
    found = []
    for node in tree.body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if node.lineno < min(looks, default=sys.maxsize):
            found += [name for name in names if name.split(".")[0] in PEERS]
    return found


def test_tests_are_collected_where_no_peer_is_installed() -> None:
    files = sorted(TESTS.rglob("test_*.py"))
    found = {path.name: imported_at_once(path) for path in files}
    assert not {name: names for name, names in found.items() if names}
