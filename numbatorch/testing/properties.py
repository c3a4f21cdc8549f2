"""What must hold for every operator on every device, and `check_op`, which checks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as device_of
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, GradientError, LinAlgError, ShapeError
from numbatorch.graph import Node, Op
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.structured import Structured
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import Array, host_array, host_node
from numbatorch.testing.cases import Case, draw, dtypes_of, kind_of, repeated, strided
from numbatorch.testing.compare import assert_close
from numbatorch.testing.gradcheck import NotSmooth, gradcheck

Check = Callable[[Case, str, int], None]


def equals_reference(case: Case, device: str, seed: int) -> None:
    """The result equals the operator's NumPy reference in float64, rounded."""
    result = case.apply(case.nodes(device))
    wide = case.widened()
    with np.errstate(all="ignore"):
        expected = np.asarray(case.chosen(case.op.reference(*wide.operands, **wide.attrs)))
    if expected.dtype != result.dtype.numpy:
        with np.errstate(all="ignore"):
            expected = expected.astype(result.dtype.numpy)
    _compare(case, host_array(result), expected, device, seed)


def equals_reference_device(case: Case, device: str, seed: int) -> None:
    """The result equals that of device "numpy"."""
    _compare(case, case.run(device), case.run("numpy"), device, seed)


def has_inferred_shape_and_dtype(case: Case, device: str, seed: int) -> None:
    """The realized result has the shape and dtype that were inferred."""
    node = case.apply(case.nodes(device))
    array = host_array(node)
    assert array.shape == node.shape, (case.op, array.shape, node.shape)
    assert array.dtype == node.dtype.numpy, (case.op, array.dtype, node.dtype)


def ignores_strides(case: Case, device: str, seed: int) -> None:
    """Operands that are views of any strides give the result of contiguous ones."""
    rng = np.random.default_rng(seed)
    expected = case.run(device)
    views = [strided(node, rng) for node in case.nodes(device)]
    _compare(case, host_array(case.apply(views)), expected, device, seed)
    view, memory = repeated(case, device, rng)
    try:
        expected = host_array(case.apply(memory))
    except LinAlgError:  # rows alike make a matrix singular
        return
    _compare(case, host_array(case.apply(view)), expected, device, seed)


def has_its_gradient(case: Case, device: str, seed: int) -> None:
    """The gradient equals a central difference in float64, or the operator says it has none."""
    found = next((d for d in case.dtypes if d.part is dt.float64), None)
    if not case.op.differentiable or found is None:
        return  # of float64 alone a difference is exact enough
    drawn = draw(case.op, np.random.default_rng(seed), found, smooth=True)
    assert drawn is not None
    wide = drawn.each_output()[case.output]
    if wide.apply(wide.nodes("numpy")).dtype.part is not dt.float64:
        return  # a difference of rounded results says nothing

    def function(*operands: Tensor) -> Tensor:
        return Tensor(wide.apply([x.node for x in operands]))

    try:
        gradcheck(function, *(Tensor(node) for node in wide.nodes(device)), seed=seed)
    except GradientError:
        assert case.op.gradient is None, case.op
    except NotSmooth:
        return
    except AssertionError as err:
        shapes = ", ".join(str(a.shape) for a in case.operands)
        raise AssertionError(f"{case.op.name} on {device}: {err}\n  {shapes}") from err


def has_the_gradient_of_the_reference_device(case: Case, device: str, seed: int) -> None:
    """The gradient equals that which device "numpy" computes in the same dtype."""
    if not case.op.differentiable or case.op.gradient is None:
        return
    found, expected = (_gradients(case, where) for where in (device, "numpy"))
    for got, want in zip(found, expected, strict=True):
        _compare(case, got, want, device, seed, "gradient")


