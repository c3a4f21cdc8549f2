"""The tokenizer of a Hugging Face folder as the metadata of a GGUF file.

What a folder may say is more than GGUF has keys for. So what is written is read again, and has to
give the same ids to awkward texts; else the folder is refused.
Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation import folder_vocabulary, gguf_vocabulary, probes, to_gguf_kinds
from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.gguf_keys import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from numbatorch.generation.to_folder import TOKENS
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.reading import read_object, short

if TYPE_CHECKING:
    from numbatorch.generation.vocabulary import Vocabulary

GGML = "tokenizer.ggml."
CHAT = gguf_vocabulary.CHAT
BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def tokenizer_metadata(
    folder: str | Path, size: int | None = None, general: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The keys `tokenizer.*` that say in a GGUF file what a folder says of its tokenizer.

    A space before a text is a key. That none is put where the text begins with one, or behind a
    special token, as the pre-tokenizer Metaspace does, has no key: there the ids of the file are
    others, as they are in llama.cpp.

    Args:
        folder: with a tokenizer.json, and as a rule a tokenizer_config.json.
        size: rows of the model's embedding, to which the tokens are filled up; what config.json
            says, or the number of tokens, unless given.
        general: other keys of the file: `general.architecture` and `general.name` decide which
            spaces go with special tokens.
    Returns:
        key to value; numbers of each token are arrays of int32 and float32.
    Raises:
        FormatError: there is no way to say it, which the error names; or as in
            `Tokenizer.from_folder`.

    >>> metadata = tokenizer_metadata(folder)  # doctest: +SKIP
    >>> metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]  # doctest: +SKIP
    ('gpt2', 'smollm')
    """
    folder = Path(folder)
    vocabulary = folder_vocabulary.build(folder)
    given = Tokenizer(vocabulary)
    state: dict[str, Any] = json.loads(vocabulary.library.to_str())
    tokens, kinds = _tokens(vocabulary, state, _size(given, size, folder), folder)
    common = {
        GGML + "tokens": tokens,
        GGML + "token_type": np.array(kinds, np.int32),
        **_ids(given, vocabulary, folder),
        **_templates(folder),
    }
    problems: list[str] = []
    for candidate in to_gguf_kinds.candidates(state, vocabulary.library, tokens, kinds, folder):
        found = {GGML + name: value for name, value in candidate.keys.items()} | common
        if candidate.tokens is not None:
            found[GGML + "tokens"] = candidate.tokens
        problem = _difference({**(general or {}), **found}, given, candidate, folder)
        if problem is None:
            return found
        problems.append(problem)
    raise _error(folder, "GGUF has no keys for how it encodes", *problems[:1])


def _size(given: Tokenizer, size: int | None, folder: Path) -> int:
    """Tokens that the file is to have."""
    if size is None:
        config = read_object(folder / "config.json", "tokenizer") or {}
        text = config.get("text_config")
        found = (text if isinstance(text, dict) else config).get("vocab_size")
        size = found if isinstance(found, int) and found > given.vocab_size else given.vocab_size
    if size < given.vocab_size:
        _fail(folder, f"{given.vocab_size} tokens, where the model has rows for {size}")
    return size


def _tokens(
    vocabulary: "Vocabulary", state: dict[str, Any], size: int, folder: Path
) -> tuple[list[str], list[int]]:
    """The token of each id, and its type."""
    library = vocabulary.library
    added = library.get_added_tokens_decoder()
    unknown = to_gguf_kinds.unknown_token(state["model"])
    names = {id: token for token, id in library.get_vocab(with_added_tokens=True).items()}
    byte_tokens = BYTES if state["model"].get("byte_fallback") else frozenset()
    tokens, kinds = [], []
    for id in range(size):
        token = names.get(id)
        if token is None:
            tokens.append(f"[PAD{id}]")
            kinds.append(UNUSED)
            continue
        tokens.append(token)
        if token == unknown:
            kinds.append(UNKNOWN)
        elif token in byte_tokens:
            kinds.append(BYTE)
        elif id in added:
            if added[id].single_word:
                _fail(folder, f"token {short(repr(token), 60)} is found as a whole word only")
            kinds.append(CONTROL if added[id].special else USER_DEFINED)
        else:
            kinds.append(NORMAL)
    return tokens, kinds


