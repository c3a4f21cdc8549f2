"""Words of the scalar language that combine two parts of a reduction, in whatever order."""

from numbatorch.ops.scalar import Form
from numbatorch.ops.scalar_program import Operand, Program, Value

# What LLVM turns into vector code by itself where a loop applies it to one word again and again.
CHAINS = ("add_reassoc", "mul_reassoc", "maximum", "minimum", "max", "min")


def _by_kind(name: str, real: str, whole: str) -> Form:
    def build(program: Program, lhs: Operand, rhs: Operand) -> Operand:
        typed = next((x for x in (lhs, rhs) if isinstance(x, Value)), None)
        return program.op(real if typed is None or typed.dtype.kind == "f" else whole, lhs, rhs)

    return Form(name, build)


add_reassoc = _by_kind("add_reassoc", "add_reassoc", "add")  # a + b; sums may be reordered
mul_reassoc = _by_kind("mul_reassoc", "mul_reassoc", "mul")  # a * b; so may products
larger = _by_kind("larger", "maximum", "max")  # NaN if either is, and 0.0 is above -0.0
smaller = _by_kind("smaller", "minimum", "min")  # NaN if either is, and -0.0 is below 0.0
