"""The kernels that run on GPUs: hand-written ones with their types, and those of graphs."""

import importlib
import pkgutil
from collections.abc import Iterator
from itertools import product
from typing import Any

import numbatorch.cuda_kernels
import numbatorch.ops.portable
from numbatorch import dtype as dt
from numbatorch.backends.planned import placeholder_graph
from numbatorch.dtype import DType
from numbatorch.graph import Node, toposort
from numbatorch.language.kernel import BoundKernel, Kernel, KernelSpec
from numbatorch.passes.plan import HostStep
from numbatorch.passes.planner import make_plan

PACKAGES = (numbatorch.ops.portable, numbatorch.cuda_kernels)
Pair = tuple[KernelSpec, KernelSpec | None]


def kernels() -> Iterator[Kernel]:
    """Each kernel once, in the order of its module's names."""
    for package in PACKAGES:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if isinstance(value, Kernel) and value.__module__ == found.name:
                    yield value


def dtype_class(name: str) -> str:
    """Types of one class take the same instructions but for a conversion."""
    dtype = dt.by_name[name]
    if dtype.kind == "f":
        return f"float{max(8 * dtype.itemsize, 8)}"
    return dtype.kind if dtype.kind != "q" else name


def one_of_each_class(names: tuple[str, ...]) -> tuple[str, ...]:
    """The first type of each class."""
    return tuple({dtype_class(name): name for name in reversed(names)}.values())


def bindings(kernel: Kernel) -> Iterator[BoundKernel]:
    """The kernel with a type of each class for each type parameter at least once."""
    rows = {name: one_of_each_class(choices) for name, choices in kernel.types.items()}
    for i in range(max(map(len, rows.values()), default=1)):
        yield kernel(**{name: row[i % len(row)] for name, row in rows.items()})


def all_bindings(kernel: Kernel) -> Iterator[BoundKernel]:
    """The kernel with every combination of its types."""
    for chosen in product(*kernel.types.values()):
        yield kernel(**dict(zip(kernel.types, chosen, strict=True)))


def launched(roots: list[Node]) -> dict[str, Pair]:
    """The kernels and epilogues that realizing nodes on device cuda would launch, by their keys.

    Host steps among the launches have none.
    """
    copies, _leaves = placeholder_graph(toposort(roots))
    plan = make_plan([copies[root] for root in roots if root.buffer is None], "cuda", 1)
    launches = [step for step in plan.launches if not isinstance(step.spec, HostStep)]
    pairs = [(step.spec, step.epilogue and step.epilogue.spec) for step in launches]
    return {f"{spec.key} {epilogue and epilogue.key}": (spec, epilogue) for spec, epilogue in pairs}


def launched_for(*tensors: Any) -> dict[str, Pair]:
    """As `launched`, for tensors."""
    return launched([tensor.node for tensor in tensors])


def one_dtype_of_each_class(dtypes: tuple[DType, ...]) -> list[DType]:
    """The first dtype of each class."""
    return [dt.by_name[name] for name in one_of_each_class(tuple(d.name for d in dtypes))]
