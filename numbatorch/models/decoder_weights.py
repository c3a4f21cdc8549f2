"""The weights of a decoder, from a Hugging Face folder or from a GGUF file.

Models whose parameters have the names of `blocks/decoder.py` share what is here.
"""

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.decoder import CausalDecoder
from numbatorch.models.blocks.rotary import GGUF_FACTORS
from numbatorch.models.checkpoint import fill

# Part of a layer in Hugging Face's names: the same in GGUF's.
_GGUF_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GGUF_WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def gguf_name(name: str) -> str:
    """The name in a GGUF file of a parameter in Hugging Face's spelling.

    >>> gguf_name("model.layers.3.mlp.up_proj.weight")
    'blk.3.ffn_up.weight'
    """
    part, _, kind = name.rpartition(".")
    if part in _GGUF_WHOLE:
        return f"{_GGUF_WHOLE[part]}.{kind}"
    number, _, inner = part.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{_GGUF_PARTS[inner]}.{kind}"


def fill_from_hf(model: CausalDecoder, weights: Checkpoint, device: Device) -> None:
    """Put in the weights of a folder; what it holds twice has to agree with the configuration.

    Raises:
        FormatError: as `fill`; or a tied head or inverse frequencies that say something else.
    """
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
    fill(model, weights, device, known=repeated)


def fill_from_gguf(model: CausalDecoder, file: GGUFFile, device: Device) -> None:
    """Put in the weights of a GGUF file.

    Raises:
        FormatError: as `fill`.
    """
    fill(model, file, device, gguf_name, known=[GGUF_FACTORS])


def _contradiction(model: CausalDecoder, weights: Checkpoint, name: str, keys: str) -> FormatError:
    problem = f"tensor {name} is not what the configuration says: {keys}"
    return FormatError(message(type(model).__name__, problem, f"file {weights.path}"))
