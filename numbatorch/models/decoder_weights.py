"""The weights of a decoder, from a Hugging Face folder or from a GGUF file.

Models whose parameters have the names of `blocks/decoder.py` share what is here.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.decoder import CausalDecoder
from numbatorch.models.blocks.moe import ExpertLinear
from numbatorch.models.blocks.rotary import GGUF_TENSORS
from numbatorch.models.checkpoint import Source, check_layers, fill, tensor_of
from numbatorch.models.decoder_config import BaseConfig
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import host_node

Model = TypeVar("Model", bound=CausalDecoder)
Config = TypeVar("Config", bound=BaseConfig)


def load_hf(
    cls: Callable[[Config], Model], config: Config, weights: Checkpoint, device: Device
) -> Model:
    """A model with the weights of a folder.

    Args:
        cls: made of a configuration.
        config: what config.json says.
        weights: of the folder.
        device: where they go.
    Raises:
        FormatError: as `fill`; or a tied head or inverse frequencies that say something else.
    """
    check_layers(
        type(config).__name__.removesuffix("Config"),
        weights,
        "model.layers.",
        config.num_hidden_layers,
    )
    model = cls(config)
    fill_from_hf(model, weights, device)
    return model


def load_gguf(
    cls: Callable[[Config], Model], config: Config, file: GGUFFile, device: Device
) -> Model:
    """A model with the weights of a GGUF file; the rest is as in `load_hf`.

    Raises:
        FormatError: as `fill`.
    """
    check_layers(
        type(config).__name__.removesuffix("Config"), file, "blk.", config.num_hidden_layers
    )
    model = cls(config)
    fill_from_gguf(model, file, device)
    return model


def fill_from_hf(model: CausalDecoder, weights: Checkpoint, device: Device) -> None:
    """Put in the weights of a folder; what it holds twice has to agree with the configuration.

    Raises:
        FormatError: as `fill`; or a tied head or inverse frequencies that say something else.
    """
    repeated = _repeated(model, weights)
    fill(model, weights, device, known=repeated, sources=_hf_sources(model, weights))


def fill_from_gguf(model: CausalDecoder, file: GGUFFile, device: Device) -> None:
    """Put in the weights of a GGUF file.

    Raises:
        FormatError: as `fill`.
    """
    sources = _gguf_sources(model, file)
    fill(model, file, device, model.names.gguf, known=GGUF_TENSORS, sources=sources)


def _repeated(model: CausalDecoder, weights: Checkpoint) -> list[str]:
    """Tensors of a folder that say again what configuration or another tensor does."""
    frequencies = model.config.rope.frequencies()
    repeated = [name for name in weights.tensors if name.endswith(".rotary_emb.inv_freq")]
    for name in repeated:  # old checkpoints hold what the configuration says
        stored = weights.tensor(name)
        if stored.shape != frequencies.shape or not np.allclose(stored, frequencies, rtol=1e-2):
            raise _contradiction(model, weights, name, "rope_theta and rope_scaling")
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if model.lm_head is None and head in weights.tensors and embedding in weights.tensors:
        if not np.array_equal(weights.tensor(head), weights.tensor(embedding)):
            raise _contradiction(model, weights, head, "tie_word_embeddings")
        repeated.append(head)
    return repeated


def _hf_sources(model: CausalDecoder, weights: Checkpoint) -> dict[str, Source]:
    """Norms that a folder holds without what belongs to them, and experts that it holds one by one.

    Raises:
        FormatError: more experts than tensors.
    """
    offset = model.names.norm_offset
    found = {
        name: _with_offset(weights, name, parameter.shape, offset)
        for name, parameter in model.named_parameters()
        if offset and name.endswith("norm.weight")
    }
    for name, layer in _expert_layers(model):
        if layer.experts > len(weights.tensors):
            problem = f"the configuration says {layer.experts} experts"
            rule = f"the file has {len(weights.tensors)} tensors"
            raise FormatError(message(type(model).__name__, problem, rule))
        found[f"{name}.weight"] = _stacked(weights, name, layer)
    return found


def _with_offset(weights: Checkpoint, name: str, shape: Shape, offset: float) -> Source:
    def make(device: Device) -> Tensor:
        return tensor_of(weights, name, device).float() + offset

    return Source({name: shape}, make)


def _stacked(weights: Checkpoint, name: str, layer: ExpertLinear) -> Source:
    """Of the tensors of each expert a copy, one below the other."""
    rows, inputs = layer.weight.shape
    before, _, part = name.rpartition(".")
    names = [f"{before}.{expert}.{part}.weight" for expert in range(layer.experts)]

    def make(device: Device) -> Tensor:
        kinds = {weights.tensors[each].dtype for each in names}
        if len(kinds) > 1:
            problem = f"the experts of {name} are stored in {len(kinds)} types"
            raise FormatError(message("models", problem, f"file {weights.path}"))
        joined = np.concatenate([weights.tensor(each) for each in names])
        return Tensor(host_node(joined, kinds.pop(), device))

    return Source(dict.fromkeys(names, (rows // layer.experts, inputs)), make)


def _gguf_sources(model: CausalDecoder, file: GGUFFile) -> dict[str, Source]:
    """Experts, which a GGUF file stacks: (experts, outputs, inputs)."""
    found = {}
    for name, layer in _expert_layers(model):
        stored, shape = model.names.gguf(f"{name}.weight"), layer.weight.shape
        stack = (layer.experts, shape[0] // layer.experts, shape[1])
        make = partial(tensor_of, file, stored, shape=shape)
        found[f"{name}.weight"] = Source({stored: stack}, make)
    return found


def _expert_layers(model: CausalDecoder) -> list[tuple[str, ExpertLinear]]:
    return [
        (name, module) for name, module in model.named_modules() if isinstance(module, ExpertLinear)
    ]


def _contradiction(model: CausalDecoder, weights: Checkpoint, name: str, keys: str) -> FormatError:
    problem = f"tensor {name} is not what the configuration says: {keys}"
    return FormatError(message(type(model).__name__, problem, f"file {weights.path}"))
