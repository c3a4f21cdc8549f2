"""Runs programs of the scalar language in NumPy, for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.ops.scalar_numpy import apply_primitive
from numbatorch.ops.scalar_program import Operand, Pair, Program, Value, reachable
from numbatorch.ops.scalar_reader import Builder

Array = Any


def evaluate(
    program: Program, roots: Sequence[Value], inputs: dict[str, Array]
) -> list[np.ndarray[Any, Any]]:
    """The values `roots` of a program, with arrays for its inputs, rounded after each step."""
    known: dict[int, Array] = {}
    for value in program.instructions:
        if value.op == "const":
            known[id(value)] = value.payload
        elif value.op == "input":
            known[id(value)] = inputs[value.name]
    for value in reachable(program.instructions, roots):
        args = [known[id(a)] for a in value.args]
        known[id(value)] = apply_primitive(value.op, args, value.dtype, value.payload)
    return [np.asarray(known[id(root)]) for root in roots]


def run(function: Any, *args: Any, target: str = "numba", **attrs: Any) -> Any:
    """Expand `function` for the dtypes of the arrays `args`, as for `target`, and run it."""
    builder = Builder(target)
    operands: list[Operand] = []
    inputs = {}
    for index, arg in enumerate(args):
        if isinstance(arg, np.ndarray | np.generic):
            name = f"x{index}"
            inputs.update({name: arg, f"{name}r": arg.real, f"{name}i": arg.imag})
            operands.append(builder.operand(name, dt.from_numpy(arg.dtype)))
        else:
            operands.append(arg)
    result = builder.expand(function, operands, attrs)
    if isinstance(result, Pair):
        pairs = np.stack(evaluate(builder, [result.real, result.imag], inputs), -1)
        return pairs.view(result.dtype.numpy)[..., 0]
    parts = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(part, Value) for part in parts):
        return result
    arrays = evaluate(builder, parts, inputs)
    return tuple(arrays) if isinstance(result, tuple) else arrays[0]
