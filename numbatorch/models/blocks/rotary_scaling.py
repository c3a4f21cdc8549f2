"""How rotary frequencies are stretched for contexts beyond the training's.

Each function takes angles per position of the pairs, theta^(-2i/D) in radians, (D/2,) float64.
"""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def plain(theta: float, size: int) -> Array:
    """theta^(-2i/D) of the pairs i of D = `size` dimensions.

    Source: https://arxiv.org/abs/2104.09864

    >>> plain(10000.0, 4)
    array([1.  , 0.01])
    """
    half = size // 2
    found: Array = theta ** (-np.arange(half) / half)
    return found


def llama3(frequencies: Array, factor: float, low: float, high: float, context: int) -> Array:
    """Divide by `factor` what turns less than `low` times in a context; keep above `high` times.

    Between the two the divisor goes over smoothly.
    Source: https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py

    >>> llama3(plain(10000.0, 4), 8.0, 1.0, 4.0, 32)
    array([1.     , 0.00125])
    """
    turns = context * frequencies / (2 * math.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return frequencies * (kept + (1 - kept) / factor)


def yarn(
    frequencies: Array,
    theta: float,
    factor: float,
    fast: float,
    slow: float,
    context: int,
    whole: bool = True,
) -> Array:
    """Divide slow pairs by `factor` and keep fast ones, with a ramp over the pairs between.

    Args:
        theta: base of the wavelengths, not 1.
        fast, slow: turns in the context of the last pair that is kept and the first one that is
            divided in full.
        context: tokens that the model was trained with.
        whole: whether the ramp begins and ends at whole pairs.
    Source: https://arxiv.org/abs/2309.00071, section 3.2

    >>> yarn(plain(10000.0, 4), 10000.0, 4.0, 32.0, 1.0, 64)
    array([1.    , 0.0025])
    """
    half = len(frequencies)

    def pair_of(turns: float) -> float:
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(theta)

    first, last = pair_of(fast), pair_of(slow)
    if whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    width = last - first if last != first else 0.001
    stretched = np.clip((np.arange(half) - first) / width, 0.0, 1.0)
    found: Array = frequencies * (1 - stretched + stretched / factor)
    return found


def yarn_attention(factor: float, scale: float = 1.0) -> float:
    """What YaRN multiplies cos and sin by: 0.1 * scale * log(factor) + 1, or 1 for a factor <= 1.

    Source: https://arxiv.org/abs/2309.00071, section 3.4

    >>> round(yarn_attention(4.0), 4)
    1.1386
    """
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def dynamic_theta(theta: float, size: int, factor: float, tokens: int, context: int) -> float:
    """The base of the wavelengths for a text of `tokens`, greater beyond the context.

    theta * (factor * tokens / context - (factor - 1))^(D / (D - 2)), which is theta within it.
    Source: `_compute_dynamic_ntk_parameters` of transformers, after bloc97 and emozilla

    >>> dynamic_theta(10000.0, 64, 2.0, 100, 200)
    10000.0
    """
    stretch = factor * max(tokens, context) / context - (factor - 1)
    return theta * stretch ** (size / (size - 2)) if size > 2 else theta


def longrope_attention(factor: float, context: int) -> float:
    """What LongRoPE multiplies cos and sin by: sqrt(1 + log(factor) / log(context)), at least 1.

    Source: https://arxiv.org/abs/2402.13753

    >>> round(longrope_attention(32.0, 4096), 4)
    1.1902
    """
    return math.sqrt(1 + math.log(factor) / math.log(context)) if factor > 1.0 else 1.0
