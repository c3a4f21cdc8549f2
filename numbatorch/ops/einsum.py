"""Sums of products by Einstein's convention, each pair of operands as one product of matrices."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.operands import as_node, describe, expanded, result_type
from numbatorch.ops.products import DTYPES
from numbatorch.ops.reduce import sum_
from numbatorch.ops.strided import diagonal
from numbatorch.ops.surface import public
from numbatorch.shape import numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Term = tuple[Node, str]  # a label for each dimension
Dims = Sequence[int]

LETTERS = string.ascii_letters
DOTS = [chr(0x2460 + i) for i in range(64)]  # labels of what an ellipsis stands for
NUMBERED = LETTERS[26:] + LETTERS[:26]  # the labels 0 to 51 of a list


def trace_sample(rng: Draw) -> Any:
    """A matrix."""
    return [rng.standard_normal(rng.dims((0, 0), (5, 5), 300))], {}


def diagonal_of(x: Node, dim1: int, dim2: int) -> Node:
    """The diagonal of two dimensions of one size, as the last dimension; the others stay."""
    return diagonal.apply(x, offset=0, dim1=dim1, dim2=dim2)


@composed(numpy=np.trace, sample=trace_sample, dtypes=DTYPES)
@public()
def trace(input: Node) -> Node:
    """Sum of the diagonal of a matrix; integers are summed in int64.

    Raises:
        ShapeError: `input` is no matrix.

    >>> trace(tensor([[1, 2], [3, 4]]))
    tensor(5)
    """
    if len(input.shape) != 2:
        raise ShapeError(message("trace", "needs a matrix", f"input {describe(input)}"))
    wide = dt.int64 if input.dtype.kind in "iub" else input.dtype.compute
    along = as_node(diagonal_of(input, 0, 1), wide, input.device)
    total = view.reshape.apply(sum_.apply(along, dims=(0,)), shape=())
    return total if input.dtype.kind in "iub" else as_node(total, input.dtype, input.device)


def _tensordot_sample(rng: Draw) -> Any:
    a, b, c, d = rng.dims((0,) * 4, (4,) * 4, 300)
    return [rng.standard_normal((a, b, c)), rng.standard_normal((c, b, d))], {
        "dims": ([1, 2], [1, 0])
    }


@composed(
    numpy=lambda a, b, *, dims: np.tensordot(a, b, dims), sample=_tensordot_sample, dtypes=DTYPES
)
@public("nt")
def tensordot(a: Node, b: Node, dims: int | Sequence[Dims] = 2) -> Node:
    """Sum of products over dimensions of both; the others of `a`, then those of `b`, stay.

    Args:
        dims: that many of the last of `a` and the first of `b`, or a list for each.
    Raises:
        ShapeError: the dimensions that are summed over differ in size or number.

    >>> tensordot(tensor([[1, 2], [3, 4]]), tensor([1, 1]), 1)
    tensor([3, 7])
    """
    rows = (f"a {describe(a)}", f"b {describe(b)}")
    if isinstance(dims, int):
        if dims < 0 or dims > min(len(a.shape), len(b.shape)):
            raise ShapeError(message("tensordot", f"dims is {dims}", *rows))
        lists: Any = (range(len(a.shape) - dims, len(a.shape)), range(dims))
    else:
        lists = dims
    if len(lists) != 2 or len(lists[0]) != len(lists[1]):
        raise ShapeError(message("tensordot", f"{dims} are no two lists of one length", *rows))
    left, right = (
        [_from_front(d, x) for d in listed] for listed, x in zip(lists, (a, b), strict=True)
    )
    if any(len(set(listed)) != len(listed) for listed in (left, right)):
        raise ShapeError(message("tensordot", f"a dimension appears twice in {dims}", *rows))
    for i, j in zip(left, right, strict=True):
        if a.shape[i] == 1 or b.shape[j] == 1:
            a, b = (_summed(x, d, y.shape[e]) for x, d, y, e in ((a, i, b, j), (b, j, a, i)))
        if a.shape[i] != b.shape[j]:
            problem = f"a.shape[{i}] is {a.shape[i]} but b.shape[{j}] is {b.shape[j]}"
            raise ShapeError(message("tensordot", problem, f"a {describe(a)}", f"b {describe(b)}"))
    outer_a = [d for d in range(len(a.shape)) if d not in left]
    outer_b = [d for d in range(len(b.shape)) if d not in right]
    K = numel([a.shape[d] for d in left])
    shape = tuple([a.shape[d] for d in outer_a] + [b.shape[d] for d in outer_b])
    wide = view.permute.apply(a, dims=(*outer_a, *left))
    tall = view.permute.apply(b, dims=(*right, *outer_b))
    wide = view.reshape.apply(wide, shape=(numel([a.shape[d] for d in outer_a]), K))
    tall = view.reshape.apply(tall, shape=(K, numel([b.shape[d] for d in outer_b])))
    return view.reshape.apply(multiplied(wide, tall), shape=shape)


def _from_front(dim: int, x: Node) -> int:
    from numbatorch.shape import normalize_dim

    return normalize_dim("tensordot", dim, len(x.shape))


def _summed(x: Node, dim: int, other: int) -> Node:
    """`x` summed over a dimension that meets one of size 1."""
    return sum_.apply(x, dims=(dim,)) if other == 1 and x.shape[dim] != 1 else x


def _einsum_sample(rng: Draw) -> Any:
    b, i, j, k = rng.dims((0,) * 4, (4,) * 4, 300)
    equation = ["bij,bjk->k", "bij,bjk->kib"][int(rng.integers(2))]
    return [rng.standard_normal((b, i, j)), rng.standard_normal((b, j, k))], {"equation": equation}


@composed(
    numpy=lambda x, y, *, equation: np.einsum(equation, x, y),
    sample=_einsum_sample,
    dtypes=DTYPES,
    call=lambda function, nodes, attrs: function(attrs["equation"], *nodes),
)
@public("nt")
def einsum(*args: Any) -> Node:
    """Sum of products of elements whose indices are named: "ij,jk->ik" is a matrix product.

    An ellipsis stands for dimensions that broadcast. Without "->" the labels that occur once
    stay, in alphabetical order. Also einsum(a, [0, 1], b, [1, 2], [0, 2]), with numbers for
    labels. Of several operands the pair with the smallest product is multiplied first.

    Raises:
        ShapeError: the equation does not fit the operands.
    Source: https://numpy.org/doc/stable/reference/generated/numpy.einsum.html

    >>> einsum("ij,j->i", tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])
    """
    if not args or not isinstance(args[0], str):
        equation, operands = _spelled(args)
    else:
        equation, operands = args[0], args[1:]
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    for place, operand in enumerate(operands):
        if not isinstance(operand, Node):
            problem = f"operand {place} is a {type(operand).__name__}, not a tensor"
            raise TypeError(message("einsum", problem))
    inputs, output = _read(equation, operands)
    dtype = result_type(operands)
    wide = dtype.compute if len(operands) > 2 else dtype
    terms = [
        _without_repeats(as_node(x, wide, x.device), labels)
        for x, labels in zip(operands, inputs, strict=True)
    ]
    terms = _sized(equation, terms)
    while len(terms) > 1:
        i, j = _next_pair(terms, output)
        right, left = terms.pop(j), terms.pop(i)
        terms.append(_contracted(left, right, _needed(terms, output)))
    found, labels = _reduced(*terms[0], set(output))
    found = as_node(found, dtype, found.device)
    order = tuple(labels.index(label) for label in output)
    return found if order == tuple(range(len(order))) else view.permute.apply(found, dims=order)


def _spelled(arguments: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The equation of operands that are each followed by a list of labels."""

    def word(labels: Any) -> str:
        for label in labels:
            if label is not Ellipsis and not 0 <= label < len(NUMBERED):
                problem = f"label {label} is not in [0, {len(NUMBERED) - 1}]"
                raise ValueError(message("einsum", problem))
        return "".join("..." if label is Ellipsis else NUMBERED[label] for label in labels)

    pairs = len(arguments) // 2
    listed = [arguments[2 * i + 1] for i in range(pairs)] + list(arguments[2 * pairs :])
    if not all(isinstance(labels, list | tuple) for labels in listed):
        raise TypeError(message("einsum", "an operand is not followed by a list of labels"))
    text = ",".join(word(labels) for labels in listed[:pairs])
    if len(arguments) % 2:
        text += "->" + word(listed[-1])
    return text, tuple(arguments[0 : 2 * pairs : 2])


