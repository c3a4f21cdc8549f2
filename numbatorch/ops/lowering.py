"""How a structured operator becomes launches: its kernels say so beside themselves.

A family's kernels register one lowering per operator; `passes/planner.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange
from numbatorch.graph import Op
from numbatorch.layout import Layout
from numbatorch.shape import Shape


class Operand(NamedTuple):
    """A buffer of the plan, seen through a layout.

    Attributes:
        buffer: the plan's name for the memory.
        layout: where the elements lie; contiguous unless the operator takes strided operands.
        dtype: of the elements.
    """

    buffer: Any
    layout: Layout
    dtype: DType

    @property
    def shape(self) -> Shape:
        """Of the value."""
        return self.layout.shape

    @property
    def strides(self) -> Shape:
        """In elements."""
        return self.layout.strides


class Launcher(Protocol):
    """What a lowering may do.

    Attributes:
        parts: number of threads that will share each launch.
        epilogue: for kernels that apply an epilogue. On the CPU two arguments (function and
            argument block addresses, both 0 if there is none); on GPUs what stands for the
            parameter `finish`.
    """

    parts: int
    epilogue: Any

    def launch(
        self,
        spec: Any,
        *arguments: Any,
        work: float,
        serial: bool = False,
        items: int | None = None,
        groups: int | None = None,
        threads: int = 0,
    ) -> None:
        """Add one launch of a kernel.

        Args:
            spec: the kernel, with its types bound.
            arguments: its words in order: Operand or scratch for pointers, int or plan variable,
                float.
            work: about how many simple operations it does, from which it is decided whether the
                whole team of CPU threads is worth waking.
            serial: run on one CPU thread whatever the work.
            items: how many things the kernel's `share` shares; on a GPU, one thread for each.
            groups, threads: for a kernel of groups: how many, and threads in each, a power of 2.
                A launch for GPUs says one of `items` and `groups`.
        """

    def scratch(self, nbytes: int) -> Any:
        """Memory for the launches of this lowering only; undefined at first."""

    def wanted(self, out: Operand) -> bool:
        """Whether anybody reads `out`, one of several outputs."""

    def status(
        self,
        bound: int = 0,
        least: int = 0,
        problem: str = "",
        error: type[Exception] = OutOfRange,
    ) -> Any:
        """Two int64 words, zero at first: a kernel that meets an index outside of [least, bound)
        stores 1 and the index, and does not follow it. The plan raises OutOfRange after the run.

        Args:
            problem: what a 1 says instead.
            error: the class of the error.
        """


Lowering = Callable[..., None]

_LOWERINGS: dict[tuple[str, Op], tuple[Lowering, tuple[str, ...] | None]] = {}

# Where the kernels of a family stand, and which of them each target takes, the first it finds.
# Those of another package stand in folders cpu, gpu and portable beside the module of the record.
PLACES = {
    "cpu": "numbatorch.ops.cpu",
    "gpu": "numbatorch.cuda_kernels",
    "portable": "numbatorch.ops.portable",
}
SEARCH = {
    "cpu": ("cpu", "portable"),
    "cuda": ("gpu", "portable"),
    "metal": ("gpu", "portable"),
}


def lower(
    place: str, op: Op, dtypes: tuple[str, ...] | None = None
) -> Callable[[Lowering], Lowering]:
    """Decorator: `function(launcher, out, *operands, **attrs)` launches the kernels of `op`.

    `out` is a tuple of operands where `op` has several outputs.

    Args:
        place: "cpu" for CPU kernels, "gpu" for kernels of groups, which CUDA and Metal share, or
            "portable" for kernels of all devices.
        op: what they compute.
        dtypes: of (first) results that they can compute; others take the fallback. None is any
            that is not complex.
    """
    assert place in PLACES, place

    def decorate(function: Lowering) -> Lowering:
        _LOWERINGS[place, op] = function, dtypes
        return function

    return decorate


def lowering(target: str, op: Op, dtype: DType) -> Lowering | None:
    """The lowering of `op` with a result of `dtype` for a target, or None."""
    place = place_of(target, op, dtype)
    return None if place is None else _LOWERINGS[place, op][0]


def place_of(target: str, op: Op, dtype: DType) -> str | None:
    """Where a target finds the lowering of `op` with a result of `dtype`, or None."""
    for place in SEARCH[target]:
        _load_family(place, op.reference.__module__)
        function, dtypes = _LOWERINGS.get((place, op), (None, None))
        if function is not None and (
            not dtype.is_complex if dtypes is None else dtype.name in dtypes
        ):
            return place
    return None


_families: set[tuple[str, str]] = set()


def _load_family(place: str, module: str) -> None:
    """Import the kernels of the operators of a module, once."""
    if (place, module) in _families:
        return
    package, _, stem = module.rpartition(".")
    folder = PLACES[place] if package == "numbatorch.ops" else f"{package}.{place}"
    try:
        if package:
            import_module(f"{folder}.{stem}")
    except ModuleNotFoundError as err:
        if err.name not in (folder, f"{folder}.{stem}"):
            raise
    _families.add((place, module))
