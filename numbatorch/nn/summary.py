"""`nn.summary`: a table of what each layer of a module gives for an input, holds, multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numbatorch.errors import message
from numbatorch.graph import Node, toposort
from numbatorch.nest import map_leaves
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.structured import Structured
from numbatorch.tensor import Tensor, no_grad, zeros
from numbatorch.tensor.base import any_depth

_HEAD = ("layer", "output", "parameters", "multiply-adds", "bytes")


@dataclass
class Layer:
    """A row: what a module does and holds by itself, apart from the modules within it.

    Attributes:
        name: dotted, "" for the whole.
        kind: its class.
        outputs: shapes of the tensors that its last call gave.
        parameters: numbers in parameters that no row before this one counts.
        multiply_adds: multiplications with an addition, in products, convolutions, attention.
        nbytes: of parameters and buffers, in their dtypes.
        calls: how often it was called.
    """

    name: str
    kind: str
    outputs: tuple[tuple[int, ...], ...] = ()
    parameters: int = 0
    multiply_adds: int = 0
    nbytes: int = 0
    calls: int = 0

    def cells(self) -> list[str]:
        """The row as text; a layer within another is indented."""
        depth = self.name.count(".") + bool(self.name)
        title = f"{self.name.rpartition('.')[2]}: {self.kind}" if self.name else self.kind
        times = f" x{self.calls}" if self.calls > 1 else ""
        shapes = ", ".join(map(str, self.outputs)) or "-"
        numbers = (self.parameters, self.multiply_adds, self.nbytes)
        return ["  " * depth + title + times, shapes, *(f"{n:,}" if n else "-" for n in numbers)]


@dataclass
class Summary:
    """What `summary` found; its text is a table.

    Attributes:
        layers: a row for each module, in the order of `named_modules`.
        trainable: numbers in parameters that require a gradient.
    """

    layers: list[Layer]
    trainable: int

    @property
    def parameters(self) -> int:
        """Numbers in all parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiplications with an addition of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters and buffers."""
        return sum(layer.nbytes for layer in self.layers)

    def _totals(self) -> str:
        return (
            f"{self.parameters:,} parameters ({self.trainable:,} trainable), "
            f"{self.multiply_adds:,} multiply-adds, {self.nbytes:,} bytes"
        )

    def __str__(self) -> str:
        rows = [list(_HEAD), *(layer.cells() for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            left = [cell.ljust(width) for cell, width in zip(row[:2], widths, strict=False)]
            right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
            lines.append("  ".join(left + right).rstrip())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from numbatorch.tensor.notebook import table

        return table(self._totals(), _HEAD, [layer.cells() for layer in self.layers], align="left")


def summary(module: Module, input: Any, **options: Any) -> Summary:
    """Call a module on an input and tell what each layer in it gives, holds and multiplies.

    Nothing is computed: shapes are those of the graph. The module is in evaluation for the call.

    Args:
        input: a tensor, several in a tuple or list, or the shape of one of float32.
        options: more arguments of `forward`, by name.
    Raises:
        TypeError: module is no module, or the input is none of these.

    >>> model = nt.nn.Sequential(nt.nn.Linear(3, 4), nt.nn.ReLU(), nt.nn.Linear(4, 1))
    >>> summary(model, (5, 3))
    layer        output  parameters  multiply-adds  bytes
    -----------------------------------------------------
    Sequential   (5, 1)           -              -      -
      0: Linear  (5, 4)          16             60     64
      1: ReLU    (5, 4)           -              -      -
      2: Linear  (5, 1)           5             20     20
    -----------------------------------------------------
    21 parameters (21 trainable), 80 multiply-adds, 84 bytes
    """
    _check(module)
    given = _inputs(input)
    watch = _Watch(module)
    modes = [(child, child.training) for child in module.modules()]
    try:
        with no_grad(), any_depth():
            module.eval()
            module(*given, **options)
    finally:
        for child, mode in modes:
            child.training = mode
        watch.close()
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return Summary(list(watch.layers.values()), trainable)


def _check(module: object) -> None:
    if not isinstance(module, Module):
        raise TypeError(message("summary", f"takes a module, not {type(module).__name__}"))


def _inputs(input: Any) -> Sequence[Any]:
    if isinstance(input, Tensor):
        return (input,)
    if isinstance(input, Sequence) and not isinstance(input, str):
        if all(isinstance(size, int) for size in input):
            return (zeros(tuple(input)),)
        return input
    problem = f"input is a tensor, several, or a shape, not {type(input).__name__}"
    raise TypeError(message("summary", problem))


class _Watch:
    """Hooks on all modules that note what a call of each gives and multiplies."""

    def __init__(self, module: Module) -> None:
        self.layers: dict[Module, Layer] = {}
        self.handles = []
        state = [*module.parameters(), *module.buffers()]  # which a step may have changed just now
        self.counted = set(
            _reached(state)
        )  # whose multiplications are no layer's, or one's already
        seen: set[int] = set()
        for name, child in module.named_modules():
            layer = self.layers[child] = Layer(name, type(child).__name__)
            for tensor in [*child.parameters(recurse=False), *child.buffers(recurse=False)]:
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    layer.nbytes += tensor.nbytes
                    layer.parameters += tensor.numel() * isinstance(tensor, Parameter)
            self.handles.append(child.register_forward_pre_hook(self.before, with_kwargs=True))
            self.handles.append(child.register_forward_hook(self.after))

    def before(self, _module: Module, args: Any, kwargs: Any) -> None:
        """What leads to the inputs is not this module's work."""
        self.counted.update(_reached([args, kwargs]))

    def after(self, module: Module, _args: Any, output: Any) -> None:
        """What leads from the inputs to the outputs, and no module within has done, is."""
        layer = self.layers[module]
        nodes = [node for node in _reached(output) if node not in self.counted]
        self.counted.update(nodes)
        layer.calls += 1
        layer.outputs = tuple(tensor.shape for tensor in _tensors(output))
        layer.multiply_adds += sum(
            node.op.products(node) for node in nodes if isinstance(node.op, Structured)
        )

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()


def _tensors(nest: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_leaves(lambda x: found.append(x) if isinstance(x, Tensor) else None, nest)
    return found


def _reached(nest: Any) -> list[Node]:
    return toposort([tensor.node for tensor in _tensors(nest)])
