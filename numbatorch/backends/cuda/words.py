"""The words of kernels for CUDA: what NVVM, which reads the LLVM IR of version 7, makes of each.

A definition is as on the CPU `(typingctx, *types) -> (signature, codegen)`. Words that are the same
instructions everywhere keep the definition in language/; the others are here.
"""

# mypy: disallow-subclassing-any=False

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import signature
from numba.cuda.extending import typeof_impl
from numba.extending import models, register_model

from numbatorch.errors import KernelError, message
from numbatorch.language import elements, groups, numba_types, primitives, words
from numbatorch.language.numba_pointers import VALUE, ElementClass, PointerType, held
from numbatorch.language.scalar_word import Definition
from numbatorch.language.words import ElementType, Intrinsic, Table, Word

Define = Callable[..., Any]

GLOBAL, SHARED = 1, 3  # address spaces of NVVM
WARP = 32
ALIGNMENT = 16  # of arrays

i32, i64 = ir.IntType(32), ir.IntType(64)


# numba-cuda has an answer for classes of its own, before it asks what is registered with Numba.
typeof_impl.register(ElementType)(numba_types.typeof_element)
typeof_impl.register(Table)(numba_types.typeof_table)


class DeviceWord(Intrinsic):
    """A word that only CUDA has, for the definitions of others."""


def _over(count: int, definition: Define) -> Define:
    """Give a definition over `*operands` the signature that Numba asks for."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["typingctx", *"abcdefgh"[:count]]
    parameters = [inspect.Parameter(name, kind) for name in names]
    definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return definition


def _call(builder: Any, name: str, result: Any, values: Any) -> Any:
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def _floats(operands: Any) -> Any:
    """The type that floats meet in, or None if one is no float."""
    if not all(isinstance(operand, types.Float) for operand in operands):
        return None
    return types.float64 if types.float64 in operands else types.float32


def _library(name: str, count: int) -> Define:
    """`count` floats of one type to that type, through NVIDIA's libdevice."""

    def definition(typingctx: Any, *operands: Any) -> Any:
        kind = _floats(operands)
        if kind is None:
            return None

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            full = f"__nv_{name}" + ("f" if kind == types.float32 else "")
            return _call(builder, full, values[0].type, values)

        return signature(kind, *[kind] * count), codegen

    return _over(count, definition)


def _ordered(sign: str) -> Define:
    """`minimum` for "<" and `maximum` for ">": NaN if either is, and -0.0 is below 0.0."""

    def definition(typingctx: Any, *operands: Any) -> Any:
        kind = _floats(operands)
        if kind is None:
            return None

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            a, b = values
            integer = i32 if kind == types.float32 else i64
            bits = [builder.bitcast(value, integer) for value in values]
            joined = (builder.or_ if sign == "<" else builder.and_)(*bits)
            chosen = builder.select(builder.fcmp_ordered(sign, a, b), a, b)
            equal = builder.fcmp_ordered("==", a, b)
            chosen = builder.select(equal, builder.bitcast(joined, a.type), chosen)
            unordered = builder.fcmp_unordered("uno", a, b)
            return builder.select(unordered, builder.fadd(a, b), chosen)

        return signature(kind, kind, kind), codegen

    return _over(2, definition)


