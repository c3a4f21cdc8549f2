"""Words of kernels whose threads work together in groups, as on GPUs: cuda_kernels/ uses them.

A kernel without `part, parts` is run by `groups()` groups of `threads()` threads each; the threads
of a group share memory and meet at barriers. Every thread of a group must reach each barrier, and
each word that is said to contain one.
"""

from typing import Any

from numbatorch.language.words import Word

__all__ = [
    "add_atomically",
    "barrier",
    "finish_tile",
    "group",
    "group_max",
    "group_sum",
    "groups",
    "local",
    "shared",
    "thread",
    "threads",
]

thread: Any = Word("thread", "() -> int: number of this thread in its group.")
threads: Any = Word("threads", "() -> int: threads in a group, a power of two.")
group: Any = Word("group", "() -> int: number of this thread's group.")
groups: Any = Word("groups", "() -> int: groups of the launch.")
barrier: Any = Word("barrier", "(): wait for the group's threads, and see what they wrote.")
shared: Any = Word("shared", "(element, SIZE): an array of the group; SIZE is a constant.")
local: Any = Word("local", "(element, SIZE): an array of the thread; SIZE is a constant.")
group_sum: Any = Word(
    "group_sum", "(float) -> float: sum over the group's threads, in a fixed order; has barriers."
)
group_max: Any = Word(
    "group_max", "(float) -> float: largest over the group's threads, NaN left out; has barriers."
)
add_atomically: Any = Word(
    "add_atomically", "(pointer, index, value): add to a float32, int32 or uint32 element."
)
finish_tile: Any = Word(
    "finish_tile",
    "(finish, batch, row0, row1, col0, col1): apply the epilogue to elements of the result that "
    "this thread has written; nothing where there is none. `finish: Epilogue` is a parameter.",
)
