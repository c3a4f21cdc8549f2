"""Samplers: what narrows the next token down, one after the other, and the draw at the end.

Each is a small frozen record; a chain of them is given to `TextGenerator.stream(samplers=...)`.
"""

from numbatorch.generation.samplers.candidates import Candidates, Random, Sampler, Step, Text
from numbatorch.generation.samplers.chain import ORDER, Chain, Options
from numbatorch.generation.samplers.dry import DRY
from numbatorch.generation.samplers.filters import XTC, MinP, TopK, TopNSigma, TopP, Typical
from numbatorch.generation.samplers.grammar import Grammar, JSONSchema
from numbatorch.generation.samplers.mirostat import Mirostat, MirostatV2
from numbatorch.generation.samplers.penalties import LogitBias, Penalties
from numbatorch.generation.samplers.temperature import Temperature

__all__ = [
    "DRY",
    "ORDER",
    "XTC",
    "Candidates",
    "Chain",
    "Grammar",
    "JSONSchema",
    "LogitBias",
    "MinP",
    "Mirostat",
    "MirostatV2",
    "Options",
    "Penalties",
    "Random",
    "Sampler",
    "Step",
    "Temperature",
    "Text",
    "TopK",
    "TopNSigma",
    "TopP",
    "Typical",
]
