"""How a sentence-embedding checkpoint says that its vectors are made.

The files are those of sentence-transformers: https://www.sbert.net
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.reading import read_json, read_object, short
from numbatorch.models.config import Fields
from numbatorch.models.protocols import TextConfig

Array = np.ndarray[Any, Any]

# Weights of the tokens of a text, from their numbers and whether they count; the vector is the
# weighted sum. "max" takes the largest of what counts.
WEIGHTS: dict[str, Callable[[Array, Array], Array]] = {
    "mean": lambda i, counts: counts / max(counts.sum(), 1),
    "mean_sqrt_len_tokens": lambda i, counts: counts / max(counts.sum(), 1) ** 0.5,
    "cls": lambda i, counts: i == 0,
    "lasttoken": lambda i, counts: i == len(i) - 1,
    "weightedmean": lambda i, counts: (i + 1) * counts / max(((i + 1) * counts).sum(), 1),
    "max": lambda i, counts: counts,
}
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ORDERS = (
    ["Transformer", "Pooling"],
    ["Transformer", "Pooling", "Normalize"],
)

# What newer versions write of a module that only runs the model.
PLAIN: Mapping[str, Any] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}


@dataclass(frozen=True)
class SentenceConfig:
    """From tokens to one vector a text."""

    max_length: int  # tokens of a text, special ones included; the rest is cut
    pooling: str = "mean"  # a key of WEIGHTS
    normalize: bool = False  # whether vectors are divided by their Euclidean norm
    prompt: str = ""  # put before each text
    lower: bool = False  # whether prompt and text are written in lower case
    counts_prompt: bool = True  # whether the prompt's tokens are pooled too

    @classmethod
    def from_folder(cls, folder: Path, sizes: TextConfig) -> "SentenceConfig":
        """From modules.json and what it names; without it the mean, as sentence-transformers does.

        Args:
            folder: of the checkpoint.
            sizes: of the model.
        Raises:
            FormatError: a module that is not here, a key that is not known, or a file that is
                malformed.
        """
        pooling, counts_prompt, normalize = "mean", True, False
        for kind, place in _modules(folder / "modules.json"):
            if kind == "Pooling":
                fields = _fields(folder / place / "config.json")
                pooling, counts_prompt = _pooling(fields, sizes.hidden_size)
            normalize = normalize or kind == "Normalize"
        length, lower = _transformer(folder, sizes.max_position_embeddings)
        prompt = _prompt(_fields(folder / "config_sentence_transformers.json"))
        return cls(length, pooling, normalize, prompt, lower, counts_prompt)

    def text(self, text: str) -> str:
        """What is encoded of a text."""
        whole = self.prompt + text
        return whole.lower() if self.lower else whole

    def weights(self, length: int, skipped: int = 0) -> Array:
        """The weight of each token of a text of `length` tokens.

        Args:
            length: special tokens included.
            skipped: tokens of the prompt, where they are not pooled.
        """
        numbers = np.arange(length)
        return WEIGHTS[self.pooling](numbers, numbers >= skipped)


def _modules(path: Path) -> list[tuple[str, str]]:
    """(class, folder) of each module, in order; none without the file."""
    try:
        modules = read_json(path, "Embedder")
    except FileNotFoundError:
        return []
    if not isinstance(modules, list):
        raise FormatError(message("Embedder", "not a list of modules", f"file {path}"))
    found = [_module(module, path) for module in modules]
    if [kind for kind, _ in found] not in ORDERS:
        asked = ", ".join(kind for kind, _ in found)
        known = f"known: {' or '.join(map(', '.join, ORDERS))}"
        raise FormatError(message("Embedder", f"modules {asked}", f"file {path}", known))
    return found


def _module(module: Any, path: Path) -> tuple[str, str]:
    """(class, folder) of a module, whose folder is within that of the file."""
    kind, place = (
        module.get(key) if isinstance(module, dict) else None for key in ("type", "path")
    )
    if not isinstance(kind, str) or not isinstance(place, str):
        raise FormatError(message("Embedder", "a module has no type and path", f"file {path}"))
    package, _, rest = kind.partition(".")
    name = rest.rpartition(".")[2]
    if package != "sentence_transformers" or not name:
        row = "only modules of sentence_transformers are known"
        raise FormatError(message("Embedder", f"module {short(kind)}", f"file {path}", row))
    inside = PureWindowsPath(place)  # knows the separators of all systems
    if inside.anchor or ".." in inside.parts or not (place + " ").isprintable():
        problem = f"path {short(place)!r} of a module is not within the folder"
        raise FormatError(message("Embedder", problem, f"file {path}"))
    if name == "Transformer" and inside.parts:
        problem = f"the model is in {short(place)!r}, where it is read from the folder itself"
        raise FormatError(message("Embedder", problem, f"file {path}"))
    return name, place


def _transformer(folder: Path, positions: int) -> tuple[int, bool]:
    """Most tokens of a text, and whether it is written in lower case."""
    fields = _fields(folder / "sentence_bert_config.json")
    tokenizer = _fields(folder / "tokenizer_config.json")
    tokenizer.require("truncation_side", "right", ("right",))
    most = tokenizer.number("model_max_length", positions)  # 1e30 where there is no limit
    length = fields.integer("max_seq_length", int(min(most, positions)))
    lower = fields.flag("do_lower_case", False)
    fields.refuse_unread((), PLAIN)
    return min(length, positions), lower


def _pooling(fields: Fields, size: int) -> tuple[str, bool]:
    """A key of WEIGHTS, and whether the tokens of a prompt count."""
    modes = fields.get("pooling_mode", [])
    modes = modes if isinstance(modes, list) else [modes]
    on = [name for key, name in MODES.items() if fields.flag(key, False)]
    on = sorted({*on, *map(str, modes)})
    if len(on) != 1 or on[0] not in WEIGHTS:
        fields.fail(f"pooling is {', '.join(on) or 'none'}", f"one of: {', '.join(WEIGHTS)}")
    counts_prompt = fields.flag("include_prompt", True)
    fields.refuse_unread((), {"word_embedding_dimension": size, "embedding_dimension": size})
    return on[0], counts_prompt


def _prompt(fields: Fields) -> str:
    name = fields.get("default_prompt_name", "")
    prompts = fields.get("prompts", {})
    if not isinstance(prompts, dict):
        fields.fail(f"prompts is {prompts!r}, not texts by name")
    fields.require("model_type", "SentenceTransformer", ("SentenceTransformer",))
    fields.refuse_unread(("__version__", "similarity_fn_name"))
    if name == "":
        return ""
    text = prompts.get(name) if isinstance(name, str) else None
    if not isinstance(text, str):
        fields.fail(f"default_prompt_name is {name!r}, which prompts does not have")
    return text


def _fields(path: Path) -> Fields:
    """The configuration in a JSON file; empty where there is none."""
    return Fields("Embedder", read_object(path, "Embedder") or {}, place=str(path))
