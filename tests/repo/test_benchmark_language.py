"""The benchmarks of language models: what their files hold, and what engines are asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import checkpoints, language

SHAPE = checkpoints.Shape(256, 2, 2, 1, 512, vocab=320)
TYPES = {"Q4_K_M": {"Q4_K", "Q6_K"}}  # of matrices; of other kinds their own


@pytest.mark.parametrize("kind", [*checkpoints.FILE_TYPES, *checkpoints.MIXES])
def test_what_a_decode_step_reads_is_what_the_file_holds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    monkeypatch.setitem(checkpoints.SHAPES, "tiny", SHAPE)
    path = checkpoints.gguf_file(tmp_path, "tiny", kind)
    tensors = gguf.GGUFReader(path).tensors
    matrices = [t for t in tensors if len(t.shape) == 2 and t.name != "token_embd.weight"]
    assert {t.tensor_type.name for t in matrices} == TYPES.get(kind, {kind})
    assert checkpoints.bytes_a_token(path) == sum(int(t.n_bytes) for t in matrices)
    assert checkpoints.shape_of(path) == SHAPE


def test_a_head_that_is_the_embedding_is_read_in_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = pytest.importorskip("gguf")
    tied = [each for each in checkpoints.weights(SHAPE) if each[1] != "output.weight"]
    monkeypatch.setattr(checkpoints, "weights", lambda shape: tied)
    checkpoints.write_gguf(tmp_path / "tied.gguf", SHAPE, "Q4_1")
    tensors = gguf.GGUFReader(tmp_path / "tied.gguf").tensors
    every = sum(int(t.n_bytes) for t in tensors if len(t.shape) == 2)
    assert checkpoints.bytes_a_token(tmp_path / "tied.gguf") == every


def test_mixes_are_of_matrices_whose_rows_are_whole_blocks() -> None:
    found = {size for size, shape in checkpoints.SHAPES.items() if checkpoints.fits(shape, "Q6_K")}
    assert found == {"110m", "1b"}
    assert all(checkpoints.fits(shape, "Q4_1") for shape in checkpoints.SHAPES.values())


def test_jobs_of_a_language_model_ask_for_the_same_tokens() -> None:
    asked: list[Any] = []
    session = SimpleNamespace(clear=lambda: asked.append("clear"), feed=asked.append)
    decode, prefill = language.jobs(lambda file: session)
    work = decode("a file", 3)
    work.begin()
    work.call()
    assert asked == ["clear", language.PROMPT, [language.TOKEN]] and work.most == 3
    asked.clear()
    prefill("a file", 3).call()
    assert asked == ["clear", [0, 7, 14]]


def test_choosing_is_a_share_of_a_step_and_begins_again_at_the_end_of_a_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    ids = iter([5, 0])
    session = SimpleNamespace(
        clear=lambda: asked.append("clear"),
        choose_by=lambda *given: asked.append(given),
        choose=lambda: next(ids),
        feed=asked.append,
        ends=lambda id: id == 0,
    )
    times = iter([0.0, 1.0, 4.0, 10.0, 11.0, 12.0])
    monkeypatch.setattr(language.time, "perf_counter", lambda: next(times))
    work = language.sampling_job(lambda file: session)("a file", 3, [7], "a grammar")
    begun = ["clear", ([7], "a grammar"), [7]]
    work.begin()
    assert (work.call(), asked) == (0.25, [*begun, [5]])
    assert (work.call(), asked) == (0.5, [*begun, [5], [0], *begun])
