"""How a sentence-embedding checkpoint says that its vectors are made.

The files are those of sentence-transformers: https://www.sbert.net
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.models.config import Fields

Array = np.ndarray[Any, Any]

# Weights of the tokens of a text of n tokens; the vector is the weighted sum. "max" has none.
WEIGHTS: dict[str, Callable[[int], Any]] = {
    "mean": lambda n: 1 / n,
    "mean_sqrt_len_tokens": lambda n: n**-0.5,
    "cls": lambda n: np.arange(n) == 0,
    "lasttoken": lambda n: np.arange(n) == n - 1,
    "weightedmean": lambda n: np.arange(1, n + 1) / (n * (n + 1) / 2),
    "max": lambda n: 0.0,
}
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceConfig:
    """From tokens to one vector a text."""

    max_length: int  # tokens of a text, special ones included; the rest is cut
    pooling: str = "mean"  # a key of WEIGHTS
    normalize: bool = False  # whether vectors are divided by their Euclidean norm
    prompt: str = ""  # put before each text

    @classmethod
    def from_folder(cls, folder: Path, positions: int) -> "SentenceConfig":
        """From modules.json and what it names; without it the mean, as sentence-transformers does.

        Args:
            folder: of the checkpoint.
            positions: of the model, in tokens.
        Raises:
            FormatError: a module that is not here, or a file that is malformed.
        """
        length = _object(folder / "sentence_bert_config.json").integer("max_seq_length", positions)
        prompt = _prompt(_object(folder / "config_sentence_transformers.json"))
        pooling, normalize = "mean", False
        for kind, place in _modules(folder / "modules.json"):
            if kind == "Pooling":
                pooling = _pooling(_object(folder / place / "config.json"))
            elif kind == "Normalize":
                normalize = True
            elif kind != "Transformer":
                known = "known: Transformer, Pooling, Normalize"
                raise FormatError(message("Embedder", f"module {kind}", f"folder {folder}", known))
        return cls(min(length, positions), pooling, normalize, prompt)

    def weights(self, length: int) -> Any:
        """The weight of each token of a text of `length` tokens."""
        return WEIGHTS[self.pooling](length)


def _modules(path: Path) -> list[tuple[str, str]]:
    """(class, folder) of each module, in order."""
    if not path.is_file():
        return []
    found = []
    modules = _json(path)
    if not isinstance(modules, list):
        raise FormatError(message("Embedder", "not a list of modules", f"file {path}"))
    for module in modules:
        kind, place = (
            module.get(key) if isinstance(module, dict) else None for key in ("type", "path")
        )
        if not isinstance(kind, str) or not isinstance(place, str):
            raise FormatError(message("Embedder", "a module has no type and path", f"file {path}"))
        found.append((kind.rpartition(".")[2], place))
    return found


def _pooling(fields: Fields) -> str:
    mode = fields.values.get("pooling_mode")
    on = [name for key, name in MODES.items() if fields.flag(key, False)]
    on = [mode] if isinstance(mode, str) else on
    if len(on) != 1 or on[0] not in WEIGHTS:
        fields.fail(f"pooling is {', '.join(on) or 'none'}", f"one of: {', '.join(WEIGHTS)}")
    return on[0]


def _prompt(fields: Fields) -> str:
    name = fields.values.get("default_prompt_name")
    if name is None:
        return ""
    prompts = fields.values.get("prompts")
    text = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(text, str):
        fields.fail(f"default_prompt_name is {name!r}, which prompts does not have")
    return text


def _object(path: Path) -> Fields:
    """The configuration in a JSON file; empty where there is none."""
    values = _json(path) if path.is_file() else {}
    if not isinstance(values, dict):
        raise FormatError(message("Embedder", "not a JSON object", f"file {path}"))
    return Fields("Embedder", values, place=str(path))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(message("Embedder", f"not JSON: {error}", f"file {path}")) from error
