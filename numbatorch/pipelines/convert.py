"""A Hugging Face folder becomes a GGUF file, with tokenizer, template and metadata, and back."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import dtype, hub, models
from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.generation import gguf_vocabulary
from numbatorch.generation.gguf_tokenizer import tokenizer_metadata
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing
from numbatorch.io.mapping import Array
from numbatorch.io.reading import read_object
from numbatorch.io.safetensors import save_safetensors
from numbatorch.models.decoder_keys import (
    gguf_factors,
    gguf_keys,
    hf_config,
    order_of_rows,
    written,
)
from numbatorch.ops import blocks
from numbatorch.quantized.files import write_quantized
from numbatorch.quantized.importance import read_importance

PIECE = 1 << 20  # elements of a tensor that are handed on together

# What generation_config.json says, in GGUF's keys.
SAMPLING = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}


def to_gguf(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str = "F16",
    importance: str | os.PathLike[str] | None = None,
    *,
    keep: Sequence[tuple[str, DType]] = (),
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """Write a GGUF file of a Hugging Face folder: weights, tokenizer, chat template, metadata.

    Args:
        folder: config.json, safetensors and tokenizer.json; or a repository of the Hub.
        path: the new file, whole or not there.
        type: F16, F32, BF16 or a mix such as Q4_K_M; norms and biases are float32.
        importance, keep, bar: as in `quantize_file`.
    Returns:
        The type of every tensor, by its name in the file.
    Raises:
        FormatError: a model or a tokenizer that has no form in the format; a malformed file.
        OSError: the disk is full; nothing is left of what was written.

    >>> to_gguf("folder", "model.gguf", "Q8_0")  # doctest: +SKIP
    """
    place = hub.resolve(folder)
    if not place.is_dir():
        problem = "a folder becomes a GGUF file, this is one already"
        raise FormatError(message("convert", problem, f"file {place}"))
    model = models.from_pretrained(place, task="text-generation")
    names = written(model)
    metadata: dict[str, Any] = {
        "general.architecture": names.gguf,
        "general.type": "model",
        "general.name": place.resolve().name,
        **gguf_keys(names.gguf, model.config),
        **_sampling(place),
        **tokenizer_metadata(place, model.config.vocab_size),
    }
    matrix = None if importance is None else read_importance(importance)
    tensors = list(_outgoing(model))
    return write_quantized(path, metadata, tensors, type, matrix, keep=keep, bar=bar)


def to_folder(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    type: str = "F16",
    *,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> list[str]:
    """Write a Hugging Face folder of a GGUF file: config.json, safetensors, tokenizer, template.

    Args:
        source: a GGUF file, or the first part of one.
        folder: made, whole or not at all; it must not exist.
        type: F16, BF16 or F32, of weights of two and more dimensions.
        bar: called with the bytes of the weights; gives what is called with those of each tensor.
    Returns:
        The names of the tensors.
    Raises:
        FileExistsError: the folder exists.
        FormatError: a model that has no form there; a malformed file.
    """
    kinds = {"F16": dtype.float16, "BF16": dtype.bfloat16, "F32": dtype.float32}
    if type.upper() not in kinds:
        raise FormatError(message("convert", f"{type!r} is none of {', '.join(kinds)}"))
    target = Path(folder)
    if os.path.lexists(target):
        raise FileExistsError(message("convert", "the folder exists", f"folder {target}"))
    file = GGUFFile(source)
    model = models.from_gguf(file, task="text-generation")
    config = hf_config(written(model), model.config)
    tokenizer = Tokenizer.from_gguf(file)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(8).hex()}")
    temporary.mkdir()
    try:
        arrays = dict(_floats(model, kinds[type.upper()], bar))
        save_safetensors(temporary / "model.safetensors", arrays, {"format": "pt"})
        config["torch_dtype"] = kinds[type.upper()].name
        config["eos_token_id"] = sorted(tokenizer.end_ids) or None
        config["bos_token_id"] = tokenizer.bos_id
        _write_json(temporary / "config.json", config)
        _write_json(temporary / "generation_config.json", _generation(file, config))
        gguf_vocabulary.build(file.metadata, file.path).library.save(
            str(temporary / "tokenizer.json")
        )
        _write_json(temporary / "tokenizer_config.json", _tokenizer_config(file, tokenizer))
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return list(arrays)


def _outgoing(model: Any) -> Iterator[Outgoing]:
    """The parameters of a model under GGUF's names, vectors as float32."""
    for name, values in gguf_factors(model.config.rope).items():
        yield Outgoing(name, dtype.float32, values.shape, partial(iter, [values]))
    order = order_of_rows(model)
    for name, parameter in model.named_parameters():
        kind = parameter.dtype
        if len(parameter.shape) < 2 or kind.kind != "f" or kind.itemsize not in (2, 4):
            kind = dtype.float32

        def pieces(
            name: str = name, parameter: Any = parameter, kind: DType = kind
        ) -> Iterator[Array]:
            values = order(name, parameter.detach().numpy())
            rows = values.reshape(-1, values.shape[-1])
            step = max(PIECE // rows.shape[1], 1)
            for start in range(0, len(rows), step):
                yield rows[start : start + step].astype(kind.numpy, copy=False)

        yield Outgoing(model.names.gguf(name), kind, tuple(parameter.shape), pieces)


def _floats(
    model: Any, kind: DType, bar: Callable[[int], Callable[[int], Any]]
) -> Iterator[tuple[str, Array]]:
    """The parameters of a model by name, weights in one type and vectors in it too."""
    order = order_of_rows(model, back=True)
    parameters = dict(model.named_parameters())
    advance = bar(sum(kind.nbytes(p.numel()) for p in parameters.values()))
    for name, parameter in parameters.items():
        raw = parameter.detach().numpy()
        values = blocks.dequantize(raw, parameter.dtype, tuple(parameter.shape))
        found = order(name, values).astype(kind.numpy)
        if not np.isfinite(found.astype(np.float32)).all():
            problem = f"tensor {name!r} holds what is not finite in {kind.name}"
            raise FormatError(message("convert", problem))
        advance(found.nbytes)
        yield name, found


def _sampling(folder: Path) -> dict[str, Any]:
    said = read_object(folder / "generation_config.json", "convert") or {}
    found: dict[str, Any] = {}
    for key, name in SAMPLING.items():
        value = said.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            kind = np.int32 if key == "top_k" else np.float32
            found[f"general.sampling.{name}"] = kind(value)
    return found


def _generation(file: GGUFFile, config: dict[str, Any]) -> dict[str, Any]:
    found = {
        key: config[key] for key in ("bos_token_id", "eos_token_id") if config[key] is not None
    }
    for key, name in SAMPLING.items():
        value = file.metadata.get(f"general.sampling.{name}")
        if value is not None:
            found[key] = value
    return found


def _tokenizer_config(file: GGUFFile, tokenizer: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokenizer.add_bos,
        "add_eos_token": tokenizer.add_eos,
        "model_max_length": 10**9,
    }
    tokens = file.field("tokenizer.ggml.tokens", list)
    for name in ("bos", "eos", "unknown", "padding"):
        id = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(id, int) and 0 <= id < len(tokens):
            key = {"unknown": "unk", "padding": "pad"}.get(name, name)
            found[f"{key}_token"] = tokens[id]
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None:
        found["chat_template"] = template
    return found


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
