"""Samplers in order: made from the arguments of a generation, and run on each token's logits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypedDict

import numpy as np

from numbatorch.errors import message
from numbatorch.generation.arguments import Rule, as_list, number
from numbatorch.generation.samplers.candidates import FIRST as FRONT
from numbatorch.generation.samplers.candidates import Array, Candidates, Sampler, Step, Text
from numbatorch.generation.samplers.dry import DRY
from numbatorch.generation.samplers.few import Few, few
from numbatorch.generation.samplers.filters import XTC, MinP, TopK, TopNSigma, TopP, Typical
from numbatorch.generation.samplers.grammar import Grammar, JSONSchema
from numbatorch.generation.samplers.largest import by_kernel
from numbatorch.generation.samplers.mirostat import Mirostat, MirostatV2
from numbatorch.generation.samplers.penalties import LogitBias, Penalties
from numbatorch.generation.samplers.temperature import Temperature

KINDS: dict[str, Any] = {
    "json_schema": JSONSchema,
    "grammar": Grammar,
    "logit_bias": LogitBias,
    "penalties": Penalties,
    "dry": DRY,
    "top_n_sigma": TopNSigma,
    "top_k": TopK,
    "typical_p": Typical,
    "top_p": TopP,
    "min_p": MinP,
    "xtc": XTC,
    "temperature": Temperature,
    "mirostat": Mirostat,
    "mirostat_v2": MirostatV2,
}

ORDER = tuple(name for name in KINDS if not name.startswith("mirostat"))
"""The samplers of a generation in the order of llama.cpp, which divides by the temperature last;
transformers does so before the filters."""

FIRST = ("json_schema", "grammar", "logit_bias")
"""What comes before all others, wherever arguments ask for it."""

MIROSTAT = {
    1: (*FIRST, "temperature", "mirostat"),
    2: (*FIRST, "temperature", "mirostat_v2"),
}
VERSION = Rule("0, 1 or 2", lambda value: value in (0, *MIROSTAT), whole=True)


OTHERS = (
    *("prompt", "max_tokens", "messages", "tools", "documents", "variables"),
    *("seed", "stop", "special", "samplers", "logprobs"),
)
"""Arguments of a generation that are not of samplers."""


class Options(TypedDict, total=False):
    """Arguments of samplers: the fields of all of them, and which version of Mirostat."""

    temperature: float
    dynatemp_range: float
    dynatemp_exponent: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    min_keep: int
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    repeat_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_last_n: int
    dry_sequence_breakers: Sequence[str]
    logit_bias: Mapping[int, float]
    grammar: str
    json_schema: Mapping[str, Any] | str | None
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    mirostat_m: int


def chain(
    options: Mapping[str, Any],
    samplers: Sequence[str | Sampler] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Sampler, ...]:
    """The samplers that arguments ask for.

    Args:
        options: arguments as in `Options`; greedy without any.
        samplers: samplers, or names in `KINDS` of those that are made from the options; the order
            of llama.cpp unless given. Those of `FIRST` come first if they are not among them.
        defaults: options that count where `options` has none, and may be of no use.
    Raises:
        TypeError: an option that is not there, or a value of another type.
        OutOfRange: a value out of its range.
        ValueError: an option that no sampler of the chain takes.

    >>> chain({"top_k": 40, "temperature": 0.8}, ["temperature", "top_k"])[0]
    Temperature(temperature=0.8, dynatemp_range=0.0, dynatemp_exponent=1.0)
    """
    for name in options:
        if name not in Options.__annotations__:
            near = get_close_matches(name, (*Options.__annotations__, *OTHERS), 1)
            hint = f"there is {near[0]}" if near else None
            raise TypeError(message("generate", f"there is no argument {name}", hint=hint))
    values = {**(defaults or {}), **options}
    order = _order(values, options, samplers)
    taken = {"mirostat"} if samplers is None else set()
    made: list[Sampler] = []
    for sampler in order:
        if not isinstance(sampler, str):
            made.append(sampler)
            continue
        names = {field.name for field in fields(KINDS[sampler])}
        made.append(KINDS[sampler](**{k: v for k, v in values.items() if k in names}))
        taken |= names
    if sum(isinstance(x, Grammar | JSONSchema) and x.binds for x in made) > 1:
        problem = "output is bound to several grammars or schemas"
        raise ValueError(message("generate", problem, hint="give one of them"))
    for name in options:
        if name not in taken:
            told = ", ".join(s if isinstance(s, str) else type(s).__name__ for s in order)
            problem = f"{name} is given, which no sampler of the chain takes"
            raise ValueError(message("generate", problem, f"chain {told}"))
    return tuple(made)


def _order(
    values: Mapping[str, Any],
    options: Mapping[str, Any],
    samplers: Sequence[str | Sampler] | None,
) -> list[str | Sampler]:
    if samplers is None:
        version = number("sampling", "mirostat", values.get("mirostat", 0), VERSION)
        return list(MIROSTAT.get(version, ORDER))
    order = as_list(samplers)
    if order is None:
        problem = f"samplers is {samplers!r:.80}; it must be a list of samplers or their names"
        raise TypeError(message("generate", problem))
    for sampler in order:
        if isinstance(sampler, str) and sampler not in KINDS:
            rule = f"there are {', '.join(KINDS)}"
            raise ValueError(message("generate", f"samplers has {sampler!r:.80}", rule))
        if not isinstance(sampler, str) and not hasattr(sampler, "begin"):
            problem = f"samplers has {sampler!r:.80}, which is neither a sampler nor its name"
            raise TypeError(message("generate", problem))
        if isinstance(sampler, type):
            problem = f"samplers has the class {sampler.__name__}, not one of its objects"
            raise TypeError(message("generate", problem))
    return [*(name for name in FIRST if name in options and name not in order), *order]


class Chain:
    """Samplers at work on one text."""

    def __init__(self, samplers: Sequence[Sampler], text: Text) -> None:
        begun = [(sampler, sampler.begin(text)) for sampler in samplers]
        at_work = [(sampler, step) for sampler, step in begun if step is not None]
        self._random = text.random
        self._few: Few | None = None
        self._before = [step for _, step in at_work]  # what is done before `_few` does the rest
        self._after: list[Step] = []  # the same as `_few`
        for place in range(len(at_work)):
            self._few = few([sampler for sampler, _ in at_work[place:]])
            if self._few is not None:
                self._before, self._after = self._before[:place], self._before[place:]
                break

    def left(self, logits: Array) -> Candidates:
        """What the samplers leave of the tokens with logits (V,) float32.

        Raises:
            FloatingPointError: the logits are NaN or infinite.
        """
        found = self._checked(logits)
        for step in (*self._before, *self._after):
            found = step(found)
        return found

    def choose(self, logits: Array) -> int:
        """The next token, drawn by the probabilities of what is left."""
        quick = self._few
        if quick is not None and not self._before:
            token = quick.choose(logits, self._random)
            if token is not None:
                return token
            quick = None
        found = self._checked(logits)
        for step in self._before:
            found = step(found)
        if quick is not None and found.tokens is None:
            token = quick.choose(found.logits, self._random)
            if token is not None:
                return token
        for step in self._after:
            found = step(found)
        place = found.draw(self._random)
        return place if found.tokens is None else int(found.tokens[place])

    def _checked(self, logits: Array) -> Candidates:
        logits = np.asarray(logits, np.float32)
        front = by_kernel(logits, FRONT)
        best = int(logits.argmax()) if front is None else front.places[0]  # or the first NaN
        if not math.isfinite(logits[best]):
            problem = f"the largest logit is {logits[best]}, at token {best}"
            raise FloatingPointError(message("sampling", problem))
        return Candidates(logits, front=front)
