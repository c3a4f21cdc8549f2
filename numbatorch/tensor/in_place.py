"""Methods that change a tensor in place: `x.name_(...)` gives x the value of `x.name(...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numbatorch.dtype import bool_
from numbatorch.errors import RENAMED, DTypeError, ShapeError, message, naming, rename
from numbatorch.graph import thread_mode
from numbatorch.ops.operands import describe
from numbatorch.ops.signature import own_names
from numbatorch.tensor.base import Handle
from numbatorch.tensor.in_range import Look, along_dim, by_zero, in_elements, of_mask
from numbatorch.tensor.methods import operator_of

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Method = Callable[..., Any]

_MODE = thread_mode()


def in_place(name: str, method: str, look: Look | None = None) -> Method:
    """The method called `name` that gives a tensor the value of another method of it.

    Args:
        look: of one that may fail: looks at its operands before the tensor changes.
    """

    shown = operator_of(name) if name.startswith("__") else name

    def change(self: Handle, *args: Any, **options: Any) -> Any:
        self._take_here()
        mode = _MODE.__dict__
        before = mode.get("caller")
        if before is None:
            mode["caller"] = shown
        try:
            value = getattr(self, method)(*args, **options)
            if look is not None:
                look(shown, self, args, own_names(options))
            return value if value is NotImplemented else hold_result(self, shown, value)
        except RENAMED as error:
            rename(error, shown)
            raise
        finally:
            mode["caller"] = before

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{method}` in place: this tensor, and what shares its memory, change."
    if look is not None:
        change.__doc__ += _LOOKS
    return change


_LOOKS = """

On a CPU an index out of range, or a divisor of 0, is an error of this call, which leaves the tensor
as it is; on GPUs and in compiled functions it is one of reading the tensor.
"""


def typed_in_place(name: str, method: str) -> Method:
    """As `in_place`, of a method that gives the tensor's dtype only where it is asked for."""

    def change(self: Handle, *args: Any, **options: Any) -> Any:
        self._take_here()
        options = {"dtype": self.node.dtype, **options}
        with naming(name):
            return hold_result(self, name, getattr(self, method)(*args, **options))

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"`{method}` in place: this tensor, and what shares its memory, change."
    return change


