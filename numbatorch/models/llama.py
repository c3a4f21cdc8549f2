"""Llama: a decoder of tokens, with weights in Hugging Face's names or in those of GGUF files.

Letters: H query heads, G key/value heads, D head size, C hidden size.
Source: https://arxiv.org/abs/2302.13971
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import Checkpoint
from numbatorch.models.blocks.attention import Attention, Scores
from numbatorch.models.blocks.decoder import DecoderLayer
from numbatorch.models.blocks.mlp import GatedMLP
from numbatorch.models.config import (
    GGUF_FIXED,
    GGUF_HARMLESS,
    HF_DECODER_FIXED,
    HF_HARMLESS,
    Fields,
)
from numbatorch.models.decoder_config import (
    BaseConfig,
    base_from_gguf,
    base_from_hf,
    windows_from_gguf,
    windows_to_gguf,
)
from numbatorch.models.decoder_model import DecoderModel, norm_of
from numbatorch.models.decoder_names import LLAMA_NAMES
from numbatorch.models.decoder_weights import load_hf
from numbatorch.models.registry import architecture


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(BaseConfig):
    """What a checkpoint says about its shape."""

    attention_bias: bool = False  # q, k and v have biases
    attention_out_bias: bool | None = None  # o has one; as q, k and v if None
    mlp_bias: bool = False  # gate, up and down have biases

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], has_out_bias: bool = True) -> "LlamaConfig":
        """From a config.json.

        Args:
            config: its values.
            has_out_bias: whether o has a bias where attention has biases at all.
        Raises:
            FormatError: a value is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", config)
        fields.require("hidden_act", "silu", ("silu", "swish"))
        fields.require("rope_interleaved", False, (False,))
        bias = fields.flag("attention_bias", False)
        found = cls(
            **base_from_hf(fields),
            attention_bias=bias,
            attention_out_bias=bias and has_out_bias,
            mlp_bias=fields.flag("mlp_bias", False),
        )
        fields.refuse_unread([*HF_HARMLESS, "is_decoder"], HF_DECODER_FIXED)
        return found

    @classmethod
    def from_gguf(cls, file: GGUFFile) -> "LlamaConfig":
        """From a GGUF file's metadata; the presence of tensors says what is tied or has a bias.

        Raises:
            FormatError: a key is missing, impossible, or stands for what is not here.
        """
        fields = Fields("llama", file.metadata, prefix="llama.", place=str(file.path))
        base = base_from_gguf(fields, file, interleaved=True)
        found = cls(
            **base,
            windows=windows_from_gguf(fields, base["num_hidden_layers"], lambda _: True),
            attention_bias="blk.0.attn_q.bias" in file.tensors,
            attention_out_bias="blk.0.attn_output.bias" in file.tensors,
            mlp_bias="blk.0.ffn_gate.bias" in file.tensors,
        )
        fields.refuse_unread(GGUF_HARMLESS, GGUF_FIXED)
        return found

    def gguf_keys(self) -> dict[str, Any]:
        """The keys of windows, which all layers have or none."""
        return windows_to_gguf(self.windows, self.num_hidden_layers, lambda _: True)

    def hf_keys(self) -> dict[str, Any]:
        """What a config.json says of a Llama, or of a Mistral where there are windows.

        Raises:
            FormatError: windows, and biases; or a bias of o alone.
        """
        found = {"hidden_act": "silu"}
        biases = {"attention_bias": self.attention_bias, "mlp_bias": self.mlp_bias}
        if self.attention_out_bias and not self.attention_bias:
            problem = "attention with a bias of its output alone"
            raise FormatError(message("convert", problem, "config.json has no keys for it"))
        if not any(self.windows):
            return found | biases
        if any(biases.values()):
            problem = "windows, which Mistral has, and biases, which it has not"
            raise FormatError(message("convert", problem))
        names = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
        return found | names | {"sliding_window": self.windows[0]}


def _layer(config: LlamaConfig, number: int) -> DecoderLayer:
    out_bias = config.attention_out_bias
    attention = Attention(
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.rope,
        bias=config.attention_bias,
        out_bias=config.attention_bias if out_bias is None else out_bias,
        scores=Scores(window=config.window(number)),
    )
    mlp = GatedMLP(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
    return DecoderLayer(norm_of(config), attention, norm_of(config), mlp)


@architecture(task="text-generation", hf=("LlamaForCausalLM", "llama"), gguf="llama")
class Llama(DecoderModel):
    """A Llama; parameters have Hugging Face's names, whatever file they come from."""

    names = LLAMA_NAMES
    configuration = LlamaConfig
    layer = staticmethod(_layer)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], weights: Checkpoint, device: Device) -> "Llama":
        """From a config.json and safetensors."""
        out_bias = "model.layers.0.self_attn.o_proj.bias" in weights.tensors
        return load_hf(cls, LlamaConfig.from_hf(config, out_bias), weights, device)
