"""Mixes: which tensor of a model gets which block type, by the well-known names such as Q4_K_M.

The rules are those of llama.cpp, so that files are as large and as exact as people expect:
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.shape import Shape

# Name of a mix: its number in general.file_type, and the type of what no rule names. The numbers:
# https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h
MIXES: Mapping[str, tuple[int, DType]] = {
    "F32": (0, dtype.float32),
    "F16": (1, dtype.float16),
    "BF16": (32, dtype.bfloat16),
    "Q4_0": (2, dtype.Q4_0),
    "Q4_1": (3, dtype.Q4_1),
    "Q5_0": (8, dtype.Q5_0),
    "Q5_1": (9, dtype.Q5_1),
    "Q8_0": (7, dtype.Q8_0),
    "Q2_K": (10, dtype.Q2_K),
    "Q3_K_S": (11, dtype.Q3_K),
    "Q3_K_M": (12, dtype.Q3_K),
    "Q3_K_L": (13, dtype.Q3_K),
    "Q4_K_S": (14, dtype.Q4_K),
    "Q4_K_M": (15, dtype.Q4_K),
    "Q5_K_S": (16, dtype.Q5_K),
    "Q5_K_M": (17, dtype.Q5_K),
    "Q6_K": (18, dtype.Q6_K),
    "IQ4_NL": (25, dtype.IQ4_NL),
    "IQ4_XS": (30, dtype.IQ4_XS),
    "MXFP4": (38, dtype.MXFP4),  # of experts; other weights are Q8_0
}
LARGEST_BLOCK = 256  # elements, of which all others are parts
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}

# What a type becomes whose blocks do not fit the rows of a tensor.
NARROWER = {
    "Q2_K": dtype.Q4_0,
    "Q3_K": dtype.Q4_0,
    "Q4_K": dtype.Q5_0,
    "Q5_K": dtype.Q5_1,
    "Q6_K": dtype.Q8_0,
    "IQ4_XS": dtype.IQ4_NL,
    "TQ1_0": dtype.Q4_0,
    "TQ2_0": dtype.Q4_0,
    **dict.fromkeys(
        ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"), dtype.IQ4_NL
    ),
}

# Parts of names of weights that stay as they are, small or sensitive.
KEPT = """
    _norm.weight ffn_gate_inp.weight ffn_gate_tid2eid.weight altup laurel per_layer_model_proj
    ssm_conv1d shortconv.conv.weight indexer.k_proj.weight indexer.q_proj.weight
    time_mix_first.weight time_mix_w0.weight time_mix_w1.weight time_mix_w2.weight
    time_mix_v0.weight time_mix_v1.weight time_mix_v2.weight time_mix_a0.weight time_mix_a1.weight
    time_mix_a2.weight time_mix_g1.weight time_mix_g2.weight time_mix_decay_w1.weight
    time_mix_decay_w2.weight time_mix_lerp_fused.weight attn_rel_b.weight .position_embd
    sam.pos_embd sam.neck. sam.net_ .rel_pos .patch_embd .patch_merger a.rvq.codebook
    mm.a.code_embd
