"""The generator as people use it: streams, limits, mistakes, threads, forks, interrupts."""

import _thread
import copy
import gc
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch.backends.cpu.memory import POOL
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import TextGenerator
from tests.models.build import llama_config, llama_weights, write_folder

PROMPT = "The for statement"


@pytest.fixture(scope="module")
def folder(fixtures: Path) -> Path:
    return fixtures / "pydoc-llama"


@pytest.fixture(scope="module")
def generator(folder: Path) -> TextGenerator:
    return TextGenerator(folder)


@pytest.fixture(scope="module")
def greedy(generator: TextGenerator) -> str:
    return generator.generate(PROMPT, 40)


def test_pieces_are_the_text(generator: TextGenerator, greedy: str) -> None:
    generation = generator.stream(PROMPT, 40)
    pieces = list(generation)
    assert len(pieces) > 1
    assert all(pieces)
    assert "".join(pieces) == greedy
    assert generation.finish == "length"
    assert len(generation.ids) == 40


def test_counts_and_times(generator: TextGenerator) -> None:
    generation = generator.stream(PROMPT, 10)
    list(generation)
    counts = generation.counts
    assert counts.prompt_tokens == 4
    assert counts.tokens == 9  # the first came with the prompt
    assert counts.prompt_seconds > 0
    assert counts.seconds > 0


def test_a_second_generation_does_not_see_the_first(generator: TextGenerator, greedy: str) -> None:
    generator.generate("class Foo:\n    def", 30)
    assert generator.generate(PROMPT, 40) == greedy


def test_generation_ends_at_the_end_of_the_text(generator: TextGenerator) -> None:
    generation = generator.stream("")
    text = "".join(generation)
    assert generation.finish == "end"
    assert generator.tokenizer.eos_id not in generation.ids
    assert "</s>" not in text


def test_an_empty_prompt_is_bos(generator: TextGenerator) -> None:
    assert generator.generate("", 5) == generator.generate([generator.tokenizer.bos_id], 5)


def test_ids_serve_as_a_prompt(generator: TextGenerator, greedy: str) -> None:
    assert generator.generate(generator.tokenizer.encode(PROMPT), 40) == greedy
    assert generator.generate(np.array(generator.tokenizer.encode(PROMPT)), 40) == greedy


def test_no_token_is_no_text(generator: TextGenerator) -> None:
    assert generator.generate(PROMPT, 0) == ""


@pytest.mark.parametrize("length", [1, 2, 3, 5, 31, 64, 100, 255, 300])
def test_prompts_of_every_length_equal_one_pass(generator: TextGenerator, length: int) -> None:
    """Chunks through the cache against all positions at once."""
    ids = np.random.default_rng(length).integers(2, 2048, length).tolist()
    decoder = Decoder(generator.model)
    chunked = decoder.feed(ids)
    whole = generator.model.logits(ids)[-1]
    assert np.abs(chunked - whole).max() <= 1e-4


def test_a_growing_cache_keeps_what_it_holds(generator: TextGenerator) -> None:
    ids = np.random.default_rng(0).integers(2, 2048, 280).tolist()
    decoder = Decoder(generator.model)
    decoder.feed(ids[:250])
    for id in ids[250:]:
        logits = decoder.feed([id])
    assert np.abs(logits - generator.model.logits(ids)[-1]).max() <= 1e-4


