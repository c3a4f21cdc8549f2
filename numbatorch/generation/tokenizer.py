"""Text to token ids and back, through the `tokenizers` library.

Built from a Hugging Face folder, a tokenizer.json, or the vocabulary of a GGUF file.
"""

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numbatorch.errors import OutOfRange, message
from numbatorch.generation import folder_vocabulary, gguf_vocabulary, library, plain
from numbatorch.generation.vocabulary import Vocabulary, byte_of_character
from numbatorch.io.gguf import GGUFFile

if TYPE_CHECKING:
    import tokenizers

# Fewer texts than this are encoded one after another: starting the library's thread pool takes
# longer, and its threads would then compete with those of the kernels.
POOL_FROM = 64

# A text of which only so many tokens are wanted is encoded from its beginning: so many characters
# a token at first, and four times as many until what follows can no longer change those tokens.
CHARACTERS = 16
LEAST_CHARACTERS = 8192
MARGIN = 256  # characters before a cut that it may have changed the tokens of

SURROGATE = re.compile("[\ud800-\udfff]")


class Tokenizer:
    """A tokenizer and the special ids of its model.

    Attributes:
        bos_id, eos_id: begin and end of a text, or None.
        end_ids: ids that end a generation.
        add_bos, add_eos: whether `encode` puts bos before and eos behind a text.
        vocab_size: number of ids, those of added tokens included.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.bos_id = vocabulary.bos_id
        self.eos_id = vocabulary.eos_id
        self.end_ids = vocabulary.end_ids
        self.add_bos = vocabulary.add_bos
        self.add_eos = vocabulary.add_eos
        self._library = vocabulary.library
        self._added = {
            int(id): token for id, token in self._library.get_added_tokens_decoder().items()
        }
        self._special = frozenset(id for id, token in self._added.items() if token.special)
        self._longest_added = max((len(token.content) for token in self._added.values()), default=0)
        self._pieces: dict[int, bytes] = {}
        # Likely pieces may be special tokens: there a text is never read by the model as it is.
        self._leaks = type(self._library.model).__name__ == "Unigram"
        self.vocab_size: int = max(self._library.get_vocab_size(), max(self._added, default=-1) + 1)

    @classmethod
    def from_file(cls, path: str | Path) -> "Tokenizer":
        """From a tokenizer.json alone, which names no bos and eos ids.

        Its truncation and padding are dropped: callers cut and pad for themselves.
        """
        return cls(Vocabulary(library.load(Path(path))))

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """From a Hugging Face folder: tokenizer.json, tokenizer_config.json, config.json and
        generation_config.json, of which only the first is required.

        As in transformers' Llama tokenizer, bos is added where config.json names one and no
        tokenizer_config.json says otherwise.
        """
        return cls(folder_vocabulary.build(Path(folder)))

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "Tokenizer":
        """From the vocabulary in a GGUF file's metadata.

        Raises:
            FormatError: the vocabulary is malformed, or of a kind that is not built here.
        """
        return cls(gguf_vocabulary.build(file.metadata, file.path))

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} ids, bos {self.bos_id}, eos {self.eos_id})"

    def encode(
        self, text: str, special: bool = False, *, add_special_tokens: bool = True
    ) -> list[int]:
        """The ids of a text.

        What a user wrote is text: "<|im_end|>" in it is encoded as the characters that it is made
        of, and no id of a special token ever comes from it. A prompt that was put together from
        special tokens, as a chat template does, is encoded with `special=True`. Tokens that are
        not special, as those that a GGUF file calls user-defined, are found in both.

        Args:
            text: any text, empty too.
            special: whether special tokens that the text spells out become their ids. One that
                begins with bos gets no second one.
            add_special_tokens: whether bos, eos and what the tokenizer.json puts around a text are
                added; they are whatever `special` says.
        Raises:
            ValueError: the text holds a lone surrogate, or the tokenizer cannot encode it.

        >>> tokenizer.encode("<s>hi")  # doctest: +SKIP
        [0, 30, 85, 32, 74, 75]
        >>> tokenizer.encode("<s>hi", special=True)  # doctest: +SKIP
        [0, 74, 75]
        """
        with _named("encode", [text]):
            (encoding,) = self._encode_whole([text], special)
            if add_special_tokens:
                encoding = self._library.post_process(encoding)
        return self._framed(encoding, special, add_special_tokens)

    def encode_batch(
        self,
        texts: Sequence[str],
        special: bool = False,
        limit: int | None = None,
        *,
        add_special_tokens: bool = True,
    ) -> list[list[int]]:
        """The ids of each text.

        Args:
            texts: any number of texts.
            special, add_special_tokens: as in `encode`.
            limit: most ids a text may have; its end is cut, added special tokens stay. Of a text
                that is much longer, only the beginning is encoded.
        Raises:
            ValueError: a text holds a lone surrogate, or the tokenizer cannot encode it.
        """
        around = len(self.encode("")) if add_special_tokens else 0
        room = None if limit is None else limit - around
        if room is not None and room < 0:
            raise OutOfRange(message("encode_batch", f"no text fits into {limit} tokens"))
        with _named("encode_batch", texts):
            if room is None:
                encodings = self._encode_whole(texts, special)
            else:
                encodings = self._encode_beginnings(texts, room, special)
                for encoding in encodings:
                    encoding.truncate(room)
            if add_special_tokens:
                encodings = [self._library.post_process(encoding) for encoding in encodings]
        return [self._framed(encoding, special, add_special_tokens) for encoding in encodings]

    def _encode_whole(self, texts: Sequence[str], special: bool) -> "list[tokenizers.Encoding]":
        if special:
            return _encode(self._library, texts)
        if self._leaks:
            return _encode(self._respelled, texts)
        found = _encode(self._plain, texts)
        if any(not self._control.isdisjoint(encoding.ids) for encoding in found):
            self._leaks = True
            found = _encode(self._respelled, texts)
        return found

    def _encode_beginnings(
        self, texts: Sequence[str], room: int, special: bool
    ) -> "list[tokenizers.Encoding]":
        """Encodings whose first `room` tokens are those of the whole texts."""
        size = max(LEAST_CHARACTERS, CHARACTERS * room)
        found = self._encode_whole([text[:size] for text in texts], special)
        for row, text in enumerate(texts):
            taken = size
            while taken < len(text) and self._settled(found[row], taken, room) < room:
                taken *= 4
                (found[row],) = self._encode_whole([text[:taken]], special)
        return found

    @cached_property
    def _plain(self) -> "tokenizers.Tokenizer":
        """The library without its special tokens."""
        return plain.without_special(self._library)

    @cached_property
    def _respelled(self) -> "tokenizers.Tokenizer":
        """The same where the model itself would spell some of them."""
        return plain.respelled(self._library, self._special)

    @cached_property
    def _control(self) -> frozenset[int]:
        """Special tokens other than the one that stands for what the model does not know."""
        unknown = getattr(self._library.model, "unk_token", None)
        id = None if unknown is None else self._library.token_to_id(unknown)
        return self._special - {id}

    def _settled(self, encoding: "tokenizers.Encoding", size: int, room: int) -> int:
        """How many tokens at the beginning of a text that was cut at `size` characters stay as
        they are, whatever follows: not those of its last word, nor those next to the cut.

        A vocabulary without words, as SentencePiece's, joins what some token has side by side.

        Args:
            room: where so many are settled, no more are looked for.
        """
        words, offsets = encoding.word_ids, encoding.offsets
        count, last = len(words), words[-1] if words else None
        margin = max(MARGIN, self._longest_added)
        while count and offsets[count - 1][1] > size - margin:
            count -= 1
        whole = count
        while whole and words[whole - 1] == last:
            whole -= 1
        if whole >= room or self._neighbours is None:
            return whole
        tokens, count = encoding.tokens, min(count, len(words) - 1)
        while count > whole and tokens[count - 1][-1:] + tokens[count][:1] in self._neighbours:
            count -= 1
        return max(count, whole)

    @cached_property
    def _neighbours(self) -> frozenset[str] | None:
        """Characters that stand side by side in a token: no token goes over any other seam. None
        where the tokens of a text are not chosen by what the vocabulary spells."""
        model: Any = self._library.model
        kind = type(model).__name__
        if kind not in ("BPE", "Unigram"):
            return None
        if kind == "BPE" and (model.continuing_subword_prefix or model.end_of_word_suffix):
            return None
        found: set[str] = set()
        for token in self._library.get_vocab(with_added_tokens=False):
            found.update(map(str.__add__, token, token[1:]))
        return frozenset(found)

    def decode(self, ids: Iterable[int], special: bool | Collection[int] = False) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: token ids.
            special: whether special tokens appear as their own text, or which of them do.
        Raises:
            OutOfRange: an id that is not in the vocabulary.
        """
        kept = self._kept(ids, special)
        if self._style is None:
            with library.failures("decode"):
                return str(self._library.decode(kept, skip_special_tokens=False))
        text = b"".join(self._piece(id) for id in kept).decode("utf-8", "replace")
        return text.removeprefix(" ") if self._style == "spaces stripped" else text

    def stream(self, special: bool | Collection[int] = False) -> "TextStream":
        """A decoder for the ids of a continuation, which come one by one; `special` as in
        `decode`."""
        return TextStream(self, special)

    def token_text(self, id: int) -> str:
        """The token as the vocabulary spells it."""
        self._kept([id], special=True)
        return str(self._library.id_to_token(id))

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token stands for, a special one too; of some tokenizers only the text is
        known, and half a character is U+FFFD then."""
        self._kept([id], special=True)
        if self._style is None:
            return self.decode([id], special=True).encode()
        return self._piece(id)

    def token_id(self, text: str) -> int | None:
        """The id of a token by its spelling, or None."""
        return self._library.token_to_id(text)

    @cached_property
    def special_spellings(self) -> tuple[str, ...]:
        """How special tokens are spelled."""
        return tuple(self._added[id].content for id in sorted(self._special))

    def is_special(self, id: int) -> bool:
        """Whether the id is a control token, such as bos, which `decode` leaves out."""
        return id in self._special

    def _framed(
        self, encoding: "tokenizers.Encoding", special: bool, add_special_tokens: bool
    ) -> list[int]:
        ids: list[int] = encoding.ids
        if not add_special_tokens:
            return ids
        bos = [] if self.bos_id is None else [self.bos_id]
        if special and ids[:2] == bos * 2 and not self.add_bos and self.encode("")[:1] == bos:
            ids = ids[1:]  # the tokenizer.json put one before the text's own
        if self.add_bos and ids[:1] != bos:
            ids = [*bos, *ids]
        if self.add_eos and self.eos_id is not None:
            ids = [*ids, self.eos_id]
        return ids

    def _kept(self, ids: Iterable[int], special: bool | Collection[int]) -> list[int]:
        kept = []
        for id in map(int, ids):
            if not 0 <= id < self.vocab_size:
                rule = f"ids go from 0 to {self.vocab_size - 1}"
                raise OutOfRange(message("decode", f"token id {id} is not in the vocabulary", rule))
            if id not in self._special or (special if isinstance(special, bool) else id in special):
                kept.append(id)
        return kept

    @cached_property
    def _style(self) -> str | None:
        """How tokens spell bytes: 'bytes' as GPT-2's stand-ins, 'spaces' or 'spaces stripped' as
        SentencePiece's U+2581 and <0x00>; None where only the library knows."""
        decoder = self._library.decoder
        steps = json.loads(decoder.__getstate__()) if decoder is not None else {}
        kinds = {step["type"] for step in steps.get("decoders", [steps]) if "type" in step}
        if kinds == {"ByteLevel"}:
            return "bytes"
        if "ByteFallback" in kinds and kinds <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
            return "spaces stripped" if "Strip" in kinds else "spaces"
        return None

    def _piece(self, id: int) -> bytes:
        """The bytes that a token stands for."""
        piece = self._pieces.get(id)
        if piece is None:
            piece = self._pieces[id] = self._spell(id)
        return piece

    def _spell(self, id: int) -> bytes:
        if id in self._added:
            return str(self._added[id].content).encode()
        token: str | None = self._library.id_to_token(id)
        if token is None:
            return b""
        if self._style == "bytes":
            table = byte_of_character()
            if all(character in table for character in token):
                return bytes(table[character] for character in token)
            return token.encode()
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            try:
                return bytes([int(token[3:5], 16)])
            except ValueError:
                pass
        return token.replace("\u2581", " ").encode()