def _read(equation: str, operands: Sequence[Node]) -> tuple[list[str], str]:
    """The labels of each operand and of the result; an ellipsis becomes labels of its own."""

    def wrong(problem: str) -> ValueError:
        rows = [f"operand {i} {describe(x)}" for i, x in enumerate(operands)]
        return ShapeError(message("einsum", problem, f"equation {equation!r}", *rows))

    left, arrow, right = equation.replace(" ", "").partition("->")
    words = left.split(",")
    if not operands or len(words) != len(operands):
        raise wrong(f"the equation has {len(words)} operands, not {len(operands)}")
    for word in (*words, right):
        bare = word.replace("...", "", 1)
        if not all(letter in LETTERS for letter in bare):
            raise wrong(f"{word!r} is not made of letters and an ellipsis")
    found, widest = [], 0
    for word, operand in zip(words, operands, strict=True):
        bare, dots = word.replace("...", ""), "..." in word
        rest = len(operand.shape) - len(bare)
        if rest < 0 or (rest and not dots):
            raise wrong(f"{word!r} does not name {len(operand.shape)} dimensions")
        widest = max(widest, rest)
        found.append(word.replace("...", "".join(DOTS[64 - rest :])))
    ellipsis = "".join(DOTS[64 - widest :])
    if not arrow:
        once = sorted(
            c for c in set("".join(found)) if c in LETTERS and "".join(found).count(c) == 1
        )
        return found, ellipsis + "".join(once)
    output = right.replace("...", ellipsis)
    for label in output:
        if output.count(label) > 1:
            raise wrong(f"{label!r} occurs twice in the result")
        if label in LETTERS and label not in left:
            raise wrong(f"{label!r} of the result is in no operand")
    return found, output


