"""Writes by an index out of range are refused at the call, as in PyTorch, and change nothing."""

import re
from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.errors import OutOfRange
from tests.peers.sides import torch

Write = Callable[[Any, Any], Any]
SHAPE = (3, 4)


def ints(P: Any, *values: Any) -> Any:
    return P.tensor(list(values))


# Method, what it does to x of (3, 4), and what the error says; for the sides nt and torch.
WRITES: list[tuple[str, Write, str]] = [
    ("x[7]", lambda P, x: x.__setitem__(ints(P, 7), 1.0), "index 7 .* dimension 0 of size 3"),
    ("x[-4]", lambda P, x: x.__setitem__(ints(P, -4), 1.0), "index -4 .* dimension 0 of size 3"),
    ("lazy", lambda P, x: x.__setitem__(ints(P, 1, 6) + 1, 1.0), "index 7 .* dimension 0 of"),
    ("int32", lambda P, x: x.__setitem__(ints(P, 3).int(), 1.0), "index 3 .* dimension 0 of"),
    (
        "x[0, 9]",
        lambda P, x: x.__setitem__((ints(P, 0, 1), ints(P, 1, 9)), 1.0),
        "index 9 .* dimension 1 of size 4",
    ),
    (
        "x[:2, 9]",
        lambda P, x: x.__setitem__((slice(0, 2), ints(P, 9)), 1.0),
        "index 9 .* dimension 1 of size 4",
    ),
    (
        "x[1:][2]",
        lambda P, x: x[1:].__setitem__(ints(P, 2), 1.0),
        "index 2 .* dimension 0 of size 2",
    ),
    (
        "index_put_",
        lambda P, x: x.index_put_((ints(P, 0, 3),), P.zeros(4)),
        "index 3 .* dimension 0 of size 3",
    ),
    (
        "index_put_",
        lambda P, x: x.index_put_((ints(P, 3),), P.zeros(4), accumulate=True),
        "index 3 .* dimension 0 of size 3",
    ),
    (
        "index_add_",
        lambda P, x: x.index_add_(1, ints(P, 4), P.ones(3, 1)),
        "index 4 .* dimension 1 of size 4",
    ),
    (
        "index_add_",
        lambda P, x: x.index_add_(dim=-1, index=ints(P, 0, 4), source=P.ones(3, 2), alpha=2),
        "index 4 .* dimension 1 of size 4",
    ),
    (
        "index_copy_",
        lambda P, x: x.index_copy_(0, ints(P, 5), P.ones(1, 4)),
        "index 5 .* dimension 0 of size 3",
    ),
    (
        "index_fill_",
        lambda P, x: x.index_fill_(0, ints(P, -4), 1.0),
        "index -4 .* dimension 0 of size 3",
    ),
    (
        "scatter_",
        lambda P, x: x.scatter_(0, ints(P, [7]), P.ones(1, 1)),
        "index 7 .* dimension 0 of size 3",
    ),
    (
        "scatter_",
        lambda P, x: x.scatter_(1, ints(P, [-1]), 1.0),
        "index -1 .* dimension 1 of size 4",
    ),
    (
        "scatter_",
        lambda P, x: x.scatter_(1, ints(P, [0], [9]).expand(2, 4), P.ones(2, 4)),
        "index 9 .* dimension 1 of size 4",
    ),
    (
        "scatter_add_",
        lambda P, x: x.scatter_add_(0, ints(P, [7]), P.ones(1, 1)),
        "index 7 .* dimension 0 of size 3",
    ),
    (
        "scatter_reduce_",
        lambda P, x: x.scatter_reduce_(0, ints(P, [7]), P.ones(1, 1), "amax"),
        "index 7 .* dimension 0 of size 3",
    ),
    ("put_", lambda P, x: x.put_(ints(P, 12), P.ones(1)), "index 12 .* of 12 elements"),
    ("put_", lambda P, x: x.put_(ints(P, -13), P.ones(1), True), "index -13 .* of 12 elements"),
    (
        "masked_scatter_",
        lambda P, x: x.masked_scatter_(P.ones(4).bool(), P.ones(11)),
        "11 elements are given for 12 places",
    ),
    (
        "masked_scatter_",
        lambda P, x: x.masked_scatter_((x + 1).bool(), P.ones(2)),
        "2 elements are given for 12 places",
    ),
]