class TextStream:
    """Turns ids into pieces of text that are whole UTF-8: a character that takes several tokens
    is held back until its last one.

    >>> stream = tokenizer.stream()  # doctest: +SKIP
    >>> pieces = [stream.step(id) for id in ids] + [stream.end()]  # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, special: bool | Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._ids: list[int] = []  # where only the library decodes: what the next id may change
        self._shown = 0  # how many of them are in pieces already given out

    def step(self, id: int) -> str:
        """The text that an id completes, which may be empty."""
        tokenizer = self._tokenizer
        kept = tokenizer._kept([id], self._special)
        if tokenizer._style is not None:
            return "".join(self._bytes.decode(tokenizer._piece(id)) for id in kept)
        self._ids += kept
        return self._advance(last=False)

    def end(self) -> str:
        """What is still held back: bytes that never became a character, as U+FFFD."""
        if self._tokenizer._style is not None:
            return self._bytes.decode(b"", final=True)
        return self._advance(last=True)

    def _advance(self, last: bool) -> str:
        """The text of the ids not yet shown, in the light of the ones before them."""
        decode: Any = self._tokenizer._library.decode
        with library.failures("decode"):
            before = decode(self._ids[: self._shown], skip_special_tokens=False)
            text = decode(self._ids, skip_special_tokens=False)
        if len(text) <= len(before) or (text.endswith("\ufffd") and not last):
            return ""
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return str(text[len(before) :])


def _encode(library: "tokenizers.Tokenizer", texts: Sequence[str]) -> "list[tokenizers.Encoding]":
    if len(texts) < POOL_FROM:
        return [library.encode(text, add_special_tokens=False) for text in texts]
    found: list[tokenizers.Encoding] = library.encode_batch(list(texts), add_special_tokens=False)
    return found


@contextmanager
def _named(operator: str, texts: Sequence[str]) -> Iterator[None]:
    """Name what was wrong with the texts where the library fails on them."""
    try:
        with library.failures(operator):
            yield
    except ValueError:
        given: Sequence[object] = texts
        for number, text in enumerate(given):
            if not isinstance(text, str):
                problem = f"text {number} is {type(text).__name__}, not str"
                raise TypeError(message(operator, problem)) from None
            found = SURROGATE.search(text)
            if found:
                code = f"U+{ord(found[0]):04X} at character {found.start()}"
                problem = f"text {number} holds a lone surrogate, {code}"
                raise ValueError(message(operator, problem)) from None
        raise
