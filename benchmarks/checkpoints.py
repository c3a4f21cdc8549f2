"""Benchmark checkpoints: Llamas of real shapes with seeded random weights, in two formats.

Random weights make every engine do the same arithmetic on the same bytes. The GGUF files carry a
byte-level vocabulary (256 byte tokens and one merge), so that every engine can tokenize.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.worker import FILES_VARIABLE
from numbatorch import private, settings
from numbatorch.io.gguf import GGUFFile
from numbatorch.quantized import quantize_file


@dataclass(frozen=True)
class Shape:
    """Sizes of one Llama."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = 32000


SHAPES = {
    "15m": Shape(288, 6, 6, 6, 768),
    "110m": Shape(768, 12, 12, 12, 2048),
    "1b": Shape(2048, 22, 32, 4, 5632),
}
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7}  # all matrices are of the type
MIXES = {"Q6_K": 256, "Q4_K_M": 256}  # made of the F32 file by `quantize_file`; the largest block


def layer_weights(shape: Shape) -> int:
    """Elements of the matrices of one layer."""
    narrow = shape.dim * shape.kv_heads // shape.heads
    return shape.dim * (2 * shape.dim + 2 * narrow + 3 * shape.ffn)


def bytes_a_token(path: Path) -> int:
    """What a decode step reads of a file at least: every matrix, of an embedding that is no head
    too only a row."""
    tensors = GGUFFile(path).tensors
    matrices = {name: info for name, info in tensors.items() if len(info.shape) > 1}
    if OUTPUT in matrices:
        del matrices[EMBEDDING]
    return sum(info.nbytes for info in matrices.values())


def shape_of(path: Path) -> Shape:
    """The sizes that a Llama's GGUF file says."""
    file = GGUFFile(path)
    keys = ("embedding_length", "block_count", "attention.head_count", "attention.head_count_kv")
    sizes = [int(file.metadata[f"llama.{key}"]) for key in (*keys, "feed_forward_length")]
    return Shape(*sizes, vocab=file.tensors[EMBEDDING].shape[0])


def fits(shape: Shape, kind: str) -> bool:
    """Whether the rows of all matrices are whole blocks of a mix, which takes other types else."""
    return shape.dim % MIXES.get(kind, 1) == 0 and shape.ffn % MIXES.get(kind, 1) == 0


def products_a_token(shape: Shape, tokens: int) -> float:
    """Multiplications that a prompt of `tokens` needs for each: attention is causal, and the
    head is for the last one only."""
    attention = shape.dim * tokens  # q @ k and p @ v over half of the positions each
    head = shape.vocab * shape.dim / tokens
    return shape.layers * (layer_weights(shape) + attention) + head


def weights(shape: Shape, seed: int = 0) -> Iterator[tuple[str, str, np.ndarray]]:
    """(Hugging Face name, GGUF name, float32 array) in a fixed order."""
    rng = np.random.default_rng(seed)
    head = shape.dim // shape.heads

    def normal(*size: int) -> np.ndarray:
        scale = 0.7 / np.sqrt(size[-1])
        return (rng.standard_normal(size, dtype=np.float32) * scale).astype(np.float32)

    ones = np.ones(shape.dim, np.float32)
    embedding = normal(shape.vocab, shape.dim) * np.sqrt(shape.dim).astype(np.float32) * 0.05
    yield "model.embed_tokens.weight", EMBEDDING, embedding
    for layer in range(shape.layers):
        h, g = f"model.layers.{layer}.", f"blk.{layer}."
        yield h + "input_layernorm.weight", g + "attn_norm.weight", ones
        for name, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            matrix = normal(heads * head, shape.dim)
            yield h + f"self_attn.{name}_proj.weight", g + f"attn_{name}.weight", matrix
        output = normal(shape.dim, shape.heads * head)
        yield h + "self_attn.o_proj.weight", g + "attn_output.weight", output
        yield h + "post_attention_layernorm.weight", g + "ffn_norm.weight", ones
        yield h + "mlp.gate_proj.weight", g + "ffn_gate.weight", normal(shape.ffn, shape.dim)
        yield h + "mlp.up_proj.weight", g + "ffn_up.weight", normal(shape.ffn, shape.dim)
        yield h + "mlp.down_proj.weight", g + "ffn_down.weight", normal(shape.dim, shape.ffn)
    yield "model.norm.weight", "output_norm.weight", ones
    yield "lm_head.weight", OUTPUT, normal(shape.vocab, shape.dim)


def rotary_rows(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head from halves (Hugging Face) to pairs (GGUF)."""
    half = array.shape[0] // heads // 2
    pairs = array.reshape(heads, 2, half, *array.shape[1:]).swapaxes(1, 2)
    return pairs.reshape(array.shape)


def vocabulary(size: int) -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, one merge, unused tokens, <s> and </s>."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    tokens, spare = [], 256
    for byte in range(256):
        tokens.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return [*tokens, "ab", *(f"<unused{i}>" for i in range(size - 259)), "<s>", "</s>"]


def write_gguf(path: Path, shape: Shape, kind: str) -> None:
    """One GGUF file with all matrices in GGML type `kind`."""
    import gguf

    ggml_type = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("bench-llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.dim // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(vocabulary(shape.vocab))
    writer.add_token_types([1] * 257 + [5] * (shape.vocab - 259) + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(shape.vocab - 2)
    writer.add_eos_token_id(shape.vocab - 1)
    for _, name, array in weights(shape):
        if name.endswith(("attn_q.weight", "attn_k.weight")):
            array = rotary_rows(array, shape.heads if "attn_q" in name else shape.kv_heads)
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, ggml_type), raw_dtype=ggml_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors(folder: Path, shape: Shape) -> None:
    """The same weights in Hugging Face's form: model.safetensors and config.json."""
    from safetensors.numpy import save_file

    tensors = {name: array for name, _, array in weights(shape)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.dim,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": shape.vocab - 2,
        "eos_token_id": shape.vocab - 1,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def folder_of_files(path: Path | None) -> Path:
    """The folder of what the benchmarks write, made for this user alone where it is absent.

    Args:
        path: None is one below the user's cache. What others can write is not used: another folder
            is made beside it.
    """
    with private.make(path or settings.cache_dir() / "benchmarks") as folder:
        os.environ[FILES_VARIABLE] = str(folder.path.resolve())
        return folder.path


def gguf_file(folder: Path, size: str, kind: str) -> Path:
    """The file of a size and GGML type below `folder`, written if it is not there."""
    path = folder / size / f"llama-{size}-{kind.lower()}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.gguf")
        if kind in MIXES:
            quantize_file(gguf_file(folder, size, "F32"), partial, kind)
        else:
            write_gguf(partial, SHAPES[size], kind)
        partial.replace(path)
    return path


def hugging_face_folder(folder: Path, size: str) -> Path:
    """The folder with the safetensors form of a size, written if it is not there."""
    target = folder / size
    if not (target / "config.json").exists():
        target.mkdir(parents=True, exist_ok=True)
        write_safetensors(target, SHAPES[size])
    return target