def _in_order(operation: str) -> Define:
    def definition(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return getattr(builder, operation)(*values)

        return (signature(a, a, b), codegen) if a == b and isinstance(a, types.Float) else None

    return definition


def _saturating(name: str) -> Define:
    def definition(typingctx: Any, value: Any) -> Any:
        if not isinstance(value, types.Float):
            return None
        result = getattr(types, name)
        width, signed = result.bitwidth, result.signed
        above = 2.0 ** (width - signed)
        largest = 2 ** (width - signed) - 1
        smallest = -(2 ** (width - 1)) if signed else 0

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            x = values[0]
            kind = ir.IntType(width)
            step = builder.fptosi if signed or width < 32 else builder.fptoui
            whole = step(x, ir.IntType(max(width, 32)))
            whole = builder.trunc(whole, kind) if width < 32 else whole
            over = builder.fcmp_ordered(">=", x, ir.Constant(x.type, above))
            under = builder.fcmp_ordered("<=", x, ir.Constant(x.type, float(smallest)))
            nan = builder.fcmp_unordered("uno", x, x)
            found = builder.select(over, ir.Constant(kind, largest), whole)
            found = builder.select(under, ir.Constant(kind, smallest), found)
            return builder.select(nan, ir.Constant(kind, 0), found)

        return signature(result, value), codegen

    return definition


def _fence(builder: Any) -> None:
    """What this thread wrote before is seen by all before what it writes after."""
    _call(builder, "llvm.nvvm.membar.gl", ir.VoidType(), [])


def _element(builder: Any, kind: Any, pointer: Any, index: Any) -> Any:
    place = builder.bitcast(pointer, kind.as_pointer())
    return builder.gep(place, [index], inbounds=True)


def _atomic_add(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    if not isinstance(pointer, PointerType):
        return None
    kind = held(pointer.element)
    if kind.bitwidth < 32 or not isinstance(kind, types.Integer):
        return None

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        place = _element(builder, ir.IntType(kind.bitwidth), values[0], values[1])
        _fence(builder)
        before = builder.atomic_rmw("add", place, values[2], "monotonic")
        _fence(builder)
        return before

    return signature(kind, pointer, types.int64, kind), codegen


def _add_atomically(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Adds to memory of the GPU, not of the group."""
    if not isinstance(pointer, PointerType):
        return None
    kind = held(pointer.element)
    if pointer.element not in ("float32", "float64", "int32", "uint32", "int64", "uint64"):
        return None

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        stored = elements.storage(pointer.element)
        place = _element(builder, stored, values[0], values[1])
        if isinstance(kind, types.Float):
            _add_float(builder, place, values[2], f"f{kind.bitwidth}")
        else:
            builder.atomic_rmw("add", place, values[2], "monotonic")
        return context.get_dummy_value()

    return signature(types.none, pointer, types.int64, kind), codegen


def _add_float(builder: Any, place: Any, value: Any, kind: str) -> None:
    """PTX: NVVM's function for it is refused for compute capability 10 and later.

    Source: https://docs.nvidia.com/cuda/parallel-thread-execution/#parallel-synchronization-and-communication-instructions-red
    """
    place = builder.addrspacecast(place, value.type.as_pointer(GLOBAL))
    taken = ir.FunctionType(ir.VoidType(), [i64, value.type])
    constraint = "l,f,~{memory}" if kind == "f32" else "l,d,~{memory}"
    code = ir.InlineAsm(taken, f"red.global.add.{kind} [$0], $1;", constraint, side_effect=True)
    builder.call(code, [builder.ptrtoint(place, i64), value])


def _register(name: str) -> Define:
    """A number that the hardware knows: `tid.x`."""

    def definition(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            found = _call(builder, f"llvm.nvvm.read.ptx.sreg.{name}", i32, [])
            return builder.zext(found, i64)

        return signature(types.int64), codegen

    return definition


def _barrier(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        _call(builder, "llvm.nvvm.barrier0", ir.VoidType(), [])
        return context.get_dummy_value()

    return signature(types.none), codegen


def _size(name: str, element: Any, size: Any) -> int:
    if not isinstance(element, ElementClass) or not isinstance(size, types.IntegerLiteral):
        problem = "takes an element type and a constant, a literal or a global of the module"
        raise KernelError(message(name, problem))
    return int(size.literal_value)


_arrays = 0


def _shared(typingctx: Any, element: Any, size: Any) -> Any:
    count = _size("shared", element, size)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        global _arrays
        _arrays += 1  # names are of the linked program, not of a module
        kind = ir.ArrayType(elements.storage(element.element), count)
        array = cgutils.add_global_variable(builder.module, kind, f"shared_{_arrays}", SHARED)
        array.align = ALIGNMENT
        array.initializer = ir.Constant(kind, ir.Undefined)
        return builder.bitcast(builder.addrspacecast(array, kind.as_pointer()), VALUE)

    return signature(PointerType(element.element), element, size), codegen


def _local(typingctx: Any, element: Any, size: Any) -> Any:
    count = _size("local", element, size)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = ir.ArrayType(elements.storage(element.element), count)
        array = cgutils.alloca_once(builder, kind)
        array.align = ALIGNMENT
        return builder.bitcast(array, VALUE)

    return signature(PointerType(element.element), element, size), codegen


def _shuffle(typingctx: Any, value: Any, distance: Any, mask: Any) -> Any:
    """The value of the lane whose number differs in the bits of `distance`."""
    kind = _floats([value])
    if kind is None:
        return None

    def exchange(builder: Any, word: Any, lanes: Any, mask: Any) -> Any:
        name = "llvm.nvvm.shfl.sync.bfly.i32"
        return _call(builder, name, i32, [mask, word, lanes, ir.Constant(i32, WARP - 1)])

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        held, lanes, mask = values[0], *(builder.trunc(word, i32) for word in values[1:])
        if kind == types.float32:
            bits = exchange(builder, builder.bitcast(held, i32), lanes, mask)
            return builder.bitcast(bits, held.type)
        bits = builder.bitcast(held, i64)
        low = exchange(builder, builder.trunc(bits, i32), lanes, mask)
        high = builder.trunc(builder.lshr(bits, ir.Constant(i64, 32)), i32)
        high = builder.zext(exchange(builder, high, lanes, mask), i64)
        joined = builder.or_(builder.zext(low, i64), builder.shl(high, ir.Constant(i64, 32)))
        return builder.bitcast(joined, held.type)

    return signature(kind, kind, types.int64, types.int64), codegen


shuffle: Any = DeviceWord(_shuffle, False)
larger: Any = DeviceWord(_library("fmax", 2), False)


def _like(typingctx: Any, value: Any, size: Any) -> Any:
    """An array of the group for values as this one."""
    made, codegen = _shared(typingctx, ElementClass(str(value)), size)
    return signature(made.return_type, value, size), codegen


shared_like: Any = DeviceWord(_like, True)


def _added(a: Any, b: Any) -> Any:
    return a + b


def _larger(a: Any, b: Any) -> Any:
    return larger(a, b)


def _reduction(combine: Any) -> Any:
    """A function in kernels' language: pairs of lanes, of one warp and then of the warps'."""
    step = words.helper(combine)
    thread, threads, barrier = groups.thread, groups.threads, groups.barrier
    warp = WARP

    def reduced(value: Any) -> Any:
        count = threads()
        inside = min(count, warp)
        mask = (1 << inside) - 1
        distance = inside // 2
        while distance > 0:
            value = step(value, shuffle(value, distance, mask))
            distance = distance // 2
        if count > warp:
            found = shared_like(value, 32)
            number, warps = thread(), count // warp
            barrier()
            if number % warp == 0:
                found[number // warp] = value
            barrier()
            value = found[number % warp % warps]
            distance = warps // 2
            while distance > 0:
                value = step(value, shuffle(value, distance, mask))
                distance = distance // 2
        return value

    return reduced


def _group(combine: Any) -> Define:
    function = _reduction(combine)

    def definition(typingctx: Any, value: Any) -> Any:
        value = types.unliteral(value)
        return numba_types.call(function, (value,)) if _floats([value]) else None

    return definition


class FinishType(types.Type):
    """The type of a parameter `finish`: the epilogue's function and the types of its words."""

    def __init__(self, function: Any, words: tuple[Any, ...], key: str) -> None:
        self.function = function
        self.words = words
        super().__init__(name=f"Finish({key})")


@register_model(FinishType)
class _FinishModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        members = [(f"word{i}", word) for i, word in enumerate(fe_type.words)]
        super().__init__(dmm, fe_type, members)


def _finish_tile(typingctx: Any, finish: Any, *tile: Any) -> Any:
    if not isinstance(finish, FinishType):
        return None
    sig = signature(types.none, finish, *[types.int64] * len(tile))
    if finish.function is None:
        return sig, lambda context, builder, sig, values: context.get_dummy_value()
    inner = (*finish.words, *sig.args[1:])
    called, generate = numba_types.call(finish.function, inner)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        words = [builder.extract_value(values[0], i) for i in range(len(finish.words))]
        generate(context, builder, called, [*words, *values[1:]])
        return context.get_dummy_value()

    return sig, codegen


def _choice(sign: str) -> Define:
    """Python's `min` and `max`: the first, or a later one that is really smaller or larger."""

    def definition(typingctx: Any, *operands: Any) -> Any:
        kinds = [types.unliteral(operand) for operand in operands]
        result = typingctx.unify_types(*kinds)
        if result is None or not isinstance(result, types.Number):
            return None

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            best = values[0]
            for value in values[1:]:
                if isinstance(result, types.Float):
                    better = builder.fcmp_ordered(sign, value, best)
                elif result.signed:
                    better = builder.icmp_signed(sign, value, best)
                else:
                    better = builder.icmp_unsigned(sign, value, best)
                best = builder.select(better, value, best)
            return best

        return signature(result, *[result] * len(kinds)), codegen

    return definition


# libdevice has fmax for `max` of floats, which leaves out NaN; here it is what Python does.
BUILTINS: dict[str, Any] = {
    "min": DeviceWord(_over(2, _choice("<")), False),
    "max": DeviceWord(_over(2, _choice(">")), False),
}

TABLE: dict[Any, Define] = {
    primitives.sqrt: _library("sqrt", 1),
    primitives.floor: _library("floor", 1),
    primitives.ceil: _library("ceil", 1),
    primitives.trunc: _library("trunc", 1),
    primitives.rint: _library("rint", 1),
    primitives.fabs: _library("fabs", 1),
    primitives.copysign: _library("copysign", 2),
    primitives.fmod: _library("fmod", 2),
    primitives.fma: _library("fma", 3),
    primitives.ldexp: primitives.scaling(primitives.scaled_in_steps),
    primitives.minimum: _ordered("<"),
    primitives.maximum: _ordered(">"),
    primitives.add_reassoc: _in_order("fadd"),
    primitives.mul_reassoc: _in_order("fmul"),
    primitives.select: primitives.select.definition,
    primitives.bits: primitives.bits.definition,
    primitives.from_bits: primitives.from_bits.definition,
    primitives.truncdiv: primitives.truncdiv.definition,
    primitives.to_int8: _saturating("int8"),
    primitives.to_int16: _saturating("int16"),
    primitives.to_int32: _saturating("int32"),
    primitives.to_int64: _saturating("int64"),
    primitives.to_uint8: _saturating("uint8"),
    primitives.to_uint16: _saturating("uint16"),
    primitives.to_uint32: _saturating("uint32"),
    primitives.to_uint64: _saturating("uint64"),
    primitives.atomic_add: _atomic_add,
    words.share: words.share.definition,
    words.address: words.address.definition,
    words.view: words.view.definition,
    groups.thread: _register("tid.x"),
    groups.threads: _register("ntid.x"),
    groups.group: _register("ctaid.x"),
    groups.groups: _register("nctaid.x"),
    groups.barrier: _barrier,
    groups.shared: _shared,
    groups.local: _local,
    groups.group_sum: _group(_added),
    groups.group_max: _group(_larger),
    groups.add_atomically: _add_atomically,
    groups.finish_tile: _over(6, _finish_tile),
}

_LITERAL = {groups.shared, groups.local}  # words that take constants


def definition_of(word: Intrinsic | Word) -> tuple[Define, bool]:
    """What numba-cuda makes of a word, and whether constants arrive as literal types.

    Raises:
        KernelError: CUDA does not have it.
    """
    if isinstance(word, Intrinsic) and isinstance(word.definition, Definition):
        return word.definition, False
    if isinstance(word, DeviceWord):
        return word.definition, word.literal
    if word not in TABLE:
        raise KernelError(message(word.__name__, "this word has no meaning on device cuda"))
    return TABLE[word], word in _LITERAL
