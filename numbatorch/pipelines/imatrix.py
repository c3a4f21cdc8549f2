"""An importance matrix is collected: a model runs a text, and what its weights meet is squared.

The procedure: https://github.com/ggml-org/llama.cpp/blob/master/tools/imatrix/README.md
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numbatorch import nn
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.models.blocks.moe import ExpertLinear
from numbatorch.pipelines.texts import begun, chunks_of, read_text
from numbatorch.quantized.importance import Importance
from numbatorch.tensor import from_numpy, no_grad
from numbatorch.tensor import tensor as as_tensor


def collect(
    source: str | os.PathLike[str],
    text: str | os.PathLike[str],
    context: int = 512,
    chunks: int | None = None,
    *,
    revision: str | None = None,
    device: Device | str | None = None,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> Importance:
    """The sums of squares of the inputs of each linear layer of a model, over a text.

    Args:
        source: a folder, a GGUF file or a repository of the Hub.
        text: a file in UTF-8.
        context: tokens that are run together.
        chunks: how many of these at most; all unless given.
        revision, device: as in `TextGenerator`.
        bar: called with the number of chunks; gives what is called with those that are done.
    Raises:
        OutOfRange: the text is shorter than a chunk, or a chunk longer than the model's context.
        FormatError: weights of the model have no names in GGUF; the text is not UTF-8.

    >>> collect("model.gguf", "text.txt").entries.keys()  # doctest: +SKIP
    """
    generator = TextGenerator(source, revision, device)
    parts = chunks_of(generator, read_text(text, "imatrix"), context, chunks, "imatrix")
    found = Importance(datasets=[Path(text).name], chunk_count=len(parts), chunk_size=context)
    model: Any = generator.model
    names = getattr(model, "names", None)
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | ExpertLinear)
        and name != "lm_head"  # which uses no module's forward
    }
    if names is None or not layers:
        problem = f"weights of {type(model).__name__} have no names in GGUF"
        raise FormatError(message("imatrix", problem))
    handles = [
        layer.register_forward_pre_hook(
            _taker(found, names.gguf(f"{name}.weight"), getattr(layer, "experts", 1))
        )
        for name, layer in layers.items()
    ]
    advance = bar(len(parts))
    try:
        with no_grad():
            for ids in parts:
                model.hidden(as_tensor([begun(generator, ids)], device=model.device)).numpy()
                advance(1)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _taker(found: Importance, name: str, experts: int) -> Callable[[Any, Any], Any]:
    def take(_: Any, given: Any) -> Any:
        values = given[0].numpy()
        if len(given) > 1:
            chosen = given[1].numpy()
            for expert in range(experts):
                found.add(name, values[chosen == expert], expert, experts)
        else:
            found.add(name, values)
        # The graph goes on from what is known.
        return (from_numpy(values, given[0].device, share=True), *given[1:])

    return take
