"""The weights of a decoder, from a Hugging Face folder or from a GGUF file.

Models whose parameters have the names of `blocks/decoder.py` share what is here.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.decoder import CausalDecoder
from numbatorch.models.blocks.rotary import GGUF_TENSORS
from numbatorch.models.checkpoint import Source, check_layers, fill, tensor_of
from numbatorch.models.decoder_config import BaseConfig

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
    fill(model, file, device, model.names.gguf, known=GGUF_TENSORS)


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
    """Norms that a folder holds without the number that belongs to them."""
    offset = model.names.norm_offset
    if not offset:
        return {}

    def with_offset(name: str, shape: Any) -> Source:
        def make(device: Device) -> Any:
            return tensor_of(weights, name, device).float() + offset

        return Source({name: shape}, make)

    return {
        name: with_offset(name, parameter.shape)
        for name, parameter in model.named_parameters()
        if name.endswith("norm.weight")
    }


def _contradiction(model: CausalDecoder, weights: Checkpoint, name: str, keys: str) -> FormatError:
    problem = f"tensor {name} is not what the configuration says: {keys}"
    return FormatError(message(type(model).__name__, problem, f"file {weights.path}"))
