"""What must hold for every operator on every device, and `check_op`, which checks it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as device_of
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, GradientError, LinAlgError, ShapeError
from numbatorch.graph import Node, Op, toposort
from numbatorch.ops.composed import Composed
from numbatorch.ops.drawing import REACHES, Draw
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import cat, reshape, stack
from numbatorch.shape import numel
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import Array, host_array, host_node
from numbatorch.tensor.vmap import vmap
from numbatorch.testing.cases import (
    Case,
    draw,
    dtypes_of,
    kind_of,
    repeated,
    strided,
    terms_of,
    with_special_values,
)
from numbatorch.testing.compare import assert_close, tolerance
from numbatorch.testing.gradcheck import NotSmooth, gradcheck
from numbatorch.testing.teams import divided

Check = Callable[[Case, str, int], None]

CANCELLED = 4  # size of the terms of a body that may cancel
PARTS = (1, 2, 3, 8)  # shares of a launch whose bits are compared
SMOOTH_TRIES = 8  # draws among which a point has to be where the function is smooth


def equals_reference(case: Case, device: str, seed: int) -> None:
    """The result equals the operator's NumPy reference in float64, rounded."""
    _compare(case, case.run(device), _rounded(case), device, seed)


def _rounded(case: Case) -> list[Array]:
    """The reference's results, rounded to the dtypes that the graph infers."""
    nodes = case.apply(case.nodes("numpy"))
    with np.errstate(all="ignore"):
        return [
            array if array.dtype == node.dtype.numpy else array.astype(node.dtype.numpy)
            for array, node in zip(case.expected(), nodes, strict=True)
        ]


def handles_special_values(case: Case, device: str, seed: int) -> None:
    """NaN, infinities, signed zeros and subnormal numbers give what the NumPy reference gives."""
    _check_special_values(case, device, seed)


def is_accurate_near_zero(case: Case, device: str, seed: int) -> None:
    """As `handles_special_values`, as accurate among the smallest results as elsewhere.

    It is not one of `PROPERTIES`: a formula in which terms cancel does not have it.
    """
    if isinstance(case.op, Elementwise):
        _check_special_values(case, device, seed, strict=True)


def _check_special_values(case: Case, device: str, seed: int, strict: bool = False) -> None:
    special = with_special_values(case, np.random.default_rng(seed))
    if case.op.hides:
        return
    try:
        expected = _rounded(special)
    except (np.linalg.LinAlgError, IndexError):  # NaN has no eigenvalues, and is in no range
        return
    _compare(special, special.run(device), expected, device, seed, special=True, strict=strict)


def equals_reference_device(case: Case, device: str, seed: int) -> None:
    """The result equals that of device "numpy"."""
    _compare(case, case.run(device), case.run("numpy"), device, seed)


def has_inferred_shape_and_dtype(case: Case, device: str, seed: int) -> None:
    """The realized result has the shape and dtype that were inferred."""
    for node in case.apply(case.nodes(device)):
        shape, dtype = node.shape, node.dtype
        array = host_array(node)
        assert array.shape == shape, (case.op, array.shape, shape)
        assert array.dtype == dtype.numpy, (case.op, array.dtype, dtype)


def ignores_strides(case: Case, device: str, seed: int) -> None:
    """Operands that are views of any strides give the result of contiguous ones."""
    rng = np.random.default_rng(seed)
    views = [strided(node, rng) for node in case.nodes(device)]
    _compare(case, _values(case.apply(views)), case.run(device), device, seed)
    view, memory = repeated(case, device, rng)
    try:
        expected = _values(case.apply(memory))
    except LinAlgError:  # rows alike make a matrix singular
        return
    _compare(case, _values(case.apply(view)), expected, device, seed)


def ignores_the_number_of_threads(case: Case, device: str, seed: int) -> None:
    """Into however many shares launches are divided, the bits are those of one."""
    if device != "cpu":
        return
    one: list[Array] = []
    for parts in PARTS:
        with divided(parts):
            found = case.run(device)
        one = one or found
        if any(x.tobytes() != y.tobytes() for x, y in zip(one, found, strict=True)):
            _compare(case, found, one, device, seed, kind="exact")


