"""Targets: what differs between the kernels that are emitted for the CPU, CUDA and Metal."""

from __future__ import annotations

from typing import NamedTuple

from numbatorch.dtype import DType, float32, float64


class Target(NamedTuple):
    """One kind of kernel. All are printed from the same graph in the same language.

    Attributes:
        name: the kind of device.
        groups: whether threads work in groups and each takes one item; else in large shares.
        scalars: the target of `ops.scalar.Builder`.
        real: what a float among a kernel's arguments is.
    """

    name: str
    groups: bool
    scalars: str
    real: DType


TARGETS = {
    "cpu": Target("cpu", False, "numba", float64),
    "cuda": Target("cuda", True, "numba", float64),
    "metal": Target("metal", True, "metal", float32),
}


class Grid(NamedTuple):
    """How many threads of a GPU a launch takes; see `ops.lowering.Launcher.launch`."""

    items: int = 0
    groups: int = 0
    threads: int = 0
