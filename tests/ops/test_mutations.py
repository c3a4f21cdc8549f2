"""The properties find what is broken on purpose: one kernel, record or text of each family.

Each operator passes first, and fails while it is broken.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange
from numbatorch.graph import find
from numbatorch.layout import Layout
from numbatorch.ops.blocks import BlockType
from numbatorch.ops.families import all_ops
from numbatorch.passes import planner
from numbatorch.tensor.base import host_array, host_node
from numbatorch.testing import check_op
from numbatorch.testing.properties import (
    Check,
    equals_fallback,
    equals_reference,
    handles_special_values,
    has_its_gradient,
    ignores_strides,
)
from tests.conftest import SIMULATED
from tests.ops.mutations import broken_kernel, broken_text, replaced, rewritten

all_ops()
pytestmark = pytest.mark.skipif(SIMULATED, reason="needs the CPU")
Broken = Callable[[str], AbstractContextManager[None]]


def kernel(path: str, old: str, new: str) -> Broken:
    """A kernel of numbatorch, as module.name, with another text."""
    module, _, name = path.rpartition(".")
    found = getattr(import_module(f"numbatorch.{module}"), name)
    return lambda device: broken_kernel(device, found, old, new)


def text(old: str, new: str) -> Broken:
    """Emitted kernels with another text."""
    return lambda device: broken_text(device, old, new)


def record(name: str, **attributes: Any) -> Broken:
    """A record with other attributes."""
    return lambda device: replaced(device, find(name), **attributes)


def body(name: str, old: str, new: str) -> Broken:
    """The record of an elementwise operator with another body."""
    op: Any = find(name)
    assert isinstance(op.body, FunctionType)
    broken = rewritten(op.body, old, new)
    return record(name, body=broken, function=broken)


def refuses(wanted: DType) -> Any:
    """A shape rule of one operand that does not take `wanted`."""

    def rule(x: Any) -> Any:
        if x.dtype is wanted:
            raise DTypeError(f"no {wanted.name}")
        return x.shape, x.dtype

    return rule


def at_the_start(update: Any) -> Any:
    """What slice_update would write if it forgot where."""
    whole = Layout.contiguous(update.shape)
    return whole.slice((0,) * len(whole.shape), update.inputs[1].shape, update.attrs["steps"]), []


@dataclass(frozen=True)
class Mutation:
    """What is broken and which operator's properties find it.

    Attributes:
        examples: small samples.
        reaches: sizes of large samples, where small ones do not show it.
    """

    family: str
    op: str
    broken: Broken
    properties: tuple[Check, ...] = (equals_reference,)
    device: str = "cpu"
    dtype: DType = dt.float32
    examples: int = 4
    reaches: tuple[int, ...] = ()

    def check(self) -> None:
        """Run the properties that are expected to find it."""
        check_op(
            find(self.op),
            self.device,
            properties=self.properties,
            dtypes=(self.dtype,),
            examples=0 if self.reaches else self.examples,
            reaches=self.reaches,
        )


ATTENTION = "ops.cpu.attention_rows.attention_rows"
MUTATIONS = (
    Mutation("elementwise body", "silu", body("silu", "m.silu(x)", "m.silu(-x)")),
    Mutation(
        "elementwise: the last element",
        "neg",
        text("hi = min(hi * 64, total)", "hi = min(hi * 64, total - 1)"),
    ),
    Mutation(
        "elementwise: where the second thread begins",
        "neg",
        text("lo = lo * 64\n", "lo = lo * 64 + (part > 0)\n"),
        reaches=(70_003,),
    ),
    Mutation(
        "elementwise: NaN",
        "relu",
        body("relu", "0 if x <= 0 else x", "x if x > 0 else 0"),
        (handles_special_values,),
    ),
    Mutation("reduction step", "sum", text("sv0 = add_reassoc(best0, x)", "sv0 = x")),
    Mutation(
        "reduction: a chunk's last element",
        "sum",
        text("last = min(first + 16384, size)", "last = min(first + 16384, size) - 1"),
        reaches=(70_003,) * 12,
    ),
    Mutation(
        "reduction: the last chunk's partial result",
        "sum",
        text("(result_number + 1) * chunks)", "(result_number + 1) * chunks - 1)"),
        reaches=(70_003,) * 12,
    ),
    Mutation("scan step", "cumsum", text("sv0 = row0_best0 + x", "sv0 = x")),
    Mutation(
        "scan: the states of the chunks before",
        "cumsum",
        text(
            "for earlier in range(result_number * chunks, unit)",
            "for earlier in range(result_number * chunks, unit - 1)",
        ),
        reaches=(70_003,) * 12,
    ),
    Mutation(
        "view layout",
        "slice",
        record(
            "slice",
            layout=lambda layout, *, starts, sizes, steps: layout.slice(
                tuple(0 if step > 0 else start for start, step in zip(starts, steps, strict=True)),
                sizes,
                steps,
            ),
        ),
    ),
    Mutation(
        "matmul",
        "matmul",
        kernel("ops.cpu.matmul_direct.matmul_nn", "            K,", "            K - 1,"),
    ),
    Mutation(
        "convolution",
        "convolution",
        kernel("ops.cpu.conv_tiles.convolve", "row, K, columns", "row, K - 1, columns"),
    ),
    Mutation(
        "gradient by the weight",
        "convolution_weight",
        kernel("ops.cpu.conv_weight.convolve_weight", "plane, taps, row1", "plane, taps - 1, row1"),
    ),
    Mutation(
        "matmul: strides",
        "matmul",
        kernel("ops.cpu.matmul_direct.matmul_nn", "            lhs_col,", "            1,"),
        (ignores_strides,),
        examples=20,
    ),
    Mutation(
        "softmax",
        "softmax",
        kernel("ops.cpu.softmax.softmax_rows", "powers[i] * scale", "powers[i]"),
    ),
    Mutation("norm", "rms_norm", kernel("ops.cpu.norm.rms_norm_rows", " + V(eps)", "")),
    Mutation(
        "norm: gradient of the weight beyond a block of rows",
        "layer_norm_backward",
        kernel("ops.portable.norm.sum_parts", "range(1, blocks)", "range(1, blocks - 1)"),
        reaches=(259,) * 4,
    ),
    Mutation("attention", "attention", kernel(ATTENTION, "V(scale)", "V(1.0)")),
    Mutation(
        "attention's gradient",
        "attention_backward",
        kernel(
            "ops.cpu.attention_backward.attention_backward_groups",
            "rows, D, V(scale))\n        finish",
            "rows, D, V(1.0))\n        finish",
        ),
    ),
    Mutation(
        "products with many rows for each of some weights",
        "expert_matmul",
        kernel("ops.cpu.experts_grouped.gather_rows", "x[row * x_row + i]", "x[place * x_row + i]"),
        reaches=(259,) * 4,
    ),
    Mutation("index", "take", kernel("ops.portable.index.take_rows", "x + row * cols", "x")),
    Mutation(
        "gather",
        "gather",
        kernel("ops.cpu.index.gather_inside", "x + row * cols", "x"),
    ),
    Mutation(
        "scatter",
        "scatter_add",
        kernel("ops.cpu.index.add_inside", "target[col] + value[i]", "value[i]"),
    ),
    Mutation(
        "rope",
        "rope",
        kernel("ops.portable.rope.rope_rows", "cos + (position + token)", "cos + token"),
    ),
    Mutation(
        "topk",
        "topk",
        kernel(
            "ops.portable.sort.topk_rows", "source, i, heap[0], largest", "source, i, heap[0], 1"
        ),
        examples=20,
    ),
    Mutation(
        "random",
        "random_uniform",
        body("random_uniform", "_both(index, key0, key1)", "_both(index, key1, key0)"),
    ),
    Mutation("cast", "cast", body("cast", "convert(x, dtype)", "convert(x + x, dtype)")),
    Mutation(
        "slice_update",
        "slice_update",
        lambda device: replaced(device, planner, _written=at_the_start),
    ),
    Mutation(
        "gradient",
        "tanh",
        record("tanh", gradient=lambda g, y, x: g * (1.0 - y)),
        (has_its_gradient,),
    ),
    Mutation(
        "gradient of one of two operands",
        "div",
        record("div", gradient=lambda g, y, lhs, rhs: (g / rhs, g / rhs * y)),
        (has_its_gradient,),
    ),
    Mutation(
        "fallback",
        "softmax_backward",
        record("softmax_backward", decomposition=lambda g, y: g * y),
        (equals_fallback,),
    ),
    Mutation(
        "softmax on GPUs",
        "softmax",
        kernel("cuda_kernels.softmax.softmax_rows", " * scale", ""),
        device="metal",
    ),
    Mutation(
        "norm on GPUs",
        "rms_norm",
        kernel("cuda_kernels.norm.rms_norm_rows", " + V(eps)", ""),
        device="metal",
    ),
    Mutation(
        "matmul on GPUs",
        "matmul",
        kernel("cuda_kernels.matmul.matmul", "total[place] + factor", "factor"),
        device="metal",
        reaches=(67,) * 6,
    ),
    Mutation(
        "portable kernel on GPUs",
        "gather",
        kernel("ops.portable.index.gather_elements", "x[i * cols + col]", "x[col]"),
        device="metal",
    ),
    Mutation(
        "reduction on GPUs: half of the group",
        "sum",
        text("half = width // 2", "half = width // 4"),
        device="metal",
        reaches=(259,) * 4,
    ),
)


@pytest.mark.drawn(2)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.family)
def test_what_is_broken_is_found(mutation: Mutation, request: pytest.FixtureRequest) -> None:
    if mutation.device == "metal":
        request.getfixturevalue("metal")
    mutation.check()
    with mutation.broken(mutation.device), pytest.raises((AssertionError, OutOfRange)):
        mutation.check()
    mutation.check()


def test_a_declared_dtype_that_is_refused_is_found() -> None:
    softmax: Any = find("softmax")
    for where in ("cpu", "numpy"):
        with replaced(where, softmax, rule=refuses(dt.bfloat16)):
            with pytest.raises(AssertionError, match="declares bfloat16 and refuses it"):
                check_op(softmax, where, properties=(), examples=1, reaches=())


def test_a_dtype_whose_kernel_is_missing_is_found() -> None:
    from numbatorch.errors import KernelError
    from numbatorch.ops.cpu.softmax import softmax_rows

    types = {**softmax_rows.types, "T": ("float32",)}
    with replaced("cpu", softmax_rows, types=types, _bound={}):
        with pytest.raises(KernelError, match="T cannot be float16"):
            check_op(
                find("softmax"), properties=(equals_reference,), dtypes=(dt.float16,), reaches=()
            )


def test_a_wrong_decoding_of_blocks_is_found() -> None:
    """Kernels of packed weights against NumPy's decoding, which tests/quantized compares."""
    from numbatorch.ops.cpu.quant_decode import take_decoded

    op = find("quant_take")
    packed = np.random.default_rng(0).integers(0, 100, (4, 36), np.uint8)
    index = np.array([3, 0, 2])

    def taken(where: str) -> Any:
        device = Device(where)
        weight = host_node(packed, dt.Q4_0, device, (4, 64))
        return host_array(op.apply(weight, host_node(index, dt.int64, device)))

    expected = taken("numpy")
    np.testing.assert_array_equal(taken("cpu"), expected)
    make = take_decoded.make

    def biased(block: BlockType) -> Any:
        return make(replace(block, codes=replace(block.codes, bias=7)))

    with replaced("cpu", take_decoded, make=biased, made={}):
        assert not np.array_equal(taken("cpu"), expected)
