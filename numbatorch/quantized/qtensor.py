"""QTensor: a tensor in blocks of few bits, under the names that people look for.

It is a `Tensor` of a block type, as `nt.quantize` and the readers of files give them, and goes
wherever one does.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType, named
from numbatorch.errors import (
    DTypeError,
    FormatError,
    GradientError,
    OutOfRange,
    ShapeError,
    message,
)
from numbatorch.graph import Node, find, grad_enabled
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_tensors import save_gguf
from numbatorch.io.packed import unpacked, with_types
from numbatorch.io.reading import short
from numbatorch.io.safetensors import SafetensorsFile, save_safetensors
from numbatorch.ops import blocks
from numbatorch.ops.experts import expert_linear
from numbatorch.ops.operands import describe
from numbatorch.ops.write_through import Step
from numbatorch.shape import numel
from numbatorch.tensor import Tensor, from_blocks
from numbatorch.tensor.base import host_array
from numbatorch.tensor.turned import in_blocks

NAME = "weight"  # of a tensor that is saved alone


class QTensor(Tensor):
    """A weight (..., K) whose rows are packed in GGML blocks.

    `nn.functional.linear(x, w)`, `x @ w.T` and `nn.functional.embedding(ids, w)` compute on the
    blocks; gradients flow to x. `w[2]` and `w[2:5]` are rows, of experts the matrices.

    >>> w = quantize(nt.ones(64, 32), "Q8_0")
    >>> w.shape, w.nbytes, w.rows, (nt.ones(1, 32) @ w.T)[0, :2].round().tolist()
    ((64, 32), 2176, 64, [32.0, 32.0])
    """

    __slots__ = ()

    def __init__(self, node: Node, /, *given: object) -> None:
        if given or not isinstance(node, Node):
            problem = "is not made of data"
            hint = "nt.quantized.quantize(tensor, type) makes one of floats"
            raise TypeError(message("QTensor", problem, hint=hint))
        if not in_blocks(node):
            problem = f"{describe(node)} is not in blocks"
            raise DTypeError(message("QTensor", problem, hint="quantize makes such of floats"))
        super().__init__(node)

    @classmethod
    def quantize(cls, tensor: Tensor, type: DType | str, imatrix: Any = None) -> QTensor:
        """As the function `quantize`."""
        return quantize(tensor, type, imatrix)

    @property
    def rows(self) -> int:
        """How many rows there are, each of whole blocks."""
        return numel(self.shape[:-1])

    def dequantize(self, dtype: dt.Like = dt.float32) -> Tensor:
        """The numbers that the blocks stand for, in the same shape.

        Args:
            dtype: a float type; float32 unless given.
        Raises:
            DTypeError: the dtype holds no fractions.

        >>> quantize(nt.ones(2, 32), "Q4_0").dequantize(nt.float16).dtype
        numbatorch.float16
        """
        kind = named("dequantize", dtype)
        if kind.kind != "f":
            problem = f"{kind.name} does not hold the numbers of {describe(self.node)}"
            raise DTypeError(message("dequantize", problem))
        return Tensor(find("dequantize").apply(self.node)).to(kind)

    def _of(self, node: Node) -> Tensor:
        if node is self.node or not in_blocks(node):
            return super()._of(node)
        return QTensor(node)

    def _view(self, node: Node, steps: tuple[Step, ...]) -> Tensor:
        return QTensor(node) if in_blocks(node) else super()._view(node, steps)

    def __reduce__(self) -> Any:
        where = str(self.device)
        return _restore, (host_array(self.node), self.dtype.name, tuple(self.shape), where)

    def __getitem__(self, index: Any) -> QTensor:
        whole = isinstance(index, slice | int) and not isinstance(index, bool)
        if not whole or len(self.shape) < 2:
            problem = f"{describe(self.node)} has rows of blocks: a number or a slice of them"
            raise DTypeError(message("QTensor", problem, hint="dequantize() has elements"))
        try:
            data = host_array(self.node)[index]
        except IndexError as error:
            problem = f"row {index} of {describe(self.node)} is not there"
            raise OutOfRange(message("QTensor", problem)) from error
        shape = (*data.shape[:-1], self.shape[-1])
        return QTensor(from_blocks(data, self.dtype, shape, self.device).node)

    def save(self, path: str | os.PathLike[str], name: str = NAME) -> None:
        """Write a file with this tensor alone: GGUF, or safetensors where the path ends so.

        Raises:
            FormatError: the path has the suffix of another format.
            OSError, FormatError: as `nt.save`.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".safetensors":
            array = host_array(self.node)
            save_safetensors(path, {name: array}, with_types({name: self}, None))
        elif suffix in ("", ".gguf"):
            save_gguf(path, {name: self})
        else:
            problem = f"no blocks are written to {suffix}"
            rule = "written are .gguf and .safetensors"
            raise FormatError(message("QTensor", problem, f"file {path}", rule))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        name: str | None = None,
        device: Device | str | None = None,
    ) -> QTensor:
        """A tensor of a GGUF file or one of safetensors, over the mapped bytes where the device
        reads those.

        Args:
            path: the file, or the first of its parts.
            name: of the tensor; may be left out where there is one.
            device: the default device unless given.
        Raises:
            FormatError: no tensor of that name, or several and no name; a malformed file.
            DTypeError: the tensor is not in blocks.
        """
        where = as_device(device)
        if Path(path).suffix.lower() == ".safetensors":
            return cls(_from_safetensors(Path(path), name, where).node)
        file = GGUFFile(path)
        name = _one(file.tensors, name, file.path)
        array = file.tensor(name)
        info = file.tensors[name]
        if info.dtype.kind != "q":
            raise DTypeError(message("QTensor", f"tensor {name!r} is {info.dtype.name}"))
        return cls(from_blocks(array, info.dtype, info.shape, where, share=True).node)


