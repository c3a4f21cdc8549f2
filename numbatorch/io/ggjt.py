"""Files of llama.cpp from before GGUF: `ggjt`, versions 1 to 3, of Llama alone.

The container: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#historical-state-of-affairs,
and what the versions changed: https://github.com/ggml-org/llama.cpp/pull/1405 (the order of codes,
version 2) and https://github.com/ggml-org/llama.cpp/pull/1508 (float16 scales, version 3).
"""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf_writing import Outgoing
from numbatorch.io.mapping import Array, map_file
from numbatorch.io.reading import open_file
from numbatorch.shape import numel

MAGIC = b"tjgg"
SIZES = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot", "ftype")
CONTEXT, EPSILON = 2048, 5e-6  # which the files do not say
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
SPACE = "\u2581"

# Name of a tensor without its layer: the same in GGUF files.
NAMES = {
    "tok_embeddings": "token_embd",
    "norm": "output_norm",
    "output": "output",
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "attention_norm": "attn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "ffn_norm": "ffn_norm",
}
# Types of older versions that GGUF has no number for: the block's fields, the bias of its codes.
OLD: dict[int, tuple[str, list[tuple[Any, ...]], int]] = {
    2: ("Q4_0", [("d", "<f4"), ("qs", "u1", 16)], 8),
    3: ("Q4_1", [("d", "<f4"), ("m", "<f4"), ("qs", "u1", 16)], 0),
    6: ("Q5_0", [("d", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)], 16),
    7: ("Q5_1", [("d", "<f2"), ("m", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)], 0),
    8: ("Q8_0", [("d", "<f4"), ("qs", "i1", 32)], 0),
}
CHANGED = {1: (2, 3, 6, 7, 8), 2: (2, 3, 8), 3: ()}  # version: types of another layout than GGUF's
ROWS = 1 << 12  # blocks that are decoded together


