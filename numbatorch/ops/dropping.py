"""Dropout: elements or whole channels are left out at random, also so that moments stay."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import create
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
SATURATED = 1.7580993408473766  # minus what SELU goes to: https://arxiv.org/abs/1706.02515


def _nothing(operator: str, input: Node, p: float, train: bool) -> Node | None:
    """The result where nothing is left to chance, otherwise None."""
    if not 0 <= p <= 1:
        raise OutOfRange(message(operator, f"the probability {p} is not in [0, 1]"))
    if not train or p == 0:
        return input
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, "takes floats in training", f"input {describe(input)}"))
    return input * 0 if p == 1 else None


def _dropped(input: Node, p: float, shape: Shape) -> Node:
    """Where elements are left out, drawn in `shape`."""
    drawn = create.drawn("random_uniform", shape, create.next_key(input.device))
    return expanded(find("lt").apply(drawn, p), input.shape)


def _by_channel(operator: str, input: Node) -> Shape:
    """(N, C, 1, ...)."""
    if len(input.shape) < 2:
        raise ShapeError(message(operator, "needs two dimensions", f"input {describe(input)}"))
    return (*input.shape[:2], *(1,) * (len(input.shape) - 2))


def _scaled(operator: str, input: Node, p: float, train: bool, shape: Shape) -> Node:
    sure = _nothing(operator, input, p, train)
    if sure is not None:
        return sure
    return find("where").apply(_dropped(input, p, shape), 0.0, input * (1 / (1 - p)))


def _alpha(operator: str, input: Node, p: float, train: bool, whole: bool = False) -> Node:
    sure = _nothing(operator, input, p, train)
    if sure is not None:
        return sure
    out = _dropped(input, p, _by_channel(operator, input) if whole else input.shape)
    scale = 1 / math.sqrt((SATURATED**2 * p + 1) * (1 - p))
    shift = SATURATED * scale * p
    wide = as_node(input, input.dtype.compute, input.device)
    kept = find("where").apply(out, shift - SATURATED * scale, wide * scale + shift)
    return as_node(kept, input.dtype, input.device)


def _none_or_all(x: Array, *, p: float, training: bool) -> Array:
    """Of the two probabilities at which nothing is left to chance."""
    return x * (1.0 - p) if training else x


def _sample(rank: int) -> dict[str, Any]:
    """What the records of functions of this rank have in common."""

    def sample(rng: Draw) -> Any:
        attrs = {"p": float(rng.integers(0, 2)), "training": bool(rng.random() < 0.7)}
        return [rng.standard_normal(rng.dims((0,) * rank, (4,) * rank))], attrs

    return {"numpy": _none_or_all, "sample": sample, "dtypes": FLOATS}


@composed(**_sample(3), peer="torch.nn.functional.dropout")
@public("nn.functional")
def dropout(input: Node, p: float = 0.5, training: bool = True, inplace: bool = False) -> Node:
    """Each element 0 with probability p, else divided by 1 - p; `input` when not training.

    Args:
        p: rounded to a multiple of 2**-24.
        inplace: `input` holds the result.

    >>> dropout(tensor([1.0, 2.0]), 1.0)
    tensor([0., 0.])
    """
    return _scaled("dropout", input, p, training, input.shape)


@composed(**_sample(3), peer="torch.nn.functional.dropout1d")
@public("nn.functional")
def dropout1d(input: Node, p: float = 0.5, training: bool = True, inplace: bool = False) -> Node:
    """As `dropout`, of whole channels at once.

    Args:
        input: (N, C, L); or (C, L).

    >>> dropout1d(nt.ones(1, 2, 1), training=False).sum().item()
    2.0
    """
    if len(input.shape) not in (2, 3):
        problem = "needs two or three dimensions"
        raise ShapeError(message("dropout1d", problem, f"input {describe(input)}"))
    if len(input.shape) == 2:
        return _scaled("dropout1d", input, p, training, (input.shape[0], 1))
    return _scaled("dropout1d", input, p, training, _by_channel("dropout1d", input))


@composed(**_sample(4), peer="torch.nn.functional.dropout2d")
@public("nn.functional")
def dropout2d(input: Node, p: float = 0.5, training: bool = True, inplace: bool = False) -> Node:
    """As `dropout`, of whole channels at once.

    Args:
        input: (N, C, H, W).

    >>> dropout2d(nt.ones(1, 2, 1, 1), training=False).sum().item()
    2.0
    """
    return _scaled("dropout2d", input, p, training, _by_channel("dropout2d", input))


@composed(**_sample(5), peer="torch.nn.functional.dropout3d")
@public("nn.functional")
def dropout3d(input: Node, p: float = 0.5, training: bool = True, inplace: bool = False) -> Node:
    """As `dropout`, of whole channels at once.

    Args:
        input: (N, C, D, H, W).

    >>> dropout3d(nt.ones(1, 2, 1, 1, 1), training=False).sum().item()
    2.0
    """
    return _scaled("dropout3d", input, p, training, _by_channel("dropout3d", input))


@composed(**_sample(3), peer="torch.nn.functional.alpha_dropout")
@public("nn.functional")
def alpha_dropout(
    input: Node, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Node:
    """Dropout that keeps mean 0 and variance 1, for activations of SELU.

    What is left out becomes the least value of SELU; then all are scaled and shifted.
    Source: https://arxiv.org/abs/1706.02515

    >>> alpha_dropout(tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return _alpha("alpha_dropout", input, p, training)


@composed(**_sample(3), peer="torch.nn.functional.feature_alpha_dropout")
@public("nn.functional")
def feature_alpha_dropout(
    input: Node, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Node:
    """As `alpha_dropout`, of whole channels at once.

    Args:
        input: (N, C, ...).

    >>> feature_alpha_dropout(tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """
    return _alpha("feature_alpha_dropout", input, p, training, True)


@public("nt")
def dropout_(input: Node, p: float, train: bool) -> Node:
    """As nn.functional.dropout, whose `training` is `train` here and has to be given.

    >>> nt.dropout(tensor([1.0, 2.0]), 0.5, train=False)
    tensor([1., 2.])
    """
    return _scaled("dropout", input, p, train, input.shape)


@public("nt")
def alpha_dropout_(input: Node, p: float, train: bool) -> Node:
    """As nn.functional.alpha_dropout, whose `training` is `train` here.

    >>> nt.alpha_dropout(tensor([1.0, 2.0]), 0.5, train=False)
    tensor([1., 2.])
    """
    return _alpha("alpha_dropout", input, p, train)


@public("nt")
def feature_dropout_(input: Node, p: float, train: bool) -> Node:
    """As nn.functional.dropout2d, of (N, C, ...): whole channels are 0 with probability p.

    >>> nt.feature_dropout(nt.ones(1, 2, 2), 1.0, train=True).sum()
    tensor(0.)
    """
    return _scaled("feature_dropout", input, p, train, _by_channel("feature_dropout", input))


@public("nt")
def feature_alpha_dropout_(input: Node, p: float, train: bool) -> Node:
    """As nn.functional.feature_alpha_dropout, whose `training` is `train` here.

    >>> nt.feature_alpha_dropout(tensor([[1.0, 2.0]]), 0.5, train=False)
    tensor([[1., 2.]])
    """
    return _alpha("feature_alpha_dropout", input, p, train, True)
