"""Rotary position embeddings: the angles that queries and keys are turned by.

Source: https://arxiv.org/abs/2104.09864, and for Llama-3's scaling
https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.config import Fields
from numbatorch.tensor import Tensor, from_numpy

Array = np.ndarray[Any, Any]

LARGEST_POSITION = 2**31

GGUF_FACTORS = "rope_freqs.weight"  # the tensor of a GGUF file that `factors` come from


@dataclass(frozen=True)
class Rope:
    """Wavelengths, and how they are stretched for contexts beyond the training's."""

    size: int  # D, head size, even
    theta: float = 10000.0  # base of the wavelengths
    interleaved: bool = False  # pairs are (2i, 2i + 1), as in GGUF files, else (i, i + D/2)
    scaling: str = "default"  # default, linear or llama3
    factor: float = 1.0  # by which low frequencies are divided; linear: all of them
    low_freq_factor: float = 1.0  # wavelengths above original_context / this are stretched in full
    high_freq_factor: float = 4.0  # wavelengths below original_context / this are not stretched
    original_context: int = 8192  # tokens that the model was trained with before
    factors: tuple[float, ...] = ()  # D/2, each divides its frequency

    def __post_init__(self) -> None:
        if self.size % 2:
            raise FormatError(message("rope", f"the head size {self.size} is odd"))
        low, high = self.low_freq_factor, self.high_freq_factor
        if low >= high:
            rule = f"low_freq_factor is {low}, high_freq_factor {high}"
            raise FormatError(message("rope", "the high frequencies are not above the low", rule))
        wrong = [x for x in self.factors if not 0 < x < math.inf]
        if wrong:
            problem = f"a factor is {wrong[0]}, not a positive number"
            raise FormatError(message("rope", problem, f"tensor {GGUF_FACTORS}"))
        with np.errstate(over="ignore", divide="ignore"):
            fastest = float(np.max(self.frequencies(), initial=0.0)) * LARGEST_POSITION
        if not fastest < math.inf:
            rule = f"theta is {self.theta}, factor {self.factor}"
            raise FormatError(message("rope", "the angle of a position is not finite", rule))

    @classmethod
    def from_hf(cls, fields: Fields, size: int) -> "Rope":
        """From rope_parameters, or from the older rope_theta and rope_scaling."""
        theta = fields.number("rope_theta", 10000.0)
        fields.require("partial_rotary_factor", 1.0, (1.0,))
        nested = fields.mapping("rope_parameters") or fields.mapping("rope_scaling")
        if nested is None:
            return cls(size, theta)
        theta = nested.number("rope_theta", theta)
        nested.require("partial_rotary_factor", 1.0, (1.0,))
        name = "rope_type" if "rope_type" in nested.values else "type"
        scaling = nested.choice(name, "default", ("default", "linear", "llama3"))
        found = cls(size, theta, scaling=scaling)
        if scaling != "default":
            found = replace(found, factor=nested.number("factor"))
        if scaling == "llama3":
            found = replace(
                found,
                low_freq_factor=nested.number("low_freq_factor"),
                high_freq_factor=nested.number("high_freq_factor"),
                original_context=nested.integer("original_max_position_embeddings"),
            )
        if name != "type":
            nested.require("type", scaling, (scaling,))
        nested.refuse_unread(())
        return found

    @classmethod
    def from_gguf(cls, fields: Fields, file: GGUFFile, size: int, interleaved: bool) -> "Rope":
        """From metadata, and the tensor of factors where there is one."""
        fields.require("rope.dimension_count", size, (size,))
        fields.require("rope.scaling.attn_factor", 1.0, (1.0,))
        scaling = fields.choice("rope.scaling.type", "linear", ("none", "linear"))
        factor = _gguf_factor(fields)
        linear = scaling == "linear" and factor != 1.0
        return cls(
            size,
            fields.number("rope.freq_base", 10000.0),
            interleaved,
            scaling="linear" if linear else "default",
            factor=factor if linear else 1.0,
            factors=_gguf_factors(file, size),
        )

    def frequencies(self) -> Array:
        """Angle per position of each pair, in radians: (D/2,) float64.

        theta^(-2i/D), stretched as the configuration says.
        """
        half = self.size // 2
        found: Array = self.theta ** (-np.arange(half) / half)
        if self.scaling == "linear":
            found = found / self.factor
        elif self.scaling == "llama3":
            turns = self.original_context * found / (2 * math.pi)  # in the old context
            low, high = self.low_freq_factor, self.high_freq_factor
            kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
            found = found * (kept + (1 - kept) / self.factor)
        return found / np.array(self.factors) if self.factors else found

    def tables(self, positions: int, device: Device) -> tuple[Tensor, Tensor]:
        """cos and sin of the angles of the first `positions`: (positions, D/2) float32 each."""
        angles = np.outer(np.arange(positions), self.frequencies())
        tables = (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
        cos, sin = (from_numpy(table, share=True).to(device=device) for table in tables)
        return cos, sin


def _gguf_factor(fields: Fields) -> float:
    """What positions are divided by, under its newer or its older key."""
    factor = fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0))
    fields.require("rope.scale_linear", factor, (factor,))
    return factor


def _gguf_factors(file: GGUFFile, size: int) -> tuple[float, ...]:
    info = file.tensors.get(GGUF_FACTORS)
    if info is None:
        return ()
    expected = (size // 2,)
    if info.shape != expected or info.dtype.kind != "f":
        found = f"{info.name} is {info.shape} {info.dtype.name}"
        problem = f"tensor {found}, the configuration says {expected} floats"
        raise FormatError(message("rope", problem, f"file {file.path}"))
    return tuple(file.tensor(GGUF_FACTORS).astype(np.float64).tolist())
