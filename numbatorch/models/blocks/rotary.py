"""Rotary position embeddings: the angles that queries and keys are turned by.

Source: https://arxiv.org/abs/2104.09864; of the ways to stretch them, blocks/rotary_scaling.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.blocks import rotary_scaling as scalings
from numbatorch.models.config import Fields
from numbatorch.tensor import Tensor, from_numpy

Array = np.ndarray[Any, Any]

LARGEST_POSITION = 2**31

# Tensors of a GGUF file that factors of frequencies come from.
GGUF_FACTORS = "rope_freqs.weight"
GGUF_SHORT_FACTORS = "rope_factors_short.weight"
GGUF_LONG_FACTORS = "rope_factors_long.weight"
GGUF_TENSORS = (GGUF_FACTORS, GGUF_SHORT_FACTORS, GGUF_LONG_FACTORS)

KINDS = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")


@dataclass(frozen=True)
class Rope:
    """Wavelengths, and how they are stretched for contexts beyond the training's."""

    size: int  # D, head size, even
    theta: float = 10000.0  # base of the wavelengths
    interleaved: bool = False  # pairs are (2i, 2i + 1), as in GGUF files, else (i, i + D/2)
    scaling: str = "default"  # one of KINDS
    factor: float = 1.0  # by which low frequencies are divided; linear: all of them
    low_freq_factor: float = 1.0  # wavelengths above original_context / this are stretched in full
    high_freq_factor: float = 4.0  # wavelengths below original_context / this are not stretched
    original_context: int = 8192  # tokens that the model was trained with before
    factors: tuple[float, ...] = ()  # R/2, each divides its frequency
    long_factors: tuple[float, ...] = ()  # R/2, instead of factors beyond original_context
    rotated: int | None = None  # R, the first of the D dimensions that are turned; None: all
    attention_factor: float = 1.0  # cos and sin are multiplied by it
    beta_fast: float = 32.0  # yarn: pairs that turn so often in original_context are kept
    beta_slow: float = 1.0  # yarn: those that turn less often are stretched in full
    whole_pairs: bool = True  # yarn: the ramp between the two begins and ends at a pair

    def __post_init__(self) -> None:
        if self.size % 2:
            raise FormatError(message("rope", f"the head size {self.size} is odd"))
        if self.turned % 2 or not 0 < self.turned <= self.size:
            problem = f"{self.turned} dimensions of a head of {self.size} cannot be turned"
            raise FormatError(message("rope", problem))
        low, high = self.low_freq_factor, self.high_freq_factor
        if low >= high:
            rule = f"low_freq_factor is {low}, high_freq_factor {high}"
            raise FormatError(message("rope", "the high frequencies are not above the low", rule))
        for name in ("factors", "long_factors"):
            self._check_factors(name, getattr(self, name))
        if self.scaling == "yarn" and self.theta == 1.0:
            raise FormatError(message("rope", "yarn needs wavelengths, theta is 1.0"))
        with np.errstate(over="ignore", divide="ignore"):
            fastest = float(np.max(self.frequencies(), initial=0.0)) * LARGEST_POSITION
        if not fastest < math.inf:
            rule = f"theta is {self.theta}, factor {self.factor}"
            raise FormatError(message("rope", "the angle of a position is not finite", rule))

    def _check_factors(self, name: str, factors: tuple[float, ...]) -> None:
        wrong = [x for x in factors if not 0 < x < math.inf]
        if wrong:
            problem = f"a factor is {wrong[0]}, not a positive number"
            tensors = ", ".join(GGUF_TENSORS) if name == "long_factors" else GGUF_FACTORS
            raise FormatError(message("rope", problem, f"tensor {tensors}"))
        if factors and len(factors) != self.turned // 2:
            problem = f"{len(factors)} {name} for {self.turned // 2} pairs of dimensions"
            raise FormatError(message("rope", problem))

    @property
    def turned(self) -> int:
        """R, dimensions of a head that are turned."""
        return self.size if self.rotated is None else self.rotated

    def reach(self, context: int) -> int:
        """Tokens of the longest text, by max_position_embeddings; dynamic scaling goes beyond."""
        return int(context * self.factor) if self.scaling == "dynamic" else context

    @property
    def restarts(self) -> bool:
        """Whether a text that comes to another stage is computed again; else its keys stay."""
        return self.scaling == "longrope"

    def stage(self, tokens: int) -> int:
        """Texts of lengths with one stage have the same angles."""
        beyond = tokens > self.original_context
        if self.scaling == "dynamic":
            return tokens if beyond else 0
        return int(self.scaling == "longrope" and beyond)

    @classmethod
    def from_hf(cls, fields: Fields, size: int, partial: bool = False) -> "Rope":
        """From rope_parameters, or from the older rope_theta and rope_scaling.

        Args:
            fields: a config.json.
            size: D.
            partial: whether partial_rotary_factor may say that less than D dimensions are turned.
        """
        theta = fields.number("rope_theta", 10000.0)
        share = fields.number("partial_rotary_factor", 1.0)
        nested = fields.mapping("rope_parameters") or fields.mapping("rope_scaling")
        if nested is not None:
            theta = nested.number("rope_theta", theta)
            share = nested.number("partial_rotary_factor", share)
        if not partial and share != 1.0:
            (nested or fields).require("partial_rotary_factor", 1.0, (1.0,))
            fields.require("partial_rotary_factor", 1.0, (1.0,))
        plain = cls(size, theta, rotated=None if share == 1.0 else int(size * share))
        if nested is None:
            return plain
        # Some models say their first context beside the other parameters, which counts first.
        context = fields.integer("max_position_embeddings", 2048)
        original = fields.optional("original_max_position_embeddings", fields.integer)
        return plain.scaled(nested, context, original)

    def scaled(self, nested: Fields, context: int, original: int | None = None) -> "Rope":
        """As rope_parameters of a config.json say.

        Args:
            nested: its values; rope_theta is known already.
            context: max_position_embeddings.
            original: original_max_position_embeddings, where it does not stand among the values.
        """
        nested.get("rope_theta", 1.0)
        if self.rotated is None:
            nested.require("partial_rotary_factor", 1.0, (1.0,))
        name = "rope_type" if "rope_type" in nested.values else "type"
        kind = nested.choice(name, "default", (*KINDS, "su"))
        kind = "longrope" if kind == "su" else kind
        found = replace(self, scaling=kind)
        if kind in ("linear", "dynamic", "llama3"):
            found = replace(found, factor=nested.number("factor"))
        if kind == "dynamic":
            found = replace(found, original_context=context)
            # Some files repeat it.
            nested.require("original_max_position_embeddings", context, (context,))
        if kind == "llama3":
            found = replace(
                found,
                low_freq_factor=nested.number("low_freq_factor"),
                high_freq_factor=nested.number("high_freq_factor"),
                original_context=nested.integer("original_max_position_embeddings"),
            )
        if kind in ("yarn", "longrope"):
            given = nested.integer("original_max_position_embeddings", original or context)
            first = original or given
            factor = nested.number("factor", context / first)
            found = replace(found, factor=factor, original_context=first)
            found = found._yarn(nested) if kind == "yarn" else found._longrope(nested)
        if name != "type":
            nested.require("type", kind, (kind,))
        nested.refuse_unread(())
        return found

    def _yarn(self, nested: Fields) -> "Rope":
        up = nested.optional("mscale", nested.number)
        down = nested.optional("mscale_all_dim", nested.number)
        default = scalings.yarn_attention(self.factor)
        if up is not None and down is not None:
            above, below = (scalings.yarn_attention(self.factor, x) for x in (up, down))
            default = above / below
        return replace(
            self,
            attention_factor=nested.number("attention_factor", default),
            beta_fast=nested.number("beta_fast", 32.0),
            beta_slow=nested.number("beta_slow", 1.0),
            whole_pairs=nested.flag("truncate", True),
        )

    def _longrope(self, nested: Fields) -> "Rope":
        default = scalings.longrope_attention(self.factor, self.original_context)
        short, long = (nested.numbers(f"{name}_factor") for name in ("short", "long"))
        attention = nested.number("attention_factor", default)
        return replace(self, attention_factor=attention, factors=short, long_factors=long)

    @classmethod
    def from_gguf(
        cls,
        fields: Fields,
        file: GGUFFile,
        size: int,
        interleaved: bool,
        partial: bool = False,
        context: int = 2048,
    ) -> "Rope":
        """From metadata, and the tensors of factors where there are some.

        Args:
            fields: metadata under the name of an architecture.
            file: where the tensors are.
            size: D.
            interleaved: whether pairs are (2i, 2i + 1).
            partial: whether less than D dimensions may be turned.
            context: tokens of the longest text.
        """
        turned = fields.integer("rope.dimension_count", size)
        if not partial:
            fields.require("rope.dimension_count", size, (size,))
        kind = fields.choice("rope.scaling.type", "linear", ("none", "linear", "yarn", "longrope"))
        factor = _gguf_factor(fields)
        found = cls(
            size,
            fields.number("rope.freq_base", 10000.0),
            interleaved,
            rotated=None if turned == size else turned,
            attention_factor=fields.number("rope.scaling.attn_factor", 1.0),
            factors=_gguf_factors(file, GGUF_FACTORS, turned),
        )
        if kind == "linear" and factor != 1.0:
            return replace(found, scaling="linear", factor=factor)
        first = fields.integer("rope.scaling.original_context_length", context)
        if kind == "yarn":
            found = replace(found, scaling="yarn", factor=factor, original_context=first)
            return found._gguf_yarn(fields)
        if kind == "longrope":
            fields.require("rope.scaling.factor", 1.0, (1.0,))
        long = _gguf_factors(file, GGUF_LONG_FACTORS, turned)
        if not long:
            return found
        short = _gguf_factors(file, GGUF_SHORT_FACTORS, turned)
        return replace(
            found, scaling="longrope", original_context=first, factors=short, long_factors=long
        )

    def _gguf_yarn(self, fields: Fields) -> "Rope":
        """A logarithm's multiplier stands for mscale_all_dim, beside an mscale of 1."""
        fields.require("rope.scaling.yarn_ext_factor", 1.0, (1.0,))
        default = scalings.yarn_attention(self.factor)
        down = fields.optional("rope.scaling.yarn_log_multiplier", fields.number)
        if down is not None:
            default /= scalings.yarn_attention(self.factor, down)
        attention = fields.number("rope.scaling.yarn_attn_factor", default)
        return replace(
            self,
            attention_factor=self.attention_factor * attention,
            beta_fast=fields.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=fields.number("rope.scaling.yarn_beta_slow", 1.0),
        )

    def frequencies(self, tokens: int = 0) -> Array:
        """Angle per position of each pair, in radians: (R/2,) float64.

        theta^(-2i/R), stretched as the configuration says for a text of so many tokens.
        """
        theta, context = self.theta, self.original_context
        if self.scaling == "dynamic":
            theta = scalings.dynamic_theta(theta, self.turned, self.factor, tokens, context)
        found = scalings.plain(theta, self.turned)
        if self.scaling == "linear":
            found = found / self.factor
        elif self.scaling == "llama3":
            low, high = self.low_freq_factor, self.high_freq_factor
            found = scalings.llama3(found, self.factor, low, high, context)
        elif self.scaling == "yarn":
            ramp = (self.beta_fast, self.beta_slow, context, self.whole_pairs)
            found = scalings.yarn(found, theta, self.factor, *ramp)
        beyond = self.scaling == "longrope" and tokens > context
        factors = self.long_factors if beyond else self.factors
        return found / np.array(factors) if factors else found

    def angles(self, positions: Sequence[int] | range, tokens: int) -> tuple[Array, Array]:
        """cos and sin at positions of a text of so many tokens: (positions, R/2) float32 each."""
        angles = np.outer(np.asarray(positions), self.frequencies(tokens))
        cos, sin = (turn(angles) * self.attention_factor for turn in (np.cos, np.sin))
        return cos.astype(np.float32), sin.astype(np.float32)

    def tables(
        self, positions: int, device: Device, tokens: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """cos and sin of the first positions, (positions, R/2) float32 each.

        Args:
            positions: how many.
            device: where the tables go.
            tokens: of the text, as many as positions unless given.
        """
        arrays = self.angles(range(positions), positions if tokens is None else tokens)
        cos, sin = (from_numpy(table, share=True).to(device=device) for table in arrays)
        return cos, sin


def _gguf_factor(fields: Fields) -> float:
    """What positions are divided by, under its newer or its older key."""
    factor = fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0))
    fields.require("rope.scale_linear", factor, (factor,))
    return factor


def _gguf_factors(file: GGUFFile, name: str, turned: int) -> tuple[float, ...]:
    info = file.tensors.get(name)
    if info is None:
        return ()
    expected = (turned // 2,)
    if info.shape != expected or info.dtype.kind != "f":
        found = f"{info.name} is {info.shape} {info.dtype.name}"
        problem = f"tensor {found}, the configuration says {expected} floats"
        raise FormatError(message("rope", problem, f"file {file.path}"))
    return tuple(file.tensor(name).astype(np.float64).tolist())