def has_its_gradient(case: Case, device: str, seed: int) -> None:
    """The gradient equals a central difference in float64, or the operator says it has none."""
    found = next((d for d in case.dtypes if d.part in (dt.float64, dt.float32)), None)
    if not case.op.differentiable or found is None or not device_of(device).has_float64:
        return  # of float64 alone a difference is exact enough
    precise = dt.complex128 if found.is_complex else dt.float64
    if precise not in case.op.dtypes:
        return
    for number in range(seed, seed + SMOOTH_TRIES):
        wide = draw(case.op, Draw(number), precise, smooth=True)
        assert wide is not None
        floats = [x.dtype for x in wide.apply(wide.nodes("numpy")) if x.dtype.kind in "fc"]
        if any(dtype.part is not dt.float64 for dtype in floats):
            return  # a difference of rounded results says nothing
        try:
            _check_gradient(wide, device, number)
        except NotSmooth:
            continue
        return
    raise AssertionError(f"{case.op.name}: no smooth point in {SMOOTH_TRIES} draws from {seed} on")


def _check_gradient(wide: Case, device: str, seed: int) -> None:
    def function(*operands: Tensor) -> Tensor:
        found = wide.apply([x.node for x in operands])
        if len(found) == 1:
            return Tensor(found[0])
        flat = [reshape.apply(x, shape=(numel(x.shape),)) for x in found if x.dtype.kind in "fc"]
        return Tensor(cat(flat))

    try:
        gradcheck(function, *(Tensor(node) for node in wide.nodes(device)), seed=seed)
    except GradientError:
        assert wide.op.gradient is None, wide.op
    except NotSmooth:
        raise
    except AssertionError as err:
        shapes = ", ".join(str(a.shape) for a in wide.operands)
        raise AssertionError(f"{wide.op.name} on {device}: {err}\n  {shapes}") from err


def has_the_gradient_of_the_reference_device(case: Case, device: str, seed: int) -> None:
    """The gradient equals that which device "numpy" computes in the same dtype."""
    if case.op.differentiable and case.op.gradient is not None and device != "numpy":
        found, expected = (_gradients(case, where) for where in (device, "numpy"))
        _compare(case, found, expected, device, seed, "gradient")


def _gradients(case: Case, device: str) -> list[Array]:
    """Of the sum of the results weighted by 1, 2, 3, ... / size, for every float operand."""
    operands = [Tensor(node) for node in case.nodes(device)]
    floats = [x for x in operands if x.dtype.kind in "fc"]
    for x in floats:
        x.requires_grad_()
    for node in case.apply([x.node for x in operands]):
        out = Tensor(node)
        if not node.requires_grad:
            read = {x.node for x in floats} & set(toposort([node]))  # edges of bins read nothing
            assert out.dtype.kind not in "fc" or not read, (
                f"{case.op.name} on {device} loses gradients"
            )
        elif out.numel():
            weights = np.arange(1, out.numel() + 1, dtype=np.float32) / out.numel()
            weights = weights.reshape(out.shape).astype(out.dtype.numpy)
            out.backward(Tensor(host_node(weights, out.dtype, out.device)))
    return [host_array(x.grad.node) for x in floats if x.grad is not None]


def equals_unfused(case: Case, device: str, seed: int) -> None:
    """Fused with work before and after it, the operator gives what single launches give."""
    from numbatorch.debug import no_fuse

    def build() -> list[Array]:
        pairs = zip(case.nodes(device), case.dtypes, strict=True)
        out = case.apply([x * 0.5 if d.kind in "fc" else x for x, d in pairs])
        return _values([-x if x.dtype.kind in "fc" else x for x in out])

    fused = build()
    with no_fuse():
        apart = build()
    _compare(case, fused, apart, device, seed)


def equals_fallback(case: Case, device: str, seed: int) -> None:
    """The kernels give what the operator's fallback in primitives gives."""
    op = case.op
    if isinstance(op, Structured) and op.decomposition is not None:
        found = op.decomposition(*case.nodes(device), **case.attrs)
        nodes = [found] if isinstance(found, Node) else found
        _compare(case, case.run(device), _values(nodes), device, seed)


