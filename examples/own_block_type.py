"""A block type of one's own, of 3 bits: declared once, it is computed on packed by every device.

Run: python examples/own_block_type.py. A small Llama that was trained on the Python manual is
written in the type, run from that file, and measured on a page of the manual.
"""

import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from numbatorch import dtype
from numbatorch.pipelines.convert import to_gguf
from numbatorch.pipelines.perplexity import perplexity
from numbatorch.quantized import Bits, BlockType, Packed, quantize_file, register

MODEL = Path(__file__).parents[1] / "tests" / "fixtures" / "pydoc-llama"


def encode(values: np.ndarray) -> dict[str, np.ndarray]:
    """32 values a block: q = 4 + x / d, where d takes the largest value to -4."""
    places = np.abs(values).argmax(axis=1)[:, None]
    scale = np.take_along_axis(values, places, axis=1) / np.float32(-4)
    inverse = np.where(scale == 0, 0, 1 / np.where(scale == 0, 1, scale))
    codes = np.clip(np.rint(values * inverse) + 4, 0, 7).astype(np.uint8)
    return {"d": scale[:, 0], "codes": codes}


OWN = register(
    BlockType(
        dtype.register(dtype.DType("OWN3", "q", 14, 32, ggml_id=1003)),
        fields=(("d", "<f2"), ("low", "u1", 8), ("high", "u1", 4)),
        codes=Packed((Bits("low", 2, span=8), Bits("high", 1, span=4)), bias=4),
        encode=encode,
    )
)


def main() -> float:
    """How many times as surprised the model of 3 bits is by a text."""
    with tempfile.TemporaryDirectory() as folder:
        plain, own = Path(folder, "plain.gguf"), Path(folder, "own.gguf")
        text = Path(folder, "text.txt")
        text.write_text(topics["compound"], encoding="utf-8")
        to_gguf(MODEL, plain)
        quantize_file(plain, own, "F16", keep=[("(attn|ffn)_(?!norm)", OWN.dtype)])
        found = []
        for path in (plain, own):
            found.append(perplexity(path, text, context=256, chunks=4).perplexity.value)
            print(f"{path.name}: {path.stat().st_size:,} bytes, perplexity {found[-1]:.2f}")
    ratio = found[1] / found[0]
    print(f"ratio: {ratio:.3f}")
    return ratio


if __name__ == "__main__":
    main()
