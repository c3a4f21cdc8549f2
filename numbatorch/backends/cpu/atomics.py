"""Words of the plan loop: calls by address, atomic words of memory that threads share, a pause."""

from typing import Any

from numbatorch.language.kernel import intrinsic
from numbatorch.language.processor import current_cpu


@intrinsic
def call(typingctx: Any, function: Any, arguments: Any, part: Any, parts: Any) -> Any:
    """Call a compiled kernel by its address."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 3)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return signature(types.none, *[types.int64] * 4), codegen


@intrinsic
def call_system(typingctx: Any, function: Any, first: Any, second: Any, third: Any) -> Any:
    """Call a C function that takes three pointers or integers, or fewer."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 3)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return signature(types.none, *[types.int64] * 4), codegen


def _atomic(body: Any) -> Any:
    """An intrinsic on a shared int64 word: `body(builder, place, value)` gives its value."""

    def definition(typingctx: Any, address: Any, value: Any) -> Any:
        from llvmlite import ir
        from numba.core import types
        from numba.core.typing import signature

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            place = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
            return body(builder, place, values[1])

        return signature(types.int64, types.int64, types.int64), codegen

    definition.__name__ = body.__name__
    return intrinsic(definition)


@_atomic
def load(builder: Any, place: Any, value: Any) -> Any:
    """The word."""
    return builder.load_atomic(place, "seq_cst", 8)


@_atomic
def store(builder: Any, place: Any, value: Any) -> Any:
    """Put a value into the word."""
    builder.store_atomic(value, place, "seq_cst", 8)
    return value


@_atomic
def add(builder: Any, place: Any, value: Any) -> Any:
    """Add to the word; what stood there before."""
    return builder.atomic_rmw("add", place, value, "seq_cst")


@_atomic
def exchange(builder: Any, place: Any, value: Any) -> Any:
    """Put a value into the word; what stood there before."""
    return builder.atomic_rmw("xchg", place, value, "seq_cst")


@intrinsic
def replace(typingctx: Any, address: Any, old: Any, new: Any) -> Any:
    """Put `new` into a shared word if `old` stands there; 1 if it did."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        word = ir.IntType(64)
        place = builder.inttoptr(values[0], word.as_pointer())
        found = builder.cmpxchg(place, values[1], values[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(found, 1), word)

    return signature(types.int64, *[types.int64] * 3), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the core that this thread waits for another."""
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        architecture = current_cpu().triple.partition("-")[0]
        hint = ir.IntType(32)
        if architecture.startswith(("x86", "i686", "amd64")):
            kind = ir.FunctionType(ir.VoidType(), [])
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        elif architecture.startswith(("aarch64", "arm64")):
            kind = ir.FunctionType(ir.VoidType(), [hint])
            name = "llvm.aarch64.hint"
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [hint(1)])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return signature(types.none), codegen
