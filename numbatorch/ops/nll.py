"""What the losses over classes are made of: logarithms at targets, the mean of what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType, float32, float64
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.index import in_bounds
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.registry import over_last_dimensions
from numbatorch.ops.softmax import log_softmax_, softmax_
from numbatorch.ops.statistics import sum
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
WIDE = (float64, float32)


def _chosen(x: Array, target: Array, ignored: int) -> tuple[Array, Array]:
    """Which targets count, and 0 in place of those that do not."""
    counted = target != ignored
    return counted, in_bounds(np.where(counted, target, 0), x.shape[-1])


@structured(dtypes=WIDE, reports=True)
def nll_rows(x: Array, target: Array, *, ignored: int) -> Array:
    """-x[..., target[...]], and 0 where the target is `ignored`.

    Args:
        x: (..., C).
        target: (...), class numbers.
    """
    counted, place = _chosen(x, target, ignored)
    found = np.take_along_axis(x, place[..., None], -1)[..., 0]
    return np.where(counted, -found, 0).astype(x.dtype)


@structured(dtypes=WIDE, reports=True)
def nll_rows_backward(g: Array, target: Array, *, ignored: int, classes: int) -> Array:
    """Cotangent (..., classes) of x: -g at each target, and 0 elsewhere."""
    out = np.zeros((*g.shape, classes), g.dtype)
    counted, place = _chosen(out, target, ignored)
    np.put_along_axis(out, place[..., None], np.where(counted, -g, 0)[..., None], -1)
    return out


@structured(dtypes=WIDE, reports=True)
def cross_entropy_rows(x: Array, target: Array, *, ignored: int) -> Array:
    """-log_softmax(x)[..., target[...]], and 0 where the target is `ignored`."""
    return np.asarray(nll_rows.reference(log_softmax_.reference(x), target, ignored=ignored))


@structured(dtypes=WIDE, reports=True)
def cross_entropy_rows_backward(g: Array, x: Array, target: Array, *, ignored: int) -> Array:
    """Cotangent of x: g times softmax(x), less g at each target; 0 in rows that do not count."""
    counted, _ = _chosen(x, target, ignored)
    at_targets = nll_rows_backward.reference(g, target, ignored=ignored, classes=x.shape[-1])
    spread = softmax_.reference(x) * g[..., None]
    return np.asarray(np.where(counted[..., None], spread, 0).astype(x.dtype) + at_targets)


@structured(dtypes=WIDE)
def mean_of_counted(losses: Array, target: Array, *, ignored: int) -> Array:
    """The means of rows of losses whose target is not `ignored`; NaN where there is none.

    Args:
        losses: (..., R).
        target: (..., R).
    """
    counted = target != ignored
    total = np.where(counted, losses, 0).sum(-1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / counted.sum(-1)).astype(losses.dtype)


@structured(dtypes=WIDE)
def mean_of_counted_backward(g: Array, target: Array, *, ignored: int) -> Array:
    """Cotangent (..., R) of losses: g over how many of a row count, 0 at those that do not."""
    counted = target != ignored
    each = g / np.maximum(counted.sum(-1), 1)
    return np.asarray(np.where(counted, each[..., None], 0)).astype(g.dtype)


@structured(dtypes=WIDE, reports=True)
def nll_mean(x: Array, target: Array, *, ignored: int) -> Array:
    """The means of rows of `nll_rows`, of the targets that are not `ignored`.

    Args:
        x: (..., R, C).
        target: (..., R), class numbers.
    """
    losses = nll_rows.reference(x, target, ignored=ignored)
    return np.asarray(mean_of_counted.reference(losses, target, ignored=ignored))


@structured(dtypes=WIDE, reports=True)
def nll_mean_backward(g: Array, target: Array, *, ignored: int, classes: int) -> Array:
    """Cotangent (..., R, classes) of x: at each target -g over how many of a row count."""
    each = mean_of_counted_backward.reference(g, target, ignored=ignored)
    return np.asarray(nll_rows_backward.reference(each, target, ignored=ignored, classes=classes))


def _infer(x: Node, target: Node, *, ignored: int) -> tuple[Shape, DType]:
    if target.dtype.kind not in "iu" or target.shape != x.shape[:-1] or not x.shape:
        problem = "targets must be integers of the shape of x without its classes"
        rows = f"x {describe(x)}", f"target {describe(target)}"
        raise ShapeError(message("nll_rows", problem, *rows))
    return target.shape, x.dtype


@nll_rows_backward.infer
def _(g: Node, target: Node, *, ignored: int, classes: int) -> tuple[Shape, DType]:
    return (*g.shape, classes), g.dtype


@cross_entropy_rows_backward.infer
def _(g: Node, x: Node, target: Node, *, ignored: int) -> tuple[Shape, DType]:
    _infer(x, target, ignored=ignored)
    return x.shape, x.dtype


@nll_rows.vjp
def _(g: Node, y: Node, x: Node, target: Node, *, ignored: int) -> tuple[Node, None]:
    classes = x.shape[-1]
    return nll_rows_backward.apply(g, target, ignored=ignored, classes=classes), None


@nll_rows_backward.vjp
def _(
    g: Node, y: Node, g_rows: Node, target: Node, *, ignored: int, classes: int
) -> tuple[Node, None]:
    return nll_rows.apply(g, target, ignored=ignored), None


@cross_entropy_rows.vjp
def _(g: Node, y: Node, x: Node, target: Node, *, ignored: int) -> tuple[Node, None]:
    return cross_entropy_rows_backward.apply(g, x, target, ignored=ignored), None


@mean_of_counted.infer
def _(losses: Node, target: Node, *, ignored: int) -> tuple[Shape, DType]:
    return losses.shape[:-1], losses.dtype


@mean_of_counted_backward.infer
def _(g: Node, target: Node, *, ignored: int) -> tuple[Shape, DType]:
    return target.shape, g.dtype


@nll_mean.infer
def _(x: Node, target: Node, *, ignored: int) -> tuple[Shape, DType]:
    return _infer(x, target, ignored=ignored)[0][:-1], x.dtype


@nll_mean_backward.infer
def _(g: Node, target: Node, *, ignored: int, classes: int) -> tuple[Shape, DType]:
    return (*target.shape, classes), g.dtype


@nll_mean.vjp
def _(g: Node, y: Node, x: Node, target: Node, *, ignored: int) -> tuple[Node, None]:
    classes = x.shape[-1]
    return nll_mean_backward.apply(g, target, ignored=ignored, classes=classes), None


@nll_mean_backward.vjp
def _(
    g: Node, y: Node, g_mean: Node, target: Node, *, ignored: int, classes: int
) -> tuple[Node, None]:
    return nll_mean.apply(g, target, ignored=ignored), None


@nll_mean.fallback
def _(x: Node, target: Node, *, ignored: int) -> Node:
    losses = nll_rows.apply(x, target, ignored=ignored)
    return mean_of_counted.apply(losses, target, ignored=ignored)


@nll_mean_backward.fallback
def _(g: Node, target: Node, *, ignored: int, classes: int) -> Node:
    each = mean_of_counted_backward.apply(g, target, ignored=ignored)
    return nll_rows_backward.apply(each, target, ignored=ignored, classes=classes)


@mean_of_counted.vjp
def _(g: Node, y: Node, losses: Node, target: Node, *, ignored: int) -> tuple[Node, None]:
    return mean_of_counted_backward.apply(g, target, ignored=ignored), None


@mean_of_counted_backward.vjp
def _(g: Node, y: Node, g_mean: Node, target: Node, *, ignored: int) -> tuple[Node, None]:
    return mean_of_counted.apply(g, target, ignored=ignored), None


@mean_of_counted.fallback
def _(losses: Node, target: Node, *, ignored: int) -> Node:
    counted = find("ne").apply(target, ignored)
    total = sum(find("where").apply(counted, losses, 0.0), -1)
    return total / as_node(sum(counted, -1), losses.dtype, losses.device)


@mean_of_counted_backward.fallback
def _(g: Node, target: Node, *, ignored: int) -> Node:
    counted = find("ne").apply(target, ignored)
    each = g / as_node(sum(counted, -1), g.dtype, g.device)
    return find("where").apply(counted, expanded(_beside(each), target.shape), 0.0)


@cross_entropy_rows.fallback
def _(x: Node, target: Node, *, ignored: int) -> Node:
    return nll_rows.apply(log_softmax_.apply(x), target, ignored=ignored)


@cross_entropy_rows_backward.fallback
def _(g: Node, x: Node, target: Node, *, ignored: int) -> Node:
    counted = find("ne").apply(target, ignored)
    spread = softmax_.apply(x) * expanded(_beside(g), x.shape)
    spread = find("where").apply(expanded(_beside(counted), x.shape), spread, 0.0)
    return spread + nll_rows_backward.apply(g, target, ignored=ignored, classes=x.shape[-1])


def _beside(x: Node) -> Node:
    """(..., 1)."""
    return reshape.apply(x, shape=(*x.shape, 1))


def _drawn(rng: Draw) -> tuple[Array, Array, int]:
    """Rows, targets and the class that does not count, which may be none."""
    R, C = rng.dims((0, 1), (6, 9))
    target = rng.indices(C, (R,))
    return rng.standard_normal((R, C)), target, int(rng.integers(-1, C))


def _sample(rng: Draw) -> Any:
    x, target, ignored = _drawn(rng)
    return [x, target], {"ignored": ignored}


@nll_rows_backward.samples
def _(rng: Draw) -> Any:
    x, target, ignored = _drawn(rng)
    return [x[:, 0], target], {"ignored": ignored, "classes": x.shape[1]}


@cross_entropy_rows_backward.samples
def _(rng: Draw) -> Any:
    x, target, ignored = _drawn(rng)
    return [rng.standard_normal(len(x)), x, target], {"ignored": ignored}


@mean_of_counted.samples
def _(rng: Draw) -> Any:
    x, target, ignored = _drawn(rng)
    return [x[:, 0], target], {"ignored": ignored}


@mean_of_counted_backward.samples
def _(rng: Draw) -> Any:
    _x, target, ignored = _drawn(rng)
    return [rng.standard_normal(()), target], {"ignored": ignored}


@nll_mean_backward.samples
def _(rng: Draw) -> Any:
    x, target, ignored = _drawn(rng)
    return [rng.standard_normal(()), target], {"ignored": ignored, "classes": x.shape[1]}


nll_mean.samples(_sample)
for _op in (nll_rows, cross_entropy_rows):
    _op.infer(_infer)
    _op.samples(_sample)
for _op in (
    *(nll_rows, nll_rows_backward, cross_entropy_rows, cross_entropy_rows_backward),
    *(mean_of_counted, mean_of_counted_backward, nll_mean, nll_mean_backward),
):
    _op.hides = True
    _op.batches(over_last_dimensions)
