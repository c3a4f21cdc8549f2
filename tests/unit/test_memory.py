"""The arena of a plan: what lives together does not overlap, and no byte is wasted on the dead."""

from hypothesis import given
from hypothesis import strategies as st

from numbatorch.passes.memory import Memory, overlap, pack_arena

lifetimes = st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 10))


@given(st.lists(lifetimes, max_size=30))
def test_values_that_live_together_do_not_overlap(rows: list[tuple[int, int, int]]) -> None:
    memories = []
    for nbytes, first, length in rows:
        memory = Memory("temporary", nbytes)
        memory.touch(first)
        memory.touch(first + length)
        memories.append(memory)
    total = pack_arena(memories)
    for i, a in enumerate(memories):
        assert a.offset % 64 == 0
        assert a.offset + a.nbytes <= total
        for b in memories[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert not overlap(a, b)


def test_a_chain_of_temporaries_takes_turns() -> None:
    memories = []
    for i in range(10):
        memory = Memory("temporary", 1024)
        memory.touch(i)
        memory.touch(i + 1)
        memories.append(memory)
    assert pack_arena(memories) == 2048
