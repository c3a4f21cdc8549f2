"""Products that a caller lets be of bfloat16: values, gradients, launches, what is refused."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.decoder import Decoder
from numbatorch.nn import functional as F
from numbatorch.ops.cpu import matmul as lowering
from tests import pydoc_llama
from tests.compare import assert_close, assert_launches
from tests.models.build import BERT, bert_weights, llama_config, llama_weights, write_folder
from tests.models.numpy_llama import plain_frequencies, reference

# Rows from one to more than the kernel for few takes; an odd K has no pairs in place.
SIZES = [(1, 40, 64), (5, 33, 70), (17, 96, 384), (48, 40, 130), (49, 100, 66), (130, 70, 257)]
STEP = 2.0**-8  # of bfloat16, between two numbers near one


def operands(M: int, N: int, K: int, weight: Any) -> tuple[Any, Any]:
    random = np.random.default_rng(M * 10007 + N * 101 + K)
    x = random.standard_normal((M, K)).astype(np.float32)
    return x, (random.standard_normal((N, K)) / K**0.5).astype(np.float32).astype(weight)


def rounded(array: Any) -> Any:
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


def bound(x: Any, weight: Any) -> Any:
    """How far a sum of products of rounded numbers may be from that of the numbers, at most."""
    sizes = np.abs(x.astype(np.float64)) @ np.abs(weight.astype(np.float64)).T
    return sizes * (2.01 * STEP / 2) + 1e-6


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_linear_is_near_the_product_in_float64(sizes: Any, kind: Any, device: str) -> None:
    x, weight = operands(*sizes, kind)
    bias = np.float32(np.arange(sizes[1]))
    values = (nt.tensor(array, device=device) for array in (x, weight, bias))
    out = F.linear(*values, compute="bfloat16")
    assert out.dtype is nt.float32
    expected = x.astype(np.float64) @ weight.astype(np.float64).T + bias
    assert (np.abs(out.numpy() - expected) <= bound(x, weight) + 1e-6 * bias).all()


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("pairs", [True, False])
def test_operands_are_rounded_where_pairs_are_multiplied(
    sizes: Any, pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other processors what is float32 is multiplied as it is."""
    for name in ("multiplies_pairs", "multiplies_vectors"):
        monkeypatch.setattr(lowering, name, lambda cpu: pairs)
    M, N, K = (sizes[0], sizes[1] + 3 + pairs, sizes[2])  # plans of their own
    x, weight = operands(M, N, K, ml_dtypes.bfloat16)
    out = F.linear(nt.tensor(x), nt.tensor(weight), compute="bfloat16").numpy()
    taken = rounded(x) if pairs and (M > lowering.FEW_ROWS or K % 2 == 0) else x.astype(np.float64)
    assert_close(out, (taken @ weight.astype(np.float64).T).astype(np.float32), "matmul")


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", [np.float32, ml_dtypes.bfloat16])
def test_gradients_are_near_those_in_float64(sizes: Any, kind: Any) -> None:
    M, N, _ = sizes
    x, weight = operands(*sizes, kind)
    g = np.random.default_rng(1).standard_normal((M, N)).astype(np.float32)
    left, right = (nt.tensor(array).requires_grad_() for array in (x, weight))
    F.linear(left, right, compute="bfloat16").backward(nt.tensor(g))
    assert left.grad.dtype is nt.float32 and right.grad.dtype is right.dtype
    across = weight.astype(np.float64)
    apart = np.abs(left.grad.numpy() - g.astype(np.float64) @ across)
    assert (apart <= bound(g, weight.T)).all()
    expected = g.T.astype(np.float64) @ x.astype(np.float64)
    apart = np.abs(right.grad.float().numpy() - expected)
    stored = 0 if kind is np.float32 else STEP / 2 * np.abs(expected)
    assert (apart <= bound(g.T, x.T) + stored).all()


def test_launches_are_those_of_float32() -> None:
    for M in (3, 200):
        x, weight = operands(M, 64, 96, np.float32)
        for kind in (nt.float32, nt.bfloat16):
            out = F.linear(nt.tensor(x), nt.tensor(weight).to(kind).realize(), nt.ones(64))
            assert_launches(out, 1)
            given = (nt.tensor(x), nt.tensor(weight).to(kind).realize(), nt.ones(64))
            assert_launches(F.linear(*given, compute="bfloat16").relu(), 1)


def test_what_is_not_rounded_to_bfloat16_is_refused() -> None:
    x, weight = operands(4, 32, 32, np.float32)
    packed = nt.quantize(nt.tensor(weight), "Q4_0")
    rows = "which weights in blocks are not multiplied in\n  input.*\n  weight.*Q4_0"
    with pytest.raises(nt.DTypeError, match=rows):
        F.linear(nt.tensor(x), packed, compute="bfloat16")
    for left, right in (("float64", "float64"), ("float16", "float16"), ("float32", "float64")):
        given = nt.tensor(x).to(getattr(nt, left)), nt.tensor(weight).to(getattr(nt, right))
        with pytest.raises(nt.DTypeError, match="only float32 is rounded to"):
            F.linear(*given, compute="bfloat16")
    with pytest.raises(ValueError, match="compute is 'float16', not 'float32' or 'bfloat16'"):
        F.linear(nt.tensor(x), nt.tensor(weight), compute="float16")  # type: ignore[arg-type]


def test_examples_of_a_batch_keep_the_attribute() -> None:
    x, weight = operands(6, 40, 64, ml_dtypes.bfloat16)
    rows = nt.vmap(lambda row: F.linear(row, nt.tensor(weight), compute="bfloat16"))(nt.tensor(x))
    expected = x.astype(np.float64) @ weight.astype(np.float64).T
    assert (np.abs(rows.numpy() - expected) <= bound(x, weight)).all()


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_a_decoder_are_near_numpy(tied: bool, tmp_path: Path) -> None:
    config = llama_config(tie_word_embeddings=tied)
    weights = llama_weights(config)
    folder = write_folder(tmp_path, config, weights)
    model = nt.models.from_pretrained(folder, compute="bfloat16")
    kinds = {name: parameter.dtype for name, parameter in model.named_parameters()}
    for name, kind in kinds.items():
        product = name.endswith(("proj.weight", "lm_head.weight")) or (tied and "embed" in name)
        assert kind is (nt.bfloat16 if product else nt.float32), name
    ids = np.random.default_rng(0).integers(0, config["vocab_size"], (2, 30))
    expected = reference(config, weights, ids, plain_frequencies(config))
    logits = model(nt.tensor(ids)).detach().numpy()
    assert_close(logits, expected, "model", dtype="bfloat16")


def test_logits_of_the_small_llama_are_near_those_of_transformers() -> None:
    logits = np.load(pydoc_llama.CARRIED / "expected_logits.npz")
    said = json.loads((pydoc_llama.CARRIED / "expected.json").read_text(encoding="utf-8"))
    records = [each for each in said["generate"] if each["file"] == "model.safetensors"]
    model = nt.TextGenerator(pydoc_llama.CARRIED, compute="bfloat16").model
    for record in records:
        expected = logits[record["logits"]]
        assert_close(Decoder(model).feed(record["ids"]), expected, "model", dtype="bfloat16")
    assert len(records) == 6


def test_float64_is_no_checkpoint_for_it(tmp_path: Path) -> None:
    weights = {name: array.astype(np.float64) for name, array in bert_weights(BERT).items()}
    folder = write_folder(tmp_path, BERT, weights)
    with pytest.raises(ValueError, match=r"which float64 is not rounded to\n  weight of encoder"):
        nt.models.from_pretrained(folder, compute="bfloat16")
