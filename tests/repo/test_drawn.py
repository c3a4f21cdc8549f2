"""Of cases that are marked `drawn` the seed leaves a share, and other seeds leave the others."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import leave_out


class Case:
    """A test as pytest collects it."""

    def __init__(self, name: str, mark: pytest.MarkDecorator | None, **params: str) -> None:
        self.nodeid = f"tests/test_a.py::{name}[{'-'.join(params.values())}]"
        self.callspec = SimpleNamespace(params=params)
        self.mark = mark
        self.skipped = False

    def get_closest_marker(self, name: str) -> Any:
        return self.mark.mark if self.mark is not None else None

    def add_marker(self, marker: pytest.MarkDecorator) -> None:
        assert marker.name == "skip"
        self.skipped = True


def left(seed: int, *cases: Case) -> set[str]:
    for case in cases:
        case.skipped = False
    items: Any = [*cases]
    leave_out(items, seed)
    return {case.nodeid.partition("::")[2] for case in cases if not case.skipped}


def test_one_in_n_is_left_and_each_by_some_seed() -> None:
    third = [Case("test_b", pytest.mark.drawn(3), x=str(i)) for i in range(7)]
    always = Case("test_c", None, x="0")
    found = [left(seed, always, *third) for seed in range(40)]
    assert {len(names) for names in found} == {4}
    assert all("test_c[0]" in names for names in found)
    assert len(set[str]().union(*found)) == 8
    assert found[0] == left(0, *reversed(third), always)


def test_a_case_by_itself_is_left() -> None:
    for seed in range(10):
        assert left(seed, Case("test_b", pytest.mark.drawn(9), x="7"))


def test_values_of_a_parameter_are_left_for_all_of_a_file() -> None:
    by = pytest.mark.drawn(2, by="kind")
    cases = [Case(f, by, kind=k, rows=r) for f in ("b", "c") for k in "xyz" for r in "12"]
    kinds = set()
    for seed in range(20):
        names = left(seed, *cases)
        assert len(names) == 8
        drawn = {name[2] for name in names}
        assert names == {f"{f}[{k}-{r}]" for f in "bc" for k in drawn for r in "12"}
        kinds.add(frozenset(drawn))
    assert len(kinds) == 3
