"""The loss of sequences that are not aligned: connectionist temporal classification.

T times, N sequences, C classes, S labels at most; a path goes through the labels with a blank
before, between and after them: L = 2 S + 1 places.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch.dtype import DType, float32, float64, int64
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.loss_parts import Array, reduced, widened
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.softmax import log_softmax, softmax
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, reshape, unsqueeze
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Lengths = Node | Sequence[int]
MOST = 300  # times, sequences, classes or labels of a sample


def _places(targets: Array, sizes: Array, blank: int) -> Array:
    """(N, L): the class at each place of the paths; of targets (N, S) or one after the other."""
    places = np.full((len(sizes), 2 * int(sizes.max(initial=0)) + 1), blank, np.int64)
    start = 0
    for n, size in enumerate(sizes):
        row = targets[n] if targets.ndim == 2 else targets[start:]
        places[n, 1 : 2 * size : 2] = row[:size]
        start += size
    return places


def _sums(scores: Array, skips: Array, first: Array) -> tuple[Array, Array]:
    """(T, N, L): logarithms of the sums over all paths up to each time and place.

    Less the largest at each time, of which (T, N) has the sums so far: no digits are lost.

    Args:
        scores: (T, N, L) logarithms of the probability of the class at each place.
        skips: (N, L) whether a path may come from two places before.
        first: (N, L) whether a path may begin there.
    """
    out = np.full(scores.shape, -np.inf)
    taken = np.zeros(scores.shape[:2])
    out[0] = np.where(first, scores[0], -np.inf)
    for t in range(len(scores)):
        if t:
            last = out[t - 1]
            step = np.full_like(last, -np.inf)
            step[:, 1:] = last[:, :-1]
            jump = np.full_like(last, -np.inf)
            jump[:, 2:] = np.where(skips[:, 2:], last[:, :-2], -np.inf)
            out[t] = np.logaddexp(np.logaddexp(last, step), jump) + scores[t]
        top = out[t].max(1)
        taken[t] = np.where(np.isinf(top), 0.0, top)
        out[t] -= taken[t, :, None]
    return out, np.cumsum(taken, 0)


def _solve(logs: Array, targets: Array, times: Array, sizes: Array, blank: int) -> Any:
    """(N,) logarithms of the probabilities of the targets; the share (T, N, L) that each place has.

    Also (N, L), the class at each place.
    """
    T, N, C = logs.shape
    _check(targets, times, sizes, T, C)
    places = _places(targets, sizes, blank)
    L = places.shape[1]
    scores = np.take_along_axis(logs, np.broadcast_to(places, (T, N, L)), 2)
    skips = _skips(places, blank)
    at, within = np.arange(L), np.arange(L) < 2 * sizes[:, None] + 1
    total = np.where(sizes == 0, 0.0, -np.inf)  # of no times
    share = np.zeros((T, N, L))
    if T:
        begun = np.where(within, scores, -np.inf)
        forward, taken = _sums(begun, skips, within & (at < 2))
        for n in np.flatnonzero(times):
            count, size = int(times[n]), int(sizes[n])
            final = forward[count - 1, n, max(2 * size - 1, 0) : 2 * size + 1]
            total[n] = np.logaddexp.reduce(final) + taken[count - 1, n]
            one = slice(n, n + 1), slice(0, 2 * size + 1)
            jumps = np.zeros((1, 2 * size + 1), bool)  # back from the label after the next
            jumps[:, 2:] = skips[one][:, :1:-1]
            row = scores[:count, *one][::-1, :, ::-1]
            back, _ = _sums(row, jumps, np.arange(2 * size + 1)[None] < 2)
            through = forward[:count, *one] + back[::-1, :, ::-1] - scores[:count, *one]
            share[:count, *one] = np.exp(through - np.logaddexp.reduce(through, 2, keepdims=True))
    return total, share, places


def _skips(places: Array, blank: int) -> Array:
    """Whether a path may come from two places before: to a label that is another."""
    out = np.zeros(places.shape, bool)
    out[:, 2:] = (places[:, 2:] != places[:, :-2]) & (places[:, 2:] != blank)
    return out


def _normalized(scores: Array) -> tuple[Array, Array]:
    """Logarithms of the softmax (T, N, C), and of the sums (T, N) of its powers."""
    wide = scores.astype(np.float64)
    sums = np.logaddexp.reduce(wide, axis=2)
    return wide - sums[:, :, None], sums


def _live(T: int, times: Array) -> Array:
    """(T, N): which times of each sequence count."""
    return np.asarray(np.arange(T)[:, None] < times)


@structured(
    dtypes=(float64, float32),
    source="https://www.cs.toronto.edu/~graves/icml_2006.pdf",
    reports=True,
)
def ctc(
    scores: Array, targets: Array, times: Array, sizes: Array, *, blank: int
) -> tuple[Array, Array]:
    """-log of the probability (N,) that the paths of a softmax of scores give the targets.

    Also (N,) the sums of logsumexp(scores, -1) over the times that count.

    Args:
        scores: (T, N, C).
        targets: class numbers (N, S), or (sum of sizes,) one after the other.
        times, sizes: (N,), how many times and labels of each sequence count.
    """
    with np.errstate(all="ignore"):
        logs, sums = _normalized(scores)
        total, _, _ = _solve(logs, targets, times, sizes, blank)
    left = np.where(_live(len(scores), times), sums, 0.0).sum(0)
    return np.asarray(-total).astype(scores.dtype), left.astype(scores.dtype)


@structured(dtypes=(float64, float32), reports=True)
def ctc_backward(
    g: Array, scores: Array, targets: Array, times: Array, sizes: Array, *, blank: int
) -> Array:
    """Cotangent of the scores of `ctc`: g times softmax less the share of paths at each class."""
    with np.errstate(all="ignore"):
        logs, _ = _normalized(scores)
        total, share, places = _solve(logs, targets, times, sizes, blank)
        slope = np.exp(logs)
        rows = np.arange(len(total))
        for place in range(places.shape[1]):
            slope[:, rows, places[:, place]] -= share[:, :, place]
        slope[:, np.isinf(total)] = np.nan
        out = np.where((_live(len(scores), times) & (g != 0))[:, :, None], slope * g[:, None], 0.0)
    return np.asarray(out).astype(scores.dtype)


def _check(targets: Array, times: Array, sizes: Array, T: int, C: int) -> None:
    """Raise IndexError for lengths or classes that are not there."""
    most = targets.shape[-1]
    for name, values, bound in (("input length", times, T), ("target length", sizes, most)):
        wrong = values[(values < 0) | (values > bound)]
        if wrong.size:
            raise IndexError(f"{name} {wrong[0]} is not in [0, {bound}]")
    if targets.ndim == 1 and sizes.sum() > most:
        raise IndexError(f"target lengths {sizes.sum()} are more than {most} targets")
    counted = targets[: sizes.sum()]
    if targets.ndim == 2:
        counted = targets[np.arange(most) < sizes[:, None]]
    wrong = counted[(counted < 0) | (counted >= C)]
    if wrong.size:
        raise IndexError(f"class {wrong[0]} is not in [0, {C})")


@ctc.infer
def _(
    scores: Node, targets: Node, times: Node, sizes: Node, *, blank: int
) -> list[tuple[Shape, DType]]:
    return [(scores.shape[1:2], scores.dtype)] * 2


@ctc_backward.infer
def _(
    g: Node, scores: Node, targets: Node, times: Node, sizes: Node, *, blank: int
) -> tuple[Shape, DType]:
    return scores.shape, scores.dtype


@ctc.vjp
def _(
    g: tuple[Node | None, ...],
    y: tuple[Node, ...],
    scores: Node,
    targets: Node,
    times: Node,
    sizes: Node,
    *,
    blank: int,
) -> tuple[Node | None, ...]:
    slope: Node | None = None
    if g[0] is not None:
        slope = ctc_backward.apply(g[0], scores, targets, times, sizes, blank=blank)
    if g[1] is not None:
        T = scores.shape[0]
        live = find("lt").apply(reshape.apply(iota(T, scores.device), shape=(T, 1)), times)
        factors = find("where").apply(live, g[1], 0.0)
        more = softmax(scores, -1) * unsqueeze(factors, 2)
        slope = more if slope is None else slope + more
    return slope, None, None, None


def _sequences(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    T, N, C = (int(n) for n in rng.integers((1, 1, 2), (5, 4, 4)))
    sizes = rng.integers(0, 3, N)
    targets = rng.integers(1, C, (N, 2))
    return [rng.standard_normal((T, N, C)), targets, rng.integers(1, T + 1, N), sizes], {}


def _drawn(rng: Draw) -> list[Any]:
    """Sequences of any lengths, whose labels fill rows or stand one after the other."""
    T, N, C, S = rng.dims((0, 0, 2, 0), (6, 5, 5, 4), MOST)
    times = rng.integers(0, T + 1, N)
    sizes = np.minimum(rng.integers(0, S + 1, N), times // 2)  # so that there are paths
    targets = rng.indices(C, (N, S) if rng.integers(2) else (int(sizes.sum()),))
    return [rng.standard_normal((T, N, C)), targets, times, sizes]


@ctc.samples
def _(rng: Draw) -> Any:
    operands = _drawn(rng)
    return operands, {"blank": int(rng.integers(operands[0].shape[2]))}


@ctc_backward.samples
def _(rng: Draw) -> Any:
    operands = _drawn(rng)
    blank = int(rng.integers(operands[0].shape[2]))
    return [rng.standard_normal(operands[0].shape[1]), *operands], {"blank": blank}


ctc.hides = ctc_backward.hides = True


def _by_all_paths(
    scores: Array, targets: Array, times: Array, sizes: Array, *, reduction: Any
) -> Array:
    """The probabilities of all paths one by one."""
    _, N, C = scores.shape
    powers = np.exp(scores - scores.max(2, keepdims=True))
    shares = powers / powers.sum(2, keepdims=True)
    losses = np.zeros(N)
    for n in range(N):
        total, count = 0.0, int(times[n])
        for path in itertools.product(range(C), repeat=count):
            merged = [label for label, _ in itertools.groupby(path) if label]
            if merged == list(targets[n, : sizes[n]]):
                total += np.prod([shares[t, n, label] for t, label in enumerate(path)])
        losses[n] = -np.log(total) if total else np.inf
    return losses if reduction == "none" else np.asarray(losses.sum())


def _loss_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    return _sequences(rng)[0], {"reduction": str(rng.choice(["none", "sum"]))}


def _of_softmax(function: Any, nodes: Any, attrs: Any) -> Any:
    return function(log_softmax(nodes[0], -1), *nodes[1:], **attrs)


@composed(
    numpy=_by_all_paths,
    sample=_loss_sample,
    dtypes=(float64, float32),
    hides=True,
    call=_of_softmax,
    peer="torch.nn.functional.ctc_loss",
)
@public("nn.functional")
def ctc_loss(
    log_probs: Node,
    targets: Node,
    input_lengths: Node | Sequence[int],
    target_lengths: Node | Sequence[int],
    blank: int = 0,
    reduction: Literal["none", "mean", "sum"] = "mean",
    zero_infinity: bool = False,
) -> Node:
    """-log of the probability of the targets, summed over all ways to align them with the times.

    As in PyTorch the gradient is that of scores of which `log_probs` are the log_softmax: what
    log_softmax passes on is right. It has no second derivative, as there.

    Args:
        log_probs: (T, N, C) or (T, C), logarithms of probabilities.
        targets: class numbers but `blank`, (N, S), or 1-d, one sequence after the other.
        input_lengths, target_lengths: (N,), how many times and labels of each sequence count.
        reduction: "mean" is over the losses divided by their target lengths, 1 at least.
        zero_infinity: 0 instead of the infinite loss of targets that are too long for the times.
    Raises:
        OutOfRange: a length or a class that is not there; when the result is realized.
    Source: A. Graves et al., "Connectionist temporal classification" (2006).

    >>> log_probs = tensor([[[0.5, 0.5]], [[0.5, 0.5]]]).log()
    >>> round(ctc_loss(log_probs, tensor([[1]]), [2], [1]).exp().item(), 4)
    1.3333
    """
    if len(log_probs.shape) not in (2, 3) or len(targets.shape) not in (1, 2):
        problem = "log_probs must be (T, N, C) or (T, C), and targets (N, S) or 1-d"
        rows = f"log_probs {describe(log_probs)}", f"targets {describe(targets)}"
        raise ShapeError(message("ctc_loss", problem, *rows))
    batched = len(log_probs.shape) == 3
    dtype, (logs,) = widened("ctc_loss", log_probs)
    logs = logs if batched else unsqueeze(logs, 1)
    _, N, C = logs.shape
    if not 0 <= blank < C:
        raise OutOfRange(message("ctc_loss", f"blank is {blank}, not in [0, {C})"))
    if len(targets.shape) == 2 and targets.shape[0] != N:
        rows = f"log_probs {describe(log_probs)}", f"targets {describe(targets)}"
        raise ShapeError(message("ctc_loss", "there must be targets for each sequence", *rows))
    times = _lengths("input_lengths", input_lengths, logs)
    sizes = _lengths("target_lengths", target_lengths, logs)
    if targets.dtype.kind not in "iu":
        raise DTypeError(message("ctc_loss", f"targets must be integers, not {targets.dtype.name}"))
    losses, left = ctc.parts(logs, targets, times, sizes, blank=blank)
    losses = losses - find("detach").apply(left)  # 0 where the probabilities sum up to 1
    if zero_infinity:
        losses = find("where").apply(find("eq").apply(losses, np.inf), 0.0, losses)
    if reduction == "mean":
        losses = losses / as_node(find("maximum").apply(sizes, 1), losses.dtype, logs.device)
    elif reduction == "none" and not batched:
        losses = reshape.apply(losses, shape=())
    return reduced(losses, reduction, dtype)


def _lengths(name: str, given: Lengths, logs: Node) -> Node:
    """(N,) int64."""
    N = logs.shape[1]
    if not isinstance(given, Node):
        parts = [const(int(n), int64, logs.device, (1,)) for n in given]
        given = cat(parts) if parts else const(0, int64, logs.device, (0,))
    if given.dtype.kind not in "iu" or given.shape not in ((N,), () if N == 1 else (N,)):
        problem = f"{name} must be integers ({N},)"
        raise ShapeError(message("ctc_loss", problem, f"{name} {describe(given)}"))
    return as_node(reshape.apply(given, shape=(N,)), int64, logs.device)
