"""PyTorch's module database (module_db) run through ours: its inputs, in training and evaluation.

A module of the database is made on both sides with the same arguments and holds the same weights;
outputs, gradients of inputs and parameters, buffers and state dicts are compared.
"""

import itertools
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from tests.compare import assert_close, tolerance
from tests.peers.opinfo import leaves, ours
from tests.peers.sides import torch, torch_dtype

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

INFOS = {info.name: info for info in module_db}

# Inputs of the database that differ on purpose, with the reason: at most of one entry in twenty.
EXCEPT = {
    ("nn.FractionalMaxPool3d", "ratio_no_batch_dim"): "samples for two images, where there is one",
    ("nn.FractionalMaxPool3d", "size_no_batch_dim"): "samples for two images, where there is one",
}

PLACES = ("device", "dtype")  # which both sides take, and the test sets

INPUTS = 6  # of a module, or a tenth of them; in training and out of it
MODULE = pytest.mark.parametrize("name", INFOS)


def test_exceptions_are_few() -> None:
    names = {name for name, _ in EXCEPT}
    assert names <= INFOS.keys() and len(names) <= len(INFOS) / 20


def of_ours(value: Any) -> Any:
    """An argument of a constructor or of forward, as ours."""
    if isinstance(value, torch.nn.Module):
        return counterpart(value)
    if callable(value) and hasattr(nn.functional, getattr(value, "__name__", "")):
        return getattr(nn.functional, value.__name__)
    if isinstance(value, tuple) and any(isinstance(x, torch.nn.Module) for x in value):
        return tuple(map(of_ours, value))
    return ours(value)


def counterpart(theirs: Any) -> Any:
    """Our module for one of PyTorch's that the database hands to a constructor."""
    kind = getattr(nn, type(theirs).__name__)
    if isinstance(theirs, torch.nn.TransformerEncoderLayer):
        attention = theirs.self_attn
        mine = kind(
            attention.embed_dim,
            attention.num_heads,
            theirs.linear1.out_features,
            theirs.dropout.p,
            getattr(nn.functional, theirs.activation.__name__),
            theirs.norm1.eps,
            attention.batch_first,
            theirs.norm_first,
            bias=theirs.linear1.bias is not None,
        )
        return mine.to(our_dtype(theirs.linear1.weight.dtype))
    raise AssertionError(f"no counterpart of {type(theirs).__name__}")


def our_dtype(dtype: Any) -> Any:
    return nt.dtype.by_name[str(dtype).removeprefix("torch.")]


def pair(info: Any, given: Any, dtype: str, training: bool) -> tuple[Any, Any]:
    """A module on both sides with the same arguments, weights and mode."""
    arguments = given.constructor_input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that PyTorch then does without
        theirs = info.module_cls(*arguments.args, **arguments.kwargs)
    theirs = theirs.to(torch_dtype(dtype)).train(training)
    return made(info, given).to(nt.dtype.by_name[dtype]).train(training), theirs


def made(info: Any, given: Any) -> Any:
    """Our module of an entry's arguments."""
    arguments = given.constructor_input
    options = {key: of_ours(x) for key, x in arguments.kwargs.items() if key not in PLACES}
    return getattr(nn, info.module_cls.__name__)(*map(of_ours, arguments.args), **options)


def state_of(theirs: Any) -> dict[str, Any]:
    """PyTorch's state dict as tensors of ours."""
    return {name: ours(x) for name, x in theirs.state_dict().items() if isinstance(x, torch.Tensor)}


def copied(theirs: Any, mine: Any) -> None:
    """Have ours hold their values."""
    state = state_of(theirs)
    if state:
        mine.load_state_dict(state)


def inputs(info: Any, dtype: str, training: bool) -> Iterator[Any]:
    torch.manual_seed(0)
    yield from info.module_inputs_func(
        info, device="cpu", dtype=torch_dtype(dtype), requires_grad=True, training=training
    )


