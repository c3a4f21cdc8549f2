"""Numba's side of the kernel language: loads and stores, element conversions, words.

What is registered with Numba here serves its CPU compiler and numba-cuda, which takes what others
than Numba have registered; where they differ, words ask the active target.
"""

# mypy: disallow-untyped-decorators=False, disallow-subclassing-any=False

import dis
import inspect
import operator
from collections.abc import Callable
from types import CodeType
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model, typeof_impl

from numbatorch import dtype as dtypes
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, message
from numbatorch.language import elements, targets
from numbatorch.language.kernel import Helper, Intrinsic, Kernel, with_types
from numbatorch.language.keys import digest
from numbatorch.language.numba_pointers import VALUE, ElementClass, PointerType, held
from numbatorch.language.words import Element, ElementType, PointerTo, Table, Word


@register_model(PointerType)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, VALUE)


register_model(ElementClass)(models.OpaqueModel)


class TableType(types.Opaque):
    """The type of a table of constants, which knows them."""

    def __init__(self, table: Table) -> None:
        self.element = table.element
        self.numbers = tuple(table)
        self.digest = digest(self.element, *map(str, self.numbers))
        super().__init__(name=f"Table({self.digest})")


register_model(TableType)(models.OpaqueModel)


@typeof_impl.register(Table)
def typeof_table(value: Table, context: Any) -> Any:
    """The type of a table of constants."""
    return TableType(value)


@typeof_impl.register(ElementType)
def typeof_element(value: type[Element], context: Any) -> Any:
    """The type of the name of an element type."""
    return ElementClass(value.element) if value.element in dtypes.by_name else None


@typeof_impl.register(DType)
def _typeof_dtype(value: DType, context: Any) -> Any:
    return ElementClass(value.name)


@typeof_impl.register(Intrinsic)
@typeof_impl.register(Word)
def _typeof_word(value: Intrinsic | Word, context: Any) -> Any:
    return _function_type(value, *targets.current().definition(value))


@typeof_impl.register(Helper)
def _typeof_helper(value: Helper, context: Any) -> Any:
    return _function_type(value, _call_definition(value.function, value.inline, ()), False)


@typeof_impl.register(Kernel)
def _typeof_kernel(value: Kernel, context: Any) -> Any:
    return _function_type(value, _call_definition(value.function, True, value.words), False)


_function_types: dict[Any, Any] = {}


def _function_type(handle: Any, definition: Any, literal: bool) -> Any:
    """One for each target: Numba remembers result types, which follow from a CPU's vectors."""
    key = (handle, targets.current().key)
    if key not in _function_types:
        members = {
            "key": handle,
            "definition": staticmethod(definition),
            "prefer_literal": literal,
            "signatures": {},
            "generators": {},
        }
        _function_types[key] = types.Function(type(handle.__name__, (_WordTemplate,), members))
    return _function_types[key]


class _WordTemplate(AbstractTemplate):
    """What a word is for operands of some types: once each, its definition is asked.

    Numba's own template for intrinsics loads all that Numba can lower before it asks.
    """

    definition: Callable[..., Any]
    signatures: dict[Any, Any]  # by types of operands
    generators: dict[Any, Any]  # of code, by types of a signature

    def generic(self, args: Any, kws: Any) -> Any:
        if args not in self.signatures:
            found = self.definition(self.context, *args, **kws)
            if found is None:
                return None
            found_signature, generator = found
            self.signatures[args] = found_signature
            self.generators[found_signature.args] = generator
            lower_builtin(generator, *found_signature.args)(generator)
        return self.signatures[args]

    def get_impl_key(self, sig: Any) -> Any:
        return self.generators[sig.args]


def call(function: Any, args: tuple[Any, ...], inline: bool = True) -> Any:
    """What an intrinsic's definition gives that compiles `function` and calls it."""
    result = targets.current().lower_called(function, args, inline).signature.return_type

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        compiled = targets.current().lower_called(function, args, inline)
        context.add_linking_libs([compiled.library])
        return context.call_internal(builder, compiled.fndesc, signature(result, *args), values)

    return signature(result, *args), codegen


