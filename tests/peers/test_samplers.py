"""Samplers beside llama.cpp's: what they leave, with which probabilities, and what is drawn."""

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch.generation.samplers import (
    DRY,
    XTC,
    Candidates,
    Chain,
    Grammar,
    LogitBias,
    MinP,
    Mirostat,
    MirostatV2,
    Penalties,
    Random,
    Sampler,
    Temperature,
    Text,
    TopK,
    TopNSigma,
    TopP,
    Typical,
)
from numbatorch.generation.samplers.chain import chain
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile

cpp = pytest.importorskip("llama_cpp")

TOKEN = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Twister(Random):
    """The numbers that libstdc++ makes of its Mersenne twister, as llama.cpp draws them."""

    def __init__(self, seed: int, single: bool = False) -> None:
        self.state = np.random.RandomState(seed)
        self.single = single

    def __call__(self) -> float:
        low = int(self.state.randint(0, 2**32, dtype=np.uint32))
        if self.single:
            return float(np.float32(low) / np.float32(2**32))
        return (low + int(self.state.randint(0, 2**32, dtype=np.uint32)) * 2**32) / 2**64


class Theirs:
    """A chain of llama.cpp's samplers."""

    def __init__(self, *samplers: Any, ids: Sequence[int] = ()) -> None:
        self.chain = cpp.llama_sampler_chain_init(cpp.llama_sampler_chain_default_params())
        for sampler in samplers:
            cpp.llama_sampler_chain_add(self.chain, sampler)
        for id in ids:
            cpp.llama_sampler_accept(self.chain, id)

    def __del__(self) -> None:
        cpp.llama_sampler_free(self.chain)

    def left(self, logits: np.ndarray) -> tuple[dict[int, float], int]:
        """Logits of the tokens that are left, and the chosen one or -1."""
        given = np.zeros(len(logits), TOKEN)
        given["id"], given["logit"] = np.arange(len(logits)), logits
        pointer = given.ctypes.data_as(cpp.llama_token_data_p)
        array = cpp.llama_token_data_array(pointer, len(given), -1, False)
        cpp.llama_sampler_apply(self.chain, ctypes.byref(array))
        found = np.frombuffer(ctypes.string_at(array.data, array.size * TOKEN.itemsize), TOKEN)
        chosen = int(found["id"][array.selected]) if array.selected >= 0 else -1
        kept = found[found["logit"] > -np.inf]
        return dict(zip(kept["id"].tolist(), kept["logit"].tolist(), strict=True)), chosen


def ours(found: Candidates) -> dict[int, float]:
    every = zip(found.ids.tolist(), found.logits.tolist(), strict=True)
    return {token: logit for token, logit in every if logit > -np.inf}


def shares(logits: dict[int, float]) -> np.ndarray:
    values = np.array([logits[token] for token in sorted(logits)])
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def texts() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for size in (2, 7, 300, 3000):
        for scale in (0.5, 2.0, 6.0):
            for _ in range(5):
                yield (rng.standard_normal(size) * scale).astype(np.float32)


