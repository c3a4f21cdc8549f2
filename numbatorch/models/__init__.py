"""Models, and `from_pretrained`, which finds the class that a checkpoint is for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import hub
from numbatorch.device import Device
from numbatorch.device import device as device_of
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint, open_checkpoint
from numbatorch.models import llama
from numbatorch.models.bert import Bert, BertConfig
from numbatorch.models.checkpoint import fill
from numbatorch.models.llama import Llama, LlamaConfig

__all__ = ["Bert", "BertConfig", "Llama", "LlamaConfig", "from_gguf", "from_pretrained"]

Model = Bert | Llama


def from_pretrained(
    source: str | os.PathLike[str],
    revision: str | None = None,
    device: Device | str | None = None,
) -> Model:
    """A model with its published weights, mapped from the file in their stored types.

    Args:
        source: a folder with config.json and safetensors, a .gguf file, or a repository of the
            Hugging Face Hub: `owner/name`, or `owner/name:file.gguf` for one file of it.
        revision: branch, tag or commit of the repository.
        device: where the weights go; the default device unless given.
    Raises:
        FileNotFoundError, ConnectionError: `source` is not there, or out of reach.
        FormatError: an unknown architecture, a malformed file, or a tensor that the model lacks,
            does not use, or that has another shape than the configuration says.
    """
    path = hub.resolve(source, revision)
    where = device_of(device)
    return _from_folder(path, where) if path.is_dir() else from_gguf(GGUFFile(path), where)


def from_gguf(file: GGUFFile, device: Device | str | None = None) -> Model:
    """As `from_pretrained`, from a GGUF file that is open already."""
    architecture = file.field("general.architecture", str)
    build = _GGUF.get(architecture)
    if build is None:
        raise _unknown("general.architecture", architecture, file.path, list(_GGUF))
    return build(file, device_of(device))


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise FormatError(message("models", "no config.json", f"folder {folder}")) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(message("models", f"not JSON: {error}", f"file {path}")) from error
    if not isinstance(config, dict):
        raise FormatError(message("models", "not a JSON object", f"file {path}"))
    return config


def _from_folder(folder: Path, device: Device) -> Model:
    config = read_config(folder)
    names = config.get("architectures") or [config.get("model_type")]
    names = names if isinstance(names, list) else [names]
    for name in names:
        build = _FOLDERS.get(name) if isinstance(name, str) else None
        if build is not None:
            return build(config, open_checkpoint(folder), device)
    path = folder / "config.json"
    raise _unknown("architectures", ", ".join(map(str, names)), path, list(_FOLDERS))


def _unknown(key: str, name: str, path: Path, known: list[str]) -> FormatError:
    rows = (f"file {path}", f"known: {', '.join(known)}")
    return FormatError(message("models", f"{key} is {name}", *rows))


def _llama_folder(config: dict[str, Any], weights: Checkpoint, device: Device) -> Llama:
    model = Llama(LlamaConfig.from_hf(config))
    frequencies = llama.rotary_frequencies(model.config)
    repeated = [name for name in weights.tensors if name.endswith(".rotary_emb.inv_freq")]
    for name in repeated:  # old checkpoints hold what the configuration says
        stored = weights.tensor(name)
        if stored.shape != frequencies.shape or not np.allclose(stored, frequencies, rtol=1e-2):
            raise _contradiction(weights, name, "rope_theta and rope_scaling")
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if model.lm_head is None and head in weights.tensors and embedding in weights.tensors:
        if not np.array_equal(weights.tensor(head), weights.tensor(embedding)):
            raise _contradiction(weights, head, "tie_word_embeddings")
        repeated.append(head)
    fill(model, weights, device, known=repeated)
    return model


def _llama_gguf(file: GGUFFile, device: Device) -> Llama:
    model = Llama(LlamaConfig.from_gguf(file))
    factors = file.tensors.get(llama.GGUF_ROPE_FACTORS)
    if factors is not None:
        expected = (model.config.head_dim // 2,)
        if factors.shape != expected or factors.dtype.kind != "f":
            found = f"{factors.name} is {factors.shape} {factors.dtype.name}"
            problem = f"tensor {found}, the configuration says {expected} floats"
            raise FormatError(message("Llama", problem, f"file {file.path}"))
        model.rope_factors = file.tensor(factors.name).astype(np.float64)
    fill(model, file, device, llama.gguf_name, known=[llama.GGUF_ROPE_FACTORS])
    return model


def _contradiction(weights: Checkpoint, name: str, keys: str) -> FormatError:
    problem = f"tensor {name} is not what the configuration says: {keys}"
    return FormatError(message("Llama", problem, f"file {weights.path}"))


def _bert_folder(config: dict[str, Any], weights: Checkpoint, device: Device) -> Bert:
    model = Bert(BertConfig.from_hf(config, "pooler.dense.weight" in weights.tensors))
    positions = "embeddings.position_ids"  # old checkpoints hold 0, 1, 2, ...
    fill(model, weights, device, known=[positions])
    if positions in weights.tensors:
        stored = weights.tensor(positions).reshape(-1)
        if not np.array_equal(stored, np.arange(model.config.max_position_embeddings)):
            problem = f"tensor {positions} does not count from 0"
            raise FormatError(message("Bert", problem, f"file {weights.path}"))
    return model


# Names in config.json, architectures or model_type, and in general.architecture of GGUF files.
_FOLDERS: dict[str, Callable[[dict[str, Any], Checkpoint, Device], Model]] = {
    "LlamaForCausalLM": _llama_folder,
    "llama": _llama_folder,
    "BertModel": _bert_folder,
    "bert": _bert_folder,
}
_GGUF: dict[str, Callable[[GGUFFile, Device], Model]] = {"llama": _llama_gguf}
