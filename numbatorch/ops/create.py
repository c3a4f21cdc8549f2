"""Values made from nothing: constants, ranges."""

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.operands import IOTA, const
from numbatorch.shape import Shape


def full(shape: Shape, value: float | int | bool, dtype: DType, device: Device) -> Node:
    """`value` everywhere."""
    return const(value, dtype, device, shape)


def iota(size: int, device: Device) -> Node:
    """0, 1, ..., size - 1 in int64; never stored, its elements are computed where they are read."""
    return Node(IOTA, (), {}, (size,), dt.int64, device)


def arange(start: float, step: float, size: int, dtype: DType, device: Device) -> Node:
    """start + i * step for i below size, computed in float64 for floats and int64 otherwise."""
    wide = dt.float64 if dtype.kind == "f" else dt.int64
    steps = find("cast").apply(iota(size, device), dtype=wide)
    values = steps * const(step, wide, device, (size,)) + const(start, wide, device, (size,))
    return find("cast").apply(values, dtype=dtype)
