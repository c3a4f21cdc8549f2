"""The short way for small elementwise graphs that are read at once: a walk gives their key.

Nothing is donated here: what a result of this size would save costs less than finding out. Numbers
beside floats are arguments of the program, so that `x * c` has one for all c.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from numbatorch.backends.arguments import float64_word
from numbatorch.backends.cpu.native import DONE
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.memory import Buffer
from numbatorch.graph import Node, runs, toposort
from numbatorch.ops.operands import CONST
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.write_through import place_in_memory
from numbatorch.passes.emit_program import LITERALS
from numbatorch.variable import attribute_key

MOST_NODES = 48
MOST_BYTES = 1 << 16  # of the result
KEPT = 1024  # programs

new = object.__new__
Leaf = tuple[Node, Buffer, int]  # with the memory that it lies in, and its address
Number = tuple[Node, float]  # a constant, and its value
Entry = tuple[CPUProgram, Callable[..., int], list[int], list[int], int, int, list[Any]]


class SmallGraphs:
    """Programs of small graphs, by what `walk` gives.

    Args:
        make: (order, root, leaves, constants) -> the program, with its leaves by number of those
            in order, and a variable for each of the constants that is called by its number.
    """

    def __init__(
        self, make: Callable[[list[Node], Node, set[Node], list[Node]], CPUProgram]
    ) -> None:
        self._make = make
        self._known: dict[tuple[Any, ...], Entry | None] = {}

    def clear(self) -> None:
        """Forget all programs."""
        self._known.clear()

    def buffer(self, root: Node, parts: int, fuse: bool, locked: bool) -> Buffer | None:
        """The value of `root`, computed now; None where the graph has to go the long way.

        The launches hold the interpreter's lock. Without any other, a run that does not hold it
        could be writing to what they read, so then the graph goes the long way too.

        Args:
            parts, fuse: what programs depend on beside their graph.
            locked: whether the lock of runs is held, within which programs are made.
        """
        if root.depth > MOST_NODES or type(root.op) is not Elementwise:
            return None
        if prod(root.shape) * root.dtype.itemsize > MOST_BYTES:
            return None
        key: list[Any] = [parts, fuse]
        leaves: list[Leaf] = []
        numbers: list[Number] = []
        if not walk(root, key, leaves, numbers, {}):
            return None
        found = tuple(key)
        try:
            entry = self._known[found]
        except KeyError:
            entry = self._remember(found, root, leaves, numbers) if locked else None
        if entry is None:
            return None
        program, run, places, varying, nbytes, size, waiting = entry
        try:
            frame = program.frames.pop()
        except IndexError:
            frame = program.frame()
        try:
            owner = waiting.pop()
        except IndexError:
            buffer = program.memory(0)
        else:
            buffer = new(Buffer)  # what Buffer() does
            buffer.owner, buffer.address, buffer.nbytes = owner, owner.address, nbytes
            buffer.pool = pool = program.pool
            pool.held -= size
        words = [leaves[i][2] for i in places]
        words.append(buffer.address)
        for i in varying:
            words.append(float64_word(numbers[i][1]))
        arguments = (frame.headers[0], *words)
        if runs and not locked:
            program.frames.append(frame)
            return None
        if run(*arguments) != DONE:  # no other code has run since that look
            return None
        program.frames.append(frame)
        return buffer

    def _remember(
        self, key: tuple[Any, ...], root: Node, leaves: list[Leaf], numbers: list[Number]
    ) -> Entry | None:
        """Plan a graph that was not seen yet."""
        met = {node for node, _buffer, _address in leaves}
        order = toposort([root], stop=met)
        realized = [node for node in order if node in met]
        inner = [node for node in order if node not in met]
        entry: Entry | None = None
        # Where only constants meet, they become one by NumPy when the graph is planned.
        alone = any(node.inputs and all(x.op is CONST for x in node.inputs) for node in inner)
        if realized and not alone:
            program = self._make(order, root, met, [node for node, _value in numbers])
            if any(node.buffer is not None for node in inner):
                return None  # a finalizer or a signal's handler came in between
            run, way = program.run_native, program.way
            if run is not None and way.short and not way.checked and len(program.sizes()) == 1:
                place = {node: i for i, (node, _buffer, _address) in enumerate(leaves)}
                places = [place[realized[i]] for i in program.leaf_order]
                varying = [int(variable.name) for variable, _real in way.variables]
                (nbytes,) = program.sizes()
                size = program.pool.size_of(nbytes)
                entry = program, run, places, varying, nbytes, size, program.pool.waiting(size)
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = entry
        return entry


def walk(
    node: Node,
    key: list[Any],
    leaves: list[Leaf],
    numbers: list[Number],
    number: dict[Node, int],
) -> bool:
    """Append what the program of a graph depends on; False where the graph is not a small one.

    Dtypes and shapes within the graph follow from those of its leaves.

    Args:
        leaves: realized nodes, and views whose elements lie in a row in one, as they are met.
        numbers: constants that are no part of the key, as they are met.
        number: of each node met so far.
    """
    op, inputs, attrs = node.op, node.inputs, node.attrs  # before a finalizer settles it
    buffer = node.buffer
    if buffer is not None:
        leaves.append((node, buffer, buffer.address))
        key.append(node.dtype)
        key.append(node.shape)
        number[node] = len(number)
        return True
    if type(op) is Elementwise:
        if len(number) > MOST_NODES:
            return False
        at = []
        for operand in inputs:
            if operand not in number and not walk(operand, key, leaves, numbers, number):
                return False
            at.append(number[operand])
        key.append(op)
        key += at
        if attrs:
            key.append(tuple([(k, attribute_key(v)) for k, v in attrs.items()]))
    elif op is CONST:
        value = attrs["value"]
        real = value.__class__ is float or value.__class__ is int
        if real and node.dtype.kind == "f" and value not in LITERALS:
            numbers.append((node, float(value)))
        else:
            key.append(attribute_key(value))
        key.append(op)
        key.append(node.dtype)
        key.append(node.shape)
    elif type(op) is View:
        found = place_in_memory(node)
        if found is None or not found[1].is_contiguous or 0 in node.shape:
            return False
        buffer, layout = found[0].buffer, found[1]
        leaves.append((node, buffer, buffer.address + layout.offset * node.dtype.itemsize))
        key.append(node.dtype)
        key.append(node.shape)
    else:
        return False
    number[node] = len(number)
    return True
