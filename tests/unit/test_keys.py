"""Keys of kernels: the same in every process, whatever was hashed before or interrupted."""

from collections.abc import Callable
from types import FunctionType

from numbatorch.language.keys import function_digest
from tests.interrupts import interruptions


def nested(scale: float) -> tuple[FunctionType, FunctionType]:
    """A function, and one that calls it."""

    def inner(x: float) -> float:
        return x * scale

    def outer(x: float) -> float:
        return inner(x) + inner(scale)

    return inner, outer


def circle(scale: float) -> tuple[FunctionType, FunctionType]:
    """Two functions that call each other."""

    def even(n: int) -> float:
        return scale if n == 0 else odd(n - 1)

    def odd(n: int) -> float:
        return 0.0 if n == 0 else even(n - 1)

    return even, odd


Pair = Callable[[float], tuple[FunctionType, FunctionType]]


def digests(make: Pair, scale: float, first: int) -> list[str]:
    """Of both functions, of which number `first` is hashed first."""
    pair = make(scale)
    function_digest(pair[first])
    return [function_digest(function) for function in pair]


def test_keys_do_not_depend_on_the_order_of_asking() -> None:
    for make in (nested, circle):
        assert digests(make, 2.0, 0) == digests(make, 2.0, 1)


def test_all_that_is_called_is_in_the_key() -> None:
    for make in (nested, circle):
        for first in (0, 1):
            two, three = (digests(make, scale, first) for scale in (2.0, 3.0))
            assert not set(two) & set(three)


def test_an_interrupt_at_any_moment_leaves_no_wrong_key() -> None:
    expected = digests(nested, 2.0, 0)
    pair = nested(2.0)
    moments = 0

    def hash_a_new_one() -> None:
        nonlocal pair
        pair = nested(2.0)
        function_digest(pair[1])

    for _ in interruptions(hash_a_new_one):
        assert [function_digest(function) for function in pair] == expected
        moments += 1
    assert moments > 10
