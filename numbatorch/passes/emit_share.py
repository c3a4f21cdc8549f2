"""How threads share the walk of a reduction or a scan: rows, blocks of columns, chunks, groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbatorch.language.kernel import EmittedKernel
from numbatorch.passes.emit_state import StateText
from numbatorch.passes.emit_text import indent
from numbatorch.passes.emit_walk import BLOCK, CHUNK, GROUP, MAX_GROUPS, Walk
from numbatorch.passes.target import Grid
from numbatorch.shape import numel

WIDE = 512  # states of neighbouring results that a CPU thread keeps at most
SEARCHED = 512  # elements that are searched for one

Kernel = tuple[EmittedKernel, list[Any], Grid]
Scratch = Callable[[int], Any]


class Row:
    """How the elements of one result go into the words `best<w>`: through one state or a block.

    A block of states side by side, merged at the end of the row, makes vector code of steps that
    LLVM cannot reorder.

    Args:
        parts: threads, each of which has a block in memory.
    """

    def __init__(self, walk: Walk, parts: int, scratch: Scratch) -> None:
        self.walk = walk
        long = walk.extents.reduced[-1] >= BLOCK and not walk.target.groups
        self.narrow = walk.state.narrow() if long else None
        self.searched = long and walk.state.op.state.extreme is not None
        self.blocked = long and not self.searched and not walk.state.is_chain()
        self.best = walk.state.names("best")
        self.extra: list[tuple[str, Any]] = []
        if self.blocked:
            self.extra = [(text, scratch(parts * BLOCK * 8)) for text in walk.memory("side")]

    @property
    def form(self) -> str:
        """What the form's name ends in."""
        if self.narrow is not None:
            return "narrow"
        return "blocked" if self.blocked else "searched" if self.searched else ""

    def thread(self) -> list[str]:
        """Statements at the start of a thread."""
        names = self.walk.state.names("side")
        return [f"{name} = {name} + part * {BLOCK}" for name in names] if self.blocked else []

    def begin(self) -> list[str]:
        """Statements before the elements."""
        if not self.blocked:
            return self.walk.state.begin(self.best)
        return [
            f"for i in range({BLOCK}):",
            *indent(self.walk.state.begin(self.walk.places("side", "i")), 1),
        ]

    def stretch(self, count: str, first: str) -> list[str]:
        """Loop over `count` elements from `pp<n>` on, the first of which is number `first`."""
        walk, state = self.walk, self.walk.state
        if self.searched:
            return self._search(count, first)
        if self.narrow is not None:
            return self._narrowed(count, *self.narrow)
        if not self.blocked:
            step = walk.visit(self.best, "i", f"{first} + i")
            return [f"for i in range({count}):", *indent(step, 1)]
        places = walk.places("side", "i")
        return [
            "ahead = 0",
            f"while ahead < {count}:",
            f"    for i in range(min({count} - ahead, {BLOCK})):",
            "        at = ahead + i",
            *indent(state.load(self.best, places), 2),
            *indent(walk.visit(self.best, "at", f"{first} + at"), 2),
            *indent(state.store(places, self.best), 2),
            f"    ahead += {BLOCK}",
        ]

    def _narrowed(self, count: str, few: StateText, most: int) -> list[str]:
        """States of as many elements as a narrower word holds, which are merged into the state."""
        lines, value = self.walk.element("at")
        words, other = few.names("few"), self.walk.state.names("other")
        wide = zip(other, words, self.walk.state.words, strict=True)
        return [
            "ahead = 0",
            f"while ahead < {count}:",
            *indent(few.begin(words), 1),
            f"    for i in range(min({count} - ahead, {most})):",
            "        at = ahead + i",
            *indent([*lines, *few.step(words, value, "at")], 2),
            *(f"    {name} = {dtype.name}({word})" for name, word, dtype in wide),
            *indent(self.walk.state.merge(self.best, other), 1),
            f"    ahead += {most}",
        ]

    def _search(self, count: str, first: str) -> list[str]:
        """The extreme of each block counts as an element there; then the one chosen is looked for.

        Extremes are vector code, and elements of one block only are compared one by one.
        """
        walk, state = self.walk, self.walk.state
        extreme = state.extreme()
        top = extreme.names("top")
        lines, value = walk.element("at")
        finish, found = extreme.value(top)
        named, equal, both_nan = state.equals(self.best[0], value)
        return [
            "ahead = 0",
            f"while ahead < {count}:",
            *indent(extreme.begin(top), 1),
            f"    for i in range(min({SEARCHED}, {count} - ahead)):",
            "        at = ahead + i",
            *indent([*lines, *extreme.step(top, value, "at")], 2),
            *indent([*finish, *state.step(self.best, found, f"{first} + ahead")], 1),
            f"    ahead += {SEARCHED}",
            f"ahead = {self.best[1]} - ({first})",
            f"if ahead >= 0 and ahead < {count}:",
            f"    many = min({SEARCHED}, {count} - ahead)",
            f"    if {self.best[0]} == {self.best[0]}:",
            *indent(_find_first([*lines, *named], equal), 2),
            "    else:",
            *indent(_find_first([*lines, *named], both_nan), 2),
            f"    if nearest < {BLOCK}:",
            "        at = ahead + nearest",
            *indent([*lines, *named], 2),
            f"        {self.best[0]} = word",
            f"        {self.best[1]} = {first} + at",
        ]

    def end(self) -> list[str]:
        """Statements after the elements: the state of all of them is in `best<w>`."""
        if not self.blocked:
            return []
        state, other = self.walk.state, self.walk.state.names("other")
        places = self.walk.places("side", "i")
        return [
            f"half = {BLOCK // 2}",
            "while half > 0:",
            "    for i in range(half):",
            *indent(state.load(self.best, places), 2),
            *indent(state.load(other, self.walk.places("side", "i + half")), 2),
            *indent(state.merge(self.best, other), 2),
            *indent(state.store(places, self.best), 2),
            "    half = half // 2",
            *state.load(self.best, self.walk.places("side", "0")),
        ]


