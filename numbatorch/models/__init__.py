"""Models, and `from_pretrained`, which finds the class that a checkpoint is for.

Importing this package imports no model: the classes load when a checkpoint or a name asks for one.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from numbatorch import dtype as dt
from numbatorch import hub, nn
from numbatorch.apart import import_module
from numbatorch.device import Device
from numbatorch.device import device as device_of
from numbatorch.errors import FormatError, message
from numbatorch.io.ctranslate2 import CTranslate2File
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.reading import read_object
from numbatorch.io.safetensors import open_checkpoint
from numbatorch.io.torch_checkpoint import TorchCheckpoint
from numbatorch.models.registry import architecture, declarations, find, known
from numbatorch.nn.initial import skip_init
from numbatorch.ops.matmul import WEIGHTS, Compute
from numbatorch.tensor import Tensor, no_grad

BINARY = "model.bin"  # CTranslate2's name of its file of weights
FILES = (".gguf", ".pth")  # that are a model each

__all__ = ["architecture", "from_gguf", "from_pretrained"]


def from_pretrained(
    source: str | os.PathLike[str],
    revision: str | None = None,
    device: Device | str | None = None,
    task: str | None = None,
    compute: Compute | None = None,
) -> Any:
    """A model with its published weights, mapped from the file in their stored types.

    Args:
        source: a folder with config.json and safetensors, or with CTranslate2's model.bin, a .gguf
            file, a .pth of PyTorch that a class knows by its tensors (EfficientNet-Lite), or a
            repository of the Hugging Face Hub: `owner/name`, or `owner/name:file.gguf` for one
            file of it.
        revision: branch, tag or commit of the repository.
        device: where the weights go; the default device unless given.
        task: what the model has to be for, "text-generation", "feature-extraction",
            "speech-to-text", "image-classification" or "image-feature-extraction"; anything
            unless given.
        compute: "float32" has weights in blocks multiplied with activations as they are, where the
            CPU rounds those to 8 or 16 bits, or for a prompt and with AMX both to bfloat16, unless
            it is given. "bfloat16" is for plain weights: those of products are rounded to it once,
            here, which halves the memory of float32, an embedding's too that makes the logits;
            activations may be rounded before products, where that is faster (`F.linear`); sums and
            all else are float32.
    Returns:
        an instance of the class that declares the architecture of the checkpoint (`architecture`).
    Raises:
        ValueError: compute is another word, or "bfloat16" of weights in blocks or of float64.
        FileNotFoundError, ConnectionError: `source` is not there, or out of reach.
        FormatError: an unknown architecture, or one for another task; a malformed file, or a
            tensor that the model lacks, does not use, or that has another shape than the
            configuration says.
    """
    path = hub.resolve(source, revision, FILES)
    where = device_of(device)
    if path.suffix == ".pth" and not path.is_dir():
        _check_compute(compute)
        return _computing(_from_torch(path, where, task), compute)
    if not path.is_dir():
        return from_gguf(GGUFFile(path), where, task, compute)
    _check_compute(compute)
    return _computing(_from_folder(path, where, task), compute)


def from_gguf(
    file: GGUFFile,
    device: Device | str | None = None,
    task: str | None = None,
    compute: Compute | None = None,
) -> Any:
    """As `from_pretrained`, from a GGUF file that is open already."""
    _check_compute(compute)
    _check_model(file)
    names = [file.field("general.architecture", str)]
    cls = _find("gguf", "general.architecture", names, task, file.path)
    with skip_init():
        return _computing(cls.from_gguf(file, device_of(device)), compute)


def is_ctranslate2(folder: Path) -> bool:
    """Whether the weights of a folder are in CTranslate2's format."""
    return (folder / BINARY).is_file() and not any(folder.glob("model*.safetensors"))


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder."""
    config = read_object(folder / "config.json", "models")
    if config is None:
        raise FormatError(message("models", "no config.json", f"folder {folder}"))
    return config


def _check_compute(compute: Any) -> None:
    if compute not in (None, *get_args(Compute)):
        words = ", ".join(f'"{word}"' for word in get_args(Compute))
        problem = f"compute is {compute!r:.80}; it must be {words} or None"
        raise ValueError(message("models", problem))


def _computing(model: nn.Module, compute: Compute | None) -> nn.Module:
    """The model with all of its layers that multiply told how to."""
    for name, module in model.named_modules():
        if hasattr(module, "compute"):
            module.compute = compute
            if compute == "bfloat16":
                holder: Any = getattr(module, "head", module)
                _round(name, holder.weight)
    return model


def _round(name: str, weight: Tensor) -> None:
    """Hold a weight of products in bfloat16."""
    if weight.dtype not in WEIGHTS:
        problem = f'compute is "bfloat16", which {weight.dtype.name} is not rounded to'
        hint = "without it activations beside weights in blocks are rounded to 8 or 16 bits"
        said = hint if weight.dtype.kind == "q" else None
        place = f"weight of {name or 'the head'} {weight.shape}"
        raise ValueError(message("models", problem, place, hint=said))
    if weight.dtype is not dt.bfloat16:
        with no_grad():
            weight.hold(weight.to(dt.bfloat16).realize().detach().node)


def _from_folder(folder: Path, device: Device, task: str | None) -> Any:
    if is_ctranslate2(folder):
        file = CTranslate2File(folder / BINARY)
        cls = _find("ctranslate2", "the spec", [file.spec], task, file.path)
        with skip_init():
            return cls.from_ctranslate2(file, device)
    config = read_config(folder)
    _check_quantization(config, folder)
    names = config.get("architectures") or [config.get("model_type")]
    names = names if isinstance(names, list) else [names]
    cls = _find("hf", "architectures", names, task, folder / "config.json")
    kind = config.get("model_type")
    if kind is not None and not _is_of(kind, cls):
        problem = f"architectures is {', '.join(map(str, names))}, but model_type is {kind}"
        raise FormatError(message("models", problem, f"file {folder / 'config.json'}"))
    if hasattr(cls, "from_ctranslate2") and not any(folder.glob("model*.safetensors*")):
        problem = f"neither {BINARY} nor safetensors are there"
        raise FormatError(message("models", problem, f"folder {folder}"))
    with skip_init():
        return cls.from_hf(config, open_checkpoint(folder), device)


def _from_torch(path: Path, device: Device, task: str | None) -> Any:
    weights = TorchCheckpoint(path)
    names = [name for name in known("torch") if name in weights.tensors]
    if not names:
        rows = (f"file {path}", f"known: {', '.join(known('torch'))}")
        problem = "the file holds no tensor by which a class knows it"
        raise FormatError(message("models", problem, *rows, hint="a folder has a config.json"))
    cls = _find("torch", "tensors", names, task, path)
    with skip_init():
        return cls.from_torch(weights, device)


def _is_of(kind: Any, cls: type) -> bool:
    """Whether a model_type is that of a class, or of another one of its file."""
    found = find("hf", kind) if isinstance(kind, str) else None
    return found is not None and found.__module__ == cls.__module__


def _check_quantization(config: dict[str, Any], folder: Path) -> None:
    """Fail where the weights of a folder are packed by GPTQ, AWQ, FP8 and the like."""
    said = config.get("quantization_config")
    if said:
        method = said.get("quant_method") if isinstance(said, dict) else said
        problem = f"weights are quantized by {method}, which is not read"
        hint = "a folder with plain weights, or a GGUF file"
        place = f"file {folder / 'config.json'}"
        raise FormatError(message("models", problem, place, hint=hint))


def _check_model(file: GGUFFile) -> None:
    """Fail where a GGUF file holds something else than a model."""
    kind = file.field("general.type", str, "model")
    if kind != "model":
        raise FormatError(message("models", f"general.type is {kind}", f"file {file.path}"))


def _find(kind: str, key: str, names: list[Any], task: str | None, path: Path) -> Any:
    """The class of the first name that has one, which has to be for the task."""
    for name in names:
        cls = find(kind, name) if isinstance(name, str) else None
        if cls is not None:
            if task not in (None, cls.task):
                problem = f"{cls.__name__} is for {cls.task}, not for {task}"
                raise FormatError(message("models", problem, f"file {path}"))
            return cls
    rows = (f"file {path}", f"known: {', '.join(known(kind))}")
    raise FormatError(message("models", f"{key} is {', '.join(map(str, names))}", *rows))


def __getattr__(name: str) -> Any:
    """Modules, and the classes of models and their configurations: `Llama`, `LlamaConfig`."""
    if find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    for declared in declarations(name):
        if declared.name == name.removesuffix("Config"):
            return getattr(import_module(declared.module), name)
    raise AttributeError(f"module 'numbatorch.models' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What stands in `__all__`, and the classes of models."""
    return sorted({*__all__, *(declared.name for declared in declarations())})