def reject_raises(code: CodeType) -> None:
    """A kernel has no way to raise."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RAISE_VARARGS":
            raise KernelError(message(code.co_name, "a kernel cannot raise or assert"))


def bind_called(function: Any, words: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    """The function with its type parameters taken from the pointers it is called with."""
    bound = {
        word.element: argument.element
        for word, argument in zip(words, args, strict=False)
        if isinstance(word, PointerTo) and isinstance(argument, PointerType)
    }
    return with_types(function, bound)


def _call_definition(function: Any, inline: bool, words: tuple[Any, ...]) -> Any:
    """An intrinsic's definition that compiles `function` for its argument types and calls it."""

    def definition(typingctx: Any, *args: Any) -> Any:
        return call(bind_called(function, words, args), args, inline)

    parameters = inspect.signature(function).parameters
    first = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = [inspect.Parameter(name, first.kind) for name in parameters]
    definition.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    return definition


@infer_global(operator.getitem)
class _PointerGetitem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index = args
        if isinstance(pointer, PointerType | TableType) and isinstance(index, types.Integer):
            return signature(held(pointer.element), pointer, types.int64)
        return None


@infer_global(operator.setitem)
class _PointerSetitem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        pointer, index, value = args
        if isinstance(pointer, PointerType) and isinstance(index, types.Integer):
            if isinstance(value, types.Number | types.Boolean):
                return signature(types.none, pointer, types.int64, held(pointer.element))
        return None


@infer_global(operator.add)
@infer_global(operator.iadd)
@infer_global(operator.sub)
@infer_global(operator.isub)
class _PointerMove(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if (
            len(args) == 2
            and isinstance(args[0], PointerType)
            and isinstance(args[1], types.Integer)
        ):
            return signature(args[0], args[0], types.int64)
        return None


def _element_pointer(builder: Any, element: str, pointer: Any, index: Any) -> Any:
    """Address of an element; elements of block types are whole blocks."""
    dtype = dtypes.by_name[element]
    if dtype.kind == "q":
        index = builder.mul(index, ir.Constant(ir.IntType(64), dtype.itemsize))
    stored = elements.storage(element)
    place = builder.bitcast(pointer, stored.as_pointer())
    return builder.gep(place, [index], inbounds=True)


@lower_builtin(operator.getitem, PointerType, types.int64)
def _lower_getitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return load(builder, sig.args[0].element, args[0], args[1])


def load(builder: Any, element: str, pointer: Any, index: Any) -> Any:
    """The held value of `pointer[index]`."""
    place = _element_pointer(builder, element, pointer, index)
    stored = builder.load(place, align=_align(element))
    return elements.widen(builder, element, stored)


@lower_builtin(operator.getitem, TableType, types.int64)
def _lower_table(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    table = sig.args[0]
    kind = ir.ArrayType(elements.storage(table.element), len(table.numbers))
    space = targets.current().constant_space
    name = f"table.{table.digest}"
    place = builder.module.globals.get(name)
    if place is None:
        place = ir.GlobalVariable(builder.module, kind, name, addrspace=space)
        place.linkage, place.global_constant = "internal", True
        place.initializer = ir.Constant(kind, table.numbers)
    if space:
        place = builder.addrspacecast(place, kind.as_pointer())
    return builder.load(builder.gep(place, [ir.IntType(64)(0), args[1]], inbounds=True))


@lower_builtin(operator.setitem, PointerType, types.int64, types.Any)
def _lower_setitem(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    element = sig.args[0].element
    place = _element_pointer(builder, element, args[0], args[1])
    builder.store(elements.narrow(builder, element, args[2]), place, align=_align(element))
    return context.get_dummy_value()


def _align(element: str) -> int:
    return 1 if dtypes.by_name[element].kind == "q" else dtypes.by_name[element].itemsize


@lower_builtin(operator.add, PointerType, types.int64)
@lower_builtin(operator.iadd, PointerType, types.int64)
def _lower_add(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.bitcast(_element_pointer(builder, sig.args[0].element, *args), VALUE)


@lower_builtin(operator.sub, PointerType, types.int64)
@lower_builtin(operator.isub, PointerType, types.int64)
def _lower_sub(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    moved = _element_pointer(builder, sig.args[0].element, args[0], builder.neg(args[1]))
    return builder.bitcast(moved, VALUE)


def _lower_conversion(element: str) -> None:
    """Make `float16(x)` and the like: cast to the held type, then round to the stored one."""

    @lower_builtin(ElementClass(element), types.Any)
    def convert(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = context.cast(builder, args[0], sig.args[0], sig.return_type)
        if element == "bool":
            return value
        return elements.widen(builder, element, elements.narrow(builder, element, value))


for _dtype in dtypes.PLAIN:
    _lower_conversion(_dtype.name)