def is_ggjt(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as those of the format do."""
    with open_file(path, "ggjt") as file:
        return file.read(len(MAGIC)) == MAGIC


class Stored(NamedTuple):
    """A tensor as the file has it.

    Attributes:
        type: its name, which stood for other layouts in older versions.
    """

    type: str
    nbytes: int


class GGJTFile:
    """A file of the format, mapped into memory.

    Attributes:
        path: the file.
        version: 1 to 3.
        metadata: what a GGUF file would say.
        tensors: what one would hold; weights in layouts that are no longer known as float32.
        stored: how the file has each of them, by their names in GGUF.

    Raises:
        FormatError: anything in the file that does not follow the format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._data = map_file(path)
        self._at = 4
        if self._data[:4].tobytes() != MAGIC:
            self._fail("no ggjt file")
        self.version = self._integer()
        if self.version not in CHANGED:
            self._fail(f"version {self.version}, where 1 to 3 are read")
        sizes = {name: self._integer() for name in SIZES}
        vocabulary = self._vocabulary(sizes["n_vocab"])
        self.tensors: list[Outgoing] = []
        self.stored: dict[str, Stored] = {}
        while self._at < self._data.size:
            self.tensors.append(self._tensor())
        self.metadata = self._metadata(sizes) | vocabulary

    def _fail(self, problem: str) -> NoReturn:
        place = f"file {self.path}, byte {self._at}"
        raise FormatError(message("ggjt", problem, place))

    def _take(self, size: int) -> bytes:
        if size > self._data.size - self._at:
            self._fail(f"{size} bytes go beyond the end of the file, {self._data.size} bytes")
        self._at += size
        return self._data[self._at - size : self._at].tobytes()

    def _integer(self) -> int:
        return int(struct.unpack("<I", self._take(4))[0])

    def _vocabulary(self, count: int) -> dict[str, Any]:
        if not 0 < count <= self._data.size // 8:
            self._fail(f"{count} tokens in a file of {self._data.size} bytes")
        tokens, scores, kinds = [], [], []
        for id in range(count):
            raw = self._take(self._integer())
            (score,) = struct.unpack("<f", self._take(4))
            kind, text = NORMAL, raw.decode(errors="replace").replace(" ", SPACE)
            if id == 0:
                kind, text = UNKNOWN, "<unk>"
            elif id <= 2:
                kind, text = CONTROL, ("<s>", "</s>")[id - 1]
            elif id <= 258 and len(raw) == 1 and score == 0:
                kind, text = BYTE, f"<0x{raw[0]:02X}>"
            tokens.append(text)
            scores.append(score)
            kinds.append(kind)
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": np.array(scores, np.float32),
            "tokenizer.ggml.token_type": np.array(kinds, np.int32),
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }

    def _metadata(self, sizes: dict[str, int]) -> dict[str, Any]:
        shapes = {tensor.name: tensor.shape for tensor in self.tensors}
        for name in ("blk.0.ffn_gate.weight", "blk.0.attn_k.weight"):
            if len(shapes.get(name, ())) != 2:
                self._fail(f"tensor {name!r} is missing")
        if not sizes["n_head"] or sizes["n_embd"] % sizes["n_head"]:
            self._fail(f"{sizes['n_embd']} numbers for {sizes['n_head']} heads")
        head = sizes["n_embd"] // sizes["n_head"]
        found = {
            "context_length": CONTEXT,
            "embedding_length": sizes["n_embd"],
            "block_count": sizes["n_layer"],
            "feed_forward_length": shapes["blk.0.ffn_gate.weight"][0],
            "attention.head_count": sizes["n_head"],
            "attention.head_count_kv": shapes["blk.0.attn_k.weight"][0] // head,
            "attention.layer_norm_rms_epsilon": EPSILON,
            "rope.dimension_count": sizes["n_rot"],
        }
        general = {"general.architecture": "llama", "general.name": self.path.stem}
        return general | {f"llama.{key}": value for key, value in found.items()}

    def _tensor(self) -> Outgoing:
        dims, length, number = self._integer(), self._integer(), self._integer()
        if not 1 <= dims <= 2 or length > 256:
            self._fail(f"a tensor with {dims} dimensions and a name of {length} bytes")
        shape = tuple(self._integer() for _ in range(dims))[::-1]
        stored = self._take(length).decode(errors="replace")
        name = self._gguf_name(stored)
        self._at += -self._at % 32
        kind = dtype.numbered(number)
        old = number in CHANGED[self.version]
        if kind is None or not all(shape) or shape[-1] % (32 if old else kind.block):
            self._fail(f"tensor {stored!r} {shape} of type {number}")
        layout = np.dtype(OLD[number][1]) if old else None
        blocks = numel(shape) // 32
        nbytes = blocks * layout.itemsize if layout is not None else kind.nbytes(numel(shape))
        if nbytes > self._data.size - self._at:
            self._fail(f"tensor {stored!r} goes beyond the end of the file")
        if name in self.stored:
            self._fail(f"tensor {name!r} appears twice")
        self.stored[name] = Stored(OLD[number][0] if old else kind.name, nbytes)
        raw = self._data[self._at : self._at + nbytes]
        self._at += nbytes
        if layout is None:
            return Outgoing(name, kind, shape, _cut(raw, kind, shape[-1]))
        decode = _decoder(raw.view(layout), number, self.version, shape[-1])
        return Outgoing(name, dtype.float32, shape, decode)

    def _gguf_name(self, stored: str) -> str:
        part, _, kind = stored.rpartition(".")
        layer = ""
        if part.startswith("layers."):
            number, _, part = part.removeprefix("layers.").partition(".")
            layer = f"blk.{number}." if number.isdecimal() else "?"
        if part not in NAMES or kind != "weight" or layer == "?":
            self._fail(f"tensor {stored!r} has no place in a Llama")
        return f"{layer}{NAMES[part]}.weight"


def _cut(raw: Array, kind: DType, columns: int) -> Callable[[], Iterator[Array]]:
    """The bytes of a tensor, some whole rows at a time."""
    row = kind.nbytes(columns)
    step = max((1 << 22) // row, 1) * row
    return lambda: (raw[start : start + step] for start in range(0, raw.size, step))


def _decoder(
    blocks: Array, number: int, version: int, columns: int
) -> Callable[[], Iterator[Array]]:
    """The values of blocks of an older layout, some whole rows at a time."""
    row = columns // 32
    step = max(ROWS // row, 1) * row
    return lambda: (
        _values(blocks[start : start + step], number, version)
        for start in range(0, len(blocks), step)
    )


def _values(blocks: Array, number: int, version: int) -> Array:
    """code * d + m, with codes less their bias: (n, 32) float32."""
    codes = blocks["qs"]
    if number != 8:
        low, high = codes & 15, codes >> 4
        pair = np.stack([low, high], 2) if version == 1 else np.stack([low, high], 1)
        codes = pair.reshape(len(blocks), 32)
    if number in (6, 7):
        bits = blocks["qh"][:, None] >> np.arange(32, dtype=np.uint32) & 1
        codes = codes | (bits << 4).astype(np.uint8)
    scale = blocks["d"].astype(np.float32)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):  # a scale may be anything
        found: Array = (codes.astype(np.float32) - np.float32(OLD[number][2])) * scale
        if number in (3, 7):
            found = found + blocks["m"].astype(np.float32)[:, None]
    return found
