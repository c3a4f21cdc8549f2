"""Decoders of seeded weights compute what transformers did when tests/models/decoders.py asked."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.decoder import Decoder
from tests.models import decoders

RECORDS = json.loads(decoders.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", RECORDS)
def test_logits_are_those_of_transformers(
    kind: str, device: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    usual = device in ("cpu", "numpy") or (device == "metal" and kind == "Gemma3Text")
    if not (usual or request.config.getoption("--slow")):
        pytest.skip("a slow device: run with --slow")
    folder = decoders.write(tmp_path, RECORDS[kind])
    model = nt.models.from_pretrained(folder, device=device)
    expected = np.array(RECORDS[kind]["logits"])
    close = 1e-4 * np.abs(expected).max()
    found = model.logits(decoders.IDS)[[0, 6, -1]]
    assert np.abs(found - expected).max() <= close
    decoder = Decoder(model)
    for ids in (decoders.IDS[:5], decoders.IDS[5:-1], decoders.IDS[-1:]):
        last = decoder.feed(ids)
    assert np.abs(last - expected[-1]).max() <= close


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("size", [2**16, 2**31 - 1])
def test_a_number_that_no_model_has_is_refused_or_takes_no_memory(
    kind: str, size: int, tmp_path: Path
) -> None:
    folder = decoders.write(tmp_path, RECORDS[kind])
    written = json.loads((folder / "config.json").read_text())
    refused = []
    for key, value in written.items():
        if type(value) is int:
            (folder / "config.json").write_text(json.dumps({**written, key: size}))
            tracemalloc.start()
            try:
                nt.models.from_pretrained(folder)
            except nt.FormatError:
                refused.append(key)
            finally:
                taken = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert taken < 64 << 20, (key, taken)
    assert {"head_dim", "hidden_size", "num_hidden_layers"} & written.keys() <= {*refused}


def test_angles_follow_the_length_of_a_text_both_ways(tmp_path: Path) -> None:
    model = nt.models.from_pretrained(decoders.write(tmp_path, RECORDS["Phi3"]))
    decoder = Decoder(model)
    long = decoder.feed(decoders.IDS)
    short = decoder.feed(decoders.IDS[decoder.rewind(decoders.IDS[:6]) : 6])
    assert np.abs(short - model.logits(decoders.IDS[:6])[-1]).max() <= 1e-4 * np.abs(short).max()
    again = decoder.feed(decoders.IDS[6:])
    assert np.abs(again - long).max() <= 1e-4 * np.abs(long).max()
