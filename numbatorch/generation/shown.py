"""What representations of models and generations say of them."""

from collections import Counter
from typing import Any

from numbatorch.shape import numel

SHOWN = 60  # characters of a text


def described(model: Any) -> str:
    """The architecture of a model, how many parameters it has, in which type most are, and where.

    >>> described(TextGenerator("folder").model)  # doctest: +SKIP
    'Llama of 134.5M parameters, Q4_1, cpu'
    """
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        sizes[parameter.dtype.name] += numel(parameter.shape)
    ((kind, _),) = sizes.most_common(1) or [("no type", 0)]
    count = f"{_short(sizes.total())} parameters"
    return f"{type(model).__name__} of {count}, {kind}, {model.device}"


def _short(count: int) -> str:
    """
    >>> [_short(count) for count in (999, 4_213_504, 134_515_008, 7_241_732_096)]
    ['999', '4.2M', '134.5M', '7.2B']
    """
    for unit, scale in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f}{unit}"
    return str(count)


def progress_of(text: str, generation: Any) -> str:
    """The text so far, its tokens, their speed and why it ended, of what has `counts`."""
    shown = repr(text if len(text) <= SHOWN else text[: SHOWN - 3] + "...")
    count = len(generation.ids)
    rows = [shown, "1 token" if count == 1 else f"{count} tokens"]
    counts = generation.counts
    if counts.tokens and counts.seconds:
        rows.append(f"{counts.tokens / counts.seconds:.1f} tokens/s")
    rows.append(f"finish={generation.finish!r}")
    return ", ".join(rows)
