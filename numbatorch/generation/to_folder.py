"""The vocabulary of a GGUF file as the files of a Hugging Face folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbatorch.generation import gguf_vocabulary
from numbatorch.generation.gguf_keys import Keys

if TYPE_CHECKING:
    from numbatorch.generation.vocabulary import Vocabulary

# What a tokenizer_config.json calls the ids of a GGUF file.
TOKENS = {
    "unk": "unknown",
    "pad": "padding",
    "cls": "cls",
    "sep": "seperator",  # as GGUF spells it
    "mask": "mask",
}


def tokenizer_files(metadata: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """The files that say what a GGUF file says of its tokenizer: name to the object in it.

    They are tokenizer.json, which encodes as `Tokenizer.from_gguf` does, tokenizer_config.json with
    the chat templates, and generation_config.json with the ids that end a generation.

    Args:
        metadata: of a GGUF file.
        path: of the file, which errors name.
    Raises:
        FormatError: as in `Tokenizer.from_gguf`.

    >>> for name, values in tokenizer_files(file.metadata, file.path).items():  # doctest: +SKIP
    ...     (folder / name).write_text(json.dumps(values), encoding="utf-8")
    """
    vocabulary = gguf_vocabulary.build(metadata, path)
    keys = Keys(metadata, path)
    _frame(vocabulary)
    library = vocabulary.library
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
    }
    ids = {"bos": vocabulary.bos_id, "eos": vocabulary.eos_id}
    ids |= {name: keys.id(spelled) for name, spelled in TOKENS.items()}
    for name, id in ids.items():
        if id is not None:
            config[f"{name}_token"] = library.id_to_token(id)
    templates = {
        key.removeprefix(gguf_vocabulary.CHAT).removeprefix(".") or "default": text
        for key, text in metadata.items()
        if key.startswith(gguf_vocabulary.CHAT) and isinstance(text, str)
    }
    if set(templates) == {"default"}:
        config["chat_template"] = templates["default"]
    elif templates:
        rows = [{"name": name, "template": text} for name, text in templates.items()]
        config["chat_template"] = rows
    generation: dict[str, Any] = {
        f"{name}_token_id": ids[name] for name in ("bos", "pad") if ids[name] is not None
    }
    if vocabulary.end_ids:
        generation["eos_token_id"] = sorted(vocabulary.end_ids)
    return {
        "tokenizer.json": json.loads(library.to_str()),
        "tokenizer_config.json": config,
        "generation_config.json": generation,
    }


def _frame(vocabulary: "Vocabulary") -> None:
    """Have the library add bos and eos, which is what other programs read."""
    from tokenizers import processors

    library = vocabulary.library
    before, behind = (
        [(str(library.id_to_token(id)), id)] if adds and id is not None else []
        for adds, id in (
            (vocabulary.add_bos, vocabulary.bos_id),
            (vocabulary.add_eos, vocabulary.eos_id),
        )
    )
    if before or behind:
        library.post_processor = processors.TemplateProcessing(
            single=[*(token for token, _ in before), "$A", *(token for token, _ in behind)],
            special_tokens=[*before, *(row for row in behind if row not in before)],
        )
