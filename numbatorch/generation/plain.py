"""A tokenizer of the library that reads special tokens in a text as text.

It shares the model with the one that knows them, so it costs no second vocabulary: only its list
of tokens that are found before anything else cuts a text is shorter.
"""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from numbatorch.generation.vocabulary import byte_of_character

if TYPE_CHECKING:
    import tokenizers


def without_special(library: "tokenizers.Tokenizer") -> "tokenizers.Tokenizer":
    """The same tokenizer, which finds no special token in a text; ids stay as they are.

    A model of words or of likely pieces may spell special tokens itself: `respelled` has them
    taken out of it.
    """
    from tokenizers import Tokenizer

    return _shared(library, Tokenizer(library.model))


def respelled(library: "tokenizers.Tokenizer", ids: Collection[int]) -> "tokenizers.Tokenizer":
    """As `without_special`, over a copy of the model whose tokens `ids` no text can spell.

    The stand-ins of GPT-2's bytes stay, without which there are texts of no ids.
    """
    from tokenizers import Tokenizer

    state = json.loads(library.to_str())
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        state[part] = None
    state["added_tokens"] = []
    _respell(state["model"], ids)
    return _shared(library, Tokenizer.from_str(json.dumps(state)))


def _shared(
    library: "tokenizers.Tokenizer", found: "tokenizers.Tokenizer"
) -> "tokenizers.Tokenizer":
    """Give a tokenizer of a model the other parts of `library`, and its added tokens but the
    special ones."""
    from tokenizers import AddedToken

    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if getattr(library, part) is not None:
            setattr(found, part, getattr(library, part))
    size = found.get_vocab_size(with_added_tokens=False)
    tokens: list[AddedToken] = []
    for id, token in sorted(library.get_added_tokens_decoder().items()):
        if not token.special:
            tokens.append(token)
        elif id >= size:  # the ids of what follows count from here
            tokens.append(AddedToken(_unspelled(), special=True, normalized=False))
    found.add_tokens(tokens)
    return found


def _respell(model: dict[str, Any], ids: Collection[int]) -> None:
    vocabulary: Any = model["vocab"]
    if isinstance(vocabulary, list):  # of pieces and scores
        for id in ids:
            if id < len(vocabulary):
                vocabulary[id][0] = _unspelled()
        return
    alphabet: Collection[str] = byte_of_character() if model.get("type") == "BPE" else ()
    gone = {token for token, id in vocabulary.items() if id in ids and token not in alphabet}
    gone.discard(model.get("unk_token"))
    model["vocab"] = {_unspelled() if t in gone else t: id for t, id in vocabulary.items()}
    prefix = model.get("continuing_subword_prefix") or ""
    if "merges" in model:
        model["merges"] = [
            (left, right)
            for left, right in model["merges"]
            if gone.isdisjoint((left, right, left + right.removeprefix(prefix)))
        ]


def _unspelled() -> str:
    """A text that nobody knows of."""
    return f"\uffff{uuid4().hex}"
