"""A Hugging Face folder becomes a GGUF file, with tokenizer, template and metadata, and back."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import dtype, hub, models
from numbatorch.device import Device, device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.generation.to_folder import tokenizer_files
from numbatorch.generation.to_gguf import tokenizer_metadata
from numbatorch.io.ggjt import GGJTFile, is_ggjt
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing
from numbatorch.io.listing import listed
from numbatorch.io.mapping import Array
from numbatorch.io.reading import read_object
from numbatorch.io.safetensors import open_checkpoint
from numbatorch.io.safetensors_writing import stream_safetensors
from numbatorch.io.writing import check_absent, check_output, replaced_folder
from numbatorch.models.checkpoint import Source, Weights, deferred, tensor_of
from numbatorch.models.decoder_keys import (
    gguf_factors,
    gguf_keys,
    gguf_shape,
    hf_config,
    order_of_rows,
    written,
)
from numbatorch.models.decoder_model import DecoderModel
from numbatorch.ops import blocks
from numbatorch.quantized.files import floats_named, quantize_file, write_quantized
from numbatorch.quantized.importance import read_importance
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor

PIECE = 1 << 20  # elements of a tensor that are handed on together

# What generation_config.json says, in GGUF's keys.
SAMPLING = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}


# Ids that config.json says too, as null where there is none: models have others by default.
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def to_gguf(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str = "F16",
    importance: str | os.PathLike[str] | None = None,
    *,
    keep: Sequence[tuple[str, DType | str]] = (),
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
    check_output(path, [place, importance], "convert", ".gguf")
    with deferred():
        model = models.from_pretrained(place, task="text-generation", device="cpu")
    metadata: dict[str, Any] = {
        **gguf_keys(written(model)),
        "general.type": "model",
        "general.name": place.resolve().name,
        **_sampling(place),
    }
    metadata |= tokenizer_metadata(place, model.config.vocab_size, metadata)
    matrix = None if importance is None else read_importance(importance)
    tensors = list(_outgoing(model, open_checkpoint(place)))
    return write_quantized(path, metadata, tensors, type, matrix, keep=keep, bar=bar)


def quantize(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str,
    importance: str | os.PathLike[str] | None = None,
    *,
    keep: Sequence[tuple[str, DType | str]] = (),
    requantize: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """As `quantize_file`, of what else holds a model: a folder, its safetensors, a file of ggjt.

    Args:
        source: one of these, a GGUF file, or a repository of the Hub.
        path, type, importance, keep, requantize, bar: as there.
    Raises:
        FormatError: a safetensors file that is not the weights of the folder that it lies in; as
            `quantize_file`, `to_gguf` and `from_ggjt`.
    """
    options: Any = {"keep": keep, "bar": bar}
    place = Path(source) if os.path.isfile(source) else hub.resolve(source)
    if place.suffix == ".safetensors":
        place = _folder_of(place)
    if place.is_dir():
        return to_gguf(place, path, type, importance, **options)
    if is_ggjt(place):
        return from_ggjt(place, path, type, importance, requantize=requantize, **options)
    return quantize_file(place, path, type, importance, requantize=requantize, **options)


def dequantize(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str = "F16",
    *,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """As `dequantize_file`, of what `quantize` takes."""
    return quantize(source, path, floats_named(type), requantize=True, bar=bar)


def encoded_again(source: str | os.PathLike[str], kinds: Mapping[str, DType]) -> dict[str, str]:
    """The tensors of what was quantized that had been in blocks before, and in which.

    Args:
        source: as `quantize` was given it.
        kinds: what it gave back.
    """
    if all(kind.kind != "q" for kind in kinds.values()):
        return {}
    file = listed(Path(source) if os.path.isfile(source) else hub.resolve(source))
    stored = {row.name: row.dtype for row in file.rows}
    before = {name: dtype.find(kind) for name, kind in stored.items()}
    return {
        name: kind.name
        for name, kind in before.items()
        if kind is not None
        and kind.kind == "q"
        and (file.gguf is None or kinds[name] is not kind)  # which is copied there
    }


def _folder_of(file: Path) -> Path:
    """The folder whose weights a safetensors file holds.

    Raises:
        FormatError: there is no configuration in it, or other weights.
    """
    folder = file.absolute().parent
    if not (folder / "config.json").exists():
        problem = "safetensors alone do not say what model they are"
        raise FormatError(message("quantize", problem, f"no config.json beside {file}"))
    weights = open_checkpoint(folder)
    if not any(info.path.samefile(file) for info in weights.tensors.values()):
        rows = (f"file {file}", f"those of the folder are in {weights.path.name}")
        raise FormatError(message("quantize", "a file that a folder has beside its weights", *rows))
    return folder


def from_ggjt(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    type: str = "F16",
    importance: str | os.PathLike[str] | None = None,
    *,
    keep: Sequence[tuple[str, DType | str]] = (),
    requantize: bool = True,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> dict[str, DType]:
    """Write a GGUF file of a Llama in the older container `ggjt`; weights are encoded anew.

    Args:
        source: the file.
        path, type, importance, keep, requantize, bar: as in `quantize_file`.
    Raises:
        FormatError: the file is malformed.
        DTypeError: a weight is in blocks already, and `requantize` is false.
        OSError: the disk is full; nothing is left of what was written.
    """
    file = GGJTFile(source)
    check_output(path, [file.path, importance], "convert", ".gguf")
    matrix = None if importance is None else read_importance(importance)
    blocked = [name for name, stored in file.stored.items() if stored.type[0] not in "Ff"]
    if blocked and not requantize:
        what = f"tensor {blocked[0]!r} is {file.stored[blocked[0]].type} already"
        hint = "encoding what was rounded before loses more: ask for it with requantize"
        raise DTypeError(message("quantize", what, hint=hint))
    return write_quantized(
        path, file.metadata, file.tensors, type, matrix, keep=keep, requantize=True, bar=bar
    )


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
        FormatError: a model that has no form there; a malformed file; the folder has the name of a
            GGUF file.
        OSError: the disk is full; nothing is left of what was written.
    """
    kinds = {"F16": dtype.float16, "BF16": dtype.bfloat16, "F32": dtype.float32}
    if type.upper() not in kinds:
        raise FormatError(message("convert", f"{type!r} is none of {', '.join(kinds)}"))
    if Path(folder).suffix == ".gguf":
        problem = "a GGUF file becomes a folder, and this is the name of a file"
        hint = "quantize and dequantize write GGUF files of GGUF files"
        raise FormatError(message("convert", problem, f"folder {folder}", hint=hint))
    check_absent(folder, "convert")
    file = GGUFFile(source)
    with deferred():
        model = models.from_gguf(file, task="text-generation", device="cpu")
    config = hf_config(written(model))
    files = tokenizer_files(file.metadata, file.path)
    generation = files.setdefault("generation_config.json", {})
    generation.update(_sampling_of(file))
    config |= {key: generation.get(key) for key in IDS}
    tensors = list(_plain(model, file, kinds[type.upper()]))
    with replaced_folder(folder, "convert") as temporary:
        advance = bar(sum(tensor.nbytes for tensor in tensors))
        stream_safetensors(temporary / "model.safetensors", tensors, {"format": "pt"}, advance)
        config["torch_dtype"] = kinds[type.upper()].name
        for name, values in {"config.json": config, **files}.items():
            _write_json(temporary / name, values)
    return [tensor.name for tensor in tensors]


