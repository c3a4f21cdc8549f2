"""Every operator of the registry beside PyTorch: forward and gradient, over drawn operands.

A record names its peer, PyTorch's function of its name unless it says another; where that takes
its arguments in another way, CALLS says how. An operator without one says why in NO_PEER. So a new
operator is compared, or its test says what is missing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numbatorch import dtype as dt
from numbatorch.graph import Op
from numbatorch.ops.drawing import Draw
from numbatorch.ops.families import RECORDS, all_ops, table
from numbatorch.ops.operands import Leaf
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.scan import Scan
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import host_array, host_node
from numbatorch.testing.cases import Case, draw, kind_of
from tests.compare import assert_close
from tests.peers.sides import torch, torch_dtype

# Modules of tests register operators of their own.
OPS = [op for op in all_ops() if not isinstance(op, Leaf) and op.name in table(RECORDS)]
GRADIENT = "a gradient: compared through the operator that it belongs to"
REPEATED = "PyTorch leaves open which of equal indices counts: tests/peers/test_opinfo.py"
PACKED = "PyTorch has no GGML blocks: tests/quantized compare with the package gguf"
BASES = "signs and phases of vectors are free: the properties compare with LAPACK"
CONVOLVES = "with sizes and padding of its own; conv2d and its like are made of it"
DERIVATIVE = "a derivative of det, whose second derivative is compared in test_linalg.py"
TRANSFORM = "the functions of fft, which pad and cut: the operator database compares them"
POINTS = "a map that grid_sample and its gradients are made of"
RECURRENCE = "the part of a recurrent layer behind its first product"
NO_PEER = {
    "after": "work of ours that waits for other work",
    "adjugate": DERIVATIVE,
    "adjugate_slope": DERIVATIVE,
    "divisor": "the check of a division: tests/ops/test_conventions.py",
    "within": "a check, of bernoulli for instance: tests/ops/test_conventions.py",
    "eig": BASES,
    **dict.fromkeys(("lstm_steps", "gru_steps", "rnn_steps"), RECURRENCE),
    **dict.fromkeys(("lstm_backward", "gru_backward", "rnn_backward"), GRADIENT),
    "histogram": "PyTorch has no gradient of the weights: its operator database compares",
    "eigvals": "in no order: the properties compare with LAPACK",
    "ldl_factor": "PyTorch has no gradient of it: its operator database compares",
    "ldl_places": "a part of ldl_solve",
    "lstsq": "PyTorch gives residuals as well: its operator database compares",
    "window_sums": "a part of istft",
    "pinv": "PyTorch wants no gradient of tolerances: its operator database compares",
    "pivots_to_permutation": "a part of lu_unpack",
    "places_in_order": "a part of randperm",
    "squares_apart": "a part of cdist",
    "attention": "position and hidden rows are not PyTorch's: tests/peers/test_operators.py",
    "attention_backward": GRADIENT,
    "banded": "a map that interpolation and average pooling are made of",
    "bent": "the elements of smooth_l1_loss",
    "bent_slope": GRADIENT,
    "binary_entropy": "the elements of binary_cross_entropy",
    "cast": "PyTorch leaves floats out of an integer's range undefined: promotion is compared",
    "compact": "the part of nonzero that has a fixed shape",
    "run_starts": "the part of unique_consecutive that has a fixed shape",
    "component": "x.real and x.imag are compared in test_views.py",
    "convolution": CONVOLVES,
    "convolution_input": CONVOLVES,
    "convolution_weight": CONVOLVES,
    "ctc": "the part of ctc_loss that has kernels",
    "ctc_backward": GRADIENT,
    "cross_entropy_rows": "the elements of cross_entropy",
    "cross_entropy_rows_backward": GRADIENT,
    "sum_bags": "the part of embedding_bag for bags of one size",
    "sum_bags_backward": GRADIENT,
    "nll_rows": "the elements of nll_loss",
    "nll_rows_backward": GRADIENT,
    "mean_of_counted": "the mean of nll_loss and cross_entropy",
    "mean_of_counted_backward": GRADIENT,
    "nll_mean": "nll_loss with its mean",
    "nll_mean_backward": GRADIENT,
    "gelu_slope": GRADIENT,
    "standardize_backward": GRADIENT,
    "dequantize": PACKED,
    "eigh": BASES,
    "finite_range": "a part of histc",
    "fold": "windows without padding: fold_images, which is PyTorch's, is made of it",
    "igamma_by_shape": GRADIENT,
    "fft": TRANSFORM,
    "irfft": TRANSFORM,
    "index_copy": REPEATED,
    "index_reduce": "PyTorch's warns that it is in beta: tests/peers/test_opinfo.py",
    "layer_norm_backward": GRADIENT,
    "rfft": TRANSFORM,
    "log_softmax_backward": GRADIENT,
    "expert_matmul": "PyTorch has no function for it",
    "expert_matmul_input": GRADIENT,
    "expert_matmul_weight": GRADIENT,
    "index_put": REPEATED,
    "put": REPEATED,
    "put_rows": REPEATED,
    "multi_head_attention_forward": "PyTorch's operator database compares",
    "max_windows": "pooling is compared",
    "padded": "pad is compared",
    "put_back": "unpooling is compared",
    "qr": BASES,
    "quant_matmul": PACKED,
    "quant_take": PACKED,
    "binomial": "numbers of our own generator",
    "poisson": "numbers of our own generator",
    "random_bits": "numbers of our own generator",
    "random_exponential": "numbers of our own generator",
    "standard_gamma": "numbers of our own generator",
    "random_normal": "numbers of our own generator",
    "random_uniform": "numbers of our own generator",
    "reinterpret": "x.view(dtype) is compared in test_views.py",
    "rms_norm_backward": GRADIENT,
    "rope": "PyTorch has none: tests/peers/test_configurations.py compare with transformers",
    "scatter_set": REPEATED,
    "slice": "PyTorch has no negative steps: indexing is compared in test_operators.py",
    "slice_update": "index assignment is compared in test_operators.py",
    "softmax_backward": GRADIENT,
    "spread_points": POINTS,
    "sum_points": POINTS,
    "svd": BASES,
    "windows": "without padding: unfold_images, which is PyTorch's, is made of it",
    "vander": "PyTorch's gradient raises: it changes a value that it needs",
    "unique_rows": "the part of unique that has a fixed shape",
    "zeta_by_power": GRADIENT,
    "weigh_points": POINTS,
}


Peer = Callable[..., Any]


def standardized(var_mean: Peer) -> Peer:
    """What `standardize` computes, from PyTorch's variance and mean."""

    def call(x: Any, weight: Any, bias: Any, *, dims: tuple[int, ...], eps: float) -> Any:
        var, mean = var_mean(x, dims, correction=0, keepdim=True)
        return (x - mean) / torch.sqrt(var + eps) * weight + bias, mean, var

    return call