SAMPLERS = {
    "top_k": lambda: (TopK(40), cpp.llama_sampler_init_top_k(40)),
    "top_p": lambda: (TopP(0.9), cpp.llama_sampler_init_top_p(0.9, 0)),
    "top_p, least": lambda: (TopP(0.3, 20), cpp.llama_sampler_init_top_p(0.3, 20)),
    "min_p": lambda: (MinP(0.1), cpp.llama_sampler_init_min_p(0.1, 0)),
    "min_p, least": lambda: (MinP(0.5, 20), cpp.llama_sampler_init_min_p(0.5, 20)),
    "typical": lambda: (Typical(0.6), cpp.llama_sampler_init_typical(0.6, 0)),
    "typical, least": lambda: (Typical(0.2, 9), cpp.llama_sampler_init_typical(0.2, 9)),
    "top_n_sigma": lambda: (TopNSigma(1.3), cpp.llama_sampler_init_top_n_sigma(1.3)),
    "xtc": lambda: (XTC(1.0, 0.05), cpp.llama_sampler_init_xtc(1.0, 0.05, 0, 1)),
    "temperature": lambda: (Temperature(0.7), cpp.llama_sampler_init_temp(0.7)),
    "temperature 0": lambda: (Temperature(0.0), cpp.llama_sampler_init_temp(0.0)),
    "dynamic": lambda: (
        Temperature(0.9, 0.5, 1.3),
        cpp.llama_sampler_init_temp_ext(0.9, 0.5, 1.3),
    ),
    "dynamic from 0": lambda: (
        Temperature(0.5, 0.8, 0.7),
        cpp.llama_sampler_init_temp_ext(0.5, 0.8, 0.7),
    ),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
@pytest.mark.parametrize("behind", [0, 100], ids=["all", "behind top_k"])
def test_the_same_tokens_are_left(make: Any, behind: int) -> None:
    sampler, peer = make()
    theirs = Theirs(*[cpp.llama_sampler_init_top_k(behind)] * bool(behind), peer)
    mine = Chain([TopK(behind), sampler], Text())
    for logits in texts():
        expected, _ = theirs.left(logits)
        found = ours(mine.left(logits))
        assert sorted(found) == sorted(expected)
        np.testing.assert_allclose(shares(found), shares(expected), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("last", [0, 5, 64, 1000])
@pytest.mark.parametrize("how", [(1.3, 0.0, 0.0), (1.0, 0.2, 0.4), (0.8, -0.3, 0.5)], ids=str)
def test_penalties(last: int, how: tuple[float, float, float]) -> None:
    ids = np.random.default_rng(1).integers(0, 60, 200).tolist()
    repeat, frequency, presence = how
    peer = cpp.llama_sampler_init_penalties(3000, last, repeat, frequency, presence)
    theirs = Theirs(peer, ids=ids)
    mine = Chain([Penalties(repeat, frequency, presence, last)], Text(ids))
    for logits in texts():
        expected, _ = theirs.left(logits)
        found = ours(mine.left(logits))
        for token, logit in expected.items():
            assert found[token] == pytest.approx(logit, rel=1e-6, abs=1e-6)


def test_logit_bias() -> None:
    bias = {1: 2.5, 3: -np.inf, 40: -1.0, 299: 3.0}
    given = (cpp.llama_logit_bias * len(bias))(*bias.items())
    theirs = Theirs(cpp.llama_sampler_init_logit_bias(3000, len(bias), given))
    for logits in texts():
        assert ours(Chain([LogitBias(bias)], Text()).left(logits)) == theirs.left(logits)[0]


@pytest.fixture(scope="module")
def file(shared_fixtures: Path) -> Path:
    return shared_fixtures / "pydoc-llama" / "pydoc-llama-q8_0.gguf"


@pytest.mark.parametrize(
    "breakers", [(), ("\n", ":", '"', "*"), ("for x", "return"), ("self.",)], ids=str
)
def test_dry(file: Path, breakers: tuple[str, ...]) -> None:
    model = cpp.Llama(str(file), vocab_only=True, verbose=False)
    vocab = cpp.llama_model_get_vocab(model._model.model)
    tokenizer = Tokenizer.from_gguf(GGUFFile(file))
    rng = np.random.default_rng(2)
    code = "for x in self.values: return x\n"
    words = [*tokenizer.encode(code, add_special_tokens=False), *rng.integers(3, 2048, 3).tolist()]
    changed = 0
    for number in range(60):
        ids = rng.choice(words[: rng.integers(1, len(words))], rng.integers(0, 120)).tolist()
        if number % 2:
            ids = [*(ids * 3), *ids[: len(ids) // 2]]
        base, least, last = [(1.75, 2, 64), (1.1, 1, 20), (2.0, 3, 1000)][number % 3]
        given = (ctypes.c_char_p * len(breakers))(*(text.encode() for text in breakers))
        peer = cpp.llama_sampler_init_dry(vocab, 0.8, base, least, last, given, len(breakers))
        expected, _ = Theirs(peer, ids=ids).left(np.zeros(2048, np.float32))
        sampler = DRY(0.8, base, least, last, breakers)
        found = ours(Chain([sampler], Text(ids, tokenizer=tokenizer)).left(np.zeros(2048, "f4")))
        assert sorted(found) == sorted(expected)
        for token, logit in expected.items():
            changed += logit != 0
            assert found[token] == pytest.approx(logit, rel=1e-5)
    assert changed > 50


@pytest.mark.parametrize("probability", [0.2, 0.7])
def test_xtc_acts_at_the_same_draws(probability: float) -> None:
    theirs = Theirs(cpp.llama_sampler_init_xtc(probability, 0.1, 0, 7))
    text = Text(random=Twister(7, single=True))
    mine = Chain([XTC(probability, 0.1)], text)
    for logits in texts():
        assert sorted(ours(mine.left(logits))) == sorted(theirs.left(logits)[0])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_chain_draws_the_same_tokens(seed: int) -> None:
    theirs = Theirs(
        cpp.llama_sampler_init_penalties(3000, 64, 1.1, 0.0, 0.0),
        cpp.llama_sampler_init_top_k(40),
        cpp.llama_sampler_init_typical(0.98, 0),
        cpp.llama_sampler_init_top_p(0.95, 0),
        cpp.llama_sampler_init_min_p(0.05, 0),
        cpp.llama_sampler_init_temp_ext(0.8, 0.0, 1.0),
        cpp.llama_sampler_init_dist(seed),
        ids=range(50),
    )
    how: dict[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    how |= {"typical_p": 0.98, "repeat_penalty": 1.1}
    text = Text(list(range(50)), Twister(seed))
    mine = Chain(chain(how), text)
    same = 0
    for logits in texts():
        left, expected = theirs.left(logits)
        assert sorted(ours(mine.left(logits))) == sorted(left)
        found = mine.choose(logits)
        if len(left) == 1:
            text.random()  # llama.cpp draws a number for a single token too
        same += found == expected
        cpp.llama_sampler_accept(theirs.chain, expected)
        text.ids.append(expected)
    assert same >= 58  # of 60: typical leaves no order, and equal ones stand anyhow


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tau", [2.0, 5.0])
def test_mirostat_draws_the_same_tokens(version: int, tau: float) -> None:
    """Also when the draws before have moved mu."""
    size = 2000
    sampler: Sampler
    if version == 1:
        peer = cpp.llama_sampler_init_mirostat(size, 5, tau, 0.1, 100)
        sampler = Mirostat(tau)
    else:
        peer, sampler = cpp.llama_sampler_init_mirostat_v2(5, tau, 0.1), MirostatV2(tau)
    theirs = Theirs(cpp.llama_sampler_init_temp(0.9), peer)
    mine = Chain([Temperature(0.9), TopK(size), sampler], Text(random=Twister(5)))
    rng = np.random.default_rng(3)
    for _ in range(100):
        logits = (rng.standard_normal(size) * rng.uniform(1, 4)).astype(np.float32)
        assert mine.choose(logits) == theirs.left(logits)[1]


def test_grammars_allow_the_same_tokens(file: Path) -> None:
    """Along texts of the grammar, token by token."""
    pytest.importorskip("llguidance")
    model = cpp.Llama(str(file), vocab_only=True, verbose=False)
    vocab = cpp.llama_model_get_vocab(model._model.model)
    tokenizer = Tokenizer.from_gguf(GGUFFile(file))
    grammar = r"""root ::= "def " name "(" (name (", " name){0,2})? "):" "\n"
name ::= [a-z_] [a-z0-9_]*"""
    rng = np.random.default_rng(4)
    for _ in range(10):
        theirs = Theirs(cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root"))
        text = Text(tokenizer=tokenizer)
        mine = Chain([Grammar(grammar)], text)
        for _ in range(30):
            logits = rng.standard_normal(tokenizer.vocab_size).astype(np.float32)
            expected, _ = theirs.left(logits)
            found = ours(mine.left(logits))
            if len(found) == 1:  # of what is spelled one way only, the library takes whole tokens
                assert set(found) <= set(expected)
            else:
                assert sorted(found) == sorted(expected)
            token = max(found, key=found.__getitem__)
            if token in tokenizer.end_ids:
                break
            cpp.llama_sampler_accept(theirs.chain, token)
            text.ids.append(token)