def _outgoing(model: DecoderModel, weights: Weights) -> Iterator[Outgoing]:
    """The parameters of a model under GGUF's names, vectors as float32."""
    for name, values in gguf_factors(model.config.rope).items():
        yield Outgoing(name, dtype.float32, values.shape, partial(iter, [values]))
    order = order_of_rows(model)
    for name, parameter in model.named_parameters():
        source = model.sources[name]
        kind = _kind(name, source, weights)
        if len(parameter.shape) < 2 or kind.kind != "f" or kind.itemsize not in (2, 4):
            kind = dtype.float32
        change = partial(_in_type, name, order, kind)
        makers = [source.make]
        if len(source.stored) > 1:  # experts, which have a tensor each
            makers = [partial(tensor_of, weights, stored) for stored in source.stored]
        pieces = partial(_pieces, makers, _step(model, parameter), change)
        shape = gguf_shape(name, tuple(parameter.shape), model.config)
        yield Outgoing(model.names.gguf(name), kind, shape, pieces)


def _plain(model: DecoderModel, weights: Weights, kind: DType) -> Iterator[Outgoing]:
    """The parameters of a model under Hugging Face's names, all in one type."""
    order, offset = order_of_rows(model, back=True), model.names.norm_offset
    for name, parameter in model.named_parameters():
        source, shape = model.sources[name], tuple(parameter.shape)
        stored = _kind(name, source, weights)
        change = partial(_floats, name, stored, shape[1:], offset, order, kind)
        pieces = partial(_pieces, [source.make], _step(model, parameter), change)
        if ".experts." not in name:
            yield Outgoing(name, kind, shape, pieces)
            continue
        before, _, part = name.partition(".experts.")
        rows = shape[0] // model.config.num_experts
        for expert in range(model.config.num_experts):
            own = partial(pieces, range(expert * rows, (expert + 1) * rows))
            yield Outgoing(f"{before}.experts.{expert}.{part}", kind, (rows, shape[1]), own)


