"""Every operator of the registry has every property on every device; cases come from the record.

Kernels take their time to compile. Without `--slow` what is alike is drawn, by the number that
`--seed` gives and the report's head says: for each operator a wide float and a narrow one or
another dtype; some of the operators that are alike (`DRAWN`), and on the CPU some of the
properties. Device "numpy", which compiles nothing, has them all; on the CPU tests/peers/test_opinfo
runs every operator too.
"""

import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch import debug
from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Op
from numbatorch.ops.composed import Composed
from numbatorch.ops.drawing import REACHES, Draw
from numbatorch.ops.families import all_ops
from numbatorch.ops.operands import Leaf
from numbatorch.ops.registry import Elementwise
from numbatorch.tensor import Tensor
from numbatorch.testing import check_op
from numbatorch.testing.cases import draw as draw_case
from numbatorch.testing.cases import dtypes_of
from numbatorch.testing.properties import (
    PROPERTIES,
    Check,
    equals_reference,
    handles_special_values,
    has_the_gradient_of_the_reference_device,
    is_accurate_near_zero,
)
from numbatorch.testing.strategies import op_cases
from numbatorch.testing.teams import divided
from tests.conftest import SIMULATED

OPS = [op for op in all_ops() if not isinstance(op, Leaf)]
# Operators on packed weights are tested against the formats in tests/quantized.
PACKED = {"quant_matmul", "quant_take", "dequantize"}
# In CUDA's simulator each thread is a Python thread, and through C++ each kernel takes a compiler.
EXAMPLES = {"cpu": 1, "numpy": 2, "metal": 1, "cuda": 1}
REACHED = {"cpu": REACHES, "numpy": (), "metal": REACHES[:2], "cuda": ()}
# One in how many: what is composed is made of parts that are tested themselves.
DRAWN: tuple[tuple[type[Op], dict[str, int]], ...] = (
    (Composed, {"cpu": 3, "metal": 6, "cuda": 8}),
    (Elementwise, {"cpu": 2, "metal": 4, "cuda": 6}),
    (Op, {"cpu": 1, "metal": 3, "cuda": 4}),
)
# Of logaddexp2 the terms cancel; of the others SciPy's zeros have another sign.
NOT_NEAR_ZERO = {"erfinv", "logaddexp2", "logsigmoid"}
ALWAYS = (equals_reference, handles_special_values, has_the_gradient_of_the_reference_device)
# Their groups of threads are slow in the simulator.
SLOW_IN_THE_SIMULATOR = {
    *("attention", "attention_backward", "matmul", "convolution"),
    *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)),
}
SAMPLED = [op for op in OPS if op.name not in PACKED]


def test_every_operator_can_be_drawn() -> None:
    missing = [op.name for op in SAMPLED if op.sample is None and not isinstance(op, Elementwise)]
    assert not missing, f"no samples: {missing}"


def test_every_operator_is_documented() -> None:
    assert not [op.name for op in OPS if not (op.__doc__ or "").strip()]


def sampled(op: Op, seed: int) -> tuple[DType, ...]:
    """A wide float, and a narrow one or another dtype, of those that the record declares."""
    rng = np.random.default_rng((seed, zlib.crc32(op.name.encode())))
    wide, narrow, others = [], [], []
    for dtype in dtypes_of(op):
        if dtype.kind != "f":
            others.append(dtype)
        else:
            (wide if dtype.itemsize >= 4 else narrow).append(dtype)
    drawn = [group[rng.integers(len(group))] for group in (wide, narrow, others) if group]
    return tuple(drawn if len(drawn) < 3 else (drawn[0], drawn[rng.integers(1, 3)]))


def number_of(op: Op, seed: int) -> int:
    """A number of an operator that another seed changes."""
    return zlib.crc32(f"{seed} {op.name}".encode())


def is_drawn(op: Op, device: str, seed: int, more: int = 1) -> bool:
    """Whether an operator is among those that are drawn for a device, or one in `more` of them."""
    counts = next(counts for kind, counts in DRAWN if isinstance(op, kind))
    return number_of(op, seed) % (counts.get(device, 1) * more) == 0


def drawn_properties(op: Op, device: str, seed: int) -> tuple[Check, ...]:
    """On the CPU those that are always checked, and one of the others."""
    others = [check for check in PROPERTIES if check not in ALWAYS]
    if device != "cpu":
        return PROPERTIES
    return (*ALWAYS, others[number_of(op, seed) % len(others)])