def _one(names: Collection[str], name: str | None, path: Path) -> str:
    """The name that is given, or the only one."""
    if name is None and len(names) != 1:
        problem = f"the file has {len(names)} tensors, and no name says which"
        raise FormatError(message("load", problem, f"file {path}"))
    return next(iter(names)) if name is None else name


def _from_safetensors(path: Path, name: str | None, device: Device) -> Tensor:
    file = SafetensorsFile(path)
    name = _one(file.tensors, name, path)
    array = file.tensor(name)
    found = unpacked({name: array}, file.metadata, path, device, only=name)
    if name not in found:
        raise DTypeError(message("QTensor", f"tensor {name!r} is {array.dtype}, not in blocks"))
    return found[name]


def _restore(data: Any, dtype: str, shape: tuple[int, ...], device: str) -> QTensor:
    """A tensor out of a pickle."""
    return QTensor(from_blocks(data, dtype, shape, device).node)


def quantize(tensor: Tensor, type: DType | str, imatrix: Any = None) -> QTensor:
    """Values packed in blocks of a type.

    Args:
        tensor: (..., K) floats, K a multiple of the type's block.
        type: a block type with an encoder, or its name.
        imatrix: (K,) or (E, K), how much the square of an error in each column counts, of an
            expert (E, N, K) each its own; all the same unless given.
    Returns:
        the shape of tensor, on its device.
    Raises:
        GradientError: the tensor requires a gradient.
        TypeError: no tensor is given, or an imatrix of no numbers.
        DTypeError: nothing encodes the type; the tensor is not of floats.
        ShapeError: rows are not whole blocks, or imatrix has another size.
        FormatError: a value is NaN or infinite, or beyond float32.

    >>> quantize(nt.ones(2, 32), "Q8_0").dequantize().sum().round()
    tensor(64.)
    """
    given: object = tensor
    if not isinstance(given, Tensor):
        hint = "nt.tensor(values) is one"
        problem = f"takes a tensor, not {_kind(given)}"
        raise TypeError(message("quantize", problem, hint=hint))
    if tensor.dtype.kind != "f":
        hint = "dequantize() it first" if in_blocks(tensor.node) else "float() has them as floats"
        problem = f"{describe(tensor.node)} has no floats"
        raise DTypeError(message("quantize", problem, hint=hint))
    if tensor.requires_grad and grad_enabled():
        about = describe(tensor.node)
        hint = "detach() it first"
        raise GradientError(message("quantize", "no gradient flows through it", about, hint=hint))
    kind = blocks.find("quantize", type).dtype
    exact = host_array(tensor.node)
    with np.errstate(over="ignore"):
        values = np.asarray(exact, np.float32)
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise FormatError(message("quantize", f"element {place} is {exact[place]}"))
    if imatrix is None:
        packed = blocks.quantize(values, kind)
    else:
        packed = _weighted(values, kind, imatrix)
    return QTensor(from_blocks(packed, kind, tuple(tensor.shape), tensor.device, share=True).node)


