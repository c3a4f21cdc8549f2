"""Perplexity, divergence and importance against their formulas on the recorded logits' model."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.cli.main import main
from numbatorch.errors import FormatError, OutOfRange
from numbatorch.pipelines.imatrix import collect
from numbatorch.pipelines.perplexity import Reference, packed, perplexity
from numbatorch.quantized import read_importance

CONTEXT = 32


@pytest.fixture(scope="module")
def folder(fixtures):
    return fixtures / "pydoc-llama"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(str(str.__doc__) + str(dict.__doc__) + str(range.__doc__) + "caf\u00e9 " * 9)
    return path


@pytest.fixture(scope="module")
def generator(folder):
    return nt.TextGenerator(folder)


def parts_of(generator, text):
    ids = generator.tokenizer.encode(text.read_text())
    return [ids[i : i + CONTEXT] for i in range(0, len(ids) - CONTEXT + 1, CONTEXT)]


def surprises(generator, text):
    """-log p of each token of the second halves, in float64."""
    found = []
    for ids in parts_of(generator, text):
        with nt.no_grad():
            logits = generator.model(nt.tensor([[0, *ids[1:]]]))[0].numpy().astype(np.float64)
        for place in range(CONTEXT // 2, CONTEXT - 1):
            row = logits[place]
            found.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[ids[place + 1]])
    return np.array(found)


def test_perplexity_is_exp_of_the_mean_surprise_with_its_error(folder, text, generator):
    expected = surprises(generator, text)
    found = perplexity(folder, text, CONTEXT)
    assert found.tokens == len(expected) > 60
    mean = np.exp(expected.mean())
    assert found.perplexity.value == pytest.approx(mean, rel=1e-5)
    error = mean * expected.std(ddof=1) / len(expected) ** 0.5
    assert found.perplexity.error == pytest.approx(error, rel=1e-5)
    assert perplexity(folder, text, CONTEXT, 2).tokens == 2 * (CONTEXT - 1 - CONTEXT // 2)


def test_divergence_from_itself_is_none_and_from_another_its_formula(folder, text, tmp_path):
    file = tmp_path / "base.bin"
    perplexity(folder, text, CONTEXT, save=file)
    same = perplexity(folder, reference=file)
    assert abs(same.divergence.value) < 1e-6
    assert same.ratio.value == pytest.approx(1, abs=1e-3)
    assert same.same_top.value > 0.99
    other = perplexity(folder / "pydoc-llama-q4_0.gguf", reference=file)
    assert 0.01 < other.divergence.value < 1
    generators = [nt.TextGenerator(place) for place in (folder, folder / "pydoc-llama-q4_0.gguf")]
    found = []
    for ids in parts_of(generators[0], text):
        given = nt.tensor([[0, *ids[1:]]])
        with nt.no_grad():
            p, q = (
                nt.nn.functional.log_softmax(g.model(given)[0], -1).double().numpy()
                for g in generators
            )
        rows = slice(CONTEXT // 2, CONTEXT - 1)
        found += (np.exp(p) * (p - q)).sum(1)[rows].tolist()
    assert other.divergence.value == pytest.approx(np.mean(found), rel=0.01)


def test_file_of_log_probabilities_is_llama_cpps(folder, text, tmp_path, generator):
    file = tmp_path / "base.bin"
    perplexity(folder, text, CONTEXT, 1, save=file)
    raw = file.read_bytes()
    assert raw[:8] == b"_logits_"
    assert struct.unpack("<Iii", raw[8:20]) == (CONTEXT, 2048, 1)
    (ids,) = parts_of(generator, text)[:1]
    assert np.frombuffer(raw, "<i4", CONTEXT, 20).tolist() == ids
    rows = CONTEXT - 1 - CONTEXT // 2
    assert len(raw) == 20 + 4 * CONTEXT + rows * 2 * (2048 + 4)


def test_packed_log_probabilities_are_within_a_step():
    logits = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32) * 3
    logits[2] = 1.0
    rows = packed(logits)
    assert rows.shape == (3, 12)
    scales = np.ascontiguousarray(rows[:, :4]).view("<f4")
    found = rows[:, 4:11] * scales[:, :1].astype(np.float64) + scales[:, 1:]
    exact = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    assert np.abs(found - exact).max() < 16 / 65535


def test_malformed_references_are_refused(folder, text, tmp_path):
    file = tmp_path / "base.bin"
    perplexity(folder, text, CONTEXT, 1, save=file)
    raw = file.read_bytes()
    with pytest.raises(FormatError, match="a vocabulary of 2048 tokens, the model has 7"):
        Reference(file, 7)
    for broken, problem in (
        (b"x" + raw[1:], "no file of log-probabilities"),
        (raw[:-1], "bytes, where 1 chunks"),
        (raw[:20] + b"\xff" * 4 + raw[24:], "a token that is not"),
        (raw[:16] + struct.pack("<i", -1) + raw[20:], "bytes, where -1 chunks"),
    ):
        file.write_bytes(broken)
        with pytest.raises(FormatError, match=problem):
            Reference(file, 2048)


def test_importance_is_the_mean_square_of_each_input(folder, text, generator):
    found = collect(folder, text, CONTEXT, 2)
    assert len(found.entries) == 35
    seen = []
    handle = generator.model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].numpy())
    )
    for ids in parts_of(generator, text)[:2]:
        with nt.no_grad():
            generator.model(nt.tensor([[0, *ids[1:]]])).numpy()
    handle.remove()
    rows = np.concatenate(seen).reshape(-1, 256).astype(np.float64)
    expected = np.square(rows).mean(0)
    for name in ("blk.0.attn_q.weight", "blk.0.attn_k.weight"):
        np.testing.assert_allclose(found.of(name, (256, 256))[0], expected, rtol=1e-5)
    assert found.entries["blk.4.ffn_down.weight"].sums.shape == (1, 704)
    assert found.entries["blk.4.ffn_down.weight"].counts == 2 * CONTEXT


def test_commands_measure_and_collect(folder, text, tmp_path, capsys):
    options = ["--context", str(CONTEXT), "--chunks", "2"]
    assert main(["perplexity", str(folder), str(text), *options]) == 0
    assert capsys.readouterr().out.startswith("perplexity: ")
    out = tmp_path / "i.gguf"
    assert main(["imatrix", str(folder), str(text), str(out), *options]) == 0
    assert "35" in capsys.readouterr().out
    assert read_importance(out).chunk_count == 2
    assert main(["perplexity", str(folder)]) == 1
    assert "neither a text nor a reference" in capsys.readouterr().err


def test_texts_that_cannot_be_measured_are_refused(folder, text, tmp_path):
    with pytest.raises(OutOfRange, match="tokens, and a chunk 500"):
        perplexity(folder, text, 500)
    with pytest.raises(OutOfRange, match="chunks of 4096 tokens; they may have 2 to 512 here"):
        perplexity(folder, text, 4096)
    (tmp_path / "bad.txt").write_bytes(b"ab\xff")
    with pytest.raises(FormatError, match="not UTF-8 at byte 2"):
        perplexity(folder, tmp_path / "bad.txt")


READ = {
    "text": (["imatrix", "FOLDER", "text"], ["perplexity", "FOLDER", "text", "--save"]),
    "base.bin": (["perplexity", "FOLDER", "--reference", "base.bin", "--save"],),
    "im.gguf": (["quantize", "m.gguf", "im.gguf", "--type", "Q8_0", "--imatrix", "im.gguf"],),
    "m.gguf": (
        ["quantize", "m.gguf", "m.gguf", "--type", "Q8_0"],
        ["dequantize", "m.gguf", "m.gguf"],
        ["imatrix", "m.gguf", "text", "m.gguf"],
        ["perplexity", "m.gguf", "text", "--save"],
    ),
    "folder/config.json": (["convert", "folder", "folder/config.json"],),
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, given) for name in READ for given in READ[name]]
)
@pytest.mark.parametrize("linked", [False, True])
def test_no_command_replaces_what_it_reads(
    folder, text, tmp_path, monkeypatch, capsys, name, arguments, linked
):
    """Neither by its name nor by another one, and says so before it works."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(text, "text")
    shutil.copy(folder / "pydoc-llama-q4_0.gguf", "m.gguf")
    shutil.copy("text", "base.bin")
    shutil.copy("m.gguf", "im.gguf")
    Path("folder").mkdir()
    shutil.copy(folder / "config.json", "folder")
    target = Path(name)
    if linked:
        Path("link").symlink_to(target)
    wanted = "link" if linked else name
    given = [str(folder) if part == "FOLDER" else part for part in arguments]
    if given[-1] == "--save" or (given[0] == "imatrix" and len(given) == 3):
        given.append(wanted)
    else:
        place = 3 if given[0] == "imatrix" else 2
        given[place] = wanted
    before = target.read_bytes()
    assert main(given) == 1
    assert "would replace the file that it reads" in capsys.readouterr().err
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["imatrix", "FOLDER", "text", "no/such.gguf"],
        ["perplexity", "FOLDER", "text", "--save", "no/such.bin"],
        ["quantize", "m.gguf", "no/such.gguf", "--type", "Q8_0"],
        ["convert", "FOLDER", "no/such.gguf"],
    ],
)
def test_a_folder_that_is_not_there_is_said_before_the_work(
    folder, tmp_path, monkeypatch, capsys, arguments
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "pydoc-llama-q4_0.gguf", "m.gguf")
    given = [str(folder) if part == "FOLDER" else part for part in arguments]
    assert main(given) == 1  # though there is no text at all
    assert f"no such folder\n  folder {tmp_path / 'no'}\n" in capsys.readouterr().err


def test_what_a_reference_says_is_not_said_again(folder, text, tmp_path):
    file = tmp_path / "base.bin"
    perplexity(folder, text, CONTEXT, 2, save=file)
    with pytest.raises(FormatError, match="a text and a reference, which has its own"):
        perplexity(folder, text, reference=file)
    with pytest.raises(OutOfRange, match=f"chunks of 16 tokens, those of the reference.*{CONTEXT}"):
        perplexity(folder, None, 16, reference=file)
    for chunks in (0, -1):
        with pytest.raises(OutOfRange, match=f"chunks is {chunks}; it must be above 0"):
            perplexity(folder, None, None, chunks, reference=file)
