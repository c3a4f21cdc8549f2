"""Folders become GGUF files and come back: the bytes, ids and logits of what they were."""

import json
import shutil

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.cli.main import main
from numbatorch.errors import FormatError
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.pipelines.convert import to_folder, to_gguf

PROMPT = "The for statement"


@pytest.fixture(scope="module")
def folder(fixtures):
    return fixtures / "pydoc-llama"


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("convert") / "model.gguf"
    to_gguf(folder, path)
    return path


def test_file_is_that_of_the_gguf_package(written, shared_fixtures):
    ours = GGUFFile(written)
    theirs = GGUFFile(shared_fixtures / "pydoc-llama" / "pydoc-llama-f16.gguf")
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, info in theirs.tensors.items():
        assert ours.tensors[name].dtype is info.dtype
        np.testing.assert_array_equal(ours.tensor(name), theirs.tensor(name))
    for key, value in theirs.metadata.items():
        if key != "general.name":
            np.testing.assert_array_equal(ours.metadata[key], value, key)


def test_model_of_the_file_continues_as_the_folder(written, folder):
    expected = nt.TextGenerator(folder).generate(PROMPT, 16)
    assert nt.TextGenerator(written).generate(PROMPT, 16) == expected


def test_folder_of_the_file_is_the_folder(written, folder, tmp_path):
    back = tmp_path / "back"
    to_folder(written, back)
    ours, theirs = (nt.load(place / "model.safetensors") for place in (back, folder))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name].numpy(), tensor.numpy())
    text = "def f(x):\n    return x + 1  # caf\u00e9 \U0001f600"
    assert Tokenizer.from_folder(back).encode(text) == Tokenizer.from_folder(folder).encode(text)
    assert nt.TextGenerator(back).generate(PROMPT, 8) == nt.TextGenerator(folder).generate(
        PROMPT, 8
    )
    with pytest.raises(FileExistsError, match="the folder exists"):
        to_folder(written, back)
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


def test_a_folder_of_blocks_has_their_values(folder, tmp_path):
    file = folder / "pydoc-llama-q4_0.gguf"
    to_folder(file, tmp_path / "back", "F32")
    ours = nt.load(tmp_path / "back" / "model.safetensors")
    for tensor in gguf.GGUFReader(file).tensors:
        name = tensor.name.replace("blk.", "model.layers.").replace("ffn_down", "mlp.down_proj")
        if "down_proj" in name:
            expected = gguf.dequantize(tensor.data, tensor.tensor_type)
            np.testing.assert_array_equal(ours[name].numpy(), expected)


def test_a_folder_is_quantized_as_its_gguf_file_is(written, folder, tmp_path, capsys):
    paths = [tmp_path / name for name in ("a.gguf", "b.gguf", "c.gguf")]
    place = tmp_path / "model"
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.gguf"))
    sources = (place, place / "model.safetensors", written)
    for source, path in zip(sources, paths, strict=True):
        assert main(["quantize", str(source), str(path), "--type", "Q4_K_M"]) == 0
    first, *others = map(GGUFFile, paths)
    for other in others:
        for name in first.tensors:
            np.testing.assert_array_equal(other.tensor(name), first.tensor(name))
    before = (place / "model.safetensors").read_bytes()
    assert main(["quantize", str(place), str(sources[1]), "--type", "Q8_0"]) == 1
    assert "would replace the file that it reads" in capsys.readouterr().err
    assert (place / "model.safetensors").read_bytes() == before
    for name, problem in (("other", "beside its weights"), ("alone/model", "no config.json")):
        path = place / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(before)
        assert main(["quantize", str(path), str(tmp_path / "d.gguf"), "--type", "Q8_0"]) == 1
        assert problem in capsys.readouterr().err
    assert not (tmp_path / "d.gguf").exists()


def test_template_and_sampling_are_carried(folder, tmp_path):
    place = tmp_path / "chat"
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.gguf"))
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (place / "chat_template.jinja").write_text(template)
    (place / "generation_config.json").write_text(json.dumps({"temperature": 0.5, "top_k": 40}))
    assert main(["convert", str(place), str(tmp_path / "a.gguf"), "--type", "Q8_0"]) == 0
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert reader.fields["tokenizer.chat_template"].contents() == template
    assert reader.fields["general.sampling.temp"].contents() == 0.5
    assert reader.fields["general.sampling.top_k"].contents() == 40
    to_folder(tmp_path / "a.gguf", tmp_path / "back")
    config = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == template
    assert json.loads((tmp_path / "back" / "generation_config.json").read_text())["top_k"] == 40


def test_tokenizer_without_a_form_in_the_format_is_refused(folder, tmp_path):
    place = tmp_path / "other"
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("*.gguf"))
    said = json.loads((folder / "tokenizer.json").read_text())
    said["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "e+"}, "behavior": "Isolated", "invert": False},
            said["pre_tokenizer"],
        ],
    }
    (place / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(FormatError, match="tokenizer: "):
        to_gguf(place, tmp_path / "a.gguf")
    said["normalizer"] = {"type": "Lowercase"}
    (place / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(FormatError, match="tokenizer: "):
        to_gguf(place, tmp_path / "a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
