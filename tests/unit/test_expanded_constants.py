"""A constant is expanded as any other value: the same errors, and writes reach what it views."""

from collections.abc import Callable

import pytest

import numbatorch as nt

MAKERS: dict[str, Callable[[tuple[int, ...]], nt.Tensor]] = {
    "constant": lambda shape: nt.zeros(shape),
    "data": lambda shape: nt.rand(shape).realize() * 0,
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., nt.Tensor]:
    made: Callable[..., nt.Tensor] = request.param
    return made


@pytest.mark.parametrize(("shape", "asked"), [((4,), (3,)), ((2, 3), (3,)), ((3,), (2, 2))])
def test_a_shape_that_does_not_fit_is_refused(
    make: Callable[..., nt.Tensor], shape: tuple[int, ...], asked: tuple[int, ...]
) -> None:
    with pytest.raises(nt.ShapeError):
        make(shape).expand(asked)
    with pytest.raises(nt.ShapeError):
        make(asked).copy_(make(shape))


def test_a_write_reaches_what_was_expanded(make: Callable[..., nt.Tensor]) -> None:
    x = make((1, 3))
    x.expand(2, 3)[0] = 5
    assert x.tolist() == [[5.0, 5.0, 5.0]]


@pytest.mark.parametrize("shape", [(), (1, 3)], ids=str)
def test_several_elements_of_a_view_that_are_one_are_not_changed(
    make: Callable[..., nt.Tensor], shape: tuple[int, ...]
) -> None:
    x = make(shape)
    with pytest.raises(RuntimeError, match="several elements"):
        x.expand(4, 3).add_(1)
