"""The switches of recording as PyTorch has them: blocks, decorators, and at once."""

from collections.abc import Callable
from typing import Any

import pytest

import numbatorch as nt

torch = pytest.importorskip("torch")


def seen(P: Any) -> bool:
    return bool((P.ones(1, requires_grad=True) * 2).requires_grad)


def blocks(P: Any) -> list[bool]:
    found = []
    for mode in (P.no_grad(), P.enable_grad(), P.inference_mode(), P.inference_mode(False)):
        with mode:
            found.append(seen(P))
            with P.no_grad():
                found.append(seen(P))
        found.append(seen(P))
    return found


def decorators(P: Any) -> list[bool]:
    found = []
    for mode in (P.no_grad, P.no_grad(), P.inference_mode(), P.inference_mode(mode=False)):

        @mode
        def function() -> bool:
            return seen(P)

        found += [function(), seen(P), function()]
    with P.no_grad():
        found += [P.enable_grad()(seen)(P), seen(P)]
    return found


def at_once(P: Any) -> list[bool]:
    found = []
    P.set_grad_enabled(False)
    found.append(seen(P))
    P.set_grad_enabled(True)
    found.append(seen(P))
    with P.set_grad_enabled(False):
        found.append(seen(P))
    return [*found, seen(P)]


def of_a_decorator(P: Any) -> list[bool]:
    function = P.set_grad_enabled(False)(seen)
    return [seen(P), function(P), seen(P)]


def after_an_error(P: Any) -> list[bool]:
    try:
        with P.no_grad():
            raise KeyError
    except KeyError:
        return [seen(P), P.is_grad_enabled()]


def one_mode_within_itself(P: Any) -> list[bool]:
    def call(depth: int) -> list[bool]:
        return [seen(P), *(recursive(depth - 1) if depth else ()), seen(P)]

    recursive = P.no_grad()(call)
    return [*recursive(2), seen(P)]


@pytest.mark.parametrize(
    "program",
    [blocks, decorators, at_once, of_a_decorator, after_an_error, one_mode_within_itself],
    ids=lambda f: f.__name__,
)
def test_modes_are_those_of_pytorch(program: Callable[[Any], list[bool]]) -> None:
    assert program(nt) == program(torch)
    assert nt.is_grad_enabled()