def _find_first(element: Sequence[str], test: str) -> list[str]:
    """Statements that find the first of `many` elements from `ahead` on which pass a test.

    It is number `nearest` from `ahead` on, which is moved to the block of BLOCK that has it; if
    there is none, `nearest` is BLOCK. Whether a block has one takes less than which one it is.
    """
    return [
        "hits = int32(0)",
        "end = ahead + many",
        f"while ahead + {BLOCK} <= end and hits == 0:",
        f"    for i in range({BLOCK}):",
        "        at = ahead + i",
        *indent(element, 2),
        f"        hits = int32(hits + select({test}, int32(1), int32(0)))",
        f"    ahead += {BLOCK}",
        f"ahead -= {BLOCK} if hits > 0 else 0",
        f"nearest = int32({BLOCK})",
        f"for i in range(min({BLOCK}, end - ahead)):",
        "    at = ahead + i",
        *indent(element, 1),
        f"    nearest = int32(min(nearest, select({test}, int32(i), int32({BLOCK}))))",
    ]


def block_parameters(walk: Walk) -> list[tuple[str, Any]]:
    """What `find_block` reads."""
    kept = walk.extents.kept
    return [("total: int", numel(kept[:-1])), ("width: int", kept[-1])]


def column_block(walk: Walk, parts: int) -> int:
    """How many neighbouring results a thread takes at once: many, but all threads get some.

    Long stretches of rows come faster out of memory. A result does not depend on its neighbours.
    """
    kept = walk.extents.kept
    wanted = -(-kept[-1] * numel(kept[:-1]) // parts)
    return max(min(-(-wanted // BLOCK) * BLOCK, WIDE), BLOCK)


def find_block(walk: Walk, block: str = str(BLOCK)) -> list[str]:
    """Loop over a thread's blocks of `count` neighbouring results: puts `b<n>` at the first."""
    kept = walk.kept_names()
    return [
        f"blocks = (width + {block} - 1) // {block}",
        "lo, hi = share(total * blocks, part, parts)",
        "for unit in range(lo, hi):",
        "    line = unit // blocks",
        f"    {kept[-1]} = (unit - line * blocks) * {block}",
        f"    count = min(width - {kept[-1]}, {block})",
        *indent(walk.split_number("line", kept[:-1], "k", "k"), 1),
        *indent(walk.at_result(kept), 1),
    ]


def walk_chunk(walk: Walk, stretch: Sequence[str]) -> list[str]:
    """Statements that run `stretch` over `count` elements each from number `first` to `last`."""
    names = walk.reduced_names()
    return [
        "while first < last:",
        f"    line = first // r{walk.depth}",
        f"    {names[-1]} = first - line * r{walk.depth}",
        f"    count = min(r{walk.depth} - {names[-1]}, last - first)",
        *indent(walk.split_number("line", names[:-1], "j", "r"), 1),
        *indent(walk.at_elements(names), 1),
        *indent(stretch, 1),
        "    first += count",
    ]


def find_chunk(walk: Walk) -> list[str]:
    """Loop over a thread's chunks, elements `first` to `last` of a result; puts `b<n>` there."""
    return [
        "lo, hi = share(total * chunks, part, parts)",
        "for unit in range(lo, hi):",
        "    result_number = unit // chunks",
        f"    first = (unit - result_number * chunks) * {CHUNK}",
        f"    last = min(first + {CHUNK}, size)",
        *indent(walk.find_result(), 1),
    ]


def chunk_states(walk: Walk, row: Row) -> list[str]:
    """Statements that write the state of each chunk to `partial<w>[result * chunks + chunk]`."""
    lines = [
        *row.begin(),
        *walk_chunk(walk, row.stretch("count", "first")),
        *row.end(),
        *walk.state.store(walk.places("partial", "unit"), row.best),
    ]
    return [*row.thread(), *find_chunk(walk), *indent(lines, 1)]


def group_threads(size: int) -> int:
    """Threads that share `size` elements, a few for each at least."""
    threads = 32
    while threads < min(GROUP, size // 4):
        threads *= 2
    return threads


def group_head(walk: Walk) -> list[str]:
    """First statements of a kernel in which a group takes a result; it keeps GROUP states."""
    return [
        *(
            f"{name} = shared({word.name}, {GROUP})"
            for name, word in zip(walk.state.names("space"), walk.state.words, strict=True)
        ),
        "line = thread()",
        "width = threads()",
        "for result_number in range(group(), total, groups()):",
        *indent(walk.find_result(), 1),
    ]


def group_element(walk: Walk, words: Sequence[str]) -> list[str]:
    """Statements that take element number `position_0` into the words."""
    names = [*walk.reduced_names()[:-1], "i"]
    return [
        *walk.split_number("position_0", names, "j", "r"),
        *walk.at_elements(names[:-1]),
        *walk.visit(words, "i", "position_0"),
    ]


def group_grid(walk: Walk) -> Grid:
    """Groups and threads for a result each."""
    results = numel(walk.extents.kept)
    return Grid(groups=min(results, MAX_GROUPS), threads=group_threads(walk.size))
