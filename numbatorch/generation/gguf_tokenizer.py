"""The tokenizer of a Hugging Face folder as metadata of a GGUF file.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation import folder_vocabulary
from numbatorch.generation.pretokenizers import PRE_TOKENIZERS, PreTokenizer
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import write_gguf
from numbatorch.io.reading import read_bytes, read_object

if TYPE_CHECKING:
    import tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"

# What ways to cut text differ in.
PROBE = (
    "Hello World! I'm sure they'RE 12 or 12345.6789 times\u00a0here,  don't   you?\n\n\n \t\ttabs"
    " caf\u00e9 \u00c9T\u00c9 e\u0301 \u4f60\u597d\u4e16\u754c \u3053\u3093\u306b\u3061\u306f"
    " \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 \U0001f600"
    "\U0001f468\u200d\U0001f4bb x=$a+b<c>^d~`|@#%&*(){}[]\\/ HTTPServer2camelCase"
    " \u0660\u0661\u0662 iPhone \r\n end "
    "  'LL 's\u2019t \uff01\uff0c \u2026\u3002 __init__ \u00bd\u00b2 ends with spaces   "
)


def tokenizer_metadata(folder: Path, vocab_size: int) -> dict[str, Any]:
    """The keys of a GGUF file that say what a folder's tokenizer and chat template do.

    Args:
        folder: with tokenizer.json, and tokenizer_config.json where there is one.
        vocab_size: rows of the embedding; ids without a token get one that is not used.
    Raises:
        FormatError: a tokenizer of a kind that has no form in the format, or that would encode
            texts otherwise there.
    """
    said = read_object(folder / "tokenizer.json", "convert")
    if said is None:
        _fail(folder, "no tokenizer.json")
    vocabulary = folder_vocabulary.build(folder)
    found = _model(folder, said, vocabulary.library, vocab_size)
    for name in ("bos", "eos"):
        id = getattr(vocabulary, f"{name}_id")
        if id is not None:
            found[f"tokenizer.ggml.{name}_token_id"] = id
    found.update(_others(folder, vocabulary.library))
    found.update(_frame(vocabulary))
    _check(folder, found)
    found.update(chat_templates(folder))
    return found


def chat_templates(folder: Path) -> dict[str, Any]:
    """The chat template of a folder, and named ones, as metadata."""
    try:
        return {"tokenizer.chat_template": read_bytes(folder / "chat_template.jinja", "").decode()}
    except FileNotFoundError:
        pass
    config = read_object(folder / "tokenizer_config.json", "convert") or {}
    template = config.get("chat_template")
    if isinstance(template, str):
        return {"tokenizer.chat_template": template}
    found: dict[str, Any] = {}
    for entry in template if isinstance(template, list) else ():
        name, text = entry.get("name"), entry.get("template")
        if not isinstance(name, str) or not isinstance(text, str):
            _fail(folder, "chat_template is a list of something else than names and templates")
        key = "tokenizer.chat_template"
        found[key if name == "default" else f"{key}.{name}"] = text
    names = [key.rpartition(".")[2] for key in found if key.count(".") > 1]
    return found | ({"tokenizer.chat_templates": names} if names else {})


def _model(
    folder: Path, said: dict[str, Any], library: "tokenizers.Tokenizer", vocab_size: int
) -> dict[str, Any]:
    model = said["model"]
    if model.get("type") != "BPE":
        _fail(folder, f"a tokenizer of kind {model.get('type')}, where BPE is written")
    sizes = max(vocab_size, library.get_vocab_size())
    tokens = [library.id_to_token(id) for id in range(sizes)]
    kinds = [UNUSED if token is None else NORMAL for token in tokens]
    added = library.get_added_tokens_decoder()
    for id, known in added.items():
        tokens[id] = known.content
        kinds[id] = CONTROL if known.special else USER_DEFINED
    named = [f"[PAD{id}]" if token is None else token for id, token in enumerate(tokens)]
    found: dict[str, Any] = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": named}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    if model.get("byte_fallback") or _replaces_spaces(said.get("normalizer")):
        found["tokenizer.ggml.model"] = "llama"
        found["tokenizer.ggml.scores"] = _scores(named, merges)
        found["tokenizer.ggml.add_space_prefix"] = _prepends(said)
        for id, token in enumerate(named):
            if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
                kinds[id] = BYTE
        unknown = model.get("unk_token")
        if unknown in named:
            kinds[named.index(unknown)] = UNKNOWN
    else:
        found["tokenizer.ggml.pre"] = _pre_name(folder, said, library)
        found["tokenizer.ggml.merges"] = merges
    found["tokenizer.ggml.token_type"] = np.array(kinds, np.int32)
    return found


def _scores(tokens: list[str], merges: list[str]) -> Any:
    """Of a token, minus the number of the first merge that makes it; those of none come last."""
    order: dict[str, int] = {}
    for rank, pair in enumerate(merges):
        order.setdefault(pair.replace(" ", ""), rank)
    last = len(merges)
    return np.array([-float(order.get(token, last)) for token in tokens], np.float32)


def _steps(part: Any, key: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, sequences flattened."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        return [step for inner in part[key] for step in _steps(inner, key)]
    return [part]


def _replaces_spaces(normalizer: Any) -> bool:
    return any(step.get("content") == SPACE for step in _steps(normalizer, "normalizers"))


def _prepends(said: dict[str, Any]) -> bool:
    """Whether a text gets a space before it."""
    steps = _steps(said.get("normalizer"), "normalizers")
    cuts = _steps(said.get("pre_tokenizer"), "pretokenizers")
    prepended = any(step.get("type") == "Prepend" for step in steps)
    return prepended or any(cut.get("prepend_scheme") in ("first", "always") for cut in cuts)


def _pre_name(folder: Path, said: dict[str, Any], library: "tokenizers.Tokenizer") -> str:
    """The name of the way in which the tokenizer cuts text, found by what it does to `PROBE`."""
    model = said["model"]
    steps = [step.get("type") for step in _steps(said.get("normalizer"), "normalizers")]
    if steps not in ([], ["NFC"]):
        _fail(folder, f"a tokenizer that normalizes by {', '.join(map(str, steps))}")
    if library.pre_tokenizer is None:
        _fail(folder, "a tokenizer that cuts no words")
    wanted = library.pre_tokenizer.pre_tokenize_str(PROBE)
    for name, pre in PRE_TOKENIZERS.items():
        like = pre.nfc == bool(steps) and pre.ignore_merges == bool(model.get("ignore_merges"))
        if like and _cuts(pre).pre_tokenize_str(PROBE) == wanted:
            return name
    return _fail(folder, "a way to cut text into words that has no name in the format")


def _cuts(pre: PreTokenizer) -> Any:
    from tokenizers import Regex, pre_tokenizers

    steps: list[Any] = [pre_tokenizers.Split(Regex(p), "isolated") for p in pre.patterns]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def _others(folder: Path, library: "tokenizers.Tokenizer") -> dict[str, Any]:
    """Ids of unknown and padding tokens, and of the one that ends a turn."""
    config = read_object(folder / "tokenizer_config.json", "convert") or {}
    found = {}
    for key, name in (("unk_token", "unknown"), ("pad_token", "padding")):
        token = config.get(key)
        text = token.get("content") if isinstance(token, dict) else token
        id = library.token_to_id(text) if isinstance(text, str) else None
        if id is not None:
            found[f"tokenizer.ggml.{name}_token_id"] = id
    return found


def _frame(vocabulary: Any) -> dict[str, bool]:
    """Whether bos and eos are put around a text, by whatever part of the folder."""
    library = vocabulary.library
    ids = library.post_process(library.encode("a", add_special_tokens=False)).ids
    found = {}
    for name, place in (("bos", 0), ("eos", -1)):
        id, adds = getattr(vocabulary, f"{name}_id"), getattr(vocabulary, f"add_{name}")
        if id is not None:
            found[f"tokenizer.ggml.add_{name}_token"] = bool(adds or ids[place] == id)
    return found


def _check(folder: Path, metadata: dict[str, Any]) -> None:
    """Fail where the metadata encodes texts otherwise than the folder."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as place:
        path = Path(place) / "vocabulary.gguf"
        write_gguf(path, metadata, [])
        ours = Tokenizer.from_gguf(GGUFFile(path))
    theirs = Tokenizer.from_folder(folder)
    for text in ("", PROBE, *PROBE.split(" "), json.dumps(PROBE), "def f(x):\n    return x + 1\n"):
        if ours.encode(text) != theirs.encode(text):
            _fail(folder, f"a tokenizer that would encode {text[:40]!r} otherwise in the format")


def _fail(folder: Path, problem: str) -> NoReturn:
    raise FormatError(message("convert", problem, f"folder {folder}"))