def _kind(value: object) -> str:
    return f"{short(repr(value), 60)}, a {type(value).__name__}"


def _weighted(values: np.ndarray[Any, Any], kind: DType, imatrix: Any) -> np.ndarray[Any, Any]:
    raw = imatrix.numpy() if isinstance(imatrix, Tensor) else imatrix
    try:
        weights = np.asarray(raw, np.float32)
    except (TypeError, ValueError) as error:
        problem = f"imatrix is {_kind(imatrix)}, not numbers"
        raise TypeError(message("quantize", problem)) from error
    experts = values.shape[0] if weights.ndim == 2 and values.ndim == 3 else 1
    if weights.shape not in ((values.shape[-1],), (experts, values.shape[-1])):
        rule = f"imatrix is {weights.shape}, the tensor {values.shape}"
        raise ShapeError(message("quantize", "imatrix has a number for each column", rule))
    encode: Any = blocks.quantize
    per_expert = weights.reshape(-1, values.shape[-1])
    if len(per_expert) == 1:
        found: np.ndarray[Any, Any] = encode(values, kind, imatrix=per_expert[0])
        return found
    pairs = zip(values, per_expert, strict=True)
    return np.stack([encode(matrix, kind, imatrix=row) for matrix, row in pairs])


def expert_matmul(x: Tensor, weight: Tensor, experts: Tensor) -> Tensor:
    """Rows times the matrices of the experts that each is given to: x[m] @ weight[experts[m, j]].T.

    Args:
        x: (M, K), or (M, k, K) with a row for each choice.
        weight: (E, N, K), in blocks or plain.
        experts: (M, k) integers.
    Returns:
        (M, k, N), dtype of x.
    Raises:
        ShapeError: the shapes are others.
        DTypeError, OutOfRange: as in `nn.functional.expert_linear`.

    >>> w = quantize(nt.ones(4, 32, 32), "Q8_0")
    >>> expert_matmul(nt.ones(2, 32), w, nt.tensor([[0, 3], [1, 2]])).shape
    (2, 2, 32)
    """
    about = [describe(value.node) for value in (x, weight, experts)]
    shared = len(x.shape) == 2
    M, k = experts.shape if len(experts.shape) == 2 else (0, 0)
    fits = len(weight.shape) == 3 and len(experts.shape) == 2 and x.shape[-1:] == weight.shape[-1:]
    if not fits or x.shape[:-1] != ((M,) if shared else (M, k)):
        problem = "x must be (M, K) or (M, k, K), weight (E, N, K), experts (M, k)"
        raise ShapeError(message("expert_matmul", problem, *about))
    E, N, K = weight.shape
    rows = x.reshape(M, 1, K).expand(M, k, K) if shared else x
    flat = find("reshape").apply(weight.node, shape=(E * N, K))
    found = expert_linear(rows.reshape(M * k, K).node, flat, experts.reshape(M * k).node, E)
    return Tensor(found).reshape(M, k, N)
