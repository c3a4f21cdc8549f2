"""Vectors in kernels: loads that convert, stores that round, arithmetic, sums, shuffles, masks.

`n` lanes is a literal or `lanes(pointer)`, the width of the processor's vectors. The operators
`+ - * & | ^ << >>` work on vectors.
"""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import CPU, current_cpu


def held(element: str) -> str:
    """The element type that a vector loaded from memory of `element` has."""
    from numbatorch import dtype as dtypes

    found = dtypes.by_name[element]
    return found.compute.name if found.kind == "f" else found.name


def vector_bytes() -> int:
    """Bytes of a vector register of the processor that is compiled for."""
    return bytes_of(current_cpu())


def bytes_of(cpu: CPU) -> int:
    """Bytes of a vector register of a processor."""
    if cpu.has("avx512f") and cpu.has("avx512bw") and cpu.has("avx512vl"):
        return 64
    return 32 if cpu.has("avx2") and cpu.has("fma") else 16


def vector_registers() -> int:
    """Vector registers that tiles can count on, of the processor that is compiled for."""

    arm = current_cpu().triple.startswith(("aarch64", "arm64"))
    return 32 if arm or vector_bytes() == 64 else 16


def vector_constraint() -> str | None:
    """LLVM's letter for a vector register in inline assembly, if it is known."""
    architecture = current_cpu().triple.partition("-")[0]
    return {"x86_64": "v", "aarch64": "w", "arm64": "w"}.get(architecture)


def native_lanes(element: str) -> int:
    """Lanes of a full vector of what `element` is computed in."""
    from numbatorch import dtype as dtypes

    return vector_bytes() // dtypes.by_name[held(element)].itemsize


def literal(value: Any) -> int:
    """The number behind a literal type."""
    from numba.core import errors

    if not hasattr(value, "literal_value"):
        raise errors.TypingError("a number of lanes is a literal or lanes(pointer)")
    return int(value.literal_value)


def constant_result(value: int, *args: Any) -> Any:
    """Definition of an intrinsic whose result is a constant known while types are inferred."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return ir.Constant(ir.IntType(64), value)

    return signature(types.literal(value), *args), codegen


def pointer_to(builder: Any, pointer: Any, llvm_type: Any, index: Any = None) -> Any:
    """The LLVM address of `index` elements of `llvm_type` behind `pointer`."""
    place = builder.bitcast(pointer, llvm_type.as_pointer())
    return place if index is None else builder.gep(place, [index], inbounds=True)


def load_vector(builder: Any, element: str, pointer: Any, n: int, count: Any = None) -> Any:
    """IR of the vector of `n` elements, in the held type; lanes from `count` on are 0, not read."""
    from llvmlite import ir

    from numbatorch.language import elements

    stored = elements.storage(element)
    size = _itemsize(element)
    if count is None:
        vector = ir.VectorType(stored, n)
        place = builder.bitcast(pointer, vector.as_pointer())
        return elements.widen(builder, element, builder.load(place, align=size))
    bits = ir.VectorType(ir.IntType(size * 8), n)
    place = builder.bitcast(pointer, bits.as_pointer())
    name = f"llvm.masked.load.v{n}i{size * 8}.p0"
    mask = first_lanes(builder, n, count)
    kind = ir.FunctionType(bits, [place.type, ir.IntType(32), mask.type, bits])
    args = [place, ir.IntType(32)(size), mask, ir.Constant(bits, None)]
    loaded = builder.call(declare(builder, name, kind), args)
    return elements.widen(builder, element, builder.bitcast(loaded, ir.VectorType(stored, n)))


def store_vector(builder: Any, element: str, pointer: Any, value: Any, count: Any = None) -> None:
    """IR that rounds a held vector to `element` and stores it, or its first `count` lanes."""
    from llvmlite import ir

    from numbatorch.language import elements

    if element == "float64" and str(value.type.element) == "float":
        value = builder.fpext(value, ir.VectorType(ir.DoubleType(), value.type.count))
    elif element != "float64" and str(value.type.element) == "double":
        value = builder.fptrunc(value, ir.VectorType(ir.FloatType(), value.type.count))
    rounded = elements.narrow(builder, element, value)
    size = _itemsize(element)
    if count is None:
        place = builder.bitcast(pointer, rounded.type.as_pointer())
        builder.store(rounded, place, align=size)
        return
    n = value.type.count
    bits = ir.VectorType(ir.IntType(size * 8), n)
    place = builder.bitcast(pointer, bits.as_pointer())
    mask = first_lanes(builder, n, count)
    name = f"llvm.masked.store.v{n}i{size * 8}.p0"
    kind = ir.FunctionType(ir.VoidType(), [bits, place.type, ir.IntType(32), mask.type])
    args = [builder.bitcast(rounded, bits), place, ir.IntType(32)(size), mask]
    builder.call(declare(builder, name, kind), args)


def first_lanes(builder: Any, n: int, count: Any) -> Any:
    """IR of the mask of the first `count` (an i64) of `n` lanes."""
    from llvmlite import ir

    from numbatorch.language.simd import types as simd_types

    vector = ir.VectorType(ir.IntType(32), n)
    limit = simd_types.splat(builder, builder.trunc(count, ir.IntType(32)), n)
    return builder.icmp_signed("<", ir.Constant(vector, list(range(n))), limit)


def declare(builder: Any, name: str, kind: Any) -> Any:
    """A function of LLVM's own, declared in the module once."""
    from numba.core import cgutils

    return cgutils.get_or_insert_function(builder.module, kind, name)