def _kind(name: str, source: Source, weights: Weights) -> DType:
    """The type that a parameter is stored in.

    Raises:
        FormatError: several.
    """
    kinds = {weights.tensors[stored].dtype for stored in source.stored}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.name for kind in kinds))
        problem = f"the experts of {name} are stored as {names}"
        raise FormatError(message("convert", problem, f"file {weights.path}"))
    return kinds.pop()


def _step(model: DecoderModel, parameter: Any) -> int:
    """Rows of a parameter that are handed on together: whole heads."""
    size: int = model.config.rope.size
    columns = parameter.shape[1] if len(parameter.shape) > 1 else 1
    return max(PIECE // columns // size, 1) * size


def _pieces(
    makers: Sequence[Callable[[Device], Tensor]],
    step: int,
    change: Callable[[Array], Array],
    place: range | None = None,
) -> Iterator[Array]:
    """What becomes of some rows of tensors, and of the next ones; of the rows at `place`."""
    for make in makers:
        stored = make(device("cpu")).detach().numpy()
        rows = range(len(stored)) if place is None else place
        for start in range(rows.start, rows.stop, step):
            yield change(stored[start : min(start + step, rows.stop)])


def _in_type(name: str, order: Callable[[str, Array], Array], kind: DType, rows: Array) -> Array:
    return order(name, rows).astype(kind.numpy, copy=False)


def _floats(
    name: str,
    stored: DType,
    shape: Shape,
    offset: float,
    order: Callable[[str, Array], Array],
    kind: DType,
    rows: Array,
) -> Array:
    """Rows of a parameter as a folder has them: in a plain type, and norms without their 1.

    Raises:
        FormatError: a value that is not finite, or that the type does not reach.
    """
    values = blocks.dequantize(rows, stored, (len(rows), *shape))
    if offset and name.endswith("norm.weight"):
        values = values - np.float32(offset)
    with np.errstate(over="ignore"):
        found: Array = order(name, values).astype(kind.numpy)
    if not np.isfinite(found.astype(np.float32)).all():
        problem = f"tensor {name!r} holds what is not finite in {kind.name}"
        raise FormatError(message("convert", problem))
    return found


def _sampling(folder: Path) -> dict[str, Any]:
    said = read_object(folder / "generation_config.json", "convert") or {}
    found: dict[str, Any] = {}
    for key, name in SAMPLING.items():
        value = said.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            kind = np.int32 if key == "top_k" else np.float32
            found[f"general.sampling.{name}"] = kind(value)
    return found


def _sampling_of(file: GGUFFile) -> dict[str, Any]:
    """What a file says of sampling, in the words of generation_config.json."""
    said = {key: file.metadata.get(f"general.sampling.{name}") for key, name in SAMPLING.items()}
    return {key: value for key, value in said.items() if value is not None}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