def with_float32(dtypes: tuple[DType, ...], device: str) -> tuple[DType, ...]:
    """The dtypes, with another one where the device lacks float64."""
    add = device == "metal" and dt.float64 in dtypes and dt.float32 not in dtypes
    return (dt.float32, *dtypes) if add else dtypes


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_operator_has_every_property(op: Op, device: str, seed: int) -> None:
    if not is_drawn(op, device, seed):
        pytest.skip("not drawn by this seed: run with --slow")
    dtypes = with_float32(sampled(op, seed), device)
    if SIMULATED and op.name in SLOW_IN_THE_SIMULATOR:
        dtypes = (dt.float32,)
    reaches = REACHED[device]
    if device == "cpu":
        reaches = (reaches[0], reaches[2 + number_of(op, seed) % 2])
    properties = drawn_properties(op, device, seed)
    count = check_op(
        op,
        device,
        properties=properties,
        dtypes=dtypes,
        seed=seed,
        examples=EXAMPLES[device],
        reaches=reaches,
    )
    assert count > 0


@pytest.mark.parametrize(
    "op",
    [op for op in SAMPLED if isinstance(op, Elementwise) and op.name not in NOT_NEAR_ZERO],
    ids=lambda op: op.name,
)
def test_elementwise_is_accurate_near_zero(op: Op, device: str, seed: int) -> None:
    if not is_drawn(op, device, seed):
        pytest.skip("not drawn by this seed: run with --slow")
    dtypes = [dtype for dtype in sampled(op, seed) if dtype.kind == "f"]
    check = (is_accurate_near_zero,)
    if dtypes and not (device == "metal" and dtypes[0] is dt.float64):
        check_op(op, device, properties=check, dtypes=tuple(dtypes[:1]), seed=seed, reaches=())


@pytest.mark.slow
@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_operator_has_every_property_in_every_dtype(op: Op, device: str, seed: int) -> None:
    dtypes = with_float32(tuple(dtypes_of(op)), device)
    assert check_op(op, device, dtypes=dtypes, seed=seed, examples=1, reaches=REACHED[device]) > 0


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_every_declared_dtype_has_kernels(op: Op, target: str, seed: int) -> None:
    """None is compiled: a declared dtype is accepted, lowered and has text, whatever the sample."""
    for dtype in dtypes_of(op):
        case = draw_case(op, Draw(seed), dtype)
        assert case is not None
        nodes = case.apply(case.nodes("numpy"))
        met = {*case.dtypes, *(node.dtype for node in nodes)}
        if target != "metal" or not met & {dt.float64, dt.complex128}:
            for node in nodes:
                assert all(kernel.source for kernel in debug.kernels(Tensor(node), target))


# Groups of dtypes that records declare: one that forgets a dtype of its kind is in none of them.
DECLARED = (
    dt.PLAIN,
    dt.NUMBERS,
    dt.FLOATS,
    dt.INTEGERS,
    (*dt.INTEGERS, dt.bool_),
    (dt.float64, dt.float32),  # LAPACK
    (*dt.COMPLEX, dt.float64, dt.float32),
    (dt.int32,),  # its pivots
    (dt.int64,),  # words of a permutation
    (dt.bool_,),
    dt.PLAIN + dt.COMPLEX,
    dt.NUMBERS + dt.COMPLEX,
    dt.FLOATS + dt.COMPLEX,
    dt.COMPLEX + dt.FLOATS,
    dt.COMPLEX,
)


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_no_dtype_of_a_kind_is_left_out(op: Op) -> None:
    assert op.dtypes in DECLARED


@pytest.mark.skipif(SIMULATED, reason="not a matter of the simulator")
@pytest.mark.parametrize("where", ["cpu", "numpy"])
@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
@given(data=st.data())
def test_random_cases_equal_the_reference(op: Op, where: str, seed: int, data: Any) -> None:
    """On the CPU in one dtype for each operator, so that all the cases run a few kernels."""
    if not is_drawn(op, where, seed, more=6):
        pytest.skip("not drawn by this seed")
    dtype = sampled(op, seed)[0] if where == "cpu" else None
    equals_reference(data.draw(op_cases(op, dtype)), where, seed)


def test_seeded_numbers_do_not_depend_on_the_number_of_threads() -> None:
    import numbatorch as nt

    found = []
    for parts in (1, 2, 3, 8):
        with divided(parts):
            nt.manual_seed(7)
            found.append((nt.rand(100_003).numpy(), nt.randn(100_003).numpy()))
    for uniform, normal in found[1:]:
        np.testing.assert_array_equal(uniform, found[0][0])
        np.testing.assert_array_equal(normal, found[0][1])