""".split()
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")

EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
OUTPUT = "output.weight"
_CATEGORIES = (
    ("attn_qkv.weight", "value"),
    ("attn_kv_b.weight", "value"),
    ("attn_v.weight", "value"),
    ("attn_k.weight", "key"),
    ("attn_output.weight", "out"),
    ("ffn_down", "down"),
)
# Mixes whose attention outputs get more bits in a model of eight experts.
_OUT_OF_EIGHT = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS")


def mix_named(name: str) -> str:
    """The mix of a name, in any case.

    Raises:
        DTypeError: there is none; names all.

    >>> mix_named("q4_k")
    'Q4_K_M'
    """
    given: object = name
    found = ALIASES.get(name.upper(), name.upper()) if isinstance(given, str) else ""
    if found not in MIXES:
        known = f"known are {', '.join(MIXES)}"
        raise DTypeError(message("quantize", f"there is no type {name!r:.80} of a file", known))
    return found


def type_named(name: str | DType) -> DType:
    """The element type of weights that a name means in GGUF: F16, BF16, F32 or a block type.

    Raises:
        DTypeError: it means none, or one that weights are not rounded to.
    """
    given: object = name
    plain = {"F32": dtype.float32, "F16": dtype.float16, "BF16": dtype.bfloat16}
    found = given if isinstance(given, DType) else None
    if isinstance(given, str):
        found = plain.get(given.upper()) or dtype.find(given.upper())
    if found is None or found.ggml_id is None or found.kind not in "fq":
        raise DTypeError(message("quantize", f"{name!r:.80} is no type of weights"))
    return found


@dataclass(frozen=True)
class ModelFacts:
    """What rules ask of a model.

    Attributes:
        layers: how many it has.
        sharing: query heads for each key/value head.
        experts: of a layer, 0 where there are none.
        large: whether it is of the family's 80 layers whose value weights are small.
    """

    layers: int = 0
    sharing: int = 1
    experts: int = 0
    large: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "ModelFacts":
        """From the metadata of a GGUF file."""
        name = metadata.get("general.architecture", "")

        def number(key: str, default: int) -> int:
            value = metadata.get(f"{name}.{key}", default)
            return int(np.ravel(value)[0] if np.size(value) else default) or default  # layer 0's

        layers, heads = number("block_count", 0), number("attention.head_count", 1)
        groups = number("attention.head_count_kv", heads)
        experts = number("expert_count", 0)
        large = name in ("llama", "qwen2") and layers == 80
        large = large and not (name == "llama" and heads == groups)
        return cls(layers, heads // groups, experts, large)


@dataclass
class Chooser:
    """Types of tensors by a mix, in the order in which rules count layers.

    Attributes:
        mix: its name.
        facts: about the model.
        has_importance: whether an importance matrix was given.
        tied: whether the embedding is the output's matrix too.
        values: how many value weights the model has.
    """

    mix: str
    facts: ModelFacts
    has_importance: bool
    tied: bool
    values: int
    seen: dict[str, int] = field(default_factory=lambda: {"value": 0, "down": 0})

    def choose(self, name: str, shape: Shape) -> DType:
        """The type of a weight that may be stored in blocks; rows that do not fit come later."""
        base = MIXES[self.mix][1]
        if name == OUTPUT or (self.tied and name in EMBEDDINGS):
            if base is dtype.Q8_0 or self.mix == "MXFP4" or shape[-1] % base.block:
                return dtype.Q8_0
            return dtype.Q6_K
        if self.mix == "MXFP4":
            return dtype.MXFP4 if len(shape) > 2 and shape[-3] > 1 else dtype.Q8_0
        category = next((kind for part, kind in _CATEGORIES if part in name), None)
        if name in EMBEDDINGS or category is None:
            return base
        if category == "value":
            return self._value()
        if category == "down":
            return self._down(name) or base
        if category == "out":
            return self._out() or base
        return dtype.Q8_0 if self.facts.experts == 8 else base  # a key

    def _value(self) -> DType:
        number = self.seen["value"]
        self.seen["value"] += 1
        found = MIXES[self.mix][1]
        if self.mix == "Q2_K":
            found = dtype.Q4_K if self.facts.sharing >= 4 else dtype.Q3_K
        elif self.mix == "Q3_K_M":
            found = dtype.Q5_K if number < 2 else dtype.Q4_K
        elif self.mix == "Q3_K_L":
            found = dtype.Q5_K
        elif self.mix in ("IQ4_NL", "IQ4_XS") and self.facts.sharing >= 4:
            found = dtype.Q5_K
        elif self.mix in ("Q4_K_M", "Q5_K_M") and _more_bits(number, self.values):
            found = dtype.Q6_K
        elif self.mix == "Q4_K_S" and number < 4:
            found = dtype.Q5_K
        if self.facts.large and found in (dtype.Q3_K, dtype.Q4_K):
            found = dtype.Q5_K
        return dtype.Q8_0 if self.facts.experts == 8 else found

    def _down(self, name: str) -> DType | None:
        number, layers = self.seen["down"], self.facts.layers
        self.seen["down"] += 1
        if self.facts.experts > 1:
            number = layer_of(name)
        if self.mix == "Q2_K":
            return dtype.Q3_K
        if self.mix == "Q3_K_M":
            return dtype.Q5_K if number < layers // 16 else dtype.Q4_K
        if self.mix == "Q3_K_L":
            return dtype.Q5_K
        if self.mix in ("Q4_K_M", "Q5_K_M"):
            return dtype.Q6_K if _more_bits(number, layers) else None
        if number >= layers // 8:
            return None
        if self.mix in ("Q4_0", "Q5_0") and self.has_importance:
            return dtype.Q4_1 if self.mix == "Q4_0" else dtype.Q5_1
        plain = self.mix in ("IQ4_NL", "IQ4_XS") and not self.has_importance
        return dtype.Q5_K if plain or self.mix == "Q4_K_S" else None

    def _out(self) -> DType | None:
        if self.facts.experts == 8:
            return dtype.Q5_K if self.mix in _OUT_OF_EIGHT else None
        few = {"Q2_K": dtype.Q3_K, "Q3_K_M": dtype.Q4_K, "Q3_K_L": dtype.Q5_K}
        return few.get(self.mix)


def layer_of(name: str) -> int:
    """The layer that a tensor of a GGUF file belongs to, -1 for none.

    >>> layer_of("blk.12.ffn_up.weight"), layer_of("output.weight")
    (12, -1)
    """
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else -1


def stays(name: str, shape: Shape) -> bool:
    """Whether a tensor is stored as it is, whatever the mix."""
    sizes = list(shape)
    while len(sizes) > 1 and sizes[0] == 1:
        del sizes[0]
    small = len(sizes) < 2 or not name.endswith("weight") or name in KEPT_WHOLE
    return small or any(part in name for part in KEPT)


def fitting(kind: DType, columns: int) -> DType:
    """The type itself if its blocks fit rows of so many elements, else a narrower one or float16.

    >>> fitting(dtype.Q4_K, 576), fitting(dtype.Q4_K, 80)
    (numbatorch.Q5_0, numbatorch.float16)
    """
    if columns % kind.block:
        kind = NARROWER.get(kind.name, kind)
    return dtype.float16 if columns % kind.block else kind


def types_of(
    shapes: Mapping[str, tuple[DType, Shape]],
    metadata: Mapping[str, Any],
    mix: str,
    keep: Sequence[tuple[str, DType | str]] = (),
    has_importance: bool = False,
    *,
    fitted: bool = True,
) -> dict[str, DType]:
    """The type of every tensor of a model by a mix.

    Args:
        shapes: name to the type that a tensor has, and its shape.
        metadata: of the GGUF file.
        mix: a name in MIXES.
        keep: patterns, searched for in names of what is no vector, with types that go before the
            mix; the first wins.
        has_importance: whether the encoders get an importance matrix.
        fitted: whether a type whose blocks do not fit the rows of a tensor is another one then.
    Raises:
        FormatError: a pattern is no regular expression, or finds no matrix.

    >>> types_of({"output.weight": (dtype.float16, (512, 256))}, {}, "Q4_K_M")
    {'output.weight': numbatorch.Q6_K}
    """
    patterns = _compiled(keep, [name for name, (_, shape) in shapes.items() if len(shape) > 1])
    base = MIXES[mix][1]
    parts = ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")
    values = sum(any(part in name for part in parts) for name in shapes)
    facts = ModelFacts.of(metadata)
    chooser = Chooser(mix, facts, has_importance, OUTPUT not in shapes, values)
    found = {}
    for name in sorted(shapes, key=lambda name: (layer_of(name), name)):
        own, shape = shapes[name]
        named = next((kind for pattern, kind in patterns if pattern.search(name)), None)
        if not fitted and shape:
            shape = (*shape[:-1], LARGEST_BLOCK)
        if named is not None and len(shape) > 1:
            found[name] = fitting(named, shape[-1])
        elif stays(name, shape) or own.kind not in "fq":
            found[name] = own
        elif base.kind == "q":
            found[name] = fitting(chooser.choose(name, shape), shape[-1])
        else:
            found[name] = base
    return {name: found[name] for name in shapes}


def types_in(file: GGUFFile, mix: str, **options: Any) -> dict[str, DType]:
    """`types_of` the tensors of a file."""
    shapes = {name: (info.dtype, info.shape) for name, info in file.tensors.items()}
    return types_of(shapes, file.metadata, mix, **options)


def misfits(
    path: str | os.PathLike[str],
    mix: str,
    keep: Sequence[tuple[str, DType | str]] = (),
    has_importance: bool = False,
) -> list[tuple[DType, DType, int]]:
    """For each tensor of a file that was made by a mix, and has another type because the blocks of
    the mix's did not fit its rows: that type, the tensor's own, and the elements of a row.

    >>> misfits("model-q4_k_m.gguf", "Q4_K_M")[0]  # doctest: +SKIP
    (numbatorch.Q4_K, numbatorch.Q5_0, 576)
    """
    file = GGUFFile(path)
    wanted = types_in(file, mix_named(mix), keep=keep, has_importance=has_importance, fitted=False)
    return [
        (wanted[name], info.dtype, info.shape[-1])
        for name, info in file.tensors.items()
        if info.dtype is not wanted[name]
    ]


def _compiled(
    keep: Sequence[tuple[str, DType | str]], names: Iterable[str]
) -> list[tuple[re.Pattern[str], DType]]:
    found = []
    for each in keep:
        given: object = each
        if not isinstance(given, tuple | list) or len(given) != 2 or not isinstance(given[0], str):
            problem = f"keep holds {each!r:.80}, not a pattern and a type"
            raise TypeError(message("quantize", problem))
        text, kind = each[0], type_named(each[1])
        try:
            pattern = re.compile(text)
        except re.error as error:
            problem = f"{text!r} is no pattern: {error}"
            raise FormatError(message("quantize", problem)) from error
        if not any(pattern.search(name) for name in names):
            raise FormatError(message("quantize", f"no matrix has a name with {text!r} in it"))
        found.append((pattern, kind))
    return found


def _more_bits(number: int, layers: int) -> bool:
    """Whether a layer is of those that rules give more: the first and last eighth, every third."""
    eighth = layers // 8
    return number < eighth or number >= 7 * layers // 8 or (number - eighth) % 3 == 2
