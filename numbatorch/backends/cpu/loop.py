"""The plan loop: compiled code that walks a program of (function, argument block) rows.

A row that is divided has a share for every part of the team. Each thread takes its own shares in
order; one that would wait at a barrier takes what no other thread has begun, so a thread that the
system has set aside holds up nothing but a share that it is in the middle of. Its functions are
kernels like any other, kept in the pack. Threads share an int64 array, the state.
"""

from numbatorch.backends.cpu.atomics import (
    add,
    call,
    call_system,
    exchange,
    load,
    pause,
    replace,
)
from numbatorch.backends.cpu.seats import (
    ACQUIRE,
    CLOCK,
    CLOCK_FIRST,
    CLOCK_SECOND,
    COUNT,
    DONE,
    GENERATION,
    GRACE,
    IDLE,
    INSIDE,
    LAST,
    LINE,
    LOCK,
    MISSED,
    OPENED,
    PARKED,
    PARTS,
    PATIENCE,
    PROGRAM,
    RELEASE,
    SEAT,
    SEEN,
    SLEEP,
    SLEEP_FOR,
    SPINS,
    STOP,
    TAKEN,
    THREADS,
    TIME,
    UNIT,
    WAKE,
    get,
    keep_apart,
    look,
    put,
)
from numbatorch.language.kernel import helper, kernel, view
from numbatorch.language.primitives import int64, truncdiv

# Words of a program's row, and bits of its flags. A run notes in its first row how long it takes,
# in nanoseconds: on the team when that goes well, on one thread, until when it goes alone, how much
# has been lost of late by asking the team.
FUNCTION, ARGUMENTS, FLAGS, WORK, BEST, LONE, UNTIL, LOST, ROW = 0, 1, 2, 3, 4, 5, 6, 7, 8
SERIAL, BARRIER = 1, 2

LOOKS = 20  # that a thread takes before it sleeps
FEW = 4  # up to this many threads watch the finished shares themselves
ROW_BITS = 20  # of the number of rows in TAKEN
LAST_GENERATION = (1 << 62 - ROW_BITS) - 2  # then they begin again
PACE = 16  # simple operations of a launch's work in a nanosecond, about, until it is measured
SLACK = 300_000  # nanoseconds by which a run may be late whatever its length
LOSSES = 8  # times of one thread that are lost before a program goes alone
REST = 16  # times what was lost for which it goes alone, at most LONGEST_REST nanoseconds
LONGEST_REST = 500_000_000


@helper
def let_others_run(state: int) -> None:
    """Sleep a little: a thread that slept is soon run again, one that yields waits its turn."""
    function = get(state, SLEEP)
    if function != 0:
        call_system(function, get(state, SLEEP_FOR), 0, 0)


@helper
def await_word(state: int, word: int, value: int) -> None:
    """Wait until a word of the state is `value`; after a while let other threads run."""
    patience = LOOKS * get(state, PATIENCE)
    spins = 0
    while get(state, word) != value:
        pause()
        spins += 1
        if spins > patience:
            spins = 0
            let_others_run(state)


@helper
def share_begins(state: int, rows: int, generation: int, first: int, index: int, part: int) -> int:
    """1 if the share of `part` in a row is the caller's from now on; no row before `first` is left.

    Serial rows that follow each other are one share, that of part 0 in the first of them.
    """
    table = view(rows, int64)
    if table[index * ROW + FLAGS] & SERIAL:
        if part != 0 or (index > first and table[(index - 1) * ROW + FLAGS] & SERIAL):
            return 0
    place = state + 8 * (SEAT + part * 2 * LINE + TAKEN)
    taken = (generation << ROW_BITS) + index + 1
    while True:
        before = load(place, 0)
        if before >= taken:
            return 0
        if replace(place, before, taken):
            return 1


@helper
def run_share(rows: int, index: int, count: int, part: int, parts: int) -> None:
    """Call the kernel of a row for one part, or of a serial row and those that follow it."""
    table = view(rows, int64)
    row = index * ROW
    if table[row + FLAGS] & SERIAL == 0:
        call(table[row + FUNCTION], table[row + ARGUMENTS], part, parts)
        return
    flags = SERIAL
    while index < count and flags == SERIAL:
        row = index * ROW
        call(table[row + FUNCTION], table[row + ARGUMENTS], 0, 1)
        index += 1
        if index < count:
            flags = table[row + ROW + FLAGS] & (SERIAL | BARRIER)


@helper
def shares(rows: int, first: int, index: int, parts: int) -> int:
    """How many shares a row has."""
    table = view(rows, int64)
    if table[index * ROW + FLAGS] & SERIAL == 0:
        return parts
    if index > first and table[(index - 1) * ROW + FLAGS] & SERIAL:
        return 0
    return 1


@helper
def is_open(state: int, target: int, pauses: int) -> int:
    """1 if `target` shares are finished after so many pauses at most."""
    word = DONE if get(state, THREADS) <= FEW else OPENED
    while get(state, word) < target:
        if pauses <= 0:
            return 0
        pauses -= 1
        pause()
    return 1