@pytest.mark.parametrize("where", ["cpu", "numpy"])
@pytest.mark.parametrize(("name", "write", "problem"), WRITES)
def test_a_write_out_of_range_is_refused_at_the_call(
    name: str, write: Write, problem: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", where)
    method = name if name.endswith("_") else "index assignment"
    x = nt.arange(12.0).reshape(*SHAPE)
    with pytest.raises(OutOfRange, match=f"^{method}: {problem}") as caught:
        write(nt, x)
    assert re.search(r"\n  tensor \(\d, 4\) float32\n  (index|mask) ", str(caught.value))
    assert x.reshape(-1).tolist() == list(range(12))
    x += 1
    assert x.reshape(-1).tolist() == list(range(1, 13))
    with pytest.raises((IndexError, RuntimeError)):
        write(torch, torch.arange(12.0).reshape(SHAPE))


BY_ZERO: list[Write] = [
    lambda P, x: x.__ifloordiv__(ints(P, 1, 0, 2)),
    lambda P, x: x.__imod__(ints(P, 1, 0, 2)),
    lambda P, x: x.floor_divide_(ints(P, 2, 1, 3) - 1),
    lambda P, x: x.div_(ints(P, 1, 2, 0), rounding_mode="trunc"),
    lambda P, x: x.divide_(ints(P, 1, 2, 0).int(), rounding_mode="floor"),
    lambda P, x: x[1:].fmod_(ints(P, 1, 0)),
    lambda P, x: x.remainder_(other=ints(P, 0)),
]


@pytest.mark.parametrize("write", BY_ZERO)
def test_a_division_by_zero_is_refused_at_the_call(write: Write) -> None:
    x = nt.tensor([6, 7, 8])
    with pytest.raises(ZeroDivisionError, match=r"input \(\d,\) int64\n  other \(\d,\) int"):
        write(nt, x)
    assert x.tolist() == [6, 7, 8]
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        write(torch, torch.tensor([6, 7, 8]))


DIVIDED: list[Write] = [
    lambda P, x: x.float().floor_divide_(ints(P, 1, 0, 2)),
    lambda P, x: x.float().div_(ints(P, 1, 0, 2)),
    lambda P, x: x.floor_divide_(ints(P, 1, -3, 2)),
    lambda P, x: x.remainder_(5),
]


@pytest.mark.parametrize("write", DIVIDED)
def test_other_divisions_are_done(write: Write) -> None:
    ours, theirs = write(nt, nt.tensor([6, 7, 8])), write(torch, torch.tensor([6, 7, 8]))
    assert ours.tolist() == theirs.tolist()


INSIDE: list[Write] = [
    lambda P, x: x.index_fill_(0, ints(P, -3, 2), 5.0),
    lambda P, x: x.put_(ints(P, -12, 11), P.ones(2)),
    lambda P, x: x.__setitem__(ints(P, -3, 2), 5.0),
    lambda P, x: x.scatter_(1, ints(P, [0, 3]), 7.0),
    lambda P, x: x.scatter_(1, ints(P, [0], [3]).expand(2, 4), 7.0),
    lambda P, x: x.index_add_(0, ints(P, 2, 2), P.ones(2, 4)),
    lambda P, x: x.index_copy_(1, ints(P, 3), P.ones(3, 1)),
    lambda P, x: x.masked_scatter_(x > 5, P.arange(6.0)),
    lambda P, x: x.masked_scatter_(P.ones(4).bool(), P.arange(12.0)),
    lambda P, x: x.__setitem__(P.zeros(0).long(), 5.0),
    lambda P, x: x[0, 0].index_fill_(0, P.tensor(0), 5.0),
]


@pytest.mark.parametrize("write", INSIDE)
def test_the_ends_of_the_range_are_written(write: Write) -> None:
    ours, theirs = nt.arange(12.0).reshape(*SHAPE), torch.arange(12.0).reshape(SHAPE)
    write(nt, ours)
    write(torch, theirs)
    assert ours.tolist() == theirs.tolist()


def test_what_shares_memory_stays_as_it_is_too() -> None:
    x = nt.arange(12.0).reshape(*SHAPE)
    view = x.T[1:]
    with pytest.raises(OutOfRange):
        view.scatter_(1, nt.tensor([[3]]), 1.0)
    assert x.reshape(-1).tolist() == list(range(12))
    assert view.shape == (3, 3)


def test_a_compiled_function_tells_it_when_it_runs() -> None:
    compiled = nt.compile(lambda x, i: x.clone().index_fill_(0, i, 5.0))
    assert compiled(nt.zeros(3), nt.tensor([1])).tolist() == [0.0, 5.0, 0.0]
    with pytest.raises(OutOfRange):
        compiled(nt.zeros(3), nt.tensor([7])).tolist()