def _ids(given: Tokenizer, vocabulary: "Vocabulary", folder: Path) -> dict[str, Any]:
    """Keys of special ids, and what is put around a text."""
    config = read_object(folder / "tokenizer_config.json", "tokenizer") or {}
    found: dict[str, Any] = {}
    for name, spelled in TOKENS.items():
        token = config.get(f"{name}_token")
        token = token.get("content") if isinstance(token, dict) else token
        id = given.token_id(token) if isinstance(token, str) else None
        if id is not None:
            found[f"{GGML}{spelled}_token_id"] = id
    unknown = to_gguf_kinds.unknown_token(json.loads(vocabulary.library.to_str())["model"])
    if unknown is not None:
        found[GGML + "unknown_token_id"] = given.token_id(unknown)
    bare = given.encode("a", add_special_tokens=False)
    framed = given.encode("a")
    place = next((n for n in range(len(framed)) if framed[n : n + len(bare)] == bare), 0)
    before, behind = framed[:place], framed[place + len(bare) :]
    if len(before) > 1 or len(behind) > 1:
        _fail(folder, f"a text is put between {before} and {behind}, more than a token each")
    bos, eos = [*before, given.bos_id][0], given.eos_id
    if type(vocabulary.library.model).__name__ == "WordPiece":
        found[GGML + "add_sep_token"] = bool(behind)
        for name, ids in (("seperator", behind), ("cls", before)):
            found |= {f"{GGML}{name}_token_id": id for id in ids}
    else:
        eos = [*behind, eos][0]
        found[GGML + "add_eos_token"] = bool(behind)
    found[GGML + "add_bos_token"] = bool(before)
    found |= {f"{GGML}{n}_token_id": id for n, id in (("bos", bos), ("eos", eos)) if id is not None}
    return found | _ends(given, eos, folder)


def _templates(folder: Path) -> dict[str, Any]:
    """Keys of the chat templates."""
    texts = ChatTemplate.from_folder(folder).texts
    found: dict[str, Any] = {
        CHAT if name == "default" else f"{CHAT}.{name}": text for name, text in texts.items()
    }
    names = [name for name in texts if name != "default"]
    return found | ({f"{CHAT}s": names} if names else {})


def _ends(given: Tokenizer, eos: int | None, folder: Path) -> dict[str, int]:
    """Keys of the ids that end a generation beside eos, where their spelling does not say so."""
    spelled = gguf_vocabulary.END_TEXTS
    ids = [id for id in sorted(given.end_ids) if id != eos and given.token_text(id) not in spelled]
    if len(ids) > 2:
        _fail(folder, f"ids {ids} end a generation beside {eos}, more than there are keys for")
    names = ("eot", "eom")
    return {f"{GGML}{name}_token_id": id for name, id in zip(names, ids, strict=False)}


def _difference(
    metadata: Mapping[str, Any],
    given: Tokenizer,
    candidate: "to_gguf_kinds.Candidate",
    folder: Path,
) -> str | None:
    """What differs when metadata is read again, or None."""
    try:
        read = Tokenizer(gguf_vocabulary.build(metadata, folder))
    except FormatError as error:
        return short(str(error), 200)
    spellings = [token.content for token in given._added.values()]
    plain = probes.texts(given, candidate.thorough)
    if not candidate.exact:
        starts = (" ", "\u2581")
        plain = [
            text
            for text in plain
            if not text.startswith(starts) and not any(spelling in text for spelling in spellings)
        ]
    marked = list(probes.around(spellings, candidate.exact))
    for special, texts in ((False, plain), (True, [*plain, *marked])):
        found = probes.first_difference(given, read, texts, special)
        if found is not None:
            text, ids, others = found
            which = f"{short(repr(text), 60)}{' with special tokens' if special else ''}"
            return f"{which} has ids {short(str(ids), 60)}, and would have {short(str(others), 60)}"
    return None


def _fail(folder: Path, problem: str) -> NoReturn:
    raise _error(folder, problem)


def _error(folder: Path, problem: str, *rows: str) -> FormatError:
    return FormatError(message("tokenizer", problem, f"folder {folder}", *rows))