def over(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction over one dimension, as one over `dims`, which stay with size 1."""

    def reduce(x: Any, *, dims: tuple[int, ...], **attrs: Any) -> Any:
        kept = [d for d in range(x.ndim) if d not in dims]
        flat = x.permute(*kept, *dims).reshape(*(x.shape[d] for d in kept), -1)
        shape = [1 if d in dims else size for d, size in enumerate(x.shape)]
        found = function(flat, dim=-1, **attrs)
        if isinstance(found, tuple):
            return tuple(part.reshape(shape) for part in found)
        return found.reshape(shape)

    return reduce


def constant(peer: Callable[..., Any]) -> Callable[..., Any]:
    """A function of PyTorch's without a derivative."""
    return lambda *operands: peer(*(x.detach() for x in operands))


def by_last(peer: Callable[..., Any]) -> Callable[..., Any]:
    """A function of PyTorch's with a derivative by its last operand alone."""
    return lambda x, y: peer(x.detach(), y)


def of_states(count: int) -> Callable[[Peer], Peer]:
    """A layer in both directions, of x, so many states, and weights one after the other."""

    def call(peer: Peer) -> Peer:
        def layer(x: Any, *rest: Any) -> Any:
            hx = rest[:2] if count == 2 else rest[0]
            return peer(x, hx, rest[count:], True, 1, 0.0, False, True, False)

        return layer

    return call


NO_DERIVATIVE = "floor_divide"  # PyTorch has none; ours is zero
CALLS: dict[str, Callable[[Peer], Peer]] = {
    **{
        f"fractional_max_pool{rank}d": lambda peer: (
            lambda x, drawn, **attrs: peer(x, **attrs, _random_samples=drawn.detach())
        )
        for rank in (2, 3)
    },
    **dict.fromkeys(("gru", "rnn_tanh", "rnn_relu"), of_states(1)),
    "lstm": of_states(2),
    "lstm_cell": lambda peer: lambda x, h, c, *weights: peer(x, (h, c), *weights),
    "matmul": lambda peer: lambda lhs, rhs, *, compute: peer(lhs, rhs),  # nothing is rounded
    "affine_grid": lambda peer: (
        lambda x, *, size, align_corners: peer(x, list(size), align_corners)
    ),
    "batch_norm": lambda peer: (
        lambda x, w, b, *, eps: peer(x, w, b, None, None, True, 0.1, eps, False)
    ),
    "instance_norm": lambda peer: (
        lambda x, w, b, *, eps: peer(x, w, b, None, None, True, 0.1, eps, False)
    ),
    "group_norm": lambda peer: lambda x, w, b, *, num_groups: peer(x, num_groups, w, b),
    "as_strided": lambda peer: lambda x, *, size, stride, offset: peer(x, size, stride, offset),
    **dict.fromkeys(("cholesky", "eigvalsh"), lambda peer: lambda A, *, whole: peer(A)),
    "einsum": lambda peer: lambda *operands, equation: peer(equation, *operands),
    "ctc_loss": lambda peer: lambda x, *rest, **options: peer(x.log_softmax(-1), *rest, **options),
    "expand": lambda peer: lambda x, *, shape: peer(x, shape),
    "gather": lambda peer: lambda x, index: peer(x, -1, index.long()),
    "gelu_tanh": lambda peer: lambda x: peer(x, approximate="tanh"),
    "index_add": lambda peer: (
        lambda base, index, value: peer(
            base, 0, index.long().reshape(-1), value.reshape(index.numel(), *base.shape[1:])
        )
    ),
    "istft": lambda peer: (
        lambda x, w, *, n_fft, hop_length: peer(x, n_fft, hop_length, window=w.real, center=False)
    ),
    "embedding_bag": lambda peer: lambda index, weight, **rest: peer(index.long(), weight, **rest),
    "bincount": lambda peer: lambda x, weights, **rest: peer(x.long(), weights.detach(), **rest),
    "index_select": lambda peer: lambda x, index, *, dim: peer(x, dim, index.long()),
    "take_along_dim": lambda peer: lambda x, index, *, dim: peer(x, index.long(), dim),
    "index_fill": lambda peer: lambda x, index, *, dim, value: peer(x, dim, index.long(), value),
    "layer_norm": lambda peer: (
        lambda x, weight, bias, *, eps: peer(x, x.shape[-1:], weight, bias, eps)
    ),
    "log_softmax": lambda peer: lambda x: peer(x, -1),
    "permute": lambda peer: lambda x, *, dims: peer(x, dims),
    "prelu": lambda _peer: lambda x, weight: torch.where(x > 0, x, x * weight),
    "repeat": lambda peer: lambda x, *, repeats: peer(x, repeats),
    "reshape": lambda peer: lambda x, *, shape: peer(x, shape),
    "rms_norm": lambda peer: lambda x, weight, *, eps: peer(x, x.shape[-1:], weight, eps),
    "scatter_reduce": lambda peer: (
        lambda x, index, source, *, dim, **rest: peer(x, dim, index.long(), source, **rest)
    ),
    "scatter_merge": lambda peer: (
        lambda base, index, value, *, reduce: peer(base, -1, index.long(), value, reduce)
    ),
    "scatter_add": lambda peer: lambda base, index, value: peer(base, -1, index.long(), value),
    "soft_margin_loss": lambda peer: lambda x, y, **options: peer(x, y.detach(), **options),
    "softmax": lambda peer: lambda x: peer(x, -1),
    "sliding": lambda peer: lambda x, *, dim, size, step: peer(x, dim, size, step),
    "trigamma": lambda peer: lambda x: peer(1, x),
    **dict.fromkeys(("igamma", "igammac", "zeta"), by_last),
    **dict.fromkeys(("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1"), constant),
    **dict.fromkeys(("modified_bessel_k0", "modified_bessel_k1"), constant),
    **dict.fromkeys(("scaled_modified_bessel_k0", "scaled_modified_bessel_k1"), constant),
    **dict.fromkeys(("heaviside", "nextafter"), constant),
    "stft": lambda peer: (
        lambda x, w, *, n_fft, hop_length: peer(
            x, n_fft, hop_length, window=w, center=False, return_complex=True
        )
    ),
    "take": lambda _peer: lambda x, index: x[index.long()],
    "take_within": lambda peer: (
        lambda x, index, *, from_end: peer(x, 1, index.long() % max(x.shape[1], 1))
    ),
    "count_numbers": lambda peer: (
        lambda x, *, size: peer(x.long()[x.long() < size], minlength=size)
    ),
    "standardize": standardized,
    "kth": lambda peer: lambda x, *, k: peer(x, k + 1, -1, True),
}


def peer_of(op: Op) -> Peer:
    """The function that the record names, taking what the operator takes."""
    assert op.peer is not None
    found: Any = torch
    for name in op.peer.removeprefix("torch.").split("."):
        found = getattr(found, name, None)
        assert found is not None, f"{op.name}: there is no {op.peer}; or say why in NO_PEER"
    if op.name in CALLS:
        return CALLS[op.name](found)
    if isinstance(op, Scan):
        return lambda x, *, dims: found(x, dims[0])
    return over(found) if isinstance(op, Reduction) else found


def test_reasons_are_those_of_operators() -> None:
    names = {op.name for op in OPS}
    assert set(NO_PEER) <= names and set(CALLS) <= names
    assert not set(NO_PEER) & set(CALLS)


def theirs_of(array: Any) -> Any:
    """A torch tensor with the elements of an array."""
    name = dt.from_numpy(array.dtype).name
    if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return torch.from_numpy(array.astype(np.float32)).to(torch_dtype(name))
    return torch.from_numpy(np.array(array))


def compare(op: Op, case: Case, kind: str) -> None:
    """Results, and gradients of their sums weighted by 1, 2, 3, ..."""
    peer = peer_of(op)
    ours = [Tensor(node) for node in case.nodes("cpu")]
    theirs = [theirs_of(array) for array in case.operands]
    moving = [i for i, x in enumerate(ours) if op.differentiable and x.is_floating_point()]
    for i in moving:
        ours[i].requires_grad_()
        theirs[i].requires_grad_()
    found = [Tensor(node) for node in case.apply([x.node for x in ours])]
    wanted = peer(*theirs, **case.attrs)
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    about = {"operator": op.name, "inputs": case.operands}
    ours_total, theirs_total = None, None
    for result, expected in zip(found, wanted, strict=True):
        array = expected.detach().resolve_conj().numpy()
        assert_close(host_array(result.node).astype(array.dtype), array, kind, **about)
        real = expected.numel() and not expected.is_complex()
        if not (moving and expected.requires_grad and real and op.name != NO_DERIVATIVE):
            continue
        weights = np.arange(1, array.size + 1, dtype=array.dtype).reshape(array.shape)
        weights = weights / array.dtype.type(array.size)
        scaled = result * Tensor(host_node(weights, result.dtype, result.device))
        ours_total = scaled.sum() if ours_total is None else ours_total + scaled.sum()
        part = (expected * torch.from_numpy(np.asarray(weights))).sum()
        theirs_total = part if theirs_total is None else theirs_total + part
    if ours_total is None or theirs_total is None:
        return
    ours_total.backward()
    theirs_total.backward()
    for i in moving:
        if ours[i].grad is not None and theirs[i].grad is not None:
            assert_close(ours[i].grad, theirs[i].grad, "gradient", **about)


@pytest.mark.parametrize("op", [op for op in OPS if op.name not in NO_PEER], ids=lambda op: op.name)
def test_operator_equals_its_peer(op: Op, seed: int) -> None:
    dtype = next((d for d in (dt.float32, dt.int32, dt.bool_) if d in op.dtypes), op.dtypes[0])
    kind = "composite" if kind_of(op) == "elementwise" else kind_of(op)
    for number in range(seed, seed + 5):
        case = draw(op, Draw(number), dtype, smooth=True)
        assert case is not None
        if case.attrs.get("dims") != ():
            compare(op, case, kind)