def test_a_cache_that_grows_leaves_no_memory(generator: TextGenerator) -> None:
    decoder = Decoder(generator.model)
    decoder.feed([5] * 200)
    small = decoder._cache.memory.node.buffer
    size, dropped = POOL.size_of(small.nbytes), weakref.ref(small)
    POOL.clear()
    del small
    decoder.feed([5] * 100)
    assert decoder._cache.capacity == 512
    assert dropped() is None
    assert not POOL.waiting(size)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_step_is_thirteen_launches_a_layer(
    layers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two norms, seven products with bias, gate and residual in them, two turns, one that writes
    keys and values into the cache, and the attention; beside the layers the embedding, the norm
    and the head."""
    config = llama_config(num_hidden_layers=layers, attention_bias=True, vocab_size=80 + layers)
    folder = write_folder(tmp_path, config, llama_weights(config))
    decoder = Decoder(nt.models.from_pretrained(folder, device="cpu"))
    decoder.reserve(8)
    with caplog.at_level(logging.DEBUG, "numbatorch.plans"):
        decoder.feed([1])
        decoder.feed([2])
    told = [record.getMessage() for record in caplog.records if record.name == "numbatorch.plans"]
    (step,) = [text for text in told if not text.startswith("planned 1 launches")]
    assert step.startswith(f"planned {13 * layers + 3} launches on cpu")


def test_one_plan_serves_every_token(generator: TextGenerator) -> None:
    decoder = Decoder(generator.model)
    decoder.feed([5])
    traces = decoder.traces
    for id in range(20):
        decoder.feed([id])
    assert decoder.traces == traces == 1


@given(seed=st.integers(0, 2**63), temperature=st.floats(0.1, 2.0))
def test_a_seed_repeats_and_pieces_are_utf8(
    generator: TextGenerator, seed: int, temperature: float
) -> None:
    how = {"temperature": temperature, "seed": seed, "top_k": 200}
    pieces = list(generator.stream("def \u00e9", 12, **how))
    assert "".join(pieces) == generator.generate("def \u00e9", 12, **how)
    for piece in pieces:
        piece.encode("utf-8")  # no half of a surrogate pair


def test_without_a_seed_texts_differ(generator: TextGenerator) -> None:
    texts = {generator.generate(PROMPT, 20, temperature=1.5) for _ in range(4)}
    assert len(texts) > 1


def test_repeat_penalty_makes_other_text(generator: TextGenerator, greedy: str) -> None:
    assert generator.generate(PROMPT, 40, repeat_penalty=1.3) != greedy


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_stop_strings_end_the_text_and_are_not_given_out(
    generator: TextGenerator, greedy: str, size: int
) -> None:
    start = len(greedy) // 2
    stop = greedy[start : start + size]
    generation = generator.stream(PROMPT, 40, stop=["never", stop])
    text = "".join(generation)
    assert generation.finish == "stop"
    assert text == greedy[: greedy.find(stop)]


def test_what_was_held_back_comes_when_the_text_ends(generator: TextGenerator, greedy: str) -> None:
    assert generator.generate(PROMPT, 40, stop=greedy[-3:] + "and more") == greedy


def test_a_prompt_that_does_not_fit_says_both_lengths(generator: TextGenerator) -> None:
    with pytest.raises(nt.OutOfRange, match=r"prompt of 512 tokens\n  context of 512 tokens"):
        generator.stream([5] * 512)
    with pytest.raises(nt.OutOfRange, match=r"max_tokens 509 do not fit(.|\n)*of 4 tok(.|\n)*512"):
        generator.stream(PROMPT, 509)


def test_the_context_can_be_filled(generator: TextGenerator) -> None:
    generation = generator.stream([5] * 505)
    list(generation)
    assert generation.finish in ("length", "end")
    assert len(generation.ids) <= 7
    generation = generator.stream([5] * 505, 7)
    list(generation)


@pytest.mark.parametrize("id", [-1, 2048, 10**9])
def test_an_id_outside_of_the_vocabulary_is_named(generator: TextGenerator, id: int) -> None:
    with pytest.raises(nt.OutOfRange, match=f"token id {id} is not in the vocabulary"):
        generator.stream([1, id], 3)


@pytest.mark.parametrize("wrong", [{"max_tokens": -1}, {"top_p": 2.0}, {"temperature": -1.0}])
def test_arguments_out_of_range_raise_at_the_call(generator: TextGenerator, wrong: dict) -> None:
    with pytest.raises(nt.OutOfRange):
        generator.stream(PROMPT, **wrong)


def test_an_empty_prompt_without_bos_is_an_error(folder: Path, generator: TextGenerator) -> None:
    other = TextGenerator(folder)
    other.tokenizer.bos_id, other.tokenizer.add_bos = None, False
    with pytest.raises(ValueError, match="the prompt is empty"):
        other.generate("")
    with pytest.raises(ValueError, match="the prompt is empty"):
        generator.generate([])


def nan_folder(folder: Path, target: Path) -> Path:
    """The small Llama with NaN in its last norm."""
    file = nt.io.safetensors.SafetensorsFile(folder / "model.safetensors")
    weights = {name: np.array(file.tensor(name)) for name in file.tensors}
    weights["model.norm.weight"] = np.full(256, np.nan, np.float16)
    target.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    nt.io.safetensors.save_safetensors(target / "model.safetensors", weights)
    return target


def test_nan_logits_are_an_error(folder: Path, tmp_path: Path) -> None:
    broken = TextGenerator(nan_folder(folder, tmp_path / "nan"))
    for temperature in (0.0, 1.0):
        with pytest.raises(FloatingPointError, match="largest logit is nan"):
            broken.generate(PROMPT, 3, temperature=temperature)


def test_a_model_that_is_no_language_model(minilm: Path) -> None:
    with pytest.raises(
        nt.FormatError, match="Bert is for feature-extraction, not for text-generation"
    ):
        TextGenerator(minilm)


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    config = llama_config()
    folder = write_folder(tmp_path, config, llama_weights(config))
    with pytest.raises(nt.FormatError, match=r"no tokenizer\.json"):
        TextGenerator(folder)


def test_streams_take_turns(generator: TextGenerator, greedy: str) -> None:
    first, second = generator.stream(PROMPT, 40), generator.stream("class Foo:\n    def", 40)
    texts = ["", ""]
    for _ in range(40):
        texts[0] += next(first, "")
        texts[1] += next(second, "")
    assert texts[0] == greedy
    assert texts[1] == generator.generate("class Foo:\n    def", 40)


def test_a_stream_that_is_dropped_leaves_the_generator_usable(
    generator: TextGenerator, greedy: str
) -> None:
    stream = generator.stream(PROMPT, 40)
    next(stream)
    stream.close()
    next(generator.stream("class", 40))
    assert generator.generate(PROMPT, 40) == greedy


def test_a_stream_that_nobody_closes_gives_its_memory_back_at_once(
    folder: Path, greedy: str
) -> None:
    """Not when a collector comes by: dropped, left by a break, or ended by an error."""
    generator = TextGenerator(folder)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            next(generator.stream(PROMPT, 40))
            for _ in generator.stream("class", 40):
                break
            assert len(generator._idle) == 1 and not generator._busy
        (decoder,) = generator._idle
        caches = [weakref.ref(decoder._cache)]
        del decoder
        with pytest.raises(KeyboardInterrupt):
            list(interrupted(generator))
        assert not generator._idle and not generator._busy
        assert caches[0]() is None
    finally:
        gc.enable()
    assert generator.generate(PROMPT, 40) == greedy


def test_a_prompt_that_is_far_too_long_is_not_encoded_as_a_whole(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, seen = generator.tokenizer._library, 0

    class Counting:
        def encode(self, text: str, **how: Any) -> Any:
            nonlocal seen
            seen += len(text)
            return library.encode(text, **how)

        def __getattr__(self, name: str) -> Any:
            return getattr(library, name)

    monkeypatch.setattr(generator.tokenizer, "_library", Counting())
    with pytest.raises(nt.OutOfRange, match="prompt of at least 528 tokens\n  context of 512"):
        generator.stream("for x in range(10): " * 1_000_000, special=True)
    assert seen < 20_000


def test_memory_is_used_again(folder: Path) -> None:
    generator = TextGenerator(folder)
    for _ in range(3):
        generator.generate(PROMPT, 3)
    assert len(generator._idle) == 1


def interrupted(generator: TextGenerator) -> Iterator[str]:
    """Pieces of a stream in which an interrupt hits the third step."""
    feed, steps = Decoder.feed, iter(range(100))

    def once(self: Decoder, ids: list[int]) -> np.ndarray:
        logits = feed(self, ids)
        if next(steps) == 2:
            raise KeyboardInterrupt
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "feed", once)
        yield from generator.stream(PROMPT, 40)


def test_an_interrupt_leaves_the_generator_usable(generator: TextGenerator, greedy: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(interrupted(generator))
    assert generator.generate(PROMPT, 40) == greedy


def in_another_thread(generator: TextGenerator) -> str | None:
    """What a thread generates; None if it waits for ever, as for a lock that stayed taken."""
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(generator.generate(PROMPT, 40)), daemon=True
    )
    thread.start()
    thread.join(60)
    return found[0] if found else None


def test_a_signal_at_any_moment_leaves_the_generator_usable(
    generator: TextGenerator, greedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []  # in a finalizer, where the interpreter prints it and goes on
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    for delay in (0.005, 0.02, 0.04):
        timer = threading.Timer(delay, _thread.interrupt_main)
        try:
            timer.start()
            while not lost:
                generator.generate(PROMPT, 40)
        except KeyboardInterrupt:
            pass
        timer.join()
        lost.clear()
        assert generator.generate(PROMPT, 40) == greedy
        assert in_another_thread(generator) == greedy


def test_a_stream_dropped_in_a_cycle_keeps_its_memory(
    generator: TextGenerator, greedy: str
) -> None:
    """A collector finalizes a stream, which hands its decoder on, together with all it holds."""
    gc.collect()  # streams that earlier tests dropped
    generator._idle.clear()
    stream = generator.stream(PROMPT, 40)
    first = next(stream)
    cycle: list[object] = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    (decoder,) = generator._idle
    again = generator.stream(PROMPT, 40)
    text = next(again)
    assert text == first and not generator._idle
    assert decoder._cache is not None
    shape = decoder._cache.memory.shape[2:]
    others = [nt.full(shape, 1000.0 + i).realize() for i in range(30)]  # take what is free
    assert text + "".join(again) == greedy
    assert all((x == 1000.0 + i).all().item() for i, x in enumerate(others))


def test_several_threads_at_once(generator: TextGenerator, greedy: str) -> None:
    other = generator.generate("class Foo:\n    def", 40)
    found: list[bool] = []

    def work(prompt: str, expected: str) -> None:
        found.extend(generator.generate(prompt, 40) == expected for _ in range(3))

    jobs = [(PROMPT, greedy), ("class Foo:\n    def", other)] * 2
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [True] * 12


def child(generator: TextGenerator, queue: "multiprocessing.Queue[str]") -> None:
    queue.put(generator.generate(PROMPT, 40))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_generates_too(generator: TextGenerator, greedy: str) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(generator, queue))
    process.start()
    assert queue.get(timeout=120) == greedy
    process.join(30)
    assert process.exitcode == 0
    assert generator.generate(PROMPT, 40) == greedy


@pytest.mark.parametrize("prompt", [5, ["a"], [1.5]])
def test_a_prompt_of_another_type_is_named(generator: TextGenerator, prompt: object) -> None:
    with pytest.raises(TypeError, match="generate: the prompt is neither a text nor token ids"):
        generator.stream(prompt)  # type: ignore[arg-type]


def test_a_source_of_another_type_is_named() -> None:
    with pytest.raises(TypeError, match="a path or a repository, not 5"):
        TextGenerator(5)  # type: ignore[arg-type]


def test_a_used_generator_is_copied_and_pickled(generator: TextGenerator, greedy: str) -> None:
    for copied in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert copied.generate(PROMPT, 40) == greedy
