"""The text of a tensor, as PyTorch prints it.

Rules: https://pytorch.org/docs/stable/generated/torch.set_printoptions.html
Where we differ from PyTorch: `grad_fn=<mul>` names the operator, dtypes are `numbatorch.float16`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device
from numbatorch.errors import message
from numbatorch.graph import Node
from numbatorch.ops.operands import made_by
from numbatorch.shape import numel
from numbatorch.tensor.base import Array, host_array, is_leaf
from numbatorch.tensor.narrow import readable


@dataclass
class Options:
    """What `set_printoptions` sets, for all threads."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = Options()
_PROFILES = {
    "default": Options(),
    "short": Options(precision=2, edgeitems=2),
    "full": Options(threshold=math.inf),
}
_PREFIX = "tensor("


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: Literal["default", "short", "full"] | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed from now on; what is None stays, but for sci_mode.

    Args:
        precision: digits behind the point.
        threshold: elements; a larger tensor is printed as its edges.
        edgeitems: of each dimension at either end of it, where only edges are printed.
        linewidth: characters.
        profile: what the others begin with: short prints fewer digits and edges, full prints all.
        sci_mode: whether floats have an exponent; None where they differ much in size.
    Raises:
        ValueError: another profile, or a negative number.
        TypeError: no number.

    >>> set_printoptions(precision=2)
    >>> nt.tensor([1.2345])
    tensor([1.23])
    >>> set_printoptions(profile="default")
    """
    numbers = {"precision": precision, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, value in {**numbers, "threshold": threshold}.items():
        kinds = int | float if name == "threshold" else int
        if value is None:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(message("set_printoptions", f"{name} is {value!r}, not a number"))
        if not value >= 0:
            raise ValueError(message("set_printoptions", f"{name} is {value}, which is negative"))
    if profile is not None and profile not in _PROFILES:
        names = " or ".join(map(repr, _PROFILES))
        raise ValueError(message("set_printoptions", f"profile is {profile!r}, not {names}"))
    start = _options if profile is None else _PROFILES[profile]
    _options.precision = start.precision if precision is None else precision
    _options.threshold = start.threshold if threshold is None else threshold
    _options.edgeitems = start.edgeitems if edgeitems is None else edgeitems
    _options.linewidth = start.linewidth if linewidth is None else linewidth
    _options.sci_mode = sci_mode


def text(node: Node) -> str:
    """`tensor([...], ...)`; realizes the node."""
    suffixes = []
    if node.device != device():
        suffixes.append(f"device='{node.device}'")
    if node.dtype.kind == "q" and not node.dtype.is_storage:
        body = f"<{node.dtype.nbytes(numel(node.shape))} bytes in blocks>"
        suffixes += [f"size={node.shape}", f"dtype={node.dtype!r}"]
    elif numel(node.shape) == 0:
        body = "[]"
        if len(node.shape) != 1:
            suffixes.append(f"size={node.shape}")
        if node.dtype is not dt.Default.dtype:
            suffixes.append(f"dtype={node.dtype!r}")
    else:
        body = _elements(host_array(readable(node)))
        default = dt.Default.dtype
        if not _options.edgeitems:
            suffixes.append(f"size={node.shape}")
        if node.dtype not in (default, default.complex, dt.int64, dt.bool_):
            suffixes.append(f"dtype={node.dtype!r}")
    if node.requires_grad:
        suffixes.append("requires_grad=True" if is_leaf(node) else f"grad_fn=<{made_by(node)[0]}>")
    return _joined(_PREFIX + body, suffixes)


def _joined(start: str, suffixes: list[str]) -> str:
    parts = [start]
    column = len(start) - start.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            parts.append(",\n" + " " * len(_PREFIX) + suffix)
            column = len(_PREFIX) + len(suffix)
        else:
            parts.append(", " + suffix)
            column += len(suffix) + 2
    return "".join(parts) + ")"


def _elements(array: Array) -> str:
    array = printable(array)
    summarized = array.size > _options.threshold
    shown = _edges(array) if summarized else array
    format_one, width = formatter(shown)
    if array.ndim == 0:
        return format_one(array.item())
    return _nested(array, len(_PREFIX), summarized, format_one, width)


def printable(array: Array) -> Array:
    """The elements in a type of NumPy that prints: half types as float32."""
    narrow = array.dtype.kind not in "fiubc" or array.dtype == np.float16
    return array.astype(np.float32) if narrow else array


def _edges(array: Array) -> Array:
    """What a summary shows of each dimension."""
    edge = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge and (edge or array.ndim > 1):
            ends = [*range(edge), *range(size - edge, size)]
            array = np.take(array, ends, axis)
    return array


def formatter(shown: Array) -> tuple[Callable[[Any], str], int]:
    """The format that all elements share, and its width."""
    if shown.dtype.kind == "c":
        return _formatter_of_pairs(shown)
    values = shown.reshape(-1).tolist()
    if shown.dtype.kind != "f":
        width = max((len(str(value)) for value in values), default=1)
        return lambda value: str(value).rjust(width), width
    finite = [value for value in values if value != 0 and math.isfinite(value)]
    if not finite:
        return _padded(_whole, 1 if not values else 0)
    sizes = [abs(value) for value in finite]
    largest, smallest = max(sizes), min(sizes)
    whole = all(value == math.ceil(value) for value in finite)
    scientific = _options.sci_mode
    if scientific is None:
        scientific = largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
    if scientific:
        one: Callable[[float], str] = f"{{:.{_options.precision}e}}".format
    elif whole:
        one = _whole
    else:
        one = f"{{:.{_options.precision}f}}".format
    return _padded(one, max(len(one(value)) for value in finite))


def _formatter_of_pairs(shown: Array) -> tuple[Callable[[complex], str], int]:
    """Of complex numbers: the parts each have a format."""
    (real, width), (imag, height) = formatter(shown.real), formatter(shown.imag)

    def one(value: complex) -> str:
        across = imag(value.imag).lstrip() + "j"
        return real(value.real) + ("" if across[0] == "-" else "+") + across

    return one, width + height + 1


def _padded(one: Callable[[float], str], width: int) -> tuple[Callable[[float], str], int]:
    return lambda value: one(value).rjust(width), max(width, 1)


def _whole(value: float) -> str:
    return f"{value:.0f}." if math.isfinite(value) else f"{value:.0f}"


def _nested(
    array: Array, indent: int, summarized: bool, one: Callable[[float], str], width: int
) -> str:
    edge = _options.edgeitems
    cut = summarized and array.shape[0] > 2 * edge
    if array.ndim == 1:
        per_line = max(1, (_options.linewidth - indent) // (width + 2))
        if cut and not edge:
            items = ["..."]
        elif cut:
            head = [one(value) for value in array[:edge].tolist()]
            items = [*head, " ...", *(one(value) for value in array[-edge:].tolist())]
        else:
            items = [one(value) for value in array.tolist()]
        lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [*array[:edge], *array[len(array) - edge :]] if cut else [*array]
    parts = [_nested(row, indent + 1, summarized, one, width) for row in rows]
    if cut:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"