def hold_result(tensor: Handle, operator: str, value: Tensor) -> Handle:
    """Have `tensor` hold the result of an operator, which must have its shape and dtype.

    Truths become numbers of its dtype.
    """
    if value.dtype is bool_:
        value = value.to(tensor.node.dtype)
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
    absolute_ = in_place("absolute_", "absolute")
    acos_ = in_place("acos_", "acos")
    acosh_ = in_place("acosh_", "acosh")
    add_ = in_place("add_", "add")
    addbmm_ = in_place("addbmm_", "addbmm")
    addcdiv_ = in_place("addcdiv_", "addcdiv")
    addcmul_ = in_place("addcmul_", "addcmul")
    addmm_ = in_place("addmm_", "addmm")
    addmv_ = in_place("addmv_", "addmv")
    addr_ = in_place("addr_", "addr")
    arccos_ = in_place("arccos_", "arccos")
    arccosh_ = in_place("arccosh_", "arccosh")
    arcsin_ = in_place("arcsin_", "arcsin")
    arcsinh_ = in_place("arcsinh_", "arcsinh")
    arctan2_ = in_place("arctan2_", "arctan2")
    arctan_ = in_place("arctan_", "arctan")
    arctanh_ = in_place("arctanh_", "arctanh")
    asin_ = in_place("asin_", "asin")
    asinh_ = in_place("asinh_", "asinh")
    atan2_ = in_place("atan2_", "atan2")
    atan_ = in_place("atan_", "atan")
    atanh_ = in_place("atanh_", "atanh")
    baddbmm_ = in_place("baddbmm_", "baddbmm")
    bitwise_and_ = in_place("bitwise_and_", "bitwise_and")
    bitwise_left_shift_ = in_place("bitwise_left_shift_", "bitwise_left_shift")
    bitwise_not_ = in_place("bitwise_not_", "bitwise_not")
    bitwise_or_ = in_place("bitwise_or_", "bitwise_or")
    bitwise_right_shift_ = in_place("bitwise_right_shift_", "bitwise_right_shift")
    bitwise_xor_ = in_place("bitwise_xor_", "bitwise_xor")
    ceil_ = in_place("ceil_", "ceil")
    clamp_ = in_place("clamp_", "clamp")
    clamp_max_ = in_place("clamp_max_", "clamp_max")
    clamp_min_ = in_place("clamp_min_", "clamp_min")
    clip_ = in_place("clip_", "clip")
    copysign_ = in_place("copysign_", "copysign")
    cos_ = in_place("cos_", "cos")
    cosh_ = in_place("cosh_", "cosh")
    cumprod_ = typed_in_place("cumprod_", "cumprod")
    cumsum_ = typed_in_place("cumsum_", "cumsum")
    deg2rad_ = in_place("deg2rad_", "deg2rad")
    digamma_ = in_place("digamma_", "digamma")
    div_ = in_place("div_", "div", by_zero)
    divide_ = in_place("divide_", "divide", by_zero)
    eq_ = in_place("eq_", "eq")
    erf_ = in_place("erf_", "erf")
    erfc_ = in_place("erfc_", "erfc")
    erfinv_ = in_place("erfinv_", "erfinv")
    exp2_ = in_place("exp2_", "exp2")
    exp_ = in_place("exp_", "exp")
    expm1_ = in_place("expm1_", "expm1")
    fix_ = in_place("fix_", "fix")
    float_power_ = in_place("float_power_", "float_power")
    floor_ = in_place("floor_", "floor")
    floor_divide_ = in_place("floor_divide_", "floor_divide", by_zero)
    fmod_ = in_place("fmod_", "fmod", by_zero)
    frac_ = in_place("frac_", "frac")
    gcd_ = in_place("gcd_", "gcd")
    ge_ = in_place("ge_", "ge")
    greater_ = in_place("greater_", "greater")
    greater_equal_ = in_place("greater_equal_", "greater_equal")
    gt_ = in_place("gt_", "gt")
    heaviside_ = in_place("heaviside_", "heaviside")
    hypot_ = in_place("hypot_", "hypot")
    i0_ = in_place("i0_", "i0")
    igamma_ = in_place("igamma_", "igamma")
    igammac_ = in_place("igammac_", "igammac")
    index_add_ = in_place("index_add_", "index_add", along_dim())
    index_copy_ = in_place("index_copy_", "index_copy", along_dim())
    index_fill_ = in_place("index_fill_", "index_fill", along_dim(wraps=True))
    index_put_ = in_place("index_put_", "index_put")
    index_reduce_ = in_place("index_reduce_", "index_reduce", along_dim())
    lcm_ = in_place("lcm_", "lcm")
    ldexp_ = in_place("ldexp_", "ldexp")
    le_ = in_place("le_", "le")
    lerp_ = in_place("lerp_", "lerp")
    less_ = in_place("less_", "less")
    less_equal_ = in_place("less_equal_", "less_equal")
    lgamma_ = in_place("lgamma_", "lgamma")
    log10_ = in_place("log10_", "log10")
    log1p_ = in_place("log1p_", "log1p")
    log2_ = in_place("log2_", "log2")
    log_ = in_place("log_", "log")
    logical_and_ = in_place("logical_and_", "logical_and")
    logical_not_ = in_place("logical_not_", "logical_not")
    logical_or_ = in_place("logical_or_", "logical_or")
    logical_xor_ = in_place("logical_xor_", "logical_xor")
    logit_ = in_place("logit_", "logit")
    lt_ = in_place("lt_", "lt")
    masked_fill_ = in_place("masked_fill_", "masked_fill")
    masked_scatter_ = in_place("masked_scatter_", "masked_scatter", of_mask)
    mul_ = in_place("mul_", "mul")
    multiply_ = in_place("multiply_", "multiply")
    mvlgamma_ = in_place("mvlgamma_", "mvlgamma")
    nan_to_num_ = in_place("nan_to_num_", "nan_to_num")
    ne_ = in_place("ne_", "ne")
    neg_ = in_place("neg_", "neg")
    negative_ = in_place("negative_", "negative")
    nextafter_ = in_place("nextafter_", "nextafter")
    not_equal_ = in_place("not_equal_", "not_equal")
    polygamma_ = in_place("polygamma_", "polygamma")
    pow_ = in_place("pow_", "pow")
    put_ = in_place("put_", "put", in_elements)
    rad2deg_ = in_place("rad2deg_", "rad2deg")
    reciprocal_ = in_place("reciprocal_", "reciprocal")
    relu_ = in_place("relu_", "relu")
    remainder_ = in_place("remainder_", "remainder", by_zero)
    renorm_ = in_place("renorm_", "renorm")
    round_ = in_place("round_", "round")
    rsqrt_ = in_place("rsqrt_", "rsqrt")
    scatter_ = in_place("scatter_", "scatter", along_dim())
    scatter_add_ = in_place("scatter_add_", "scatter_add", along_dim())
    scatter_reduce_ = in_place("scatter_reduce_", "scatter_reduce", along_dim())
    sgn_ = in_place("sgn_", "sgn")
    sigmoid_ = in_place("sigmoid_", "sigmoid")
    sign_ = in_place("sign_", "sign")
    sin_ = in_place("sin_", "sin")
    sinc_ = in_place("sinc_", "sinc")
    sinh_ = in_place("sinh_", "sinh")
    sqrt_ = in_place("sqrt_", "sqrt")
    square_ = in_place("square_", "square")
    sub_ = in_place("sub_", "sub")
    subtract_ = in_place("subtract_", "subtract")
    tan_ = in_place("tan_", "tan")
    tanh_ = in_place("tanh_", "tanh")
    tril_ = in_place("tril_", "tril")
    triu_ = in_place("triu_", "triu")
    true_divide_ = in_place("true_divide_", "true_divide")
    trunc_ = in_place("trunc_", "trunc")
    xlogy_ = in_place("xlogy_", "xlogy")

    __iadd__ = in_place("__iadd__", "__add__")
    __isub__ = in_place("__isub__", "__sub__")
    __imul__ = in_place("__imul__", "__mul__")
    __itruediv__ = in_place("__itruediv__", "__truediv__")
    __ifloordiv__ = in_place("__ifloordiv__", "__floordiv__", by_zero)
    __imod__ = in_place("__imod__", "__mod__", by_zero)
    __ipow__ = in_place("__ipow__", "__pow__")
    __iand__ = in_place("__iand__", "__and__")
    __ior__ = in_place("__ior__", "__or__")
    __ixor__ = in_place("__ixor__", "__xor__")
    __ilshift__ = in_place("__ilshift__", "__lshift__")
    __irshift__ = in_place("__irshift__", "__rshift__")
