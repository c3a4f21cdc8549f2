"""Corner cases of views, joins and tensors made from nothing, written down once for all devices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import OutOfRange, ShapeError, Tensor
from tests.conftest import SIMULATED

F = nt.nn.functional


@pytest.fixture(autouse=True)
def _default_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", device)


def grid(*shape: int) -> Tensor:
    return nt.arange(float(np.prod(shape))).reshape(shape)


def test_strides_and_offsets_are_those_of_pytorch() -> None:
    x = grid(2, 3, 4)
    assert x.stride() == (12, 4, 1) and x.is_contiguous() and x.storage_offset() == 0
    assert x[1, :, ::2].stride() == (4, 2) and x[1].storage_offset() == 12
    assert x.permute(2, 0, 1).stride() == (1, 12, 4) and x.mT.stride(-1) == 4
    assert x[:, :1].expand(2, 5, 4).stride() == (12, 0, 1)
    assert x.diagonal(1, 1, 2).stride() == (12, 5) and x.unfold(2, 2, 1).stride() == (12, 4, 1, 1)
    assert not x.T.is_contiguous() and x.T.contiguous().is_contiguous()
    assert nt.empty_strided((2, 3), (1, 2)).stride() == (1, 2)
    assert x.nbytes == 96 and x.element_size() == 4 and nt.zeros(0, 3).is_contiguous()


def test_views_of_0_d_and_of_nothing() -> None:
    zero, none = nt.tensor(5.0), nt.zeros(0, 3)
    assert zero.unfold(0, 1, 1).tolist() == [5] and zero.as_strided((2,), (0,)).tolist() == [5, 5]
    assert [nt.atleast_1d(zero).shape, nt.atleast_3d(zero).shape] == [(1,), (1, 1, 1)]
    assert none.diagonal().shape == (0,) and none.flip(0).shape == (0, 3)
    assert none.roll(2, 0).shape == none.repeat(2, 1).shape == (0, 3)
    assert [part.shape for part in none.chunk(2)] == [(0, 3)] * 2
    assert [part.shape for part in none.tensor_split(2)] == [(0, 3)] * 2
    assert none.unfold(0, 0, 2).shape == (1, 3, 0) and nt.diag_embed(nt.zeros(0)).shape == (0, 0)
    assert nt.cat([nt.zeros(0), grid(1, 2)], 1).tolist() == [[0, 1]]
    assert nt.cat([nt.zeros(0, dtype=nt.int64), grid(2).int()]).dtype is nt.int64
    assert nt.block_diag(nt.zeros(0), grid(1, 1)).shape == (2, 1)
    assert nt.combinations(grid(1)).shape == (0, 2) and nt.cartesian_prod(grid(2)).shape == (2,)
    assert F.pad(nt.zeros(0, 2, 3), (1, 1), mode="reflect").shape == (0, 2, 5)
    for wrong in (lambda: zero.unbind(), lambda: zero.split(1), lambda: zero.roll(1, 0)):
        with pytest.raises(OutOfRange):
            wrong()


def test_padding_takes_elements_of_the_input() -> None:
    x = nt.tensor([[1, 2, 3]])
    assert F.pad(x, (2, 1), mode="reflect").tolist() == [[3, 2, 1, 2, 3, 2]]
    assert F.pad(x, (2, 1), mode="replicate").tolist() == [[1, 1, 1, 2, 3, 3]]
    assert F.pad(x, (2, 1), mode="circular").tolist() == [[2, 3, 1, 2, 3, 1]]
    assert F.pad(x, (-1, 2), value=7).tolist() == [[2, 3, 7, 7]]
    assert F.pad(x, (-1, 2), mode="replicate").tolist() == [[2, 3, 3, 3]]
    assert F.pad(x, (1, -1), mode="circular").tolist() == [[2, 1, 2]]
    assert F.pad(x, (0, 0, 1, 0)).tolist() == [[0, 0, 0], [1, 2, 3]]
    for pad, mode in (((3, 0), "reflect"), ((4, 0), "circular"), ((1,), "constant")):
        with pytest.raises(ShapeError):
            F.pad(x, pad, mode=mode)
    y = nt.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    (F.pad(y, (2, 1), mode="reflect") * nt.arange(1.0, 7.0)).sum().backward()
    assert y.grad is not None and y.grad.tolist() == [[3, 2 + 4 + 6, 1 + 5]]


SECOND: dict[str, tuple[Callable[[Any], Any], list[float]]] = {
    # f(x)^3 summed has 6 x n^2 as derivative along ones of its gradient, where x is taken n times
    "windows": (lambda x: x.unfold(0, 2, 1), [0, 12, 24, 18]),
    "strides": (lambda x: x.as_strided((2, 2), (1, 1), 1), [0, 6, 24, 18]),
    "a diagonal": (lambda x: x.view(2, 2).diagonal(), [0, 0, 0, 18]),
    "an embedded diagonal": (lambda x: nt.diag_embed(x, 1), [0, 6, 12, 18]),
    "a roll": (lambda x: x.roll(1), [0, 6, 12, 18]),
    "repeats": (lambda x: x.repeat_interleave(nt.tensor([2, 0, 1, 3])), [0, 0, 12, 54]),
    "around": (lambda x: F.pad(x[None], (2, 0), mode="circular"), [0, 6, 24, 36]),
    "choices": (lambda x: nt.combinations(x), [0, 18, 36, 54]),
}


@pytest.mark.parametrize("take, expected", SECOND.values(), ids=SECOND)
def test_second_derivatives_of_what_takes_elements_several_times(
    take: Callable[[Any], Any], expected: list[float]
) -> None:
    x = nt.arange(4.0).requires_grad_()
    (first,) = nt.autograd.grad([(take(x) ** 3).sum()], [x], create_graph=True)
    (second,) = nt.autograd.grad([first.sum()], [x])
    assert second.tolist() == expected


def test_views_of_batches_and_in_compiled_functions() -> None:
    x = grid(3, 4, 4)

    def function(x: Tensor) -> Tensor:
        diagonal, rows = x.diagonal(1), x.unfold(1, 2, 2)
        return diagonal.sum() + rows[:, 1].sum() * 2 + x.as_strided((2,), (5,), 1).sum()

    expected = [function(part.clone()).item() for part in x]
    assert nt.vmap(function)(x).tolist() == expected
    compiled = nt.compile(function)
    assert [compiled(part.clone()).item() for part in x for _ in range(2)][::2] == expected


def test_writes_where_elements_of_a_view_are_one_are_refused() -> None:
    x = nt.zeros(4)
    x.unfold(0, 2, 2)[0] += 1
    x.as_strided((2, 2), (2, 1))[1] += 2
    assert x.tolist() == [1, 1, 2, 2]
    x.unfold(0, 2, 1)[:, 1].mul_(2)  # a view of one in which elements repeat, itself without
    x[:1].expand(3, 1)[1].add_(4)
    assert x.tolist() == [5, 2, 4, 4]
    for view in (x.unfold(0, 2, 1), x.as_strided((3, 2), (1, 1)), x.as_strided((2,), (0,))):
        with pytest.raises(RuntimeError, match="several elements"):
            view.zero_()
    for size, stride, offset in (((5,), (1,), 0), ((2,), (1,), 3)):
        with pytest.raises(OutOfRange, match="as_strided"):
            x.as_strided(size, stride, offset)
    with pytest.raises(ShapeError):
        x.as_strided((2,), (-1,), 3)


def test_strides_from_a_view_reach_what_it_views_while_that_is_there() -> None:
    x = nt.arange(8.0)
    leaf = x[3:6].requires_grad_()
    found = leaf.as_strided((2, 2), (1, 2), 2)  # x[2], x[4]; x[3], x[5]
    (found * nt.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert found.tolist() == [[2, 4], [3, 5]]
    assert leaf.grad is not None and leaf.grad.tolist() == [3, 2, 4]
    alone = nt.arange(8.0)[3:6]
    assert alone.as_strided((2,), (2,)).tolist() == [3, 5]
    with pytest.raises(OutOfRange, match="storage_offset 2 is before place 3"):
        alone.as_strided((2,), (1,), 2)


def test_shapes_change_in_place() -> None:
    x = grid(2, 3)
    row = x[1]
    assert x.t_() is x and x.shape == (3, 2) and row.tolist() == [3, 4, 5]
    x[0] = -1.0
    assert row.tolist() == [-1, 4, 5] and x.unsqueeze_(0).squeeze_().shape == (3, 2)
    assert x.resize_(2, 2).tolist() == [[-1, 1], [2, -1]] and nt.zeros(2).resize_(3).shape == (3,)
    assert nt.zeros(3, 2).fill_diagonal_(1).tolist() == [[1, 0], [0, 1], [0, 0]]


def test_ranges_at_their_ends() -> None:
    assert nt.linspace(3, 9, 1).tolist() == [3] and nt.linspace(3, 9, 0).shape == (0,)
    assert nt.linspace(-3, 3, 4, dtype=nt.int64).tolist() == [-3, -1, 1, 3]
    assert nt.logspace(0, 3, 4, base=2).tolist() == [1, 2, 4, 8]
    assert nt.arange(5, 5).shape == (0,) and nt.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert nt.tril_indices(2, 3, 1).tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 1, 2]]
    assert nt.triu_indices(3, 2, -1).tolist() == [[0, 0, 1, 1, 2], [0, 1, 0, 1, 1]]
    assert nt.vander(nt.tensor([0.0, 2.0]), 3).tolist() == [[0, 0, 1], [4, 2, 1]]
    assert nt.full((2,), 6, dtype=nt.bool).tolist() == [True, True]
    with pytest.raises(ShapeError):
        nt.linspace(0, 1, -1)


@pytest.mark.skipif(SIMULATED, reason="shapes alone: the same on every device")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.diagonal(0, 1, 1),
        lambda x: nt.diag(x.reshape(1, 2, 3)),
        lambda x: x.tensor_split(0),
        lambda x: x.hsplit(2),
        lambda x: x.split([1, 1], 1),
        lambda x: x.unfold(1, 4, 1),
        lambda x: x.unfold(1, 2, 0),
        lambda x: x.rot90(1, (0, 0)),
        lambda x: x.flip(0, 0),
        lambda x: x.roll((1, 2), 0),
        lambda x: x.repeat(2),
        lambda x: x.repeat_interleave(nt.tensor([1, 2, 3]), 0),
        lambda x: x.sum_to_size(2, 2),
        lambda x: nt.meshgrid(x, x),
        lambda x: nt.stack([]),
        lambda x: nt.hstack([x, x[:1]]),
        lambda x: F.pixel_shuffle(x[None], 2),
        lambda x: x.t().view(-1),
    ],
)
def test_shapes_that_do_not_fit_are_errors(call: Callable[[Tensor], Any]) -> None:
    with pytest.raises(ShapeError):
        call(grid(2, 3))


def test_sizes_with_a_fraction_are_refused() -> None:
    x = nt.ones(2, 3)
    for apply in (
        lambda: nt.nn.functional.pad(x, (1.5, 1)),  # type: ignore[arg-type]
        lambda: nt.split(x, [1.5, 0.5]),  # type: ignore[list-item]
        lambda: nt.tensor_split(x, [1.5]),  # type: ignore[list-item]
    ):
        with pytest.raises(TypeError, match=r"^(pad|split|tensor_split): .* are not integers"):
            apply()
    assert len(nt.split(nt.ones(1000), [100] * 10)) == 10


@pytest.mark.parametrize(
    "shape", [(0, 3), (1, 1), (5, 8), (8, 5), (300, 700), (1, 5000), (5000, 1)]
)
@pytest.mark.parametrize("offset", [-400, -3, -1, 0, 1, 4, 650])
def test_places_of_triangles(shape: tuple[int, int], offset: int) -> None:
    rows, columns = shape
    lower, upper = nt.tril_indices(rows, columns, offset), nt.triu_indices(rows, columns, offset)
    assert np.array_equal(lower.numpy(), np.stack(np.tril_indices(rows, offset, columns)))
    assert np.array_equal(upper.numpy(), np.stack(np.triu_indices(rows, offset, columns)))


def test_triangles_are_as_small_as_what_they_hold() -> None:
    assert nt.tril_indices(10**6, 10**6, -(10**6)).shape == (2, 0)
    assert nt.triu_indices(10**6, 10**6, 10**6).shape == (2, 0)
    found = nt.tril_indices(2, 300, dtype=nt.uint8)
    assert found.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert nt.triu_indices(200, 2, dtype=nt.int8).tolist() == [[0, 0, 1], [0, 1, 1]]
    with pytest.raises(nt.OutOfRange, match="tril_indices"):
        nt.tril_indices(2, 300, 299, dtype=nt.uint8)


def test_blocks_are_not_interleaved() -> None:
    packed = nt.ones(4, 2, dtype=nt.int8).to(nt.int4)
    for call in (lambda: packed.repeat_interleave(2, 0), lambda: packed.repeat(2, 1)):
        with pytest.raises(nt.DTypeError, match="convert it"):
            call()
