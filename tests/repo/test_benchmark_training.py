"""The benchmark of training: what its step computes, what it holds and what its floor counts."""

import numpy as np
import pytest

import numbatorch as nt
from benchmarks import rows, small, training

TINY = training.Shape(layers=2, width=16, head=8, words=11, batch=3, tokens=6)
OURS = small.Api(nt.from_numpy, nt.compile, lambda call: lambda: call().realize(), nt)


def test_the_model_has_as_many_parameters_as_its_row_says() -> None:
    model = training.gpt(nt, training.SHAPE)
    assert round(sum(x.numel() for x in model.parameters()) / 1e6) == 5
    (row,) = rows.rows_of("train", None)  # type: ignore[arg-type]
    assert row.name == "GPT of 5M, 8 times 256 tokens"


def test_a_step_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SHAPE", TINY)
    work = training.job(OURS, "cpu", lr=1e-2)()
    assert work.units == TINY.batch * TINY.tokens
    losses = [work.call().item() for _ in range(60)]
    # The first guess is any of the words; the batch is then learned by heart.
    assert losses[0] == pytest.approx(np.log(TINY.words), abs=0.1)
    assert losses[-1] < losses[0] / 2


def test_a_step_does_not_look_ahead() -> None:
    model = training.gpt(nt, TINY)
    model.load_state_dict({key: nt.from_numpy(x) for key, x in training.weights(model).items()})
    rng = np.random.default_rng(2)
    ids, targets = rng.integers(0, TINY.words, (2, TINY.batch, TINY.tokens))
    found = nt.from_numpy(targets)
    changed = ids.copy()
    changed[:, -1] = (ids[:, -1] + 1) % TINY.words
    seen = targets.copy()
    seen[:, -1] = -100  # what cross entropy leaves out
    without = nt.from_numpy(seen)
    before, after = (model(nt.from_numpy(x), without).item() for x in (ids, changed))
    assert before == pytest.approx(after, rel=1e-6)
    assert model(nt.from_numpy(ids), found).item() != model(nt.from_numpy(changed), found).item()
