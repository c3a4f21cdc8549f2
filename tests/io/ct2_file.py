"""Writes CTranslate2's model.bin, after the format's description in its `model_spec.py`."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

TYPES = ["float32", "int8", "int16", "int32", "float16", "bfloat16"]


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def packed(
    variables: Mapping[str, np.ndarray],
    spec: str = "WhisperSpec",
    aliases: Mapping[str, str] = {},
    version: int = 6,
) -> bytes:
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        kind = struct.pack("<BI", TYPES.index(array.dtype.name), array.nbytes)
        parts += [text(name), shape, kind, array.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [text(x) for pair in aliases.items() for x in pair]
    return b"".join(parts)


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 and a scale for each row, by which they are divided."""
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    scale = (127 / np.where(largest == 0, 127, largest)).astype(np.float32)
    shape = (-1, *(1 for _ in weight.shape[1:]))
    return np.rint(weight * scale.reshape(shape)).astype(np.int8), scale


def whisper_variables(
    weights: Mapping[str, np.ndarray], heads: tuple[int, int], kind: str
) -> dict[str, np.ndarray]:
    """A Whisper's variables from weights in Hugging Face's names, in a type."""
    w = {name.removeprefix("model."): array for name, array in weights.items()}
    found: dict[str, np.ndarray] = {}

    def put(name: str, array: np.ndarray, whole: bool = False) -> None:
        if kind == "int8" and name.endswith("weight") and not whole:
            found[name], found[f"{name}_scale"] = quantized(array)
        else:
            found[name] = array.astype("float32" if kind == "int8" else kind)

    def linear(name: str, *modules: str) -> None:
        for key in ("weight", "bias"):
            zeros = np.zeros(len(w[f"{modules[0]}.weight"]), "f4")
            put(f"{name}/{key}", np.concatenate([w.get(f"{m}.{key}", zeros) for m in modules]))

    def norm(name: str, module: str) -> None:
        put(f"{name}/gamma", w[f"{module}.weight"])
        put(f"{name}/beta", w[f"{module}.bias"])

    for part, count in (("encoder", heads[0]), ("decoder", heads[1])):
        found[f"{part}/num_heads"] = np.array(count, np.int16)
        put(f"{part}/position_encodings/encodings", w[f"{part}.embed_positions.weight"])
        norm(f"{part}/layer_norm", f"{part}.layer_norm")
        number = 0
        while f"{part}.layers.{number}.fc1.weight" in w:
            at, to = f"{part}.layers.{number}.", f"{part}/layer_{number}/"
            linear(to + "self_attention/linear_0", *(f"{at}self_attn.{x}_proj" for x in "qkv"))
            linear(to + "self_attention/linear_1", at + "self_attn.out_proj")
            norm(to + "self_attention/layer_norm", at + "self_attn_layer_norm")
            if part == "decoder":
                linear(to + "attention/linear_0", at + "encoder_attn.q_proj")
                linear(to + "attention/linear_1", *(f"{at}encoder_attn.{x}_proj" for x in "kv"))
                linear(to + "attention/linear_2", at + "encoder_attn.out_proj")
                norm(to + "attention/layer_norm", at + "encoder_attn_layer_norm")
            linear(to + "ffn/linear_0", at + "fc1")
            linear(to + "ffn/linear_1", at + "fc2")
            norm(to + "ffn/layer_norm", at + "final_layer_norm")
            number += 1
    for name in ("conv1", "conv2"):
        linear(f"encoder/{name}", f"encoder.{name}")
    put("decoder/embeddings/weight", w["decoder.embed_tokens.weight"])
    fixed = {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0}
    fixed |= {"start_from_zero_embedding": 0}
    return found | {f"decoder/{name}": np.array(x, np.int8) for name, x in fixed.items()}


def write(folder: Path, raw: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.bin").write_bytes(raw)
    return folder
