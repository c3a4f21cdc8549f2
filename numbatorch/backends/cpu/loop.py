"""The plan loop: compiled code that walks a program of (function, argument block) rows.

Its functions are kernels like any other, kept in the pack. Threads share an int64 array, the state.
"""

from typing import Any

from numbatorch.language.kernel import helper, intrinsic, kernel, view
from numbatorch.language.primitives import int64
from numbatorch.language.processor import current_cpu

# Words of a program's row, and bits of its flags.
FUNCTION, ARGUMENTS, FLAGS, ROW = 0, 1, 2, 4
SERIAL, BARRIER = 1, 2

# Words of the team's state; what different threads write stands on different cache lines.
LINE = 16
GENERATION = 0 * LINE  # programs started so far
PROGRAM = 1 * LINE
COUNT = PROGRAM + 1
BASE = PROGRAM + 2  # arrivals before this program
SPINS = PROGRAM + 3  # pauses before an idle thread parks
PATIENCE = PROGRAM + 4  # pauses at a barrier before the thread lets others run
YIELD = PROGRAM + 5  # address of the system's `yield`, or 0
ACQUIRE = PROGRAM + 6  # addresses of CPython's lock functions
RELEASE = PROGRAM + 7
STOP = PROGRAM + 8
PARTS = PROGRAM + 9
ARRIVED = 2 * LINE  # arrivals at barriers so far
OPENED = 3 * LINE  # arrivals at the last barrier that every thread has reached
SEAT = 4 * LINE  # for each part a line: whether it is parked, and the lock it parks on
PARKED, LOCK = 0, 1

FEW = 4  # up to this team size threads watch the arrivals themselves


def words(parts: int) -> int:
    """Length of the state of a team."""
    return SEAT + parts * LINE


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
def call_system(typingctx: Any, function: Any, pointer: Any, number: Any) -> Any:
    """Call a C function that takes a pointer and an int, or less."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        number_type = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64), number_type])
        target = builder.inttoptr(values[0], kind.as_pointer())
        builder.call(target, [values[1], builder.trunc(values[2], number_type)])
        return context.get_dummy_value()

    return signature(types.none, *[types.int64] * 3), codegen


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
def _load(builder: Any, place: Any, value: Any) -> Any:
    return builder.load_atomic(place, "seq_cst", 8)


@_atomic
def _store(builder: Any, place: Any, value: Any) -> Any:
    builder.store_atomic(value, place, "seq_cst", 8)
    return value


@_atomic
def _add(builder: Any, place: Any, value: Any) -> Any:
    return builder.atomic_rmw("add", place, value, "seq_cst")


@_atomic
def _exchange(builder: Any, place: Any, value: Any) -> Any:
    return builder.atomic_rmw("xchg", place, value, "seq_cst")


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


@helper
def get(state: int, word: int) -> int:
    """A word of the shared state."""
    return int(_load(state + 8 * word, 0))


@helper
def await_word(state: int, word: int, least: int) -> None:
    """Wait until a word of the state is at least `least`; after a while let other threads run."""
    patience = get(state, PATIENCE)
    spins = 0
    while get(state, word) < least:
        pause()
        spins += 1
        if spins > patience:
            spins = 0
            function = get(state, YIELD)
            if function != 0:
                call_system(function, 0, 0)


@helper
def meet(state: int, parts: int, target: int) -> int:
    """A barrier: wait until `target` arrivals are counted in all."""
    arrived = _add(state + 8 * ARRIVED, 1) + 1
    if parts <= FEW:
        await_word(state, ARRIVED, target)
    elif arrived == target:
        _store(state + 8 * OPENED, target)
    else:
        await_word(state, OPENED, target)
    return target + parts


@helper
def walk(state: int, program: int, count: int, part: int, parts: int) -> None:
    """One part's share of a program, with a barrier at the end."""
    rows = view(program, int64)
    target = get(state, BASE) + parts
    for index in range(count):
        row = index * ROW
        flags = rows[row + FLAGS]
        if flags & BARRIER:
            target = meet(state, parts, target)
        if flags & SERIAL:
            if part == 0:
                call(rows[row + FUNCTION], rows[row + ARGUMENTS], 0, 1)
        else:
            call(rows[row + FUNCTION], rows[row + ARGUMENTS], part, parts)
    meet(state, parts, target)


@helper
def walk_alone(program: int, count: int) -> None:
    """A whole program on the thread that calls."""
    rows = view(program, int64)
    for index in range(count):
        row = index * ROW
        call(rows[row + FUNCTION], rows[row + ARGUMENTS], 0, 1)


@helper
def is_serial(program: int, count: int) -> int:
    """1 if no instruction of a program is divided."""
    rows = view(program, int64)
    for index in range(count):
        if rows[index * ROW + FLAGS] & SERIAL == 0:
            return 0
    return 1


@helper
def wake(state: int, parts: int) -> None:
    """Release the lock of every parked thread, once."""
    for part in range(1, parts):
        seat = SEAT + part * LINE
        if get(state, seat + PARKED) != 0 and _exchange(state + 8 * (seat + PARKED), 0) != 0:
            call_system(get(state, RELEASE), get(state, seat + LOCK), 0)


@helper
def await_program(state: int, part: int, seen: int) -> int:
    """Wait for a generation after `seen`: spin a while, then park until the caller releases."""
    seat = SEAT + part * LINE
    while True:
        for _ in range(get(state, SPINS)):
            generation = get(state, GENERATION)
            if generation != seen:
                return generation
            pause()
        _store(state + 8 * (seat + PARKED), 1)
        # A program came since: take the mark back, unless the caller has: it releases.
        if get(state, GENERATION) != seen and _exchange(state + 8 * (seat + PARKED), 0) != 0:
            continue
        call_system(get(state, ACQUIRE), get(state, seat + LOCK), 1)


# The block of these kernels is one word, the state. The two words after it mean what each says.


@kernel
def worker(state: int, part: int, parts: int) -> None:
    """What thread `part` of the team does until the team stops."""
    seen = 0
    while True:
        seen = await_program(state, part, seen)
        if get(state, STOP) != 0:
            return
        walk(state, get(state, PROGRAM), get(state, COUNT), part, get(state, PARTS))


@kernel
def run(state: int, part: int, parts: int) -> None:
    """Run the program at address `part`, of `parts` rows, on the team; the caller is part 0."""
    program = part
    count = parts
    size = get(state, PARTS)
    if size == 1 or is_serial(program, count) != 0:
        walk_alone(program, count)
        return
    _store(state + 8 * PROGRAM, program)
    _store(state + 8 * COUNT, count)
    _store(state + 8 * BASE, get(state, ARRIVED))
    _add(state + 8 * GENERATION, 1)
    wake(state, size)
    walk(state, program, count, 0, size)


@kernel
def stop(state: int, part: int, parts: int) -> None:
    """End every `worker`."""
    _store(state + 8 * STOP, 1)
    _add(state + 8 * GENERATION, 1)
    wake(state, get(state, PARTS))


@kernel
def spin(state: int, part: int, parts: int) -> None:
    """Pause `parts` times as the waits above do, to find how long that takes."""
    for _ in range(parts):
        if get(state, GENERATION) < 0:
            return
        pause()
