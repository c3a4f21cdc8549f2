"""The hand-written kernels that run on GPUs, with the types that they can be bound to."""

import importlib
import pkgutil
from collections.abc import Iterator
from itertools import product

import numbatorch.cuda_kernels
import numbatorch.ops.portable
from numbatorch.language.kernel import BoundKernel, Kernel

PACKAGES = (numbatorch.ops.portable, numbatorch.cuda_kernels)


def kernels() -> Iterator[Kernel]:
    """Each kernel once, in the order of its module's names."""
    for package in PACKAGES:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if isinstance(value, Kernel) and value.__module__ == found.name:
                    yield value


def bindings(kernel: Kernel) -> Iterator[BoundKernel]:
    """The kernel with each choice of each type parameter at least once."""
    for i in range(max((len(choices) for choices in kernel.types.values()), default=1)):
        yield kernel(**{name: row[i % len(row)] for name, row in kernel.types.items()})


def all_bindings(kernel: Kernel) -> Iterator[BoundKernel]:
    """The kernel with every combination of its types."""
    for chosen in product(*kernel.types.values()):
        yield kernel(**dict(zip(kernel.types, chosen, strict=True)))