@helper
def finish(state: int, done: int, target: int) -> None:
    """Count finished shares, and open the barrier that waits for `target` of them."""
    if done > 0 and add(state + 8 * DONE, done) + done == target and get(state, THREADS) > FEW:
        put(state, OPENED, target)


@helper
def take_over(state: int, generation: int, thread: int, first: int, last: int) -> int:
    """Run the shares of rows `first` to `last` that no thread has begun; how many there were."""
    rows, parts, done = get(state, PROGRAM), get(state, PARTS), 0
    for step in range(1, parts + 1):
        part = (thread + step) % parts
        all_taken = (generation << ROW_BITS) + last
        if get(state, SEAT + part * 2 * LINE + TAKEN) < all_taken:
            for index in range(first, last):
                if share_begins(state, rows, generation, first, index, part):
                    run_share(rows, index, last, part, parts)
                    done += 1
    return done


@helper
def meet(
    state: int, generation: int, thread: int, first: int, last: int, target: int, done: int
) -> int:
    """Before row `last`, wait until `target` shares are finished in all; 0 if others should run.

    Only a thread that a program can do without, any but the first, gives up waiting. None waits
    for the end of a program: the first one does.
    """
    finish(state, done, target)
    if is_open(state, target, get(state, GRACE)):
        return 1
    while True:
        for _ in range(LOOKS):
            finish(state, take_over(state, generation, thread, first, last), target)
            if thread != 0 and last == get(state, COUNT):
                return 1
            if is_open(state, target, get(state, PATIENCE)):
                return 1
        if thread != 0:
            return 0
        let_others_run(state)


@helper
def walk(state: int, generation: int, thread: int) -> int:
    """Run a thread's shares of a program, and others'; 0 if it should let others run and return."""
    rows, count = get(state, PROGRAM), get(state, COUNT)
    parts, threads = get(state, PARTS), get(state, THREADS)
    table = view(rows, int64)
    first, target, done = 0, 0, 0
    for index in range(count):
        if table[index * ROW + FLAGS] & BARRIER:
            if meet(state, generation, thread, first, index, target, done) == 0:
                return 0
            first, done = index, 0
        target += shares(rows, first, index, parts)
        for part in range(thread, parts, threads):
            if share_begins(state, rows, generation, first, index, part):
                run_share(rows, index, count, part, parts)
                done += 1
    return meet(state, generation, thread, first, count, target, done)


@helper
def walk_alone(program: int, count: int) -> None:
    """A whole program on the thread that calls."""
    rows = view(program, int64)
    for index in range(count):
        row = index * ROW
        call(rows[row + FUNCTION], rows[row + ARGUMENTS], 0, 1)


@helper
def divided_work(program: int, count: int) -> int:
    """The work of those rows of a program that are divided; 0 if there are none."""
    rows = view(program, int64)
    total = 0
    for index in range(count):
        row = index * ROW
        if rows[row + FLAGS] & SERIAL == 0:
            total += max(rows[row + WORK], 1)
    return total


@helper
def wake(state: int) -> None:
    """Release the lock of every parked thread, once."""
    for thread in range(1, get(state, THREADS)):
        seat = SEAT + thread * 2 * LINE
        if get(state, seat + PARKED) != 0 and exchange(state + 8 * (seat + PARKED), 0) != 0:
            call_system(get(state, RELEASE), get(state, seat + LOCK), 0, 0)


@helper
def is_parked(state: int) -> int:
    """1 if all threads but the caller's are parked."""
    for thread in range(1, get(state, THREADS)):
        if get(state, SEAT + thread * 2 * LINE + PARKED) == 0:
            return 0
    return 1


@helper
def begin(state: int, program: int, count: int) -> int:
    """Show a program to the threads; returns its generation."""
    if get(state, GENERATION) >= LAST_GENERATION:  # no thread is inside of a program
        put(state, GENERATION, 0)
        for part in range(get(state, PARTS)):
            put(state, SEAT + part * 2 * LINE + TAKEN, 0)
    put(state, PROGRAM, program)
    put(state, COUNT, count)
    put(state, DONE, 0)
    put(state, OPENED, 0)
    look(state, 0)
    generation = add(state + 8 * GENERATION, 1) + 1
    wake(state)
    return int(generation)


@helper
def end(state: int) -> None:
    """Take the program back: when this returns no thread reads it."""
    add(state + 8 * GENERATION, 1)
    for thread in range(1, get(state, THREADS)):
        await_word(state, SEAT + thread * 2 * LINE + INSIDE, 0)


@helper
def await_program(state: int, seat: int) -> int:
    """Wait for a program that this thread has not seen: spin a while, then park until released.

    Returns:
        1 if it has parked.
    """
    parked = 0
    while True:
        for _ in range(get(state, SPINS)):
            generation = get(state, GENERATION)
            if generation & 1 and generation != get(state, seat + SEEN):
                return parked
            pause()
        put(state, seat + PARKED, 1)
        generation = get(state, GENERATION)
        # A program came since: take the mark back, unless the caller has: it releases.
        if generation & 1 and generation != get(state, seat + SEEN):
            if exchange(state + 8 * (seat + PARKED), 0) != 0:
                continue
        call_system(get(state, ACQUIRE), get(state, seat + LOCK), 1, 0)
        parked = 1


