"""Every public function has the arguments of PyTorch's: names, order and defaults."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from numbatorch.ops import families, surface
from tests.peers.sides import torch

EMPTY = inspect.Parameter.empty
Form = list[tuple[str, Any, bool]]
PREFIX = {"linalg": "linalg_", "fft": "fft_", "special": "special_"}
MODULES = {"nn.functional": "nn.functional", "linalg": "linalg", "fft": "fft", "special": "special"}

# Functions of ours that PyTorch does not have, or has in nn.functional only.
OURS = {
    *(f"{place}.{name}" for place in ("nt", "Tensor") for name in "gelu silu softplus".split()),
    *("nt.leaky_relu", "Tensor.leaky_relu", "Tensor.std_mean", "Tensor.var_mean"),
    *("nn.functional.attention", "nn.functional.expert_linear", "nn.functional.rope"),
    *("nt.beta", "nt.gamma"),  # of torch.distributions
}

# Where the arguments differ on purpose. A call that PyTorch reads in another way raises.
MADE = "fftfreq rfftfreq bartlett_window blackman_window hamming_window hann_window kaiser_window"
DIFFERENT = {
    **dict.fromkeys(
        ("cumulative_trapezoid", "trapezoid", "trapz"), "dx is 1 unless given, None says so"
    ),
    **dict.fromkeys(MADE.split(), "requires_grad is PyTorch's too, its schemas do not say so"),
    "index_reduce": "include_self is PyTorch's too, though its schema cannot be read",
    "scatter": "one function for PyTorch's forms with src and with value",
    "scatter_reduce": "include_self is PyTorch's too, though its schema cannot be read",
    **dict.fromkeys(
        ("hsplit", "vsplit", "dsplit", "tensor_split"),
        "PyTorch's forms name the argument by its type, its documentation as here",
    ),
    "repeat_interleave": "repeats alone is a form of its own there",
    "softmax": "dim has to be given: PyTorch's guess without it is deprecated",
    "log_softmax": "dim has to be given: PyTorch's guess without it is deprecated",
    "softmin": "dim has to be given: PyTorch's guess without it is deprecated",
    "Tensor.split": "the method's first argument has the function's name",
    "logsigmoid": "its schema has another name, log_sigmoid",
    "linear": "compute says how weights in blocks are multiplied, which PyTorch has none of",
    "nonzero": "as_tuple is PyTorch's too, though its schema does not say so",
    "true_divide": "it takes rounding_mode, as div and divide do",
    "unique": "dim is not there; PyTorch's signature cannot be read",
}


def names() -> list[str]:
    """Every public name of the library, with its place."""
    families.all_ops()
    return sorted(f"{place}.{name}" for place in surface.PLACES for name in families.table(place))


def schemas(place: str, name: str) -> Iterator[Form]:
    """(name, default, keyword-only) of the arguments of each form that PyTorch's function has."""
    module = torch
    for part in MODULES.get(place, "").split("."):
        module = getattr(module, part) if part else module
    theirs = getattr(torch.Tensor if place == "Tensor" else module, name, None)
    if theirs is None:
        return
    if inspect.isfunction(theirs):  # one of two by an argument of the call
        theirs = torch._jit_internal.boolean_dispatched.get(theirs, {"if_true": theirs})["if_true"]
    try:
        found = inspect.signature(theirs).parameters.values()
        if not any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
            yield [(p.name, p.default, p.kind is p.KEYWORD_ONLY) for p in found]
    except ValueError:
        pass  # written in C++: its schemas say it
    for stem in {f"{PREFIX.get(place, '')}{name}", name}:
        for schema in torch._C._jit_get_schemas_for_operator(f"aten::{stem}"):
            yield [
                (
                    a.name.replace("self", "input"),
                    a.default_value if a.has_default_value() else EMPTY,
                    a.kwarg_only,
                )
                for a in schema.arguments
                if not a.is_out
            ]


def differences(function: Any, theirs: Form, forms: list[Form]) -> list[str]:
    """What a call could mean in one of the two and not in the other.

    A keyword of another form counts, and any default for what another form lacks.
    """
    given = list(inspect.signature(function).parameters.values())[1:]
    found = []
    for i, parameter in enumerate(p for p in given if p.kind is not p.KEYWORD_ONLY):
        there = theirs[i + 1] if i + 1 < len(theirs) else None
        if there is None or there[2] or there[0] != parameter.name:
            found.append(f"argument {i + 1} is {parameter.name}, there {there}")
    keywords = {name: default for form in forms for name, default, last in form if last}
    known = {**keywords, **{name: default for name, default, _ in theirs}}
    for parameter in given:
        name = parameter.name
        if name not in known:
            found.append(f"there is no {name}")
            continue
        lacked = any(name not in [a for a, *_ in form] for form in forms)
        if known[name] is EMPTY and lacked:
            continue
        if _default(parameter.default) != _default(known[name]):
            found.append(f"{name} is {parameter.default}, there {known[name]}")
    return found


def _default(value: Any) -> Any:
    """A default as both sides may write it: None for dimensions that are all, 1 for 1.0 and [1]."""
    value = list(value) if isinstance(value, tuple) else value
    if isinstance(value, list) and len(set(value)) == 1:
        return value[0]
    return None if value in (None, []) else value


@pytest.mark.parametrize("name", names())
def test_arguments_are_those_of_torch(name: str) -> None:
    place, _, short = name.rpartition(".")
    forms = list(schemas(place, short))
    if name in OURS:
        assert not forms or place == "Tensor" or place == "nt"
        return
    if short in DIFFERENT or name in DIFFERENT:
        return
    assert forms, f"PyTorch has no {name}"
    function = families.function(place, short)
    found = sorted((differences(function, form, forms) for form in forms), key=len)
    assert not found[0], "\n".join(map(str, found[:2]))