def compare(mine: Any, theirs: Any, kind: str) -> None:
    found, wanted = list(leaves(mine)), list(leaves(theirs))
    assert len(found) == len(wanted), f"{len(found)} results, expected {len(wanted)}"
    for x, y in zip(found, wanted, strict=True):
        assert (x is None) == (y is None), "only one side has a value"
        if y is not None:
            assert x.dtype.name == str(y.dtype).removeprefix("torch.")
            wanted_array = y.detach().numpy()
            allowed = tolerance(x.dtype.name, kind).absolute
            size = max(1.0, float(np.abs(wanted_array).max(initial=0)))
            assert_close(x, wanted_array, kind, absolute=allowed * size)


def backward(output: Any) -> None:
    """The gradients of a weighted sum of all results of floats."""
    total: Any = 0
    for x in leaves(output):
        if x is not None and x.requires_grad:
            weight = x.detach() * 0 + 0.5
            total = total + (x * weight + x * x).sum()
    if not isinstance(total, int):
        total.backward()


def check(info: Any, given: Any, dtype: str, training: bool) -> None:
    if given.forward_input is None:
        return
    mine, theirs = pair(info, given, dtype, training)
    forward = given.forward_input
    args = [of_ours(x) for x in forward.args]
    options = {key: of_ours(x) for key, x in forward.kwargs.items()}
    if info.is_lazy:  # which know their shapes after the first call
        theirs(*forward.args, **forward.kwargs)
        mine(*args, **options)
    copied(theirs, mine)
    expected = theirs(*forward.args, **forward.kwargs)
    found = mine(*args, **options)
    compare(found, expected, "composite")
    backward(expected)
    backward(found)
    pairs = [*zip(args, forward.args, strict=True)]
    pairs += [(options[key], forward.kwargs[key]) for key in options]
    for x, y in pairs:
        for one, other in zip(leaves(x), leaves(y), strict=True):
            if isinstance(other, torch.Tensor) and other.requires_grad and other.is_leaf:
                compare(one.grad, other.grad, "model")
    named = dict(mine.named_parameters())
    assert list(named) == [name for name, _ in theirs.named_parameters()]
    for name, parameter in theirs.named_parameters():
        compare(named[name].grad, parameter.grad, "model")
    state, wanted = mine.state_dict(), state_of(theirs)
    assert list(state) == list(wanted)
    for name, value in wanted.items():
        assert_close(state[name], value, "reduction")


def drawn(found: list[Any], draws: random.Random) -> list[Any]:
    """Some of the inputs of a module."""
    return draws.sample(found, min(len(found), max(INPUTS, len(found) // 10)))


@MODULE
def test_modules_give_what_torch_gives(
    name: str, seed: int, request: pytest.FixtureRequest
) -> None:
    """In float32 and float64 with --slow, else some inputs in one of them that the seed draws."""
    info = INFOS[name]
    dtypes = ["float32", "float64"]
    draws, slow = random.Random(f"{name} {seed}"), request.config.getoption("--slow")
    if not slow:
        dtypes = [draws.choice(dtypes)]
    for dtype, training in itertools.product(dtypes, (False, True)):
        found = [x for x in inputs(info, dtype, training) if (name, x.desc) not in EXCEPT]
        for given in found if slow else drawn(found, draws):
            try:
                check(info, given, dtype, training)
            except Exception as err:
                args, kwargs = given.constructor_input.args, given.constructor_input.kwargs
                what = f"{name}{args} {kwargs} {given.desc}, {dtype}, {training=}"
                raise AssertionError(f"{what}: {type(err).__name__}: {err}") from err


REFUSED = (ValueError, TypeError, RuntimeError, IndexError)

# What PyTorch refuses and we take.
TAKEN = {
    r"expected scalar type \w+ but found \w+": "weights of a narrower dtype are widened, exactly",
}

WRONG = [name for name, info in INFOS.items() if info.module_error_inputs_func is not None]


@pytest.mark.parametrize("name", WRONG)
def test_what_torch_refuses_is_refused(name: str) -> None:
    info = INFOS[name]
    for training in (False, True):
        for wrong in info.module_error_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
        ):
            given = wrong.module_error_input
            if wrong.error_on is ModuleErrorEnum.CONSTRUCTION_ERROR:
                with pytest.raises(REFUSED):
                    made(info, given)
            elif wrong.error_regex not in TAKEN:
                mine = made(info, given)
                args = [of_ours(x) for x in given.forward_input.args]
                with pytest.raises(REFUSED):
                    for result in leaves(mine(*args)):
                        result.tolist()