def maps_over_examples(case: Case, device: str, seed: int) -> None:
    """`vmap` of the operator gives what it gives for one example after another."""
    if device != "numpy" or not case.operands:
        return  # the rules are those of the graph, and the same on every device
    if isinstance(case.op, Composed) and case.op.reads:
        return  # of each example another shape
    others = Case(case.op, tuple(map(_another, case.operands)), case.dtypes, case.attrs)
    pairs = list(zip(case.nodes(device), others.nodes(device), strict=True))
    which = np.random.default_rng(seed).random(len(pairs)) < 0.7
    which[seed % len(pairs)] = True
    batches = [
        Tensor(stack([x, y]) if mapped else x) for (x, y), mapped in zip(pairs, which, strict=True)
    ]
    dims = tuple(0 if mapped else None for mapped in which)

    def function(*operands: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(Tensor, case.apply([x.node for x in operands])))

    with np.errstate(all="ignore"):
        found = [host_array(x.node) for x in vmap(function, dims)(*batches)]
        single = [
            _values(
                case.apply(
                    [pair[number * mapped] for pair, mapped in zip(pairs, which, strict=True)]
                )
            )
            for number in (0, 1)
        ]
    expected = [np.stack(rows) for rows in zip(*single, strict=True)]
    _compare(case, found, expected, device, seed, kind="composite")


def _another(array: Array) -> Array:
    """Another operand of the same shape and dtype, which the operator takes too."""
    if array.dtype.kind in "biu":
        return np.flip(array, 0) if array.ndim else array
    scaled: Array = (array * array.dtype.type(0.75)).astype(array.dtype)
    return scaled


PROPERTIES: tuple[Check, ...] = (
    equals_reference,
    handles_special_values,
    ignores_strides,
    has_inferred_shape_and_dtype,
    has_its_gradient,
    has_the_gradient_of_the_reference_device,
    equals_reference_device,
    equals_unfused,
    equals_fallback,
    maps_over_examples,
)
# Of operands that reach beyond the thresholds of kernels.
LARGE_PROPERTIES: tuple[Check, ...] = (equals_reference, ignores_the_number_of_threads)


def check_op(
    op: Op,
    device: str = "cpu",
    *,
    properties: tuple[Check, ...] = PROPERTIES,
    dtypes: tuple[DType, ...] | None = None,
    seed: int = 0,
    examples: int = 3,
    reaches: tuple[int, ...] = REACHES,
) -> int:
    """Fail unless `op` has every property, for operands drawn from its record.

    Elementwise operators need nothing more than their record; others need `.samples`, a function
    of a generator (numbatorch.ops.drawing.Draw) that gives arrays and attributes.

    Args:
        op: as the decorators of `numbatorch.ops` return it.
        properties: some of `PROPERTIES`.
        dtypes: of the operands; those that the record declares unless given. An operator that
            refuses one of them fails.
        seed: of the first example.
        examples: small cases for each dtype.
        reaches: for each a case in which one dimension is so long, in one of the dtypes: the
            result is compared with the reference, and on the CPU with that of other threads.
    Returns:
        the number of cases that were checked.

    >>> from numbatorch.dtype import float32
    >>> from numbatorch.ops.registry import elementwise
    >>> @elementwise(numpy=lambda x: x / (1 + abs(x)), dtypes=(float32,))
    ... def squash(x):
    ...     "x / (1 + |x|)."
    ...     return x / (1.0 + abs(x))
    >>> check_op(squash, "numpy", examples=2, reaches=(67,))
    3
    """
    known = device_of(device)
    chosen = [d for d in dtypes or dtypes_of(op) if known.has_float64 or d.part is not dt.float64]
    rounds = [(dtype, Draw(n), n) for dtype in chosen for n in range(seed, seed + examples)]
    count = 0
    for dtype, rng, number in rounds:
        case = _case(op, rng, dtype, device)
        for check in properties if case else ():
            check(case, device, number)
        count += case is not None
    for number, reach in enumerate(reaches if chosen else (), seed):
        case = _case(op, Draw(number, reach), chosen[number % len(chosen)], device)
        for check in LARGE_PROPERTIES if case else ():
            check(case, device, number)
        count += case is not None
    return count