def fma_vector(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """IR of a * b + c, rounded once on processors that can."""
    from llvmlite import ir

    suffix = "f32" if str(a.type.element) == "float" else "f64"
    name = f"llvm.fmuladd.v{a.type.count}{suffix}"
    return builder.call(declare(builder, name, ir.FunctionType(a.type, [a.type] * 3)), [a, b, c])


def halves(builder: Any, value: Any) -> tuple[Any, Any]:
    """IR of the lower and the upper half of a vector."""
    n = value.type.count
    return take(builder, value, range(n // 2)), take(builder, value, range(n // 2, n))


def take(builder: Any, value: Any, indices: Any, other: Any = None) -> Any:
    """IR of the vector of the lanes `indices` of `value`, counted on into `other`."""
    from llvmlite import ir

    lanes_ = list(indices)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes_)), lanes_)
    return builder.shuffle_vector(value, value if other is None else other, mask)


def _itemsize(element: str) -> int:
    from numbatorch import dtype as dtypes

    found = dtypes.by_name[element]
    return 1 if found.kind == "q" else found.itemsize


@intrinsic
def lanes(typingctx: Any, pointer: Any) -> Any:
    """Lanes of a full vector of what the pointer's elements are computed in, a constant."""
    return constant_result(native_lanes(pointer.element), pointer)


@intrinsic
def narrow(typingctx: Any, pointer: Any) -> Any:
    """1 if the pointer's elements are computed in a wider type, else 0; a constant."""
    return constant_result(int(held(pointer.element) != pointer.element), pointer)


@intrinsic
def view_held(typingctx: Any, pointer: Any, like: Any) -> Any:
    """A pointer read as elements of the type that `like`'s elements are computed in."""
    from numba.core.typing.templates import signature

    from numbatorch.language import numba_pointers

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return values[0]

    return signature(numba_pointers.PointerType(held(like.element)), pointer, like), codegen


@intrinsic(literal=True)
def vload(typingctx: Any, pointer: Any, n: Any) -> Any:
    """The vector of `n` elements at a pointer, in the type that arithmetic is done in."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return load_vector(builder, pointer.element, values[0], literal(n))

    return signature(simd_types.VecType(held(pointer.element), literal(n)), pointer, n), codegen


@intrinsic
def vload_like(typingctx: Any, pointer: Any, like: Any) -> Any:
    """The vector at a pointer, of as many lanes as `like`."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return load_vector(builder, pointer.element, values[0], like.lanes)

    return signature(simd_types.VecType(held(pointer.element), like.lanes), pointer, like), codegen


def _storable(pointer: Any, value: Any) -> bool:
    """Floats are rounded; integers have to be of the pointer's type."""
    kind = held(pointer.element)
    return kind == value.element or (kind.startswith("float") and bool(value.is_float))


@intrinsic
def vstore(typingctx: Any, pointer: Any, value: Any) -> Any:
    """Round a vector to the pointer's elements and store it."""
    from numba.core import types
    from numba.core.typing.templates import signature

    if not _storable(pointer, value):
        return None

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        store_vector(builder, pointer.element, values[0], values[1])
        return context.get_dummy_value()

    return signature(types.void, pointer, value), codegen