def _without_repeats(x: Node, labels: str) -> Term:
    """Diagonals of the dimensions that have one label."""
    for label in sorted(set(labels)):
        while labels.count(label) > 1:
            first, second = labels.index(label), labels.rindex(label)
            if x.shape[first] != x.shape[second]:
                problem = f"{label!r} is {x.shape[first]} and {x.shape[second]} of one operand"
                raise ShapeError(message("einsum", problem, f"operand {describe(x)}"))
            x = diagonal_of(x, first, second)
            labels = labels[:first] + labels[first + 1 : second] + labels[second + 1 :] + label
    return x, labels


def _sized(equation: str, terms: list[Term]) -> list[Term]:
    """Dimensions of size 1 that meet others of their label go: they are the same for all."""
    sizes: dict[str, int] = {}
    for x, labels in terms:
        for label, size in zip(labels, x.shape, strict=True):
            known = sizes.setdefault(label, size)
            if 1 not in (known, size) and known != size:
                shown = "..." if label in DOTS else label
                problem = f"{shown!r} is {known} and {size}"
                rows = [f"operand {i} {describe(x)}" for i, (x, _) in enumerate(terms)]
                raise ShapeError(message("einsum", problem, f"equation {equation!r}", *rows))
            sizes[label] = size if known == 1 else known
    found = []
    for x, labels in terms:
        keep = [size == sizes[label] for label, size in zip(labels, x.shape, strict=True)]
        shape = tuple(size for size, kept in zip(x.shape, keep, strict=True) if kept)
        flat = x if shape == x.shape else view.reshape.apply(x, shape=shape)
        found.append((flat, "".join(c for c, kept in zip(labels, keep, strict=True) if kept)))
    return found


def _needed(terms: Sequence[Term], output: str) -> set[str]:
    return set(output).union(*(labels for _, labels in terms))


def _next_pair(terms: Sequence[Term], output: str) -> tuple[int, int]:
    """Numbers of the two terms whose product is the smallest, the first of such."""
    if len(terms) == 2:
        return 0, 1
    best: tuple[int, int, int] | None = None
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            rest = [term for k, term in enumerate(terms) if k not in (i, j)]
            sizes = {
                c: n
                for x, labels in (terms[i], terms[j])
                for c, n in zip(labels, x.shape, strict=True)
            }
            needed = _needed(rest, output)
            size = numel([n for c, n in sizes.items() if c in needed])
            if best is None or size < best[0]:
                best = size, i, j
    assert best is not None
    return best[1], best[2]


def _reduced(x: Node, labels: str, needed: set[str]) -> Term:
    """Sum over the dimensions that nothing needs."""
    dims = tuple(d for d, label in enumerate(labels) if label not in needed)
    if not dims:
        return x, labels
    total = sum_.apply(as_node(x, x.dtype.compute, x.device), dims=dims)
    kept = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    found = as_node(view.reshape.apply(total, shape=kept), x.dtype, x.device)
    return found, "".join(label for label in labels if label in needed)


def _contracted(left: Term, right: Term, needed: set[str]) -> Term:
    """The product of two terms, summed over the labels that nothing else needs."""
    x, a = _reduced(*left, needed | set(right[1]))
    y, b = _reduced(*right, needed | set(a))
    summed = [c for c in a if c in b and c not in needed]
    batch = [c for c in a if c in b and c in needed]
    rows = [c for c in a if c not in b]
    columns = [c for c in b if c not in a]
    if not summed:
        return _spread(x, a, y, b)
    sizes = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}

    def count(labels: Sequence[str]) -> int:
        return numel([sizes[c] for c in labels])

    wide = view.permute.apply(x, dims=tuple(a.index(c) for c in (*batch, *rows, *summed)))
    tall = view.permute.apply(y, dims=tuple(b.index(c) for c in (*batch, *summed, *columns)))
    lead = (count(batch),) if batch else ()
    wide = view.reshape.apply(wide, shape=(*lead, count(rows), count(summed)))
    tall = view.reshape.apply(tall, shape=(*lead, count(summed), count(columns)))
    labels = (*batch, *rows, *columns)
    shape = tuple(sizes[c] for c in labels)
    return view.reshape.apply(multiplied(wide, tall), shape=shape), "".join(labels)


def _spread(x: Node, a: str, y: Node, b: str) -> Term:
    """The product of two terms without a sum: elementwise over all their labels."""
    labels = a + "".join(c for c in b if c not in a)
    sizes = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}
    shape = tuple(sizes[c] for c in labels)
    order = sorted(range(len(b)), key=lambda d: labels.index(b[d]))
    turned = view.permute.apply(y, dims=tuple(order))
    wide = [sizes[c] if c in a else 1 for c in labels]
    narrow = [sizes[c] if c in b else 1 for c in labels]
    left = expanded(view.reshape.apply(x, shape=tuple(wide)), shape)
    right = expanded(view.reshape.apply(turned, shape=tuple(narrow)), shape)
    return left * right, labels