def _case(op: Op, rng: Draw, dtype: DType, device: str) -> Any:
    """A case that the operator takes, or None where the device lacks what it needs."""
    case = draw(op, rng, dtype)
    if case is None:
        return None
    try:
        out = case.apply(case.nodes("numpy"))
    except (DTypeError, ShapeError) as err:
        raise AssertionError(f"{op.name} declares {dtype.name} and refuses it: {err}") from err
    wide = any(d.part is dt.float64 for d in (*case.dtypes, *(node.dtype for node in out)))
    return case if device_of(device).has_float64 or not wide else None


def _values(nodes: Sequence[Node]) -> list[Array]:
    return [host_array(node) for node in nodes]


def _compare(
    case: Case,
    actual: Sequence[Array],
    expected: Sequence[Array],
    device: str,
    seed: int,
    kind: str = "",
    special: bool = False,
    strict: bool = False,
) -> None:
    body = isinstance(case.op, Elementwise)
    roundings = None if kind or strict or (special and not body) else _roundings(case)
    for number, (found, wanted) in enumerate(zip(actual, expected, strict=True)):
        name = dt.from_numpy(found.dtype).name
        absolute: Any = _smallest_step(case, name, strict)
        if roundings is not None and found.dtype.kind not in "biu":
            least = tolerance(name, kind_of(case.op)).absolute if absolute is None else absolute
            absolute = np.maximum(least, roundings[number])
        assert_close(
            found,
            wanted,
            kind or kind_of(case.op),
            dtype=name,
            operator=f"{case.op.name} {case.attrs or ''}".strip(),
            inputs=case.operands,
            device=device,
            seed=seed,
            absolute=absolute,
            signed_zeros=special and isinstance(case.op, Elementwise | View),
        )


def _roundings(case: Case) -> list[Any] | None:
    """What results may be off because many terms are rounded, beside the table of tolerances.

    Sums: four roundings of the sum of the terms' sizes. Other states that are stepped: the walk of
    a rounding each step. Bodies: a rounding of terms a few times larger than the result, which
    cancel. What has kernels of its own, or is composed: a few times what the NumPy reference is off
    when it computes in float32.
    """
    unit = 2.0**-52 if dt.float64 in case.dtypes else 2.0**-23
    if isinstance(case.op, Reduction) and not case.op.state.plain:
        steps = math.sqrt(max((x.size for x in case.operands), default=0))
        return [steps * unit * np.abs(x) for x in case.expected()]
    if terms_of(case.op):
        pairs = zip(case.operands, case.dtypes, strict=True)
        sizes = tuple(np.abs(x) if d.kind in "fc" else x for x, d in pairs)
        sums = Case(case.op, sizes, case.dtypes, case.attrs).expected()
        return [4 * unit * np.abs(x) for x in sums]
    if isinstance(case.op, Elementwise):
        return [CANCELLED * unit]
    if not isinstance(case.op, Structured | Composed):
        return None
    off = []
    with np.errstate(all="ignore"):
        for rough, exact in zip(case.expected(dt.float32), case.expected(), strict=True):
            apart = np.abs(rough - exact) if exact.dtype.kind in "fc" else np.zeros(1)
            off.append(8 * unit * 2.0**23 * apart[np.isfinite(apart)].max(initial=0.0))
    return off


def _smallest_step(case: Case, name: str, strict: bool) -> float | None:
    """Below the normal numbers of a narrow type one rounding more is one whole step."""
    steps = {
        "float64": 2.0**-1074,
        "float32": 2.0**-149,
        "float16": 2.0**-24,
        "bfloat16": 2.0**-133,
        "float8_e4m3fn": 2.0**-9,
        "float8_e5m2": 2.0**-16,
    }
    if not isinstance(case.op, Elementwise) or (name in ("float64", "float32") and not strict):
        return None
    return steps.get(name)


__all__ = ["LARGE_PROPERTIES", "PROPERTIES", "Check", "check_op"]
