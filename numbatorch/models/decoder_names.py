"""What the weights of decoders are called in Hugging Face's files and in GGUF's: tables.

Source of GGUF's names: https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """How the weights of a decoder are called, and where the two kinds of files differ.

    Attributes:
        parts: of a layer in Hugging Face's names: the same in GGUF's. Weights of experts, here
            `mlp.experts.X`, are `mlp.experts.N.X` for each in a folder, and in GGUF files stacked:
            (experts, outputs, inputs).
        whole: of the model.
        permuted: parts whose rows are pairs (i, i + D/2) with Hugging Face and (2i, 2i + 1) in
            GGUF files, head by head.
        norm_offset: what is added to the weights of norms in GGUF files, and in models here.
    """

    parts: Mapping[str, str]
    whole: Mapping[str, str]
    permuted: tuple[str, ...] = ()
    norm_offset: float = 0.0

    def gguf(self, name: str) -> str:
        """The name in a GGUF file of a parameter in Hugging Face's spelling.

        >>> LLAMA_NAMES.gguf("model.layers.3.mlp.up_proj.weight")
        'blk.3.ffn_up.weight'
        """
        part, _, kind = name.rpartition(".")
        if part in self.whole:
            return f"{self.whole[part]}.{kind}"
        number, _, inner = part.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{self.parts[inner]}.{kind}"


ATTENTION_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
ATTENTION_NORM_NAMES = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
MLP_NAMES = {
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORM_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
WHOLE_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
PLAIN_NAMES = Names({**NORM_NAMES, **ATTENTION_NAMES, **MLP_NAMES}, WHOLE_NAMES)
LLAMA_NAMES = Names(
    PLAIN_NAMES.parts, WHOLE_NAMES, permuted=("self_attn.q_proj", "self_attn.k_proj")
)
QWEN3_NAMES = Names({**PLAIN_NAMES.parts, **ATTENTION_NORM_NAMES}, WHOLE_NAMES)
GEMMA2_NAMES = Names(
    {
        **ATTENTION_NAMES,
        **MLP_NAMES,
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    },
    WHOLE_NAMES,
    norm_offset=1.0,
)
GEMMA3_NAMES = Names({**GEMMA2_NAMES.parts, **ATTENTION_NORM_NAMES}, WHOLE_NAMES, norm_offset=1.0)
PHI3_NAMES = Names(
    {
        **NORM_NAMES,
        "self_attn.qkv_proj": "attn_qkv",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    },
    WHOLE_NAMES,
)
EXPERT_NAMES = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
}
QWEN3_MOE_NAMES = Names({**QWEN3_NAMES.parts, **EXPERT_NAMES}, WHOLE_NAMES)
