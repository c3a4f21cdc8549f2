"""Methods of Tensor that compute element by element: arithmetic, comparisons, functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.operands import describe
from numbatorch.tensor.base import Handle, is_operand, unwrap
from numbatorch.tensor.numbers import fitting

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


def _refused(name: str, other: Any) -> Any:
    """Python tries the other operand, unless that is an array: NumPy would answer for it."""
    if isinstance(other, np.ndarray):
        problem = f"an operand is a NumPy array {other.shape} {other.dtype}"
        raise TypeError(message(name, problem, hint="nt.from_numpy(array) is a tensor"))
    return NotImplemented


class ElementwiseMethods(Handle):
    """Operators with tensors and numbers broadcast and promote as in PyTorch."""

    __slots__ = ()

    def _with(self, name: str, other: Any) -> Any:
        if not is_operand(other):
            return _refused(name, other)
        return self._of(find(name).apply(self.node, unwrap(other)))

    def _reflected(self, name: str, other: Any) -> Any:
        if not is_operand(other):
            return _refused(name, other)
        return self._of(find(name).apply(unwrap(other), self.node))

    def _call(self, name: str, *operands: Any, **attrs: Any) -> Tensor:
        return self._apply(find(name), *operands, **attrs)

    def __add__(self, other: Any) -> Tensor:
        return self._with("add", other)  # type: ignore[no-any-return]

    def __radd__(self, other: Any) -> Tensor:
        return self._reflected("add", other)  # type: ignore[no-any-return]

    def __sub__(self, other: Any) -> Tensor:
        return self._with("sub", other)  # type: ignore[no-any-return]

    def __rsub__(self, other: Any) -> Tensor:
        return self._reflected("sub", other)  # type: ignore[no-any-return]

    def __mul__(self, other: Any) -> Tensor:
        return self._with("mul", other)  # type: ignore[no-any-return]

    def __rmul__(self, other: Any) -> Tensor:
        return self._reflected("mul", other)  # type: ignore[no-any-return]

    def __truediv__(self, other: Any) -> Tensor:
        return self._with("div", other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._reflected("div", other)  # type: ignore[no-any-return]

    def __floordiv__(self, other: Any) -> Tensor:
        return self._with("floor_divide", other)  # type: ignore[no-any-return]

    def __rfloordiv__(self, other: Any) -> Tensor:
        return self._reflected("floor_divide", other)  # type: ignore[no-any-return]

    def __mod__(self, other: Any) -> Tensor:
        return self._with("remainder", other)  # type: ignore[no-any-return]

    def __rmod__(self, other: Any) -> Tensor:
        return self._reflected("remainder", other)  # type: ignore[no-any-return]

    def __pow__(self, other: Any) -> Tensor:
        if is_operand(other):
            return self.pow(other)
        return _refused("pow", other)  # type: ignore[no-any-return]

    def __rpow__(self, other: Any) -> Tensor:
        return self._reflected("pow", other)  # type: ignore[no-any-return]

    def __and__(self, other: Any) -> Tensor:
        return self._with("bitwise_and", other)  # type: ignore[no-any-return]

    __rand__ = __and__

    def __or__(self, other: Any) -> Tensor:
        return self._with("bitwise_or", other)  # type: ignore[no-any-return]

    __ror__ = __or__

    def __xor__(self, other: Any) -> Tensor:
        return self._with("bitwise_xor", other)  # type: ignore[no-any-return]

    __rxor__ = __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return self._with("left_shift", other)  # type: ignore[no-any-return]

    def __rlshift__(self, other: Any) -> Tensor:
        return self._reflected("left_shift", other)  # type: ignore[no-any-return]

    def __rshift__(self, other: Any) -> Tensor:
        return self._with("right_shift", other)  # type: ignore[no-any-return]

    def __rrshift__(self, other: Any) -> Tensor:
        return self._reflected("right_shift", other)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._with("eq", other)  # type: ignore[no-any-return]

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return self._with("ne", other)  # type: ignore[no-any-return]

    def __lt__(self, other: Any) -> Tensor:
        return self._with("lt", other)  # type: ignore[no-any-return]

    def __le__(self, other: Any) -> Tensor:
        return self._with("le", other)  # type: ignore[no-any-return]

    def __gt__(self, other: Any) -> Tensor:
        return self._with("gt", other)  # type: ignore[no-any-return]

    def __ge__(self, other: Any) -> Tensor:
        return self._with("ge", other)  # type: ignore[no-any-return]

    __hash__ = object.__hash__

    def __neg__(self) -> Tensor:
        return self._call("neg")

    def __pos__(self) -> Tensor:
        return self._of(self.node)

    def __abs__(self) -> Tensor:
        return self._call("abs")

    def __invert__(self) -> Tensor:
        if self.node.dtype.kind == "f":
            raise DTypeError(message("~", f"needs integers or bool, not {describe(self.node)}"))
        return self._call("logical_not" if self.node.dtype is dt.bool_ else "bitwise_not")

    def add(self, other: Any, *, alpha: float = 1) -> Tensor:
        """self + alpha * other."""
        return self._call("add", other if alpha == 1 else other * alpha)

    def sub(self, other: Any, *, alpha: float = 1) -> Tensor:
        """self - alpha * other."""
        return self._call("sub", other if alpha == 1 else other * alpha)

    def mul(self, other: Any) -> Tensor:
        """self * other."""
        return self._call("mul", other)

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """self / other; "floor" rounds it down, "trunc" towards 0, and integers stay integers."""
        if rounding_mode is None:
            return self._call("div", other)
        down = self.floor_divide(other)
        if rounding_mode == "floor":
            return down
        if rounding_mode != "trunc":
            problem = f"rounding_mode is {rounding_mode!r}, not None, floor or trunc"
            raise ValueError(message("div", problem))
        if down.node.dtype.kind == "f":
            return self._call("div", other).trunc()
        inexact = self.remainder(other).ne(0).logical_and(self.lt(0).logical_xor(other < 0))
        return down + inexact

    subtract = sub
    multiply = mul
    divide = true_divide = div

    def floor_divide(self, other: Any) -> Tensor:
        """floor(self / other)."""
        return self._call("floor_divide", other)

    def remainder(self, other: Any) -> Tensor:
        """self - other * floor(self / other), with the sign of `other`."""
        return self._call("remainder", other)

    def pow(self, exponent: Any) -> Tensor:
        """self ** exponent.

        Raises:
            DTypeError: integers to the power of a negative integer.
        """
        power = unwrap(exponent)
        if self.node.dtype.kind in "iub" and isinstance(power, int) and power < 0:
            raise DTypeError(
                message(
                    "pow",
                    f"integers to the power of {power} are no integers",
                    f"base {describe(self.node)}",
                    hint="float() of the base has one",
                )
            )
        return self._call("pow", exponent)

    def eq(self, other: Any) -> Tensor:
        """self == other; NaN equals nothing."""
        return self._call("eq", other)

    def ne(self, other: Any) -> Tensor:
        """self != other; NaN differs from everything."""
        return self._call("ne", other)

    def lt(self, other: Any) -> Tensor:
        """self < other; False with NaN."""
        return self._call("lt", other)

    def le(self, other: Any) -> Tensor:
        """self <= other; False with NaN."""
        return self._call("le", other)

    def gt(self, other: Any) -> Tensor:
        """self > other; False with NaN."""
        return self._call("gt", other)

    def ge(self, other: Any) -> Tensor:
        """self >= other; False with NaN."""
        return self._call("ge", other)

    def isclose(
        self, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> Tensor:
        """Whether |self - other| <= atol + rtol * |other|; infinities equal themselves."""
        whole = {self.node.dtype.kind, other.node.dtype.kind} <= {"i", "u", "b"}
        if whole and self.node.device.has_float64:
            wide = self._call("cast", dtype=dt.float64)
            return wide.isclose(other._call("cast", dtype=dt.float64), rtol, atol)
        if whole:
            size = other._call("cast", dtype=dt.float32).abs()
            return self.eq(other) | (self._distance(other) <= size * rtol + atol)
        near = (self - other).abs() <= other.abs() * rtol + atol
        out = self.eq(other) | (near & self.isfinite() & other.isfinite())
        return out | (self.isnan() & other.isnan()) if equal_nan else out

    def _distance(self, other: Tensor) -> Tensor:
        """|self - other| of integers in float32: of neighbouring large ones not 0."""
        x, y = (z._call("cast", dtype=dt.int64) for z in (self, other))
        exact = (x - y).abs()._call("cast", dtype=dt.float32)  # but for what does not fit int64
        x, y = (z._call("cast", dtype=dt.float32) for z in (self, other))
        rough = (x - y).abs()
        return exact.where(rough < 2.0**62, rough)

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """self where the condition holds, `other` elsewhere."""
        return self._of(find("where").apply(unwrap(condition), self.node, unwrap(other)))

    def bitwise_and(self, other: Any) -> Tensor:
        """Bits that both operands have."""
        return self._call("bitwise_and", other)

    def bitwise_or(self, other: Any) -> Tensor:
        """Bits that one of the operands has."""
        return self._call("bitwise_or", other)

    def bitwise_xor(self, other: Any) -> Tensor:
        """Bits that just one of the operands has."""
        return self._call("bitwise_xor", other)

    def bitwise_not(self) -> Tensor:
        """Every bit inverted; on bool the logical not."""
        return self.__invert__()

    def maximum(self, other: Any) -> Tensor:
        """The larger of each pair of elements; NaN wins."""
        return self._call("maximum", other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of each pair of elements; NaN wins."""
        return self._call("minimum", other)

    def logical_and(self, other: Any) -> Tensor:
        """Whether both elements are not zero."""
        return self._call("logical_and", other)

    def logical_or(self, other: Any) -> Tensor:
        """Whether an element of each pair is not zero."""
        return self._call("logical_or", other)

    def logical_xor(self, other: Any) -> Tensor:
        """Whether just one element of each pair is not zero."""
        return self._call("logical_xor", other)

    def logical_not(self) -> Tensor:
        """Whether each element is zero."""
        return self._call("logical_not")

    def isnan(self) -> Tensor:
        """Whether each element is NaN."""
        return self._call("isnan")

    def isinf(self) -> Tensor:
        """Whether each element is infinite."""
        return self._call("isinf")

    def isfinite(self) -> Tensor:
        """Whether each element is neither infinite nor NaN."""
        return self._call("isfinite")

    def neg(self) -> Tensor:
        """-self."""
        return self._call("neg")

    def abs(self) -> Tensor:
        """Absolute value."""
        return self._call("abs")

    def sign(self) -> Tensor:
        """-1, 0 or 1."""
        return self._call("sign")

    def exp(self) -> Tensor:
        """e to the power of each element."""
        return self._call("exp")

    def log(self) -> Tensor:
        """Natural logarithm."""
        return self._call("log")

    def sqrt(self) -> Tensor:
        """Square root."""
        return self._call("sqrt")

    def rsqrt(self) -> Tensor:
        """1 / sqrt(self)."""
        return self._call("rsqrt")

    def square(self) -> Tensor:
        """self * self."""
        return self._call("square")

    def reciprocal(self) -> Tensor:
        """1 / self."""
        return self._call("reciprocal")

    def expm1(self) -> Tensor:
        """exp(self) - 1, exact near 0."""
        return self._call("expm1")

    def log1p(self) -> Tensor:
        """log(1 + self), exact near 0."""
        return self._call("log1p")

    def log2(self) -> Tensor:
        """Logarithm to base 2."""
        return self._call("log2")

    def sin(self) -> Tensor:
        """Sine of angles in radians."""
        return self._call("sin")

    def cos(self) -> Tensor:
        """Cosine of angles in radians."""
        return self._call("cos")

    def tan(self) -> Tensor:
        """Tangent of angles in radians."""
        return self._call("tan")

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return self._call("tanh")

    def erf(self) -> Tensor:
        """Error function."""
        return self._call("erf")

    def floor(self) -> Tensor:
        """The largest integer that is not above each element."""
        return self._call("floor")

    def ceil(self) -> Tensor:
        """The smallest integer that is not below each element."""
        return self._call("ceil")

    def trunc(self) -> Tensor:
        """Each element without its fraction."""
        return self._call("trunc")

    def round(self, decimals: int = 0) -> Tensor:
        """The nearest number with `decimals` digits after the point; ties go to the even one."""
        if decimals == 0:
            return self._call("round")
        scale = 10.0**decimals
        return (self * scale)._call("round") / scale

    def relu(self) -> Tensor:
        """max(self, 0); the gradient at 0 is 0."""
        return self._call("relu")

    def sigmoid(self) -> Tensor:
        """1 / (1 + exp(-self))."""
        return self._call("sigmoid")

    def silu(self) -> Tensor:
        """self * sigmoid(self)."""
        return self._call("silu")

    def gelu(self, approximate: str = "none") -> Tensor:
        """self * Phi(self), or its approximation through "tanh"."""
        if approximate not in ("none", "tanh"):
            raise ValueError(message("gelu", f"approximate is {approximate!r}, not none or tanh"))
        return self._call("gelu" if approximate == "none" else "gelu_tanh")

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Each element within [min, max]; a bound is absent, a number or a tensor.

        At a bound that is a number the gradient is that of the element.
        """
        if min is None and max is None:
            raise TypeError(message("clamp", "needs min or max"))
        out = self if min is None else self._bound("maximum", "lt", min)
        return out._of(out.node) if max is None else out._bound("minimum", "gt", max)

    def _bound(self, name: str, beyond: str, bound: Any) -> Tensor:
        limit = unwrap(bound)
        if isinstance(limit, Node):
            return self._of(find(name).apply(self.node, limit))
        if self.node.dtype.kind in "iu" and isinstance(limit, int):
            limit = fitting("clamp", limit, self.node.dtype)
        outside = find(beyond).apply(self.node, limit)
        return self._of(find("where").apply(outside, limit, self.node))

    clip = clamp

    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """`value` where `mask` is True; a whole number where the elements are integers."""
        node, filling = self.node, unwrap(value)
        if not isinstance(filling, Node):
            filling = fitting("masked_fill", filling, node.dtype)
        filled = find("where").apply(unwrap(mask), filling, node)
        if filled.dtype is not node.dtype:
            raise DTypeError(message("masked_fill", f"{value!r} is no value of {node.dtype.name}"))
        return self._of(filled)
