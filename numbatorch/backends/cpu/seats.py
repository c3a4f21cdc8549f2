"""What the threads of a team share: the words of its state, and which processors they are on."""

from numbatorch.backends.cpu.atomics import call_system, load, store
from numbatorch.language.kernel import address, helper, view
from numbatorch.language.primitives import int64

# Words of the team's state; what different threads write stands on different cache lines.
LINE = 16
GENERATION = 0 * LINE  # odd while a program runs
PROGRAM = 1 * LINE
COUNT = PROGRAM + 1
PARTS = PROGRAM + 2  # shares of a row that is divided
THREADS = PROGRAM + 3  # never more than parts
SPINS = PROGRAM + 4  # pauses before an idle thread parks
GRACE = PROGRAM + 5  # pauses at a barrier before a thread takes what others have not begun
PATIENCE = PROGRAM + 6  # pauses between looks for what others have not begun
SLEEP = PROGRAM + 7  # address of the system's function that lets others run, or 0, its argument
SLEEP_FOR = PROGRAM + 8
ACQUIRE = PROGRAM + 9  # addresses of CPython's lock functions
RELEASE = PROGRAM + 10
STOP = PROGRAM + 11
WHERE = PROGRAM + 12  # addresses of getcpu, or 0, of sched_getaffinity and sched_setaffinity
ALLOWED = PROGRAM + 13
ALLOW = PROGRAM + 14
MASKS = PROGRAM + 15  # and of two masks of processors for each thread
CLOCK = 2 * LINE  # what the thread that calls keeps: a clock's address, or 0, and its arguments
CLOCK_FIRST = CLOCK + 1
CLOCK_SECOND = CLOCK + 2
TIME = CLOCK + 3  # two words that the clock writes: nanoseconds are the first times UNIT, and more
UNIT = CLOCK + 5
WAKE = CLOCK + 6  # nanoseconds until a parked team takes part; -1 to share whatever that takes
IDLE = CLOCK + 7  # nanoseconds until an idle team parks
LAST = CLOCK + 8  # when the last program ended
MISSED = CLOCK + 9  # nanoseconds that the team would have saved had it been awake since it parked
DONE = 3 * LINE  # shares of this program that are finished
OPENED = 4 * LINE  # the last of these numbers that a barrier has waited for
SEAT = 5 * LINE  # two lines for each part: what its thread does; what is taken of its shares
PARKED, LOCK, SEEN, INSIDE, PROCESSOR = 0, 1, 2, 3, 4
TAKEN = LINE  # generation and number of rows of which this part's share is begun

MASK = 16  # words of a mask, a bit for each processor
NOWHERE = (1 << 32) - 1  # the processor of a thread that has not looked


def words(parts: int) -> int:
    """Length of the state of a team."""
    return SEAT + parts * 2 * LINE


@helper
def get(state: int, word: int) -> int:
    """A word of the shared state."""
    return int(load(state + 8 * word, 0))


@helper
def put(state: int, word: int, value: int) -> None:
    """Set a word of the shared state."""
    store(state + 8 * word, value)


@helper
def look(state: int, thread: int) -> int:
    """Note which processor a thread is on, and return it."""
    word = SEAT + thread * 2 * LINE + PROCESSOR
    if get(state, WHERE) != 0:
        call_system(get(state, WHERE), state + 8 * word, 0, 0)
    return get(state, word)


@helper
def keep_apart(state: int, thread: int) -> None:
    """Leave a processor that another thread of the team is on, for one that none is on.

    The system wakes a thread where it slept, and does not mind that the one that waits for it
    computes there: it would have to wait until their time is over.
    """
    here, crowded = look(state, thread), 0
    allowed = view(get(state, MASKS), int64) + 2 * MASK * thread
    for other in range(get(state, THREADS)):
        if other != thread and get(state, SEAT + other * 2 * LINE + PROCESSOR) == here:
            crowded = 1
    if crowded == 0 or get(state, WHERE) == 0:
        return
    free, found = allowed + MASK, int64(0)
    call_system(get(state, ALLOWED), 0, 8 * MASK, address(allowed))
    for word in range(MASK):
        free[word] = allowed[word]
    for other in range(get(state, THREADS)):
        processor = get(state, SEAT + other * 2 * LINE + PROCESSOR)
        if processor < 64 * MASK:
            free[processor >> 6] &= ~(int64(1) << (processor & 63))
    for word in range(MASK):
        found |= free[word]
    if found != 0:
        call_system(get(state, ALLOW), 0, 8 * MASK, address(free))
        call_system(get(state, ALLOW), 0, 8 * MASK, address(allowed))
        look(state, thread)