@helper
def now(state: int) -> int:
    """Nanoseconds of a clock that only goes forward; for the thread that calls `run`."""
    function = get(state, CLOCK)
    if function == 0:
        return 0
    call_system(function, get(state, CLOCK_FIRST), get(state, CLOCK_SECOND), 0)
    return get(state, TIME) * get(state, UNIT) + get(state, TIME + 1)


@helper
def goes_alone(state: int, program: int, work: int, start: int) -> int:
    """1 if one thread will do sooner: a while after a late run, or before a parked team wakes.

    Programs that come one after the other wake it when it would have saved as much in them.
    """
    notes = view(program, int64)
    if get(state, WAKE) < 0:  # never, whatever it takes
        return 0
    if start < notes[UNTIL]:
        return 1
    if is_parked(state) == 0:
        return 0
    lone = notes[LONE] if notes[LONE] > 0 else truncdiv(work, PACE)
    best = notes[BEST] if notes[BEST] > 0 else truncdiv(lone, get(state, THREADS))
    missed = get(state, MISSED) if start - get(state, LAST) < get(state, IDLE) else 0
    missed += max(lone - best, 0)
    alone = missed < get(state, WAKE)
    put(state, MISSED, missed if alone else 0)
    return 1 if alone else 0


@helper
def note_team(state: int, program: int, took: int, time: int) -> None:
    """A run on the team took so long until `time`; those slower than on one thread make it rest.

    The time on one thread is known, or at most the sum of the threads' times. A few late runs are
    taken in, for the system needs some time to give the threads cores of their own.
    """
    notes = view(program, int64)
    best, lone, lost = notes[BEST], notes[LONE], notes[LOST]
    threads = get(state, THREADS)
    limit = lone if lone > 0 else (threads + 1) * best
    if best > 0 and took > limit + (limit >> 3) + SLACK:
        lost += took - limit
        if lost > LOSSES * limit:
            notes[UNTIL] = time + min(REST * lost, LONGEST_REST)
            lost = 0
    else:
        notes[BEST] = took if best == 0 or took < best else best + ((took - best) >> 3)
        notes[LONE] = min(lone, threads * took)
        lost -= lost >> 3
    notes[LOST] = lost


@helper
def note_alone(program: int, took: int) -> None:
    """A run on one thread took so long; what the team would take is known a little less."""
    notes = view(program, int64)
    lone = notes[LONE]
    notes[LONE] = took if lone == 0 else (lone + took) >> 1
    notes[BEST] -= notes[BEST] >> 5


# The block of these kernels is one word, the state. The two words after it mean what each says.


@kernel
def worker(state: int, part: int, parts: int) -> None:
    """What thread `part` of the team does until the team stops."""
    seat = SEAT + part * 2 * LINE
    slept = 1
    while True:
        slept |= await_program(state, seat)
        if slept != 0:
            keep_apart(state, part)
        slept = 0
        put(state, seat + INSIDE, 1)  # from here on the program's memory stays, if one runs
        generation = get(state, GENERATION)
        if get(state, STOP) != 0:  # what stops the team counts generations as well
            put(state, seat + INSIDE, 0)
            return
        finished = 1
        if generation & 1:
            finished = walk(state, generation, part)
        put(state, seat + INSIDE, 0)
        if finished != 0:
            put(state, seat + SEEN, generation)
        else:
            let_others_run(state)
            slept = 1


@kernel
def run(state: int, part: int, parts: int) -> None:
    """Run the program at address `part`, of `parts` rows, on the team; the caller is thread 0."""
    program = part
    count = parts
    work = divided_work(program, count)
    if work == 0 or get(state, THREADS) == 1:
        walk_alone(program, count)
        return
    start = now(state)
    if goes_alone(state, program, work, start):
        walk_alone(program, count)
        time = now(state)
        note_alone(program, time - start)
    else:
        generation = begin(state, program, count)
        walk(state, generation, 0)
        end(state)
        time = now(state)
        note_team(state, program, time - start, time)
    put(state, LAST, time)


@kernel
def rouse(state: int, part: int, parts: int) -> None:
    """Run nothing, and wait until each thread has come, to find how long that takes."""
    generation = begin(state, 0, 0)
    for thread in range(1, get(state, THREADS)):
        await_word(state, SEAT + thread * 2 * LINE + SEEN, generation)
    end(state)


@kernel
def stop(state: int, part: int, parts: int) -> None:
    """End every `worker`."""
    put(state, STOP, 1)
    add(state + 8 * GENERATION, 1)
    wake(state)


@kernel
def spin(state: int, part: int, parts: int) -> None:
    """Pause `parts` times as the waits above do, to find how long that takes."""
    for _ in range(parts):
        if get(state, GENERATION) < 0:
            return
        pause()
