"""View operators: reshape, permute, slice; and slice_update, their inverse: it copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, GradientError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import CONST, EMPTY, const, describe
from numbatorch.ops.registry import over_last_dimensions, view
from numbatorch.ops.slices import apart, is_open
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape, infer_reshape, list_shape, normalize_dim, normalize_dims
from numbatorch.variable import is_variable

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@view(
    lambda layout, *, shape: layout.reshape(shape),
    keeps_order=True,
    merge=lambda inner, outer: outer,
)
def reshape(x: Array, *, shape: Shape) -> Array:
    """The same elements in row-major order under another shape."""
    return x.reshape(shape)


@reshape.infer
def _(x: Node, *, shape: Shape) -> tuple[Shape, DType]:
    if x.dtype.kind == "q" and (not shape or shape[-1] % x.dtype.block):
        raise ShapeError(message("reshape", f"rows of {describe(x)} are packed in blocks"))
    assert -1 not in shape, "a hole is filled in before the operator sees it"
    return infer_reshape(x.shape, shape), x.dtype


@reshape.vjp
def _(g: Node, y: Node, x: Node, *, shape: Shape) -> Node:
    return reshape.apply(g, shape=x.shape)


@reshape.writes
def _(x: Node, value: Node, *, shape: Shape) -> Node:
    return reshape.apply(value, shape=x.shape)


reshape.batches(lambda node, xs: {"shape": (xs[0].shape[0], *node.attrs["shape"])})


@reshape.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0, 0), (4, 4, 4))
    return [rng.standard_normal(shape)], {"shape": (shape[2], shape[0] * shape[1])}


@view(
    lambda layout, *, dims: layout.permute(dims),
    merge=lambda inner, outer: {"dims": tuple(inner["dims"][d] for d in outer["dims"])},
)
def permute(x: Array, *, dims: Shape) -> Array:
    """Dimension i of the result is dimension dims[i] of the input."""
    return x.transpose(dims)


@permute.infer
def _(x: Node, *, dims: Shape) -> tuple[Shape, DType]:
    if sorted(dims) != list(range(len(x.shape))):
        raise ShapeError(message("permute", f"{dims} is no order of {len(x.shape)} dimensions"))
    reject_blocks("permute", x)
    return tuple([x.shape[d] for d in dims]), x.dtype


@permute.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    return permute.apply(g, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))


@permute.writes
def _(x: Node, value: Node, *, dims: Shape) -> Node:
    return permute.apply(value, dims=tuple(sorted(range(len(dims)), key=dims.__getitem__)))


permute.batches(lambda node, _xs: {"dims": (0, *(d + 1 for d in node.attrs["dims"]))})


@permute.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0, 0), (4, 4, 4))
    return [rng.standard_normal(shape)], {"dims": tuple(int(d) for d in rng.permutation(3))}


@view(lambda layout, *, starts, sizes, steps: layout.slice(starts, sizes, steps))
def slice_(x: Array, *, starts: Shape, sizes: Shape, steps: Shape) -> Array:
    """Every steps[i]-th element from starts[i], sizes[i] of them, in each dimension."""
    out: Array = x[_indices(x.shape, starts, sizes, steps)]
    return out


@slice_.infer
def _(x: Node, *, starts: Shape, sizes: Shape, steps: Shape) -> tuple[Shape, DType]:
    reject_blocks("slice", x)
    _check_slice("slice", x.shape, starts, sizes, steps)
    return tuple(sizes), x.dtype


@slice_.vjp
def _(g: Node, y: Node, x: Node, *, starts: Shape, sizes: Shape, steps: Shape) -> Node:
    if sizes == x.shape and set(steps) <= {1}:
        return g
    zeros = const(0.0, x.dtype, x.device, x.shape)
    return slice_update.apply(zeros, g, starts=starts, steps=steps)


@slice_.simplify
def _(node: Node) -> Node | None:
    """What is beside all parts that were written is as it was: gradients of `cat` copy nothing.

    Beside some of them it is left: their memory is that of the parts that are written later.
    """
    x = node.inputs[0]
    if is_variable(node.attrs["starts"]):
        return None
    while x.op is slice_update and x.buffer is None and apart(node, x):
        x = x.inputs[0]
    if x is node.inputs[0] or x.op not in (CONST, EMPTY):
        return None
    return Node(slice_, (x,), node.attrs, node.shape, node.dtype, node.device)


@slice_.writes
def _(x: Node, value: Node, *, starts: Shape, sizes: Shape, steps: Shape) -> Node:
    return slice_update.apply(x, value, starts=starts, steps=steps)


@slice_.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    starts, sizes, steps = (node.attrs[name] for name in ("starts", "sizes", "steps"))
    size = operands[0].shape[0]
    return {"starts": (0, *starts), "sizes": (size, *sizes), "steps": (1, *steps)}


@slice_.samples
def _(rng: Draw) -> Any:
    rows, cols = rng.dims((0, 1), (3, 4))
    start = int(rng.integers(0, 3))
    attrs = {"starts": (start, 2 * cols), "sizes": (rows, cols), "steps": (1, -2)}
    return [rng.standard_normal((start + rows + 1, 2 * cols + 1))], attrs


@view(lambda layout, *, dim, index: layout.select(dim, index))
def select(x: Array, *, dim: int, index: int) -> Array:
    """Element `index` of dimension `dim`, which goes."""
    out: Array = x[(slice(None),) * dim + (index,)]
    return out


@select.infer
def _(x: Node, *, dim: int, index: int) -> tuple[Shape, DType]:
    reject_blocks("select", x)
    assert 0 <= dim < len(x.shape), "counted from the front before the operator sees it"
    if not 0 <= index < x.shape[dim]:
        problem = f"index {index} is out of range for dimension {dim} of size {x.shape[dim]}"
        raise OutOfRange(message("select", problem, f"tensor {describe(x)}"))
    return x.shape[:dim] + x.shape[dim + 1 :], x.dtype


@select.vjp
def _(g: Node, y: Node, x: Node, *, dim: int, index: int) -> Node:
    return _selected(const(0.0, x.dtype, x.device, x.shape), g, dim, index)


@select.writes
def _(x: Node, value: Node, *, dim: int, index: int) -> Node:
    return _selected(x, value, dim, index)


select.batches(lambda node, _xs: {**node.attrs, "dim": node.attrs["dim"] + 1})


@select.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0, 0), (4, 4, 4))
    dim = int(rng.integers(0, 3))
    shape = tuple(n + (i == dim) for i, n in enumerate(shape))
    return [rng.standard_normal(shape)], {"dim": dim, "index": int(rng.integers(0, shape[dim]))}


def _selected(base: Node, value: Node, dim: int, index: int) -> Node:
    """`base` with `value` as its element `index` of dimension `dim`."""
    before, after = base.shape[:dim], base.shape[dim + 1 :]
    starts = tuple([index if i == dim else 0 for i in range(len(base.shape))])
    value = reshape.apply(value, shape=(*before, 1, *after))
    return slice_update.apply(base, value, starts=starts, steps=(1,) * len(starts))


@view(
    lambda layout, *, dtype, source: layout.reinterpret(source.itemsize, dtype.itemsize),
    keeps_order=True,
    merge=lambda inner, outer: {"dtype": outer["dtype"], "source": inner["source"]},
    reinterprets=True,
)
def reinterpret(x: Array, *, dtype: DType, source: DType) -> Array:
    """The bytes of the elements, of dtype `source`, as elements of another dtype."""
    return np.ascontiguousarray(x).view(dtype.numpy)


@reinterpret.infer
def _(x: Node, *, dtype: DType, source: DType) -> tuple[Shape, DType]:
    if "q" in (x.dtype.kind, dtype.kind) and not (x.dtype.is_storage and dtype is dt.uint8):
        raise DTypeError(message("view", f"{describe(x)} as {dtype.name}: blocks are no elements"))
    if source.itemsize == dtype.itemsize:
        return x.shape, dtype
    nbytes = x.shape[-1] * source.itemsize if x.shape else 0
    if not x.shape or nbytes % dtype.itemsize:
        problem = f"the last dimension of {describe(x)} is not whole elements of {dtype.name}"
        raise ShapeError(message("view", problem))
    return (*x.shape[:-1], nbytes // dtype.itemsize), dtype


@reinterpret.vjp
def _(g: Node, y: Node, x: Node, *, dtype: DType, source: DType) -> Node:
    if dtype.part is not source.part:
        problem = f"no gradient flows through the bytes of {source.name} as {dtype.name}"
        raise GradientError(message("view", problem))
    return reinterpret.apply(g, dtype=source, source=dtype)


@reinterpret.writes
def _(x: Node, value: Node, *, dtype: DType, source: DType) -> Node:
    return reinterpret.apply(value, dtype=source, source=dtype)


reinterpret.batches(over_last_dimensions)


@reinterpret.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0), (4, 4))
    bits = rng.integers(0, 0x7F000000, (*shape, 4))  # of float32 finite ones
    return [bits.astype(np.int32)], {
        "dtype": (dt.int64, dt.int32, dt.float32, dt.int16, dt.uint8)[int(rng.integers(0, 5))],
        "source": dt.int32,
    }


def reinterpreted(x: Node, dtype: DType) -> Node:
    """The bytes of `x` as elements of `dtype`; the last dimension grows or shrinks."""
    if dtype is x.dtype:
        return x
    return reinterpret.apply(x, dtype=dtype, source=x.dtype)


@view(lambda layout: layout, keeps_order=True)
def clone(x: Array) -> Array:
    """The same value as a value of its own: changing one of the two leaves the other as it is."""
    return x


@clone.infer
def _(x: Node) -> tuple[Shape, DType]:
    return x.shape, x.dtype


@clone.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g


clone.batches(over_last_dimensions)


@clone.samples
def _(rng: Draw) -> Any:
    return [rng.standard_normal(rng.dims((0, 0), (4, 4)))], {}


@view(lambda layout: layout, keeps_order=True)
def detach(x: Array) -> Array:
    """The same value, through which no gradient flows."""
    return x


@detach.infer
def _(x: Node) -> tuple[Shape, DType]:
    return x.shape, x.dtype


@detach.vjp
def _(g: Node, y: Node, x: Node) -> tuple[None]:
    return (None,)


@detach.writes
def _(x: Node, value: Node) -> Node:
    return value


detach.batches(over_last_dimensions)


@detach.samples
def _(rng: Draw) -> Any:
    return [rng.standard_normal(rng.dims((0, 0), (4, 4)))], {}


detach.differentiable = False


@structured(dtypes=dt.PLAIN, inplace=0, strided=(1,))
def slice_update(base: Array, value: Array, *, starts: Shape, steps: Shape) -> Array:
    """`base` with `value` written from `starts`, with `steps` between elements.

    A start may be a plan variable. The base's buffer is reused where nothing else reads it.
    """
    out = base.copy()
    out[_indices(base.shape, starts, value.shape, steps)] = value
    return out


slice_update.emitted = True


@slice_update.infer
def _(base: Node, value: Node, *, starts: Shape, steps: Shape) -> tuple[Shape, DType]:
    if base.dtype is not value.dtype:
        rows = (f"base {describe(base)}", describe(value))
        raise DTypeError(message("slice_update", "dtypes differ", *rows))
    reject_blocks("slice_update", base)
    _check_slice("slice_update", base.shape, starts, value.shape, steps)
    return base.shape, base.dtype


@slice_update.vjp
def _(g: Node, y: Node, base: Node, value: Node, *, starts: Shape, steps: Shape) -> Any:
    taken = slice_.apply(g, starts=starts, sizes=value.shape, steps=steps)
    if base.op is EMPTY:
        return None, taken
    if is_open(base, y):
        return g, taken
    hole = const(0.0, value.dtype, value.device, value.shape)
    return slice_update.apply(g, hole, starts=starts, steps=steps), taken


slice_update.batches(
    lambda node, _xs: {"starts": (0, *node.attrs["starts"]), "steps": (1, *node.attrs["steps"])}
)


@slice_update.samples
def _(rng: Draw) -> Any:
    rows, cols = rng.dims((0, 0), (3, 3))
    base = rng.standard_normal((1 + 2 * rows, 2 + 3 * cols))
    return [base, rng.standard_normal((rows, cols))], {"starts": (1, 2), "steps": (2, 3)}


def _indices(shape: Shape, starts: Shape, sizes: Shape, steps: Shape) -> Any:
    return np.ix_(
        *(
            int(start) + int(step) * np.arange(size)
            for start, size, step in zip(starts, sizes, steps, strict=True)
        )
    )


def _check_slice(op: str, shape: Shape, starts: Shape, sizes: Shape, steps: Shape) -> None:
    if not len(shape) == len(starts) == len(sizes) == len(steps):
        raise ShapeError(message(op, "ranks differ", f"{shape}, {starts}, {sizes}, {steps}"))
    firsts = map(int, starts)
    for axis, (n, start, size, step) in enumerate(zip(shape, firsts, sizes, steps, strict=True)):
        if size == 0:
            continue
        last = start + (size - 1) * step
        if size < 0 or not 0 <= start < n or not 0 <= last < n:
            raise OutOfRange(
                message(
                    op,
                    f"elements {start} to {last} are outside of dimension {axis}",
                    f"the shape is {list_shape(shape)}",
                )
            )


def reject_blocks(op: str, x: Node) -> None:
    """Raise DTypeError for a block type: its elements have no places of their own."""
    if x.dtype.kind == "q":
        how = "only stored: convert it" if x.dtype.is_storage else "packed in blocks: dequantize it"
        raise DTypeError(message(op, f"{describe(x)} is {how} first"))


def transpose(x: Node, dim0: int, dim1: int) -> Node:
    """Exchange two dimensions."""
    dims = list(range(len(x.shape)))
    a = normalize_dim("transpose", dim0, len(dims))
    b = normalize_dim("transpose", dim1, len(dims))
    if not dims:
        return x
    dims[a], dims[b] = dims[b], dims[a]
    return permute.apply(x, dims=tuple(dims))


def narrow(x: Node, dim: int, start: int, length: int, step: int = 1) -> Node:
    """`length` elements of dimension `dim` from `start`."""
    rank = len(x.shape)
    axis = normalize_dim("narrow", dim, rank)
    if rank == 0:
        raise ShapeError(message("narrow", "a 0-d tensor has no dimension to narrow"))
    starts = tuple(start if i == axis else 0 for i in range(rank))
    sizes = tuple(length if i == axis else size for i, size in enumerate(x.shape))
    steps = tuple(step if i == axis else 1 for i in range(rank))
    return slice_.apply(x, starts=starts, sizes=sizes, steps=steps)


def part(x: Node, starts: Shape, sizes: Shape, steps: Shape) -> Node:
    """A slice that is known to be in range."""
    reject_blocks("slice", x)
    return slice_.known(x, {"starts": starts, "sizes": sizes, "steps": steps}, sizes)


def element(x: Node, dim: int, index: int) -> Node:
    """Element `index` of dimension `dim`, which goes; both are known to be in range."""
    reject_blocks("select", x)
    shape = x.shape
    return select.known(x, {"dim": dim, "index": index}, shape[:dim] + shape[dim + 1 :])


def squeeze(x: Node, dims: int | Sequence[int] | None = None) -> Node:
    """Drop dimensions of size 1, all of them or those named."""
    asked = normalize_dims("squeeze", dims, len(x.shape))
    shape = tuple(n for i, n in enumerate(x.shape) if i not in asked or n != 1)
    return x if shape == x.shape else reshape.apply(x, shape=shape)


def unsqueeze(x: Node, dim: int) -> Node:
    """Insert a dimension of size 1."""
    axis = normalize_dim("unsqueeze", dim, len(x.shape) + 1)
    return reshape.apply(x, shape=(*x.shape[:axis], 1, *x.shape[axis:]))


def empty(shape: Shape, dtype: DType, like: Node) -> Node:
    """Undefined values, to be overwritten in full."""
    return Node(EMPTY, (), {}, shape, dtype, like.device)


def written(out: Node, value: Node, starts: Shape, steps: Shape) -> Node:
    """`out` with a value of its dtype, which fits, from these places on."""
    reject_blocks("slice_update", value)
    return slice_update.known((out, value), {"starts": starts, "steps": steps})


def cat(nodes: Sequence[Node], dim: int = 0) -> Node:
    """Join along `dim`; the other dimensions must agree. One write of each part."""
    from numbatorch.ops.operands import as_node, common_device, result_type

    if not nodes:
        raise ShapeError(message("cat", "there is nothing to join"))
    first = nodes[0]
    common_device("cat", nodes)
    shape, dtype = first.shape, first.dtype
    axis = normalize_dim("cat", dim, len(shape))
    before, after = shape[:axis], shape[axis + 1 :]
    total, alike = 0, True
    for i, node in enumerate(nodes):
        other = node.shape
        fits = len(other) == len(shape) and (other[:axis], other[axis + 1 :]) == (before, after)
        if not shape:
            rows = tuple(f"operand {i} {describe(node)}" for i, node in enumerate(nodes[:8]))
            raise ShapeError(message("cat", "0-d operands have no dimension to join along", *rows))
        if not fits:
            problem = f"operand {i} does not fit along dimension {dim}"
            rows = (f"operand 0 {describe(first)}", f"operand {i} {describe(node)}")
            raise ShapeError(message("cat", problem, *rows))
        total += other[axis]
        alike = alike and node.dtype is dtype
    dtype = dtype if alike else result_type(nodes)
    out = empty((*before, total, *after), dtype, first)
    steps, front, back, start = (1,) * len(shape), (0,) * axis, (0,) * len(after), 0
    for node in nodes:
        value = node if alike else as_node(node, dtype, node.device)
        out = written(out, value, (*front, start, *back), steps)
        start += node.shape[axis]
    return out


def stack(nodes: Sequence[Node], dim: int = 0) -> Node:
    """Join along a new dimension."""
    return cat([unsqueeze(node, dim) for node in nodes], dim)
