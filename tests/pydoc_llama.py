"""The files of the small Llama: carried, written here from the carried weights, or shared.

The GGUF files of types F16, BF16, Q8_0 and Q4_0 come out byte for byte as the shared ones, which
the gguf package wrote from the same weights; llama.cpp's quantizer made the others.
"""

from functools import cache
from pathlib import Path

import gguf
import numpy as np
import pytest

from numbatorch.io.gguf import GGUFFile
from numbatorch.io.safetensors import SafetensorsFile

TESTS = Path(__file__).parent
CARRIED = TESTS / "fixtures" / "pydoc-llama"
SHARED = TESTS.parent.parent / "shared" / "fixtures" / "pydoc-llama"
FILE_TYPES = {"f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2}
HEADS = {"q_proj": 8, "k_proj": 4}
NAMES = {
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


def find(name: str, folder: Path) -> Path:
    """The file of a name in `expected.json`; the test skips where it cannot be had.

    Args:
        name: `model.safetensors` or `pydoc-llama-<type>.gguf`.
        folder: where a file may be written, such as `tmp_path`.
    """
    if (CARRIED / name).is_file():
        return CARRIED / name
    kind = name.removeprefix("pydoc-llama-").removesuffix(".gguf")
    if kind in FILE_TYPES:
        path = folder / name
        if not path.is_file():
            write(path, kind)
        return path
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is too large to carry, and ../shared/fixtures is absent")
    return SHARED / name


@cache
def weights() -> dict[str, np.ndarray]:
    """GGUF names to float32 values, in the order of the files."""
    file = SafetensorsFile(CARRIED / "model.safetensors")

    def read(name: str) -> np.ndarray:
        array = file.tensor(name).astype(np.float32)
        heads = next((heads for part, heads in HEADS.items() if part in name), None)
        if heads is None:
            return array
        halves = array.reshape(heads, 2, -1, array.shape[-1])  # rotary halves to pairs
        return halves.swapaxes(1, 2).reshape(array.shape)

    found = {"token_embd.weight": read("model.embed_tokens.weight")}
    for layer in range(5):
        for theirs, ours in NAMES.items():
            name = f"model.layers.{layer}.{theirs}.weight"
            found[f"blk.{layer}.{ours}.weight"] = read(name)
    found["output_norm.weight"] = read("model.norm.weight")
    return found


def write(path: Path, kind: str) -> None:
    """The GGUF file whose matrices have a type among `FILE_TYPES`."""
    metadata = dict(GGUFFile(CARRIED / "pydoc-llama-q4_0.gguf").metadata)
    metadata["general.file_type"] = FILE_TYPES[kind]
    writer = gguf.GGUFWriter(str(path), metadata.pop("general.architecture"))
    for key, value in metadata.items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, list(map(int, value)) if key.endswith("type") else value)
    packed = gguf.GGMLQuantizationType[kind.upper()]
    for name, array in weights().items():
        if array.ndim == 1:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quantize(array, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
