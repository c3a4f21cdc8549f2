"""States that find the smallest and the largest element; NaN wins, and -0.0 is below 0.0.

Of float32 they are found in integers. Signed, the bits of numbers without a sign are in their
order; unsigned, those of numbers with one are in the opposite order; a NaN is beyond the infinity
of its sign in both. So three extremes of integers tell that of floats, at half of what comparing
floats by the same rules takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.ops.reduction import State, highest, lowest, word_of
from numbatorch.ops.scalar import Form
from numbatorch.ops.scalar_combine import larger, smaller
from numbatorch.ops.scalar_program import Operand, Program, Value

INFINITY = 0x7F800000  # bits of a float32
SIGN = 0x80000000
LEAST, MOST = -(2**31), 2**32 - 1  # an int32 and an uint32

Kept = tuple[tuple[DType, str], ...]  # of the bits of float32: in which integers, which extreme


def _extremes(kept: Kept, plain: Sequence[Form], begun: Sequence[Any], finish: Any) -> State:
    """The state of an extreme or two.

    Args:
        kept: what the words are of float32, those first that stand for the extremes of integers.
        plain: the extremes of other elements.
        begun: a function of a dtype for each of `plain`; a number for what else is kept.
        finish: (program, *words) -> the results of float32.
    """

    def words(dtype: DType) -> tuple[DType, ...]:
        word = word_of(dtype)
        return tuple(d for d, _ in kept) if word is dt.float32 else (word,) * len(plain)

    def init(word: DType) -> tuple[float, ...]:
        return tuple(b(word) if callable(b) else b for b in begun)

    def merge(program: Program, *operands: Operand) -> Operand:
        half = len(operands) // 2
        pairs = list(zip(operands[:half], operands[half:], strict=True))
        if half == len(plain):
            return tuple([form.build(program, *p) for form, p in zip(plain, pairs, strict=True)])
        return tuple([program.op(name, *p) for (_, name), p in zip(kept, pairs, strict=True)])

    def step(program: Program, *operands: Operand) -> Operand:
        *state, x, _index = operands
        value = x if len(state) == len(plain) else program.op("bits", x)
        return merge(program, *state, *[program.cast(value, word.dtype) for word in state])

    def finished(program: Program, *operands: Operand) -> Operand:
        *state, _count = operands
        return tuple(state) if len(state) == len(plain) else finish(program, *state)

    forms = [Form(f.__name__, f) for f in (merge, step, finished)]
    return State(forms[0], init, words, forms[1], forms[2])


def _float(program: Program, is_nan: Value, signed: Value, unsigned: Value, of: Value) -> Operand:
    """NaN, or the float with the first bits where `of` holds, else with the other ones."""
    bits = program.op("select", of, signed, program.cast(unsigned, dt.int32))
    return program.op("select", is_nan, np.nan, program.op("from_bits", bits))


def _largest(program: Program, top: Value, near: Value, far: Value) -> Operand:
    is_nan = program.op("gt", far, SIGN + INFINITY)  # without a sign it is the top
    return (_float(program, is_nan, top, near, program.op("ge", top, 0)),)


def _smallest(program: Program, near: Value, low: Value, far: Value) -> Operand:
    is_nan = program.op("gt", far, INFINITY)
    return (_float(program, is_nan, near, low, program.op("lt", low, SIGN)),)


def _both(program: Program, near: Value, top: Value, lower: Value, low: Value) -> Operand:
    is_nan = program.op(
        "or", program.op("gt", top, INFINITY), program.op("gt", low, SIGN + INFINITY)
    )
    return (
        _float(program, is_nan, near, low, program.op("lt", low, SIGN)),
        _float(program, is_nan, top, lower, program.op("ge", top, 0)),
    )


_TOP, _NEAR = (dt.int32, "max"), (dt.int32, "min")
_LOW, _LOWER = (dt.uint32, "max"), (dt.uint32, "min")
LARGEST = _extremes((_TOP, _LOWER, _LOW), (larger,), (lowest, MOST, 0), _largest)
SMALLEST = _extremes((_NEAR, _LOW, _TOP), (smaller,), (highest, 0, LEAST), _smallest)
RANGE = _extremes((_NEAR, _TOP, _LOWER, _LOW), (smaller, larger), (highest, lowest, MOST, 0), _both)