@intrinsic(literal=True)
def splat(typingctx: Any, value: Any, n: Any) -> Any:
    """A vector with a number in each of `n` lanes."""
    from numba.core import types
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    scalar = types.unliteral(value)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return simd_types.splat(builder, values[0], literal(n))

    return signature(simd_types.VecType(scalar.name, literal(n)), scalar, n), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c on float vectors, rounded once on processors that can."""
    from numba.core.typing.templates import signature

    if not a == b == c:
        return None

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return fma_vector(builder, *values)

    return signature(a, a, b, c), codegen


@intrinsic
def vmax(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger of two numbers, lane by lane; `b` where `a` is NaN."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        compare = builder.fcmp_ordered if a.is_float else builder.icmp_signed
        return builder.select(compare(">", *values), *values)

    return (signature(a, a, b), codegen) if a == b else None


@intrinsic
def vconvert(typingctx: Any, a: Any, element: Any) -> Any:
    """A vector in another element type: integers extend by their sign or wrap, floats cut."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    target = simd_types.VecType(element.element, a.lanes)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        value, kind = values[0], target.llvm
        unsigned = a.element.startswith("u")
        if a.is_float:
            return value if target.is_float else builder.fptosi(value, kind)
        if target.is_float:
            return (builder.uitofp if unsigned else builder.sitofp)(value, kind)
        if kind.element.width <= a.llvm.element.width:
            return (
                value if kind.element.width == a.llvm.element.width else builder.trunc(value, kind)
            )
        return (builder.zext if unsigned else builder.sext)(value, kind)

    return signature(target, a, element), codegen


@intrinsic
def vsum(typingctx: Any, a: Any) -> Any:
    """The sum over the lanes; floats are added in pairs, in a fixed order."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        value = values[0]
        while value.type.count > 1:
            low, high = halves(builder, value)
            value = builder.fadd(low, high) if a.is_float else builder.add(low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return signature(a.scalar, a), codegen


@intrinsic
def vlargest(typingctx: Any, a: Any) -> Any:
    """The largest lane of a float vector without NaN."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        value = values[0]
        while value.type.count > 1:
            low, high = halves(builder, value)
            value = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(value, ir.IntType(32)(0))

    return signature(a.scalar, a), codegen


@intrinsic
def vconcat(typingctx: Any, a: Any, b: Any) -> Any:
    """The lanes of `a`, then those of `b`."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return take(builder, values[0], range(2 * a.lanes), values[1])

    return (
        (signature(simd_types.VecType(a.element, 2 * a.lanes), a, b), codegen) if a == b else None
    )


@intrinsic(literal=True)
def vpad(typingctx: Any, a: Any, n: Any) -> Any:
    """The lanes of `a`, then zeros until there are `n`."""
    from llvmlite import ir
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    count = literal(n)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        lanes = [min(lane, a.lanes) for lane in range(count)]
        return take(builder, values[0], lanes, ir.Constant(values[0].type, None))

    return signature(simd_types.VecType(a.element, count), a, n), codegen


@intrinsic(literal=True)
def vslice(typingctx: Any, a: Any, start: Any, n: Any) -> Any:
    """Lanes `start` to `start + n`, both literals."""
    from numba.core.typing.templates import signature

    from numbatorch.language.simd import types as simd_types

    first, count = literal(start), literal(n)

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return take(builder, values[0], range(first, first + count))

    return signature(simd_types.VecType(a.element, count), a, start, n), codegen


@intrinsic
def prefetch(typingctx: Any, pointer: Any) -> Any:
    """Ask for the cache line at a pointer, which need not be readable, into the second cache.

    The first has room for few lines on their way, which a loop at the speed of memory fills.
    """
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [values[0].type, i32, i32, i32])
        function = declare(builder, "llvm.prefetch.p0", kind)
        builder.call(function, [values[0], i32(0), i32(2), i32(1)])
        return context.get_dummy_value()

    return signature(types.void, pointer), codegen


@intrinsic
def call_epilogue(
    typingctx: Any,
    function: Any,
    args: Any,
    batch: Any,
    row0: Any,
    row1: Any,
    col0: Any,
    col1: Any,
) -> Any:
    """Call the C function at an address with (args, batch, row0, row1, col0, col1), all int64."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 6)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return signature(types.void, *[types.int64] * 7), codegen
