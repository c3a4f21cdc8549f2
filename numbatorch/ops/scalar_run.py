"""Runs programs of the scalar language in NumPy, for tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.ops.scalar_numpy import apply_primitive
from numbatorch.ops.scalar_program import Double, Operand, Pair, Program, Value, reachable
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


def _halved(builder: Builder, name: str, x: Array, inputs: dict[str, Array]) -> Double:
    """A float64 of a target without it as an operand."""
    high = x.astype(np.float32)
    inputs.update({f"{name}h": high, f"{name}l": (x - high).astype(np.float32)})
    return Double(builder.input(f"{name}h", dt.float32), builder.input(f"{name}l", dt.float32))


def run(function: Any, *args: Any, target: str = "numba", **attrs: Any) -> Any:
    """Expand `function` for the dtypes of the arrays `args`, as for `target`, and run it."""
    builder = Builder(target)
    operands: list[Operand] = []
    inputs: dict[str, Array] = {}
    for index, arg in enumerate(args):
        if isinstance(arg, np.ndarray | np.generic):
            name = f"x{index}"
            if target == "metal" and arg.dtype == np.float64:
                operands.append(_halved(builder, name, arg, inputs))
                continue
            inputs.update({name: arg, f"{name}r": arg.real, f"{name}i": arg.imag})
            operands.append(builder.operand(name, dt.from_numpy(arg.dtype)))
        else:
            operands.append(arg)
    result = builder.expand(function, operands, attrs)
    if isinstance(result, Pair):
        pairs = np.stack(evaluate(builder, [result.real, result.imag], inputs), -1)
        return pairs.view(result.dtype.numpy)[..., 0]
    if isinstance(result, Double):
        high, low = evaluate(builder, [result.high, result.low], inputs)
        return high.astype(np.float64) + low
    parts = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(part, Value) for part in parts):
        return result
    arrays = evaluate(builder, parts, inputs)
    return tuple(arrays) if isinstance(result, tuple) else arrays[0]
