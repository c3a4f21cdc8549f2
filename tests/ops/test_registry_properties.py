"""Every operator of the registry has every property on every device; cases come from the record."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch import dtype as dt
from numbatorch.graph import Op
from numbatorch.ops.families import all_ops
from numbatorch.ops.operands import Leaf
from numbatorch.ops.registry import Elementwise
from numbatorch.testing import check_op
from numbatorch.testing.cases import dtypes_of
from numbatorch.testing.properties import equals_reference, has_inferred_shape_and_dtype
from tests.conftest import SIMULATED

OPS = [op for op in all_ops() if not isinstance(op, Leaf)]
# Operators on packed weights are tested against the formats in tests/quantized.
PACKED = {"quant_matmul", "quant_take", "dequantize"}
# Of each way to compute one: kernels of a dtype take their time to compile.
REPRESENTATIVE = {dt.float64, dt.float32, dt.bfloat16, dt.int32, dt.bool_}
# In CUDA's simulator each thread is a Python thread, and through C++ each kernel takes a compiler.
EXAMPLES = {"cpu": 2, "numpy": 2, "metal": 1, "cuda": 1}
# Their groups of threads are slow in the simulator: there one dtype has every property, and the
# values of all are compared.
SLOW_IN_THE_SIMULATOR = {"attention", "attention_backward", "matmul"}
SAMPLED = [op for op in OPS if op.name not in PACKED]


def test_every_operator_can_be_drawn() -> None:
    missing = [op.name for op in SAMPLED if op.sample is None and not isinstance(op, Elementwise)]
    assert not missing, f"no samples: {missing}"


def test_every_operator_is_documented() -> None:
    assert not [op.name for op in OPS if not (op.__doc__ or "").strip()]


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_operator_has_every_property(op: Op, device: str) -> None:
    slow = SIMULATED and op.name in SLOW_IN_THE_SIMULATOR
    chosen = {dt.float32} if slow else REPRESENTATIVE
    dtypes = tuple(dtype for dtype in dtypes_of(op) if dtype in chosen) or (dt.complex64,)
    assert check_op(op, device, dtypes=dtypes, examples=EXAMPLES[device]) > 0


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_operator_equals_its_reference_in_every_dtype(op: Op, device: str) -> None:
    properties = (equals_reference, has_inferred_shape_and_dtype)
    assert check_op(op, device, properties=properties, examples=1, seed=11) > 0


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
@given(seed=st.integers(0, 2**20), data=st.data())
def test_operator_has_every_property_at_random(op: Op, seed: int, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(dtypes_of(op)))
    check_op(op, "numpy", dtypes=(dtype,), seed=seed, examples=1)


def test_seeded_numbers_do_not_depend_on_the_number_of_threads() -> None:
    import numbatorch as nt
    from numbatorch.backends.cpu import threads

    before = threads.num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            nt.manual_seed(7)
            found.append((nt.rand(100_003).numpy(), nt.randn(100_003).numpy()))
    finally:
        threads.set_num_threads(before)
    for uniform, normal in found[1:]:
        np.testing.assert_array_equal(uniform, found[0][0])
        np.testing.assert_array_equal(normal, found[0][1])
