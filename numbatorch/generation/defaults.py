"""What a checkpoint says of how tokens are chosen: generation_config.json, or keys of GGUF."""

from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation.samplers.chain import KINDS
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.reading import read_object, short

# Arguments of samplers by their names in generation_config.json, and the value that is off.
_HF = {
    "temperature": ("temperature", 1.0),
    "top_k": ("top_k", 0),
    "top_p": ("top_p", 1.0),
    "min_p": ("min_p", 0.0),
    "typical_p": ("typical_p", 1.0),
    "repetition_penalty": ("repeat_penalty", 1.0),
}
# The same in GGUF files, under general.sampling.
# Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-arch.cpp
_GGUF = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}
# Names of samplers in general.sampling.sequence, where they are not ours.
_SEQUENCE = {"typ_p": "typical_p"}
_WHOLE = ("top_k", "repeat_last_n", "mirostat")
_PREFIX = "general.sampling."
_PENALTY_OF_ALL = {"repeat_last_n": -1}  # transformers looks at the whole text


def from_folder(folder: Path) -> dict[str, Any]:
    """Options of samplers in generation_config.json; none where it says do_sample is false.

    Raises:
        FormatError: a value is no number.
    """
    path = folder / "generation_config.json"
    config = read_object(path, "generate") or {}
    found = {}
    for key, (name, off) in _HF.items():
        value = config.get(key)
        if value is None or value == off:
            continue
        found[name] = _number(value, key, name, path)
    if "repeat_penalty" in found:
        found.update(_PENALTY_OF_ALL)
    if config.get("do_sample") is True:
        return {"temperature": 1.0, **found}
    return {name: found[name] for name in ("repeat_penalty", "repeat_last_n") if name in found}


def from_gguf(file: GGUFFile) -> dict[str, Any]:
    """Options of samplers under general.sampling in a GGUF file's metadata.

    Raises:
        FormatError: a value is no number.
    """
    found = {}
    for key, name in _GGUF.items():
        value = file.metadata.get(_PREFIX + key)
        if value is not None:
            found[name] = _number(value, _PREFIX + key, name, file.path)
    if found or _PREFIX + "sequence" in file.metadata:
        found.setdefault("temperature", 0.8)  # llama.cpp's own
    return found


def order_from_gguf(file: GGUFFile) -> list[str] | None:
    """Names of samplers in the order of general.sampling.sequence, if the file has one.

    Raises:
        FormatError: it names a sampler that is not here.
    """
    key = _PREFIX + "sequence"
    if key not in file.metadata:
        return None
    names = [name.strip() for name in file.field(key, str).split(";") if name.strip()]
    found = [_SEQUENCE.get(name, name) for name in names]
    if "temperature" not in found:
        found.append("temperature")
    wrong = [name for name in found if name not in KINDS]
    if wrong:
        problem = f"{key} names {short(repr(wrong[0]), 60)}"
        known = f"known: {', '.join(KINDS)}"
        raise FormatError(message("generate", problem, f"file {file.path}", known))
    return found


def _number(value: Any, key: str, name: str, path: Path) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        problem = f"{key} is {short(repr(value), 60)}, not a number"
        raise FormatError(message("generate", problem, f"file {path}"))
    if name in _WHOLE:
        if value != int(value):
            problem = f"{key} is {value}, not a whole number"
            raise FormatError(message("generate", problem, f"file {path}"))
        return int(value)
    return float(value)
