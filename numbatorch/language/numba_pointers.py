"""Numba's types of pointers and element types, and the words that make one of the other."""

# mypy: disallow-subclassing-any=False

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import signature

from numbatorch import dtype as dtypes


def held(name: str) -> Any:
    """The Numba type that a value of an element type has in a kernel."""
    dtype = dtypes.by_name[name]
    if dtype.kind in "bq":
        return types.uint8
    return getattr(types, dtype.compute.name)


class PointerType(types.Type):
    """A pointer that indexes in elements of a dtype."""

    def __init__(self, element: str) -> None:
        self.element = element
        super().__init__(name=f"Pointer({element})")


class ElementClass(types.Callable, types.Opaque):
    """The type of `float32` and the like: converts when it is called."""

    def __init__(self, element: str) -> None:
        self.element = element
        super().__init__(name=f"Element({element})")

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        if kws or len(args) != 1 or not isinstance(args[0], types.Number | types.Boolean):
            return None
        result = types.boolean if self.element == "bool" else held(self.element)
        return signature(result, types.unliteral(args[0]))

    def get_call_signatures(self) -> Any:
        return (), False

    def get_impl_key(self, sig: Any) -> Any:
        return self


# Numba asks for what an LLVM pointer points to; which type that is means nothing here.
VALUE = ir.IntType(8).as_pointer()


def share(n: Any, part: Any, parts: Any) -> Any:
    """Definition of the intrinsic `share`: one unsigned division, no branch."""
    if not all(isinstance(word, types.Integer) for word in (n, part, parts)):
        return None
    result = types.UniTuple(types.int64, 2)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, index, divisor = args
        each = builder.udiv(count, divisor)
        rest = builder.urem(count, divisor)
        before = builder.select(builder.icmp_signed("<", index, rest), index, rest)
        low = builder.add(builder.mul(each, index), before)
        extra = builder.zext(builder.icmp_signed("<", index, rest), ir.IntType(64))
        high = builder.add(builder.add(low, each), extra)
        return context.make_tuple(builder, result, [low, high])

    return signature(result, types.int64, types.int64, types.int64), codegen


def address(pointer: Any) -> Any:
    """Definition of the intrinsic `address`."""
    if not isinstance(pointer, PointerType):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return signature(types.int64, pointer), codegen


def view(pointer: Any, element: Any) -> Any:
    """Definition of the intrinsic `view`."""
    if not isinstance(element, ElementClass):
        return None
    if not isinstance(pointer, PointerType | types.Integer):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if isinstance(pointer, PointerType):
            return args[0]
        word = context.cast(builder, args[0], pointer, types.int64)
        return builder.inttoptr(word, VALUE)

    return signature(PointerType(element.element), pointer, element), codegen
