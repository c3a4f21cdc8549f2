"""How a structured operator becomes launches: its kernels say so beside themselves.

`ops/cpu/<family>.py` registers one lowering per operator; `compile/plan.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numbatorch.dtype import DType
from numbatorch.graph import Op
from numbatorch.layout import Layout
from numbatorch.shape import Shape


@dataclass(frozen=True)
class Operand:
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
        epilogue: two arguments for kernels that call an epilogue (function and argument block
            addresses, both 0 if there is none).
    """

    parts: int
    epilogue: tuple[Any, Any]

    def launch(self, spec: Any, *arguments: Any, work: float, serial: bool = False) -> None:
        """Add one launch of a kernel.

        Args:
            spec: the kernel, with its types bound.
            arguments: its words in order: Operand or scratch for pointers, int or plan variable,
                float.
            work: about how many simple operations it does, from which it is decided whether the
                whole team is worth waking.
            serial: run on one thread whatever the work.
        """

    def scratch(self, nbytes: int) -> Any:
        """Memory for the launches of this lowering only; undefined at first."""

    def status(self, bound: int) -> Any:
        """Two int64 words, zero at first: a kernel that meets an index outside of [0, bound)
        stores 1 and the index, and does not follow it. The plan raises OutOfRange after the run.
        """


Lowering = Callable[..., None]

_LOWERINGS: dict[tuple[str, str], tuple[Lowering, tuple[str, ...] | None]] = {}


def lower(
    backend: str, op: Op, dtypes: tuple[str, ...] | None = None
) -> Callable[[Lowering], Lowering]:
    """Decorator: `function(launcher, out, *operands, **attrs)` launches the kernels of `op`.

    Args:
        backend: that has the kernels.
        op: what they compute.
        dtypes: of results that they can compute; others take the fallback. None is any.
    """

    def decorate(function: Lowering) -> Lowering:
        _LOWERINGS[backend, op.name] = function, dtypes
        return function

    return decorate


def lowering(backend: str, op: Op, dtype: DType) -> Lowering | None:
    """The lowering of `op` with a result of `dtype`; the family's kernels must be imported."""
    function, dtypes = _LOWERINGS.get((backend, op.name), (None, None))
    return function if dtypes is None or dtype.name in dtypes else None
