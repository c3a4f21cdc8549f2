"""Losses with layers of their own, and choices, beside PyTorch's with the same parameters."""

import warnings
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import nn
from tests.compare import assert_close
from tests.peers.pairs import Case, compare, pair, tensors
from tests.peers.sides import torch


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(16))
def test_adaptive_log_softmax_equals_torch(seed: int) -> None:
    case = Case(seed)
    classes = int(case.rng.integers(4, 30))
    count = int(case.rng.integers(1, min(classes - 1, 4) + 1))
    cutoffs = sorted(int(c) for c in case.rng.choice(np.arange(1, classes), count, replace=False))
    options = {"div_value": float(case.rng.choice([2.0, 4.0])), "head_bias": case.coin()}
    sizes = (16, classes, cutoffs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hidden sizes of 0
        modules = pair("AdaptiveLogSoftmaxWithLoss", *sizes, **options)
    N = int(case.rng.choice([1, 2, 9]))
    shape = (N, 16) if case.batched else (16,)
    x = tensors(case.rng.standard_normal(shape), grad=True)
    # Few classes are drawn at times, so that clusters have no rows.
    drawn = case.rng.integers(0, int(case.rng.choice([cutoffs[0], classes])), shape[:-1])
    target = tensors(np.asarray(drawn))
    found = [module(x[side], target[side]) for side, module in enumerate(modules)]
    assert found[0]._fields == found[1]._fields
    rows = tensors(case.rng.standard_normal((7, 16)) * 3)
    for module in modules[:1]:
        assert_close(module.log_prob(rows[0]).detach(), modules[1].log_prob(rows[1]), "composite")
    assert_close(modules[0].predict(rows[0]), modules[1].predict(rows[1]), "exact")
    compare([x], lambda side: modules[side](x[side], target[side]), modules, case)


def test_predictions_within_the_head_and_outside_equal_torch() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = pair("AdaptiveLogSoftmaxWithLoss", 4, 12, [4, 8], head_bias=True)
    for entry in (0, 5):  # of the first classes, and of a cluster
        for side, module in ((nt, ours), (torch, theirs)):
            with side.no_grad():
                module.head.bias[:] = 0
                module.head.bias[entry] = 100
        x = tensors(rng.standard_normal((5, 4)))
        found, expected = ours.predict(x[0]), theirs.predict(x[1])
        assert_close(found, expected, "exact")
        assert bool((found >= 8).all()) == (entry == 5)


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(24))
def test_linear_cross_entropy_loss_equals_torch(seed: int) -> None:
    case = Case(seed)
    size, C, N = (int(n) for n in case.rng.integers(1, 7, 3))
    places = tuple(int(n) for n in case.rng.integers(1, 4, case.rng.integers(0, 3)))
    places = places if case.batched else ()
    probable = case.rng.random() < 0.3
    options: dict[str, Any] = {
        "out_features": places,
        "bias": case.coin(),
        "reduction": str(case.rng.choice(["none", "mean", "sum"])),
        "label_smoothing": float(case.rng.choice([0.0, 0.2])),
        "ignore_index": None if probable or case.coin() else int(case.rng.integers(0, C)),
    }
    ours = nn.LinearCrossEntropyLoss(size, C, **options, dtype=nt.float64)
    theirs = torch.nn.LinearCrossEntropyLoss(size, C, **options, dtype=torch.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(
        {k: nt.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    )
    if case.coin():
        factors = tensors(case.rng.random(C) + 0.5)
        ours.weight, theirs.weight = factors
    if case.coin():
        ours.options = nn.LinearCrossEntropyOptions(batch_chunk_size=int(case.rng.integers(1, 4)))
    batch = (N,) if case.batched else ()
    x = tensors(case.rng.standard_normal((*batch, size)), grad=True)
    if probable:
        target = tensors(case.rng.random((*batch, C, *places)))
    else:
        target = tensors(np.asarray(case.rng.integers(0, C, (*batch, *places))))
    compare([x], lambda side: [(ours, theirs)[side](x[side], target[side])], (ours, theirs), case)


@pytest.mark.parametrize("method", ["auto", None, "aspect_ratio", "aspect_ratio:3"])
@pytest.mark.parametrize("given", [None, 4])
def test_rows_of_a_chunk_are_those_of_torch(method: str | None, given: int | None) -> None:
    options = {"chunking_method": method, "batch_chunk_size": given}
    ours, theirs = nn.LinearCrossEntropyOptions(**options), torch.nn.LinearCrossEntropyOptions
    for N, size, C in ((100, 8, 64), (7, 3, 2), (4, 1, 1), (4096, 64, 1000), (5, 500, 2)):
        try:
            wanted = theirs(**options)._adjust(N, size, C, torch.float32).batch_chunk_size
        except ValueError:
            with pytest.raises(ValueError, match="batch_chunk_size 4 is not the"):
                ours.rows(N, size, C)
        else:
            assert ours.rows(N, size, C) == wanted
