"""Run CPU kernels and lowerings on NumPy arrays, without a plan: parts one after the other."""

import ctypes
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.backends.cpu import pack
from numbatorch.device import device
from numbatorch.errors import OutOfRange, message
from numbatorch.graph import Node
from numbatorch.language.kernel import KernelSpec
from numbatorch.layout import Layout
from numbatorch.ops.lowering import Operand, lowering
from numbatorch.ops.operands import BUFFER
from numbatorch.ops.structured import Structured

Array = np.ndarray[Any, Any]

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def address_of(value: Any) -> int:
    """Address of the first element of an array or Operand; 0 and plan addresses pass."""
    if isinstance(value, Operand):
        return int(value.buffer.ctypes.data) + value.layout.offset * value.dtype.itemsize
    if isinstance(value, np.ndarray):
        return int(value.ctypes.data)
    return int(value)


def argument_block(spec: KernelSpec, arguments: tuple[Any, ...]) -> Array:
    """The int64 words of `arguments` in the order of the kernel's signature."""
    assert len(arguments) == len(spec.signature), (spec, spec.signature, arguments)
    block = np.zeros(max(len(arguments), 1), np.int64)
    for i, (word, value) in enumerate(zip(spec.signature, arguments, strict=True)):
        if word == "float":
            block[i : i + 1].view(np.float64)[0] = float(value)
        else:
            assert word == "pointer" or not isinstance(value, Operand | np.ndarray), (i, value)
            block[i] = address_of(value)
    return block


def entry(spec: KernelSpec) -> Any:
    """The compiled kernel: a function of (argument block address, part, parts)."""
    return _FUNCTION(pack.addresses([spec])[spec.key])


def run_kernel(spec: KernelSpec, *arguments: Any, parts: int = 1, only: int | None = None) -> None:
    """Run every part of one launch, or one alone; arrays and Operands give their addresses."""
    block = argument_block(spec, arguments)
    function = entry(spec)
    for part in range(parts) if only is None else (only,):
        function(block.ctypes.data, part, parts)


class ArrayLauncher:
    """A Launcher that runs each launch at once; scratch is filled with NaN and odd bytes.

    Attributes:
        launches: (spec, arguments, parts) of each launch, for tests that count or time them.
    """

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.epilogue: tuple[Any, Any] = (0, 0)
        self.launches: list[tuple[KernelSpec, tuple[Any, ...], int]] = []
        self._statuses: list[tuple[Array, int]] = []

    def launch(
        self, spec: Any, *arguments: Any, work: float, serial: bool = False, items: int = 0
    ) -> None:
        """Run the kernel."""
        assert work >= 0
        assert items >= 0
        parts = 1 if serial else self.parts
        self.launches.append((spec, arguments, parts))
        run_kernel(spec, *arguments, parts=parts)

    def wanted(self, out: Any) -> bool:
        return True

    def scratch(self, nbytes: int) -> Array:
        """Memory that starts as NaN in every float type."""
        assert nbytes == int(nbytes)
        return np.full(int(nbytes) + 64, 0xFF, np.uint8)

    def status(self, bound: int, least: int = 0) -> Array:
        """Two words, checked by `raise_status`."""
        words = np.zeros(2, np.int64)
        self._statuses.append((words, bound))
        return words

    def raise_status(self) -> None:
        """Raise OutOfRange if a kernel met an index outside of its bound."""
        for words, bound in self._statuses:
            if words[0]:
                raise OutOfRange(message("index", f"{words[1]} is not in [0, {bound})"))


def operand(array: Array) -> Operand:
    """An array with any strides as an operand."""
    strides = tuple(stride // array.itemsize for stride in array.strides)
    dtype = dt.from_numpy(array.dtype)
    return Operand(array, Layout(array.shape, strides, 0), dtype)


def node_of(array: Array) -> Node:
    """A realized node on device "numpy" that holds `array`."""
    dtype = dt.from_numpy(array.dtype)
    node = Node(BUFFER, (), {}, array.shape, dtype, device("numpy"))
    node.buffer = array
    return node


def infer(op: Structured, arrays: list[Array], attrs: dict[str, Any]) -> tuple[Node, ...]:
    """The nodes of the outputs of `op` on `arrays`, not computed."""
    return op.parts(*(node_of(x) for x in arrays), **attrs)


def run_op(op: Structured, arrays: list[Array], attrs: dict[str, Any], parts: int = 1) -> Array:
    """The only output of `run_parts`."""
    (out,) = run_parts(op, arrays, attrs, parts)
    return out


def run_parts(
    op: Structured, arrays: list[Array], attrs: dict[str, Any], parts: int = 1
) -> list[Array]:
    """Lower `op` for the CPU and run its kernels; operands not listed as strided are copied."""
    nodes = infer(op, arrays, attrs)
    lower = lowering("cpu", op, nodes[0].dtype)
    assert lower is not None, f"{op.name} has no lowering"
    outs = [
        np.full(x.shape, 0x7F if x.dtype.kind in "iub" else np.nan, x.dtype.numpy) for x in nodes
    ]
    if op.inplace is not None:
        outs = [np.array(arrays[op.inplace], order="C")]
    operands = []
    for i, array in enumerate(arrays):
        if i == op.inplace:
            operands.append(operand(outs[0]))
        elif i in op.strided:
            operands.append(operand(array))
        else:
            operands.append(operand(np.ascontiguousarray(array).reshape(array.shape)))
    launcher = ArrayLauncher(parts)
    written = tuple(map(operand, outs))
    out = written[0] if nodes[0].op is op else written
    lower(launcher, out, *operands, **{**op.defaults, **attrs})
    launcher.raise_status()
    return outs
