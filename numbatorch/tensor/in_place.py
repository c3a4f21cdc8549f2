"""Methods that change a tensor in place: `x.name_(...)` gives x the value of `x.name(...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.tensor.base import Handle

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Method = Callable[..., Any]


def in_place(name: str, method: str) -> Method:
    """The method called `name` that gives a tensor the value of another method of it."""

    def change(self: Handle, *args: Any, **options: Any) -> Any:
        self._take_here()
        value = getattr(self, method)(*args, **options)
        return value if value is NotImplemented else hold_result(self, name, value)

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{method}` in place: this tensor, and what shares its memory, change."
    return change


def typed_in_place(name: str, method: str) -> Method:
    """As `in_place`, of a method that gives the tensor's dtype only where it is asked for."""

    def change(self: Handle, *args: Any, **options: Any) -> Any:
        self._take_here()
        options = {"dtype": self.node.dtype, **options}
        return hold_result(self, name, getattr(self, method)(*args, **options))

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{method}` in place: this tensor, and what shares its memory, change."
    return change


def hold_result(tensor: Handle, operator: str, value: Tensor) -> Handle:
    """Have `tensor` hold the result of an operator, which must have its shape and dtype."""
    wrong = ShapeError if value.shape != tensor.node.shape else DTypeError
    if wrong is ShapeError or value.dtype is not tensor.node.dtype:
        raise wrong(
            message(
                operator,
                "the result does not fit into the tensor",
                f"tensor {describe(tensor.node)}",
                f"result {describe(value.node)}",
            )
        )
    tensor._update(operator, value.node)
    return tensor


class InPlaceMethods(Handle):
    """One line a method; the rule is `in_place`."""

    __slots__ = ()

    def _become(
        self, operator: str, function: Method, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Handle:
        """Have this tensor hold what a function with the argument `inplace` gives."""
        self._take_here()
        return hold_result(self, operator, function(*args, **options))

    abs_ = in_place("abs_", "abs")
    add_ = in_place("add_", "add")
    addbmm_ = in_place("addbmm_", "addbmm")
    addmm_ = in_place("addmm_", "addmm")
    addmv_ = in_place("addmv_", "addmv")
    addr_ = in_place("addr_", "addr")
    baddbmm_ = in_place("baddbmm_", "baddbmm")
    bitwise_and_ = in_place("bitwise_and_", "bitwise_and")
    bitwise_not_ = in_place("bitwise_not_", "bitwise_not")
    bitwise_or_ = in_place("bitwise_or_", "bitwise_or")
    bitwise_xor_ = in_place("bitwise_xor_", "bitwise_xor")
    ceil_ = in_place("ceil_", "ceil")
    clamp_ = in_place("clamp_", "clamp")
    cos_ = in_place("cos_", "cos")
    cumprod_ = typed_in_place("cumprod_", "cumprod")
    cumsum_ = typed_in_place("cumsum_", "cumsum")
    div_ = in_place("div_", "div")
    erf_ = in_place("erf_", "erf")
    exp_ = in_place("exp_", "exp")
    expm1_ = in_place("expm1_", "expm1")
    floor_ = in_place("floor_", "floor")
    floor_divide_ = in_place("floor_divide_", "floor_divide")
    log_ = in_place("log_", "log")
    log1p_ = in_place("log1p_", "log1p")
    log2_ = in_place("log2_", "log2")
    masked_fill_ = in_place("masked_fill_", "masked_fill")
    mul_ = in_place("mul_", "mul")
    neg_ = in_place("neg_", "neg")
    pow_ = in_place("pow_", "pow")
    reciprocal_ = in_place("reciprocal_", "reciprocal")
    relu_ = in_place("relu_", "relu")
    remainder_ = in_place("remainder_", "remainder")
    renorm_ = in_place("renorm_", "renorm")
    round_ = in_place("round_", "round")
    rsqrt_ = in_place("rsqrt_", "rsqrt")
    index_add_ = in_place("index_add_", "index_add")
    index_copy_ = in_place("index_copy_", "index_copy")
    index_fill_ = in_place("index_fill_", "index_fill")
    index_reduce_ = in_place("index_reduce_", "index_reduce")
    masked_scatter_ = in_place("masked_scatter_", "masked_scatter")
    put_ = in_place("put_", "put")
    scatter_ = in_place("scatter_", "scatter")
    scatter_reduce_ = in_place("scatter_reduce_", "scatter_reduce")
    scatter_add_ = in_place("scatter_add_", "scatter_add")
    sigmoid_ = in_place("sigmoid_", "sigmoid")
    sign_ = in_place("sign_", "sign")
    sin_ = in_place("sin_", "sin")
    sqrt_ = in_place("sqrt_", "sqrt")
    square_ = in_place("square_", "square")
    sub_ = in_place("sub_", "sub")
    tan_ = in_place("tan_", "tan")
    tanh_ = in_place("tanh_", "tanh")
    tril_ = in_place("tril_", "tril")
    triu_ = in_place("triu_", "triu")
    trunc_ = in_place("trunc_", "trunc")

    __iadd__ = in_place("__iadd__", "__add__")
    __isub__ = in_place("__isub__", "__sub__")
    __imul__ = in_place("__imul__", "__mul__")
    __itruediv__ = in_place("__itruediv__", "__truediv__")
    __ifloordiv__ = in_place("__ifloordiv__", "__floordiv__")
    __imod__ = in_place("__imod__", "__mod__")
    __ipow__ = in_place("__ipow__", "__pow__")
    __iand__ = in_place("__iand__", "__and__")
    __ior__ = in_place("__ior__", "__or__")
    __ixor__ = in_place("__ixor__", "__xor__")
    __ilshift__ = in_place("__ilshift__", "__lshift__")
    __irshift__ = in_place("__irshift__", "__rshift__")