def _gradients(case: Case, device: str) -> list[Array]:
    """Of the sum of the result weighted by 1, 2, 3, ... / size, for every float operand."""
    operands = [Tensor(node) for node in case.nodes(device)]
    floats = [x for x in operands if x.dtype.kind in "fc"]
    for x in floats:
        x.requires_grad_()
    out = Tensor(case.apply([x.node for x in operands]))
    if not out.node.requires_grad:
        lost = floats and out.dtype.kind in "fc"
        assert not lost, f"{case.op.name} on {device} loses gradients"
        return []
    if out.numel() == 0:
        return []
    weights = np.arange(1, out.numel() + 1, dtype=np.float32).reshape(out.shape) / out.numel()
    node = host_node(weights.astype(out.dtype.numpy), out.dtype, out.device)
    out.backward(Tensor(node))
    return [host_array(x.grad.node) for x in floats if x.grad is not None]


def equals_unfused(case: Case, device: str, seed: int) -> None:
    """Fused with work before and after it, the operator gives what single launches give."""
    from numbatorch.debug import no_fuse

    def build() -> Node:
        nodes = [x * 0.5 if d.kind in "fc" else x for x, d in _pairs(case, device)]
        out = case.apply(nodes)
        return -out if out.dtype.kind in "fc" else out

    fused = host_array(build())
    with no_fuse():
        apart = host_array(build())
    _compare(case, fused, apart, device, seed)


def equals_fallback(case: Case, device: str, seed: int) -> None:
    """The kernels give what the operator's fallback in primitives gives."""
    op = case.op
    if isinstance(op, Structured) and op.decomposition is not None:
        fallback = case.chosen(op.decomposition(*case.nodes(device), **case.attrs))
        _compare(case, case.run(device), host_array(fallback), device, seed)


PROPERTIES: tuple[Check, ...] = (
    equals_reference,
    ignores_strides,
    has_inferred_shape_and_dtype,
    has_its_gradient,
    has_the_gradient_of_the_reference_device,
    equals_reference_device,
    equals_unfused,
    equals_fallback,
)


def check_op(
    op: Op,
    device: str = "cpu",
    *,
    properties: tuple[Check, ...] = PROPERTIES,
    dtypes: tuple[DType, ...] | None = None,
    seed: int = 0,
    examples: int = 3,
) -> int:
    """Fail unless `op` has every property, for operands drawn from its record.

    Elementwise operators need nothing more than their record; others need `.samples`.

    Args:
        op: as the decorators of `numbatorch.ops.registry` return it.
        properties: some of `PROPERTIES`.
        dtypes: of the operands; those that the record names unless given.
        seed: of the first example.
        examples: cases for each dtype.
    Returns:
        the number of cases that were checked; those of a dtype that the operator refuses with a
        DTypeError do not count.
    """
    count = 0
    for dtype in dtypes or dtypes_of(op):
        for number in range(seed, seed + examples):
            case = draw(op, np.random.default_rng(number), dtype)
            if case is None or not _accepted(case, device):
                continue
            for each in case.each_output():
                for check in properties:
                    check(each, device, number)
            count += 1
    return count


def _accepted(case: Case, device: str) -> bool:
    """Whether the operator takes these dtypes at all; a device may only lack float64."""
    try:
        out = case.apply(case.nodes("numpy"))
    except (DTypeError, ShapeError):
        return False
    wide = any(d.part is dt.float64 for d in (*case.dtypes, out.dtype))
    return device_of(device).has_float64 or not wide


def _pairs(case: Case, device: str) -> list[tuple[Node, DType]]:
    return list(zip(case.nodes(device), case.dtypes, strict=True))


def _compare(
    case: Case, actual: Any, expected: Array, device: str, seed: int, kind: str = ""
) -> None:
    name = dt.from_numpy(actual.dtype).name
    assert_close(
        actual,
        expected,
        kind or kind_of(case.op),
        dtype=name,
        operator=f"{case.op.name} {case.attrs or ''}".strip(),
        inputs=case.operands,
        device=device,
        seed=seed,
        absolute=_smallest_step(case, name),
    )


def _smallest_step(case: Case, name: str) -> float | None:
    """Below the normal numbers of a narrow type one rounding more is one whole step."""
    steps = {
        "float16": 2.0**-24,
        "bfloat16": 2.0**-133,
        "float8_e4m3fn": 2.0**-9,
        "float8_e5m2": 2.0**-16,
    }
    return steps.get(name) if isinstance(case.op, Elementwise) else None


__all__ = ["PROPERTIES", "Check", "check_op"]
